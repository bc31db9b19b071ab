"""How long work is told of while it is done."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import click

# Goes through the items while it tells of them under a label.
Track = Callable[[Sequence[Any], str], Iterable[Any]]


def track(items: Sequence[Any], label: str) -> Iterator[Any]:
    """By a bar on standard error."""
    with click.progressbar(items, label=label.ljust(20), file=sys.stderr) as bar:
        yield from bar
