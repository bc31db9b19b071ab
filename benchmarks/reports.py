"""What a page of an answer costs, against the answer itself: time in turns with a warm prediction, and bytes."""

from __future__ import annotations

import random
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Literal

import click

from benchmarks.cold_start import EXAMPLE
from benchmarks.graded.tables import table
from benchmarks.pages import hand_on, json_option, page_option
from osteo_edge import OsteoPredictor
from osteo_edge.device import processor
from osteo_edge.errors import OsteoEdgeError
from osteo_edge.reports.pages.answers import Answered, as_answered
from osteo_edge.reports.pages.catalogue import LANGUAGES, catalogue_of
from osteo_edge.reports.pages.html import to_html
from osteo_edge.reports.pages.page import Film, Page, page_of
from osteo_edge.reports.pages.pdf import to_pdf
from osteo_edge.reports.pages.picture import film_of

SCHEMA_VERSION: Literal[1] = 1
PREDICTION, FILM = "prediction", "film"
_MADE = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Part:
    """One part of the work.

    Attributes:
        name: ``prediction``; ``film``: the picture read again, framed and stored; else ``html`` or ``pdf`` and a language.
        median_ms: of the rounds.
        times: a prediction's time that it takes: the median over the rounds of the ratio within a round.
        size_bytes: of the file; 0 where it makes none.
    """

    name: str
    median_ms: float
    times: float
    size_bytes: int


@dataclass(frozen=True)
class Reports:
    """``reports.json``."""

    schema_version: Literal[1]
    processor: str
    bundle: str
    rounds: int
    parts: tuple[Part, ...]


@click.command("reports")
@click.argument("image", type=click.Path(exists=True, dir_okay=False, path_type=Path), default=EXAMPLE)
@click.option("--rounds", type=click.IntRange(3), default=50, show_default=True)
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="Of the engine.")
@json_option
@page_option
def command(image: Path, rounds: int, threads: int, target: Path | None, page: Path | None) -> None:
    """Time and size of the pages of an answer, against the answer."""
    try:
        found = measure(image, rounds=rounds, threads=threads)
    except OsteoEdgeError as error:
        raise click.ClickException(str(error)) from error
    hand_on(found, lines_of(found), "reports", target=target, page=page)


def measure(image: Path, *, rounds: int, threads: int) -> Reports:
    """Every part once a round, in shuffled turns; a first round is not counted.

    Raises:
        OsteoEdgeError: the picture cannot be read, or a page cannot be made.
    """
    with OsteoPredictor(threads=threads) as predictor:
        answered = as_answered(predictor.predict(image).to_dict())
        film = film_of(answered, image)
        parts: dict[str, Callable[[int], object]] = {
            PREDICTION: lambda turn: predictor.predict(image),
            FILM: lambda turn: film_of(answered, image),
        }
        for language in LANGUAGES:
            for kind, make in (("html", to_html), ("pdf", to_pdf)):
                parts[f"{kind} {language}"] = partial(_page, answered, film, language, make)
        samples = _in_turns(parts, rounds)
        sizes = {name: len(made) for name, make in parts.items() if isinstance(made := make(0), bytes)}
        sizes[FILM] = len(film.data)
        return Reports(SCHEMA_VERSION, processor().model, predictor.model.bundle, rounds, tuple(_parts(samples, sizes)))


def _page(answered: Answered, film: Film, language: str, make: Callable[[Page], bytes], turn: int) -> bytes:
    """Another page each turn, as pictures of a folder are: typst remembers what it has laid out and decoded.

    Bytes after the end of a JPEG make it another one to it, and change no pixel.
    """
    another = replace(film, data=film.data + turn.to_bytes(4, "big"))
    return make(page_of(answered, another, catalogue_of(language), made=_MADE + timedelta(days=turn)))


def _in_turns(parts: Mapping[str, Callable[[int], object]], rounds: int) -> dict[str, list[float]]:
    order, taken = random.Random(0), {name: list[float]() for name in parts}
    with click.progressbar(range(rounds + 1), file=sys.stderr) as bar:
        for turn in bar:
            for name in order.sample(sorted(parts), len(parts)):
                start = time.perf_counter()
                parts[name](turn)
                if turn:
                    taken[name].append((time.perf_counter() - start) * 1000)
    return taken


def _parts(samples: Mapping[str, list[float]], sizes: Mapping[str, int]) -> list[Part]:
    predictions = samples[PREDICTION]
    return [
        Part(
            name,
            round(statistics.median(taken), 2),
            round(statistics.median(one / other for one, other in zip(taken, predictions, strict=True)), 2),
            sizes.get(name, 0),
        )
        for name, taken in samples.items()
    ]


def lines_of(found: Reports) -> list[str]:
    """The part of the page."""
    rows = [
        {
            "": part.name,
            "ms": f"{part.median_ms:.1f}",
            "times a prediction": f"{part.times:.2f}",
            "KB": f"{part.size_bytes / 1000:.0f}" if part.size_bytes else "",
        }
        for part in found.parts
    ]
    return [f"{found.processor}, {found.bundle}, {found.rounds} rounds in turns; medians.", "", *table(list(rows[0]), rows)]
