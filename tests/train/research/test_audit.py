"""The audit's parts on pictures made for it, and the whole command on a folder with planted faults."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

from osteo_edge.manifest import Metric
from train.data.dataset import Dataset, DatasetError, RadiographRow
from train.research.audit.commands import audit, audit_check
from train.research.audit.descriptors import FORMS, Descriptor, describe, in_form
from train.research.audit.duplicates import Twin, find_twins, tied_groups
from train.research.audit.findings import contradictions, parted_copies, read_folds, spanning, suggested_groups
from train.research.audit.planted import CHANGES, COPIES, draw, plant, retake
from train.research.audit.registration import Registration
from train.research.audit.shortcuts import verdict_of
from train.synthetic import sample_case, write_dataset

SEED = 5


def _knee(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return draw(*sample_case(rng, layout="one_knee"), rng)


@pytest.fixture(scope="module")
def knees() -> list[np.ndarray]:
    return [_knee(seed) for seed in range(4)]


@pytest.fixture(scope="module")
def described(knees: list[np.ndarray]) -> list[Descriptor]:
    return [describe(knee) for knee in knees]


@pytest.mark.parametrize("form", FORMS)
def test_a_form_is_what_describing_the_changed_picture_gives(knees: list[np.ndarray], form: object) -> None:
    pixels = knees[0][:, ::-1] if form.is_mirrored else knees[0]
    changed = describe(np.ascontiguousarray(255 - pixels if form.is_inverted else pixels))
    points, features = in_form(describe(knees[0]), form)
    nearest = (features @ changed.features.T).argmax(axis=1)
    there = np.linalg.norm(points - changed.points[nearest], axis=1) < 2
    assert there.mean() > 0.6


@pytest.mark.parametrize(
    "kind",
    ["mirrored", "turned 7", "inverted", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("crop 0.6", "scaled 0.4"))],
)
def test_copies_are_found_and_other_knees_are_not(knees: list[np.ndarray], described: list[Descriptor], kind: str) -> None:
    copy = describe(plant(knees[1], kind, np.random.default_rng(SEED)))
    twins = find_twins([str(number) for number in range(5)], [*described, copy])
    assert [(twin.first, twin.second) for twin in twins] == [(1, 4)]
    found = twins[0].registration
    assert found.form.is_mirrored == (kind == "mirrored")
    assert found.form.is_inverted == (kind == "inverted")
    if kind == "turned 7":
        assert found.rotation_degrees == pytest.approx(7, abs=0.5)


def test_a_second_exposure_of_one_knee_is_no_copy() -> None:
    rng = np.random.default_rng(SEED)
    case = sample_case(rng, layout="one_knee")
    pictures = [draw(*one, rng) for one in (case, retake(*case, rng))]
    assert find_twins(["a", "b"], [describe(picture) for picture in pictures]) == ()


@pytest.mark.parametrize(
    ("agreement", "inliers", "overlap", "is_twin"),
    [(0.9, 20, 1.0, False), (0.9, 200, 1.0, True), (0.99, 20, 1.0, True), (0.99, 200, 0.2, False), (-1.0, 400, 1.0, False)],
)
def test_few_points_must_agree_better(agreement: float, inliers: int, overlap: float, is_twin: bool) -> None:
    assert Registration(FORMS[0], np.eye(2, 3), inliers, overlap, agreement).is_twin == is_twin


def test_equal_bytes_and_equal_pixels_are_told_apart(described: list[Descriptor]) -> None:
    chosen = [described[0], described[1], described[0], described[1]]
    kinds = {(twin.first, twin.second): twin.kind for twin in find_twins(["a", "b", "a", "c"], chosen)}
    assert kinds == {(0, 2): "same file", (1, 3): "same pixels"}


@pytest.mark.parametrize("picture", [np.full((300, 300), 7, np.uint8), np.zeros((5, 3), np.uint8), np.eye(40, dtype=np.uint16)])
def test_pictures_without_detail_are_no_copies_of_knees(described: list[Descriptor], picture: np.ndarray) -> None:
    assert find_twins(["a", "b", "c"], [described[0], describe(picture), describe(picture + 1)]) in (
        (),
        (Twin(1, 2, "same pixels"),),
    )


def test_ties_pass_on() -> None:
    assert tied_groups(6, [(4, 5), (1, 2), (2, 4)]) == [0, 1, 1, 3, 1, 1]


def _dataset() -> Dataset:
    cells = (("normal", "p"), ("normal", "q"), ("osteopenia", "p"), ("osteopenia", "r"), ("osteoporosis", "s"))
    return Dataset(tuple(RadiographRow(Path(f"{n}.png"), f"{n}", label, group, "A") for n, (label, group) in enumerate(cells)))


NAMES = ["0.png", "1.png", "2.png", "3.png", "4.png"]
TWINS = (Twin(1, 3, "same pixels"),)


def test_contradictions_are_named() -> None:
    found = {tie.reason: (tie.files, tie.values) for tie in contradictions(_dataset(), NAMES, TWINS)}
    assert found == {
        "one radiograph": (("1.png", "3.png"), ("normal", "osteopenia")),
        "patient group p": (("0.png", "2.png"), ("normal", "osteopenia")),
    }


def test_copies_in_two_groups_and_in_two_folds_are_named() -> None:
    assert [tie.values for tie in parted_copies(_dataset(), NAMES, TWINS)] == [("q", "r")]
    spans = spanning(_dataset(), NAMES, TWINS, {"0": 0, "1": 0, "2": 0, "3": 1, "4": 1})
    assert [(tie.files, tie.values) for tie in spans] == [(("1.png", "3.png"), ("0", "1"))]


def test_suggested_groups_join_what_copies_tie() -> None:
    assert suggested_groups(_dataset(), TWINS) == ["p", "q", "p", "q", "s"]


@pytest.mark.parametrize(
    ("text", "message"), [("{", "is not a split"), ('{"folds": 3}', "is not a split"), (None, "cannot be read")]
)
def test_refuses_a_split_that_is_none(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "split.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DatasetError, match=message):
        read_folds(path)


@pytest.mark.parametrize(
    ("name", "metric", "verdict"),
    [
        ("file_metadata", Metric(0.55, 0.45, 0.65), "pass"),
        ("file_metadata", Metric(0.6, 0.52, 0.68), "warn"),
        ("border_ring", Metric(0.8, 0.7, 0.9), "fail"),
        ("thumbnail_8", Metric(0.8, 0.7, 0.9), "warn"),
        ("background", Metric(0.8, float("nan"), float("nan")), "pass"),
    ],
)
def test_verdicts(name: str, metric: Metric, verdict: str) -> None:
    assert verdict_of(name, metric)[0] == verdict


@pytest.fixture(scope="module")
def radiographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fifteen patients, some with two radiographs, small."""
    folder = tmp_path_factory.mktemp("audited") / "radio <graphs>"
    write_dataset(folder, count=18, seed=1, layout="one_knee", scale=0.35)
    return folder


