"""What ``watch`` and ``receive`` share: a worker that runs until it is interrupted, and what is told meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from osteo_edge.cli import exit_codes
from osteo_edge.cli.options import asked_bundles
from osteo_edge.cli.pages import reader_for
from osteo_edge.cli.terminal import tell
from osteo_edge.engines.select import available_threads
from osteo_edge.interruption import sigterm_as_interrupt
from osteo_edge.model import LoadingModel, load_models
from osteo_edge.station.outbox import AUDIT, DICOM, Outbox

if TYPE_CHECKING:
    from osteo_edge.station.inbox import Inbox
    from osteo_edge.station.journal import Outcome
    from osteo_edge.station.watching import Pace
    from osteo_edge.station.worker import Product

keep_free_option = click.option(
    "--keep-free",
    "keep_free_mib",
    type=click.IntRange(0),
    default=512,
    show_default=True,
    metavar="MIB",
    help="With less left on OUTBOX's disk, no picture is taken.",
)


def load(
    bundles: Sequence[str], questions: Sequence[str], engine: str, precision: str, threads: int | None
) -> tuple[LoadingModel, ...]:
    """The models that are asked for, on their way into memory."""
    asked = asked_bundles(bundles, questions)
    return load_models(asked, engine=engine, precision=precision, threads=threads or available_threads())


def run_station(
    source: Inbox,
    target: Outbox,
    models: Sequence[LoadingModel],
    pace: Pace,
    products: Sequence[Product],
    wait: Callable[[float], None] = time.sleep,
) -> int:
    """Until it is interrupted, or as the pace says; returns the exit code.

    Raises:
        OsteoEdgeError: as ``Watch.run``.
    """
    from osteo_edge.predictor import OsteoPredictor
    from osteo_edge.station.audit import AuditLog
    from osteo_edge.station.journal import Journal
    from osteo_edge.station.watching import Watch
    from osteo_edge.station.worker import Worker

    journal = Journal(target.journal)
    try:
        with sigterm_as_interrupt() as termination, OsteoPredictor(models, untrusted=True) as predictor:
            for model in models:
                model.wait()
            worker = Worker(predictor, target, journal, AuditLog(target.folder / AUDIT), products)
            try:
                Watch(source, target, worker, pace, tell=_tell, warn=warn, wait=wait).run()
            except KeyboardInterrupt:
                if not termination.came:
                    raise
                return exit_codes.TERMINATED
    finally:
        journal.close()
    return exit_codes.ANSWERED


def dicom_product(outbox: Path) -> Product:
    """What makes DICOM objects of answers.

    Raises:
        UsageError: they cannot be made here.
    """
    from osteo_edge.exchange.dicom_report import is_available
    from osteo_edge.exchange.dicom_study import INSTALL
    from osteo_edge.station.dicom import DicomProduct

    if not is_available():
        raise click.UsageError(f"DICOM objects need highdicom, which is not installed: {INSTALL}")
    return DicomProduct(outbox / DICOM, reader_for(is_untrusted=True))


def _tell(outcome: Outcome) -> None:
    facts = outcome.facts
    said = [f"{question} {answer}" for question, answer in facts.get("answers", {}).items()]
    said += [*facts.get("reasons", []), *facts.get("not_made", [])]
    said += [f"{name} {facts[name]}" for name in ("failed", "duplicate_of") if name in facts]
    tell(f"{outcome.stem}{outcome.ending}: {outcome.kind} ({', '.join(said)})")


def warn(message: str) -> None:
    """On standard error."""
    tell(f"osteo-edge: {message}", err=True)
