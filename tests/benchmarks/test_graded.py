"""Bundles judged on graded knees: what is read, what is asked, each figure by hand, and the command from end to end."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks.graded import command, figures, tables
from benchmarks.graded.asking import Answers, gather
from benchmarks.graded.films import GradedFilm, GradedSet, read_external, read_validation
from benchmarks.graded.records import Grades
from benchmarks.pages import part_of
from osteo_edge.findings import NO_KNEE, Finding
from osteo_edge.labels import Status
from osteo_edge.manifest import Metric
from osteo_edge.records import FrozenMapping, parse_record
from tests.answers import OSTEOARTHRITIS, a_prediction, an_answer
from tests.benchmarks.graded_pictures import graded_folder, make_graded_bundle, write_index
from tests.making import rewrite_manifest
from train.data.dataset import DatasetError

SHARES = np.array([0.6, 0.1, 0.1, 0.1, 0.1])


def films(*grades: int) -> GradedSet:
    """Each of a patient of its own."""
    return GradedSet(tuple(GradedFilm(Path(f"{n}"), grade, str(n), f"{n:064}") for n, grade in enumerate(grades)), SHARES)


def said(*named: int | None, sets: list[set[int]] | None = None, codes: list[str] | None = None) -> Answers:
    """A probability of 0.8 for the named grade; None is refused."""
    rows = [np.full(5, np.nan) if grade is None else np.where(np.arange(5) == grade, 0.8, 0.05) for grade in named]
    held = sets or [set() if grade is None else {grade} for grade in named]
    return Answers(
        np.array(rows),
        np.array([[grade in one for grade in range(5)] for one in held]),
        tuple(codes or [""] * len(named)),
        tuple("no_knee" if grade is None else "" for grade in named),
        tuple(0 if grade is None else 1 for grade in named),
    )


def once(of: GradedSet) -> np.ndarray:
    """No resample but the set itself, twice."""
    return np.ones((3, len(of.films)))


def test_a_refused_picture_is_wrong_and_has_the_class_shares() -> None:
    of, answers = films(0, 1, 2, 3, 4), said(0, 1, 2, None, 4)
    found = figures.of_all(of, answers, once(of))
    assert found["accuracy"].value == found["balanced_accuracy"].value == 0.8
    # Named 0 by the shares: squared distance 9 in all, 100 by chance with rows 1 each and columns 2, 1, 1, 0, 1.
    by_chance = sum(count * (row - column) ** 2 for row in range(5) for column, count in enumerate((2, 1, 1, 0, 1))) / 5
    assert found["quadratic_kappa"].value == pytest.approx(1 - 9 / by_chance, abs=1e-6)
    # Scores of KL 2 and more: 0.15, 0.15 | 0.9, 0.3, 0.9: every pair is in order.
    assert found["auc_definite"].value == 1


def test_a_refused_picture_of_the_commonest_grade_is_no_lucky_hit() -> None:
    of = films(0, 1, 2, 3, 4, 0)
    assert figures.of_all(of, said(0, 1, 2, 3, 4, None), once(of))["accuracy"].value == pytest.approx(5 / 6, abs=1e-6)
    assert figures.of_all(of, said(0, 1, 2, 3, 4, None), once(of))["balanced_accuracy"].value == pytest.approx(0.9)


def test_answered_pictures_are_judged_apart() -> None:
    of = films(0, 1, 2, 3, 4, 4)
    found = figures.of_answered(of, said(0, 1, 2, 3, 3, None), once(of))
    assert found["accuracy"].value == 0.8
    assert found["balanced_accuracy"].value == 0.8
    assert figures.of_answered(of, said(0, 1, 2, 3, None, None), once(of)) == {}


def test_differences_are_paired() -> None:
    of = films(*range(5), *range(5))
    full, reduced = said(*range(5), *range(5)), said(*range(5), 0, 1, 2, 3, 3)
    weights = figures.draws(of, resamples=200)
    assert set(figures.difference(of, full, full, weights).values()) == {Metric(0, 0, 0)}
    lost = figures.difference(of, reduced, full, weights)
    assert lost["accuracy"].value == pytest.approx(-0.1)
    assert lost["accuracy"].low < -0.1 < lost["accuracy"].high <= 0


def test_patients_are_drawn_whole() -> None:
    of = films(0, 1, 2, 3)
    of = replace(of, films=tuple(replace(film, patient=str(place // 2)) for place, film in enumerate(of.films)))
    weights = figures.draws(of, resamples=50)
    assert weights.shape == (51, 4)
    assert (weights[0] == 1).all()
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, 2] == weights[:, 3]).all()


def test_sets_are_counted_by_grade_reported_of_all_and_wrong_of_the_reported() -> None:
    of = films(0, 0, 1, 2, 3, 4)
    answers = said(
        0,
        1,
        2,
        2,
        None,
        1,
        sets=[{0}, {1}, {1, 2}, {2, 3}, set(), {0, 1}],
        codes=["no_definite_signs", "no_definite_signs", "", "signs", "", "no_definite_signs"],
    )
    found = figures.sets_of(of, answers, OSTEOARTHRITIS, once(of))
    assert found.coverage.value == 0.6  # all but the second and the last of five
    assert [one.value for one in found.by_grade] == [0.5, 1, 1, 0, 0]
    assert found.by_grade[3] == Metric(0, 0, 1)  # nothing is known of it
    assert found.mean_size == pytest.approx(8 / 5)
    assert found.reported.value == pytest.approx(4 / 6, abs=1e-6)
    assert found.wrong.value == 0.25  # the last is reported on the wrong side; the second's set misses, its answer holds


def test_what_a_reduced_file_changes_is_counted() -> None:
    signs, none = "signs", "no_definite_signs"
    full = said(0, 1, 2, 3, None, codes=[none, none, signs, signs, ""])
    reduced = said(0, 2, 2, 3, None, codes=[none, signs, "", signs, ""])
    assert figures.changes_between(reduced, full) == figures.Changes(labels=1, withdrawn=1, added=0, crossed=1)
    assert figures.changes_between(full, reduced) == figures.Changes(labels=1, withdrawn=0, added=1, crossed=1)


def test_answers_are_gathered_as_the_runtime_gives_them() -> None:
    shares = FrozenMapping(dict(zip(OSTEOARTHRITIS.labels, (0.1, 0.1, 0.5, 0.2, 0.1), strict=True)))
    told = an_answer(OSTEOARTHRITIS, probabilities=shares, label_set=("kl2", "kl3"))
    unsure = an_answer(OSTEOARTHRITIS, probabilities=shares, label_set=("kl1", "kl2"), status=Status.REFERRED)
    reasons = (Finding(NO_KNEE, "no knee"), Finding("other", "more"))
    refused = an_answer(OSTEOARTHRITIS, status=Status.REJECTED, findings=reasons, probabilities=FrozenMapping({}), label_set=())
    answers = [told, unsure, refused]
    found = gather(answers, [a_prediction(answer) for answer in answers])
    assert found.codes == ("signs", "", "")
    assert found.refusals == ("", "", NO_KNEE)
    assert found.named.tolist() == [2, 2, -1]
    assert found.is_in_set.tolist() == [[0, 0, 1, 1, 0], [0, 1, 1, 0, 0], [0] * 5]
    assert np.isnan(found.probabilities[2]).all()


def test_foreign_knees_are_read_by_the_folder_of_their_grade(tmp_path: Path) -> None:
    rows = [
        {"file": f"{n}.png", "kl_folder": name, "sha256": f"{n:064}"} for n, name in enumerate(("0Normal", "x_4Severe", "imgs"))
    ]
    found = read_external(write_index(tmp_path, rows), SHARES)
    assert found.grades.tolist() == [0, 4]
    assert found.ungraded == 1
    assert len(set(found.patients)) == 2
    for folder, message in (("5Worse", "one grade of 0 to 4"), ("1or2", "one grade"), ("", "a cell is empty")):
        rows[1]["kl_folder"] = folder
        with pytest.raises(DatasetError, match=message):
            read_external(write_index(tmp_path, rows), SHARES)
    with pytest.raises(DatasetError, match="lacks the columns kl_folder"):
        read_external(write_index(tmp_path, [{"file": "a", "sha256": "b"}]), SHARES)
    with pytest.raises(DatasetError, match="no picture with a grade"):
        read_external(write_index(tmp_path, [{"file": "a", "sha256": "b", "kl_folder": "imgs"}]), SHARES)
    with pytest.raises(DatasetError, match="cannot be read"):
        read_external(tmp_path / "nowhere", SHARES)


@pytest.fixture(scope="module")
def graded_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_graded_bundle(tmp_path_factory.mktemp("bundles"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return graded_folder(tmp_path_factory.mktemp("knees"), count=8)


def test_validation_knees_bring_the_class_shares_of_the_training_part(folder: Path) -> None:
    found = read_validation(folder)
    assert found.grades.tolist() == [0, 1, 2, 3, 4, 0, 1, 2]
    assert len(set(found.patients)) == 4
    assert found.class_shares.tolist() == [1, 0, 0, 0, 0]


def test_every_file_is_asked_through_the_runtime_and_the_page_is_written(
    graded_bundle: Path, folder: Path, tmp_path: Path
) -> None:
    page, target, chart = tmp_path / "page.md", tmp_path / "new" / "grades.json", tmp_path / "chart.png"
    page.write_text("before\n<!-- grades: written by python -m benchmarks -->\nold\n<!-- end of grades -->\nafter\n")
    options = ["--bundle", graded_bundle, "--data", folder, "--resamples", 100, "--rounds", 0, "--json", target, "--page", page]
    done = CliRunner().invoke(command.grades, [str(one) for one in options])
    assert done.exit_code == 0, done.output
    found = parse_record(Grades, json.loads(target.read_text()), where="grades.json")
    full, half = found.rows
    assert (full.precision, half.precision) == ("fp32", "fp16")
    assert full.is_full
    assert full.changes is None
    assert full.difference == {}
    assert half.all_pictures == full.all_pictures
    assert half.changes == figures.Changes(0, 0, 0, 0)
    assert set(half.difference.values()) == {Metric(0, 0, 0)}
    (asked,) = found.bundles.values()
    assert asked.refusals == {"no_knee": 1}
    assert sum(map(sum, full.confusion)) == 8
    assert full.confusion[2][-1] == 1
    assert full.sets.reported.value <= 7 / 8
    assert found.pictures.by_grade == (2, 2, 2, 1, 1)
    busy = "\n".join(command.lines_of(replace(found, rounds=3, load=5.2)))
    assert "Other work was under way (load 5.2 a processor before the start)" in busy
    assert "Other work" not in "\n".join(command.lines_of(replace(found, rounds=3, load=0.1)))
    assert part_of(page, "grades") == command.lines_of(found)
    assert page.read_text().startswith("before\n")
    assert page.read_text().endswith("after\n")
    assert "| knee-osteoarthritis |" in page.read_text()
    done = CliRunner().invoke(command.grades, [str(one) for one in (*options, "--chart", chart)])
    assert "needs --rounds" in done.output
    command.draw(
        replace(found, rounds=3, rows=tuple(replace(row, median_ms=2.0 + n) for n, row in enumerate(found.rows))), chart
    )
    assert chart.stat().st_size > 10_000


def test_the_file_that_ships_is_judged_on_foreign_knees(graded_bundle: Path, folder: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    rows = []
    for film in read_validation(folder).films:
        (foreign / film.path.name).write_bytes(film.path.read_bytes())
        rows.append({"file": film.path.name, "kl_folder": f"{film.grade}x", "sha256": film.sha256})
    target = tmp_path / "external.json"
    options = ["--bundle", graded_bundle, "--data", write_index(foreign, rows), "--learnt", folder, "--json", target]
    done = CliRunner().invoke(command.external, [str(one) for one in (*options, "--resamples", 100)])
    assert done.exit_code == 0, done.output
    (row,) = parse_record(Grades, json.loads(target.read_text()), where="external.json").rows
    assert row.is_default
    assert "by picture, since nothing is known of the patients" in done.output
    assert "1 refused (1 no_knee)" in done.output
    assert "kappa lost" not in done.output
    (foreign / rows[0]["file"]).write_bytes((foreign / rows[1]["file"]).read_bytes())
    done = CliRunner().invoke(command.external, [str(one) for one in options])
    assert "is not the file of the index" in done.output


def test_a_bundle_of_another_question_is_refused(folder: Path) -> None:
    done = CliRunner().invoke(command.grades, ["--bundle", "knee-mobilenet_v2", "--data", str(folder)])
    assert done.exit_code == 1
    assert "is asked of bone density, in 3 labels" in done.output


def test_bundles_that_cannot_be_compared_are_named(graded_bundle: Path, folder: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(command.grades, ["--bundle", str(graded_bundle)] * 2 + ["--data", str(folder)])
    assert "two of the bundles have one name" in done.output
    copy = Path(shutil.copytree(graded_bundle, tmp_path / "copy"))

    def move(manifest: dict[str, Any]) -> None:
        (member,) = manifest["members"]
        for field in ("files", "accepted", "default_precision"):
            member[field]["litert"] = member[field].pop("onnxruntime")

    rewrite_manifest(copy, move)
    done = CliRunner().invoke(command.grades, ["--bundle", str(copy), "--data", str(folder)])
    assert "no fp32 files for ONNX Runtime" in done.output


def test_a_table_leaves_out_what_is_nowhere_told() -> None:
    assert tables.table(["a", "b"], [{"a": "1", "b": "2"}])[2] == "| 1 | 2 |"
    assert tables.short(Metric(-0.0001, -0.2, 0.1)) == "0.00 (-0.20 to 0.10)"
    assert tables.short(None) == ""
