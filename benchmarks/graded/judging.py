"""Every file of a bundle asked of every picture, and judged."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import numpy as np

from benchmarks.engines import digests, own_rivals
from benchmarks.graded import figures
from benchmarks.graded.asking import Answers, ask
from benchmarks.graded.films import GradedSet
from benchmarks.graded.records import FULL, Asked, FileFigures, Pictures
from osteo_edge import OsteoPredictor
from osteo_edge.bundle import Bundle
from osteo_edge.integrity import sha256_hex
from train.grading.knees import GRADES

File = tuple[str, str]
"""Engine and precision."""


def describe(of: GradedSet) -> Pictures:
    lines = "".join(f"{digest}\n" for digest in sorted(film.sha256 for film in of.films))
    counts = np.bincount(of.grades, minlength=GRADES).tolist()
    return Pictures(len(of.films), len(set(of.patients.tolist())), sha256_hex(lines.encode()), tuple(counts), of.ungraded)


def default_file(bundle: Bundle) -> File:
    """What ``auto`` means on this device."""
    with OsteoPredictor(bundle.root, threads=1) as predictor:
        (identity,) = predictor.models
        return identity.engine, identity.precision


def files_of(bundle: Bundle) -> list[File]:
    """Every engine and precision that all members have, the full-precision one first."""
    return sorted(((one.engine, one.precision) for one in own_rivals(bundle)), key=lambda file: file != FULL)


def ask_file(bundle: Bundle, file: File, of: GradedSet) -> Answers:
    """Ask it of every picture, with a bar on standard error."""
    engine, precision = file
    label = f"{bundle.manifest.name} {engine} {precision}"
    with (
        OsteoPredictor(bundle.root, engine=engine, precision=precision, threads=1) as predictor,
        click.progressbar(length=len(of.films), label=label, file=sys.stderr) as bar,
    ):
        return ask(predictor, of.films, on_film=lambda: bar.update(1))


def judge(bundle: Bundle, of: GradedSet, files: Sequence[File], *, resamples: int) -> tuple[Asked, list[FileFigures]]:
    """Figures of these files; the first is what the others are compared with."""
    answers = {file: ask_file(bundle, file, of) for file in files}
    weights = figures.draws(of, resamples=resamples)
    first = answers[files[0]]
    asked = Asked(
        bundle.digest,
        digests(bundle),
        figures.refusals_by_code(first),
        sum(count > 1 for count in first.knees),
    )
    default = default_file(bundle)
    rows = [
        FileFigures(
            bundle=bundle.manifest.name,
            engine=file[0],
            precision=file[1],
            is_default=file == default,
            all_pictures=figures.of_all(of, said, weights),
            answered=figures.of_answered(of, said, weights),
            difference={} if said is first else figures.difference(of, said, first, weights),
            changes=None if said is first else figures.changes_between(said, first),
            sets=figures.sets_of(of, said, bundle.manifest.question, weights),
            confusion=tuple(confusion(of, said)),
            megabytes=round(sum(path.stat().st_size for path in _paths(bundle, file)) / 1e6, 3),
        )
        for file, said in answers.items()
    ]
    return asked, rows


def confusion(of: GradedSet, answers: Answers) -> Iterator[tuple[int, ...]]:
    """Rows: the readers' grade; columns: the likeliest one, and last the refused."""
    for grade in range(GRADES):
        named = answers.named[of.grades == grade]
        yield tuple(int((named == column).sum()) for column in (*range(GRADES), -1))


def _paths(bundle: Bundle, file: File) -> tuple[Path, ...]:
    return next(one.files for one in own_rivals(bundle) if (one.engine, one.precision) == file)