def _rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "labels.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def _write_rows(folder: Path, rows: list[dict[str, str]]) -> None:
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(audit, [str(argument) for argument in arguments])


@pytest.mark.slow
def test_the_command_finds_what_was_planted(radiographs: Path, tmp_path: Path) -> None:
    original = next(row for row in _rows(radiographs) if row["label"] == "normal")
    pixels = cv2.imread(str(radiographs / original["file"]), cv2.IMREAD_GRAYSCALE)
    name = "osteoporosis/copy <b>&.png"
    cv2.imwrite(str(radiographs / name), plant(pixels, "mirrored", np.random.default_rng(0)))
    (radiographs / "normal" / "broken.png").write_bytes(b"no picture")
    extra = [original | {"file": name, "label": "osteoporosis", "patient_group": "99"}]
    extra += [original | {"file": "normal/broken.png", "patient_group": "98"}, original | {"file": "absent.png"}]
    _write_rows(radiographs, [*_rows(radiographs), *extra])
    groups = tmp_path / "groups.csv"
    aggregate = tmp_path / "aggregate.json"
    options = ("--quick", "--resamples", "100", "--write-groups", groups, "--aggregate", aggregate)

    result = _run(radiographs, *options, "--output", tmp_path / "report")

    assert result.exit_code == 1, result.output
    found = json.loads((tmp_path / "report" / "audit.json").read_text())
    assert [(set(twin["files"]), twin["is_mirrored"]) for twin in found["twins"]] == [({original["file"], name}, True)]
    assert [set(tie["files"]) for tie in found["contradictions"]] == [{original["file"], name}]
    assert any("absent.png cannot be read" in problem for problem in found["problems"])
    assert any("broken.png: this is not a picture" in problem for problem in found["problems"])
    assert {one["name"] for one in found["shortcuts"]} == {
        "file_metadata", "border_ring", "background", "thumbnail_8", "thumbnail_32",
    }  # fmt: skip
    with groups.open(newline="") as file:
        group_of = {row["file"]: row["patient_group"] for row in csv.DictReader(file)}
    assert group_of[name] == group_of[original["file"]] == original["patient_group"]
    assert json.loads(aggregate.read_text())["twins"] == 1
    assert ".png" not in aggregate.read_text()
    _require_whole_page((tmp_path / "report" / "audit.html").read_text())


