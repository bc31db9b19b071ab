"""``osteo-edge watch``: answers for pictures that others copy into a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from osteo_edge.cli.help import Command
from osteo_edge.cli.inputs import PICTURE_ENDINGS
from osteo_edge.cli.options import asked_options, engine_options
from osteo_edge.cli.pages import page_options, reader_for, wanted_pages
from osteo_edge.cli.stations import dicom_product, keep_free_option, load, run_station
from osteo_edge.station.outbox import REPORTS, Outbox

if TYPE_CHECKING:
    from osteo_edge.station.worker import Product

_EPILOG = """\b
Examples:
  osteo-edge watch /srv/knees/in /srv/knees/out
  osteo-edge watch --once --report --language en in out
  osteo-edge audit verify out/audit.jsonl

Exit codes: 0 nothing left (--once), 2 usage, 5 bundle, 7 a folder or the journal, 8 engine, 9 memory, 130, 143 interrupted."""


@click.command("watch", cls=Command, epilog=_EPILOG)
@click.argument("inbox", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("outbox", type=click.Path(file_okay=False, path_type=Path))
@click.option("--once", "is_once", is_flag=True, help="End when nothing is left to wait for.")
@click.option("--recursive", is_flag=True, help="Also take pictures from the folders inside INBOX.")
@click.option(
    "--settle",
    "still_seconds",
    type=click.FloatRange(0, 3600),
    default=5.0,
    show_default=True,
    metavar="SECONDS",
    help="Take a file when its size and time have stood still for so long.",
)
@click.option(
    "--interval",
    "look_seconds",
    type=click.FloatRange(0.01, 3600),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="Between two looks.",
)
@keep_free_option
@click.option("--report", "with_pages", is_flag=True, help="Also write pages of each answer, a PDF and an HTML file.")
@click.option(
    "--dicom",
    "with_dicom",
    is_flag=True,
    help="Also write DICOM objects of each answer to a DICOM picture, with the patient's name: a structured report, the "
    "overlay, a page.",
)
@page_options
@engine_options
@asked_options
def command(
    inbox: Path,
    outbox: Path,
    is_once: bool,
    recursive: bool,
    still_seconds: float,
    look_seconds: float,
    keep_free_mib: int,
    with_pages: bool,
    with_dicom: bool,
    languages: tuple[str, ...],
    html_only: bool,
    with_names: bool,
    engine: str,
    precision: str,
    threads: int | None,
    bundles: tuple[str, ...],
    questions: tuple[str, ...],
) -> int:
    """Answer pictures that are copied into INBOX, and put them and their answers into OUTBOX.

    A picture is taken when its copy is finished, and gets one outcome: it goes to OUTBOX/done, refused or failed, its answer to
    OUTBOX/answers, and a line without names into OUTBOX/audit.jsonl. That holds also where the program is killed or the
    power fails in the midst of it. A picture whose bytes came before is told as a duplicate, and not answered again.

    Files that systems leave, hidden ones, and unfinished copies (.part, .tmp ...) stay. Files are decoded in a process of
    its own, as 'predict --untrusted' does. Nothing is named after the pictures' files unless --names asks for it.
    """
    if not with_pages and (languages or html_only):
        raise click.UsageError("--language and --html-only are of pages and need --report")
    _require_apart(inbox, outbox)
    wanted = wanted_pages(outbox / REPORTS, languages, html_only=html_only, with_names=with_names) if with_pages else None
    models = load(bundles, questions, engine, precision, threads)
    from osteo_edge.station.inbox import Inbox
    from osteo_edge.station.reporting import PageProduct
    from osteo_edge.station.watching import Pace

    source = Inbox(inbox, endings=PICTURE_ENDINGS, recursive=recursive, keeps_names=with_names)
    target = Outbox(outbox)
    products: list[Product] = [PageProduct(wanted, reader_for(is_untrusted=True))] if wanted else []
    products += [dicom_product(outbox)] if with_dicom else []
    return run_station(source, target, models, Pace(still_seconds, look_seconds, keep_free_mib << 20, is_once), products)


def _require_apart(inbox: Path, outbox: Path) -> None:
    one, other = inbox.resolve(), outbox.resolve()
    if one == other or one in other.parents or other in one.parents:
        raise click.UsageError("INBOX and OUTBOX must lie apart, neither inside the other")
