"""The commands of the joint finder: fit it, judge it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
from numpy.typing import NDArray

from osteo_edge.errors import ManifestError, OsteoEdgeError
from osteo_edge.finder.joint_finder import LAYOUT, JointFinder
from osteo_edge.finder.poses import choose
from train.finder.fitting import cross_validate, fit_finder
from train.finder.judgement import (
    FOUND_WITHIN,
    WINDOWS_SEED,
    Match,
    best_threshold,
    by_acquisition,
    human_spread,
    joint_crops,
    judge_finder,
    many_hits,
    rejection,
    rounded,
    summary,
    unlabelled,
    windows,
)
from train.finder.pictures import Example, read_half, read_others
from train.finder.sheet import contact_sheet

RESULTS = Path(__file__).parents[1] / "results" / "knee-finder"

data_option = click.option(
    "--data", type=click.Path(path_type=Path, exists=True, file_okay=False), required=True,
    help="Folder with knee/ and not_a_knee/.",
)  # fmt: skip
output_option = click.option(
    "--output", type=click.Path(path_type=Path, file_okay=False), default=RESULTS,
    show_default="train/results/knee-finder", help="Folder for the results.",
)  # fmt: skip


class _OneLineErrors(click.Group):
    """Ends with a line, not a traceback, where the data or the finder cannot be used."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except OsteoEdgeError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=_OneLineErrors)
def finder() -> None:
    """Make and judge the joint finder."""


@finder.command()
@data_option
@output_option
def fit(data: Path, output: Path) -> None:
    """Fit on the tune half; write finder.npz and cross_validation.json."""
    radiographs, others = read_half(data, "tune"), read_others(data, "tune")
    hits, other_hits, matches = cross_validate(radiographs, others)
    threshold = best_threshold(radiographs, hits, others, other_hits)
    fitted = replace(fit_finder(radiographs, others), threshold=threshold)
    output.mkdir(parents=True, exist_ok=True)
    np.savez(output / "finder.npz", **in_layout(fitted))  # type: ignore[arg-type]
    accepted = sum(bool(choose(found, threshold)) for found in other_hits)
    figures = summary(matches) | {
        "threshold": rounded(threshold),
        "not_a_knee": {"n": len(others), "rejected": len(others) - accepted},
    }
    write_json(output / "cross_validation.json", figures)
    click.echo(json.dumps(figures, indent=2))


@finder.command()
@data_option
@output_option
@click.option("--sheet", type=click.Path(path_type=Path, dir_okay=False), help="Draw the found knees into this PNG.")
def judge(data: Path, output: Path, sheet: Path | None) -> None:
    """Judge finder.npz on the report half; write evaluation.json. What it says of the rivals, of which none is left, stays."""
    made = read_finder(output / "finder.npz")
    cross_validation = read_json(output / "cross_validation.json")
    radiographs = read_half(data, "report")
    matches = judge_finder(made, radiographs)
    evaluation: dict[str, Any] = {
        "what": "finder.npz on the report half of knee_joints.json; errors in widths of the annotated knee",
        "found_within": FOUND_WITHIN,
        "all": summary(matches),
        "radiographs_with_missed_knees": with_missed_knees(radiographs, matches),
        "by_acquisition": by_acquisition(matches),
        "human_spread": human_spread("report"),
        "not_a_knee": rejection(made, read_others(data, "report")),
        "windows_of_not_a_knee": windows(made, read_others(data, "report"), np.random.default_rng(WINDOWS_SEED)),
        "joint_crops": joint_crops(made, data),
        "knee_unlabelled": unlabelled(made, data),
        "more_hits": many_hits(made, data),
        "tune_cross_validation": cross_validation,
    }
    if (output / "evaluation.json").is_file():
        evaluation |= {name: told for name, told in read_json(output / "evaluation.json").items() if name == "rivals"}
    write_json(output / "evaluation.json", evaluation)
    if sheet is not None:
        cv2.imwrite(str(sheet), contact_sheet(made, radiographs))
    click.echo(json.dumps(evaluation["all"], indent=2))


def with_missed_knees(radiographs: Sequence[Example], matches: Sequence[Match]) -> list[str]:
    pairs = zip(radiographs, matches, strict=True)
    return [example.name for example, one in pairs if len(one.centre_errors) < one.knees]


def in_layout(finder: JointFinder) -> dict[str, NDArray[np.generic]]:
    """Arrays in the types that `osteo_edge/finder/` reads."""
    return {name: np.asarray(getattr(finder, name), dtype) for name, (_, dtype) in LAYOUT.items()}


def read_finder(path: Path) -> JointFinder:
    try:
        return JointFinder.from_bytes(path.read_bytes())
    except OSError as error:
        raise click.ClickException(f"{path}: cannot be read ({error.strerror})") from error
    except ManifestError as error:
        raise click.ClickException(f"{path}: {error}") from error


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except OSError as error:
        raise click.ClickException(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise click.ClickException(f"{path}: is not JSON ({error})") from error


def write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")