def _require_whole_page(page: str) -> None:
    """Names are escaped, nothing is fetched, nothing runs, and the pictures are inside."""
    assert "copy &lt;b&gt;&amp;.png" in page
    assert "<b>" not in page
    assert "radio <graphs>" not in page
    assert not re.search(r"<script|https?://|@import|url\(", page)
    assert page.count("data:image/jpeg;base64,") == 1
    assert "prefers-color-scheme: dark" in page


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: None, "holds neither labels.csv nor folders"),
        (lambda folder: (folder / "labels.csv").write_text("file,label\n"), "the column 'patient_group' is missing"),
        (lambda folder: (folder / "labels.csv").write_text("file,label,patient_group\na.png,fine,1\n"), "unknown label 'fine'"),
    ],
)
def test_the_command_says_why_it_cannot_run(tmp_path: Path, make: Callable[[Path], object], message: str) -> None:
    make(tmp_path)
    result = _run(tmp_path, "--output", tmp_path / "report")
    assert result.exit_code == 2
    assert message in result.output
    assert "Traceback" not in result.output


def test_class_folders_are_audited_and_unknown_patients_said_loudly(tmp_path: Path, knees: list[np.ndarray]) -> None:
    for name, knee in zip(("normal", "osteopenia", "osteoporosis"), knees, strict=False):
        (tmp_path / "in" / name).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "in" / name / "a.png"), knee)
    result = _run(tmp_path / "in", "--output", tmp_path / "report", "--no-pictures")
    assert result.exit_code == 1
    assert "PATIENTS ARE UNKNOWN" in result.output
    assert "not judged: normal has 1 patient groups" in result.output
    assert "data:image" not in (tmp_path / "report" / "audit.html").read_text()


@pytest.mark.slow
def test_every_kind_of_copy_is_found(tmp_path: Path) -> None:
    result = CliRunner().invoke(audit_check, ["--output", str(tmp_path), "--count", str(len(CHANGES))])
    assert result.exit_code == 0, result.output
    figures = json.loads((tmp_path / "planted.json").read_text())["sources"]["synthetic"]
    assert figures["false_pairs"] == 0
    assert figures["recall"]["value"] >= 0.9
    assert all(kind["recall"]["of"] == COPIES for kind in figures["by_kind"].values())
