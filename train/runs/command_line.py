"""What the commands of the tree have in common."""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import click

from osteo_edge.errors import OsteoEdgeError

FAILED = 2


class Commands(click.Group):
    """A group whose commands stand in other modules, each imported when it is called and no sooner.

    Args:
        elsewhere: name of a command -> module, attribute and the line that tells of it.
    """

    def __init__(self, *given: Any, elsewhere: Mapping[str, tuple[str, str, str]], **named: Any) -> None:
        super().__init__(*given, **named)
        self.elsewhere = dict(elsewhere)

    def list_commands(self, context: click.Context) -> list[str]:
        return sorted(self.elsewhere)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in self.elsewhere:
            return None
        module, attribute, _ = self.elsewhere[name]
        return getattr(importlib.import_module(module), attribute)  # type: ignore[no-any-return]

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing a single one."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, told) for name, (_, _, told) in sorted(self.elsewhere.items())])


@contextmanager
def told_in_one_line() -> Iterator[None]:
    """Turn an error of ours into one line on standard error and exit code 2; faults of the code keep their traceback."""
    try:
        yield
    except OsteoEdgeError as error:
        click.echo(f"Error: {error}", err=True)
        raise SystemExit(FAILED) from error


def quieten_tensorflow() -> None:
    """Before its import: it tells of its own affairs otherwise, the processor's instructions and functions traced again."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
