"""``osteo-edge audit``: looks whether an audit log is the one that was written."""

from __future__ import annotations

from pathlib import Path

import click

from osteo_edge.cli.help import Command, Group
from osteo_edge.cli.terminal import tell
from osteo_edge.printable import counted


@click.group("audit", cls=Group)
def command() -> None:
    """Look after audit logs: chained lines of what was answered when, by what."""


@command.command("verify", cls=Command)
@click.argument("log", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--head", metavar="SHA256", help="A head that was noted before: it must still stand in the log.")
def verify(log: Path, head: str | None) -> None:
    """Look whether any line of LOG was changed, added or taken away, and tell the first that was.

    Told is also the head, the digest of the last line. Lines that are cut off at the end are noticed only by a head that was
    noted elsewhere; so is a log that was written anew altogether.

    Exit codes: 0 whole, 2 usage, 5 not the log that was written.
    """
    from osteo_edge.station.audit import verify as verify_log

    chain = verify_log(log, head=head)
    tell(f"{log}: {counted(chain.lines, 'line')}, whole; head {chain.head}")
