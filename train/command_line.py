"""What the commands of the room have in common."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import click

from osteo_edge.errors import OsteoEdgeError

FAILED = 2


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
