"""``osteo-edge receive``: answers for pictures that machines send by DICOM."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from osteo_edge.cli.help import Command
from osteo_edge.cli.options import asked_options, engine_options
from osteo_edge.cli.stations import dicom_product, keep_free_option, load, run_station, warn
from osteo_edge.cli.terminal import tell

if TYPE_CHECKING:
    from osteo_edge.station.receiving import Peer

_TITLE = re.compile(r"[A-Za-z0-9_.-]{1,16}")
_LOOK_SECONDS = 0.5
_EPILOG = """\b
Examples:
  osteo-edge receive --allow XRAY1 /srv/knees
  osteo-edge receive --allow XRAY1 --send-to PACS@10.0.0.2:104 /srv/knees

Exit codes: 2 usage, 5 bundle, 7 a folder, the journal or the port, 8 engine, 9 memory, 130, 143 interrupted."""


@click.command("receive", cls=Command, epilog=_EPILOG)
@click.argument("outbox", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--allow", "allowed", multiple=True, required=True, metavar="TITLE[@ADDRESS]", help="Who may send; may be repeated."
)
@click.option(
    "--send-to", "send_to", metavar="TITLE@HOST:PORT", help="Send a report, the overlay and a page of each answer there."
)
@click.option("--title", default="OSTEO_EDGE", show_default=True, help="The title by which this program is called.")
@click.option("--bind", "address", default="127.0.0.1", show_default=True, help="The address to listen at.")
@click.option("--port", type=click.IntRange(0, 65535), default=11112, show_default=True)
@keep_free_option
@engine_options
@asked_options
def command(
    outbox: Path,
    allowed: tuple[str, ...],
    send_to: str | None,
    title: str,
    address: str,
    port: int,
    keep_free_mib: int,
    engine: str,
    precision: str,
    threads: int | None,
    bundles: tuple[str, ...],
    questions: tuple[str, ...],
) -> int:
    """Answer radiographs (CR, DX) that are sent by C-STORE, into OUTBOX as 'watch' does.

    Only programs of the titles that are allowed may send, and the connection is not encrypted: keep it to a network of its own.
    A picture of more than 64 MiB ends its connection. With little room left the sender is told to come again.
    """
    from_whom, to_whom = [_peer(one) for one in allowed], _target(send_to) if send_to else None
    _require_title(title)
    models = load(bundles, questions, engine, precision, threads)
    from osteo_edge.station.inbox import Inbox
    from osteo_edge.station.outbox import DICOM, Outbox
    from osteo_edge.station.receiving import Receiver, Sender
    from osteo_edge.station.watching import Pace

    target = Outbox(outbox)
    receiver = Receiver(target, title=title, allowed=from_whom, keep_free_bytes=keep_free_mib << 20)
    products = [dicom_product(outbox)] if to_whom else []
    sender = Sender(outbox / DICOM, to_whom, title=title, warn=warn) if to_whom else None
    source = Inbox(receiver.folder, endings=(".dcm",), recursive=False, keeps_names=False)

    def send_and_wait(seconds: float) -> None:
        if sender:
            sender.send_all()
        time.sleep(seconds)

    try:
        listening = receiver.listen(address, port)
        tell(f"osteo-edge: {title} receives at {address} port {listening}", err=True)
        return run_station(source, target, models, Pace(0.0, _LOOK_SECONDS, 0), products, send_and_wait)
    finally:
        receiver.close()


def _peer(text: str) -> Peer:
    from osteo_edge.station.receiving import Peer

    title, _, address = text.partition("@")
    return Peer(_require_title(title), address)


def _target(text: str) -> Peer:
    from osteo_edge.station.receiving import Peer

    title, _, rest = text.partition("@")
    host, _, port = rest.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise click.UsageError(f"--send-to must be TITLE@HOST:PORT, for example PACS@10.0.0.2:104, not {text[:60]!r}")
    return Peer(_require_title(title), host, int(port))


def _require_title(title: str) -> str:
    if not _TITLE.fullmatch(title):
        raise click.UsageError(f"a title has 1 to 16 letters, digits, '_', '.' or '-', unlike {title[:60]!r}")
    return title
