"""The whole way on a made-up hospital's export: collect, audit, fit, bundle, answer. That it runs, not that it learns."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from export.__main__ import main as export
from osteo_edge import OsteoPredictor
from train.__main__ import main as train
from train.data.dataset import Dataset, RadiographRow, read_dataset
from train.data.people import AGE, SEX, balance_of
from train.runs.config import PROJECT
from train.synthetic.hospital import TABLE, write_hospital_export

CONFIGS = PROJECT / "train" / "configs"
FINDER = PROJECT / "train" / "results" / "knee-finder" / "finder.npz"
CARD = """
source = "A made-up hospital"
use = "for tests"
selection = "Drawn films."
label_source = "made up"
label_caveat = "They mean nothing."
limits = ["Drawn knees alone."]
"""


def run(command: object, *options: object, code: int = 0) -> str:
    result = CliRunner().invoke(command, [str(one) for one in options], catch_exceptions=False)  # type: ignore[arg-type]
    assert result.exit_code == code, result.output
    return result.output


def small(text: str, **changed: str) -> str:
    """A configuration with other values of some keys; each stands in it once."""
    for key, value in changed.items():
        text, count = re.subn(rf"(?m)^{key} = .*$", f"{key} = {value}", text)
        assert count == 1, key
    return text


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The default's configuration with one box, a small network of random weights, and as little training as there is."""
    text = (CONFIGS / "knee-mobilenet_v2.toml").read_text(encoding="utf-8")
    head, _, boxes = text.partition("[[candidates]]")
    first, _, rest = boxes.partition("[[candidates]]")
    text = f"{head}[[candidates]]{first}{rest[rest.index('[linear]') :]}"
    text = small(
        text, start='"classes"', backbone='"mobilenet_v2_0.35"', weights='"random"', inner_folds="2", repeats="1",
        views="2", max_epochs="1",
        height_px="64", width_px="64", trainable_from='"block_16_expand"', validation_folds="2", validation_parts="2",
        resamples="100", permutations="0",
    )  # fmt: skip
    # The run's own folds, and those by which it chooses the box.
    file = tmp_path / "fit.toml"
    file.write_text(re.sub(r"(?m)^folds = .*$", "folds = 2", text), encoding="utf-8")
    return file


@pytest.mark.slow
def test_from_a_hospitals_export_to_a_bundle_that_answers(tmp_path: Path, config: Path) -> None:
    hospital, data, folder, bundle = (tmp_path / name for name in ("export", "data", "run", "knee-made-up"))
    run(train, "synthetic-hospital", "--output", hospital, "--patients", 30, "--scale", 0.3)
    collect = ("collect", hospital, "--config", CONFIGS / "collection-example.toml", "--output", data)
    assert "9 faults, nothing is written" in run(train, *collect, code=2)
    run(train, *collect, "--leave-out", "--key", tmp_path / "key.csv")

    run(train, "research", "audit", data, "--output", tmp_path / "audit", "--quick", "--resamples", 100)
    checks = {check["name"]: check for check in json.loads((tmp_path / "audit" / "audit.json").read_text())["checks"]}
    seen = ("files", "classes", "patients", "ages", "sexes", "copies", "labels", "groups")
    assert all(checks[name]["verdict"] == "pass" for name in seen)

    run(train, "fit", "--config", config, "--data", data, "--output", folder)
    refuse_parted_patients(folder, tmp_path / "key.csv", data)
    assert json.loads((folder / "fusion_evaluation.json").read_text())["covariates"] == ["age_years", "sex"]

    (tmp_path / "card.toml").write_text(CARD)
    options = ("--run", folder, "--finder", FINDER, "--data", data, "--data-card", tmp_path / "card.toml", "--output", bundle)
    run(export, "bundle", *options)
    prediction = OsteoPredictor(bundle).predict(next(data.glob("*.png")), age_years=66, sex="female")
    assert prediction.status in ("reported", "referred")
    assert [answer.question for answer in prediction.answers] == ["bone_density"]
    assert prediction.model.bundle == "knee-made-up"
    assert "A made-up hospital" in (bundle / "MODEL_CARD.md").read_text(encoding="utf-8")


def refuse_parted_patients(folder: Path, key: Path, data: Path) -> None:
    """By the hospital's own numbers, which training never sees."""
    patient_of = {row["file"]: row["patient"] for row in csv.DictReader(key.open(encoding="utf-8"))}
    sha256_of = {row.path.name: row.sha256 for row in read_dataset(data).radiographs}
    fold_of = json.loads((folder / "split.json").read_text())["folds"]
    homes: dict[str, set[int]] = {}
    for file, patient in patient_of.items():
        homes.setdefault(patient, set()).add(fold_of[sha256_of[file]])
    assert len(homes) > 15
    assert all(len(folds) == 1 for folds in homes.values())


def test_every_three_patients_of_a_matched_export_are_of_one_age(tmp_path: Path) -> None:
    ages: dict[bool, list[str]] = {}
    for is_matched in (True, False):
        table = write_hospital_export(
            tmp_path / str(is_matched), patients=6, seed=1, scale=0.1, is_matched=is_matched, with_faults=False
        )
        rows = list(csv.DictReader(table.open(encoding="latin-1"), delimiter=";"))
        ages[is_matched] = [row["Alter"] for row in {row["Pat.-Nr."]: row for row in rows}.values()]
        assert len(rows) == 8, "one patient in three has two films"
        assert table.name == TABLE
    assert len(set(ages[True][:3])) == len(set(ages[True][3:])) == 1
    assert len(set(ages[False])) > 2


def people(**ages: list[float]) -> Dataset:
    rows = [
        RadiographRow(Path(f"{label}{number}"), "", label, f"{label}{number}", "A", {AGE: age, SEX: float(number % 2)})
        for label, of_label in ages.items()
        for number, age in enumerate(of_label)
    ]
    return Dataset(tuple(rows))


def test_classes_of_one_age_are_matched_and_others_are_told() -> None:
    alike = people(normal=[60, 62, 64, 66], osteopenia=[60, 62, 64, 66], osteoporosis=[61, 63, 63, 65])
    assert balance_of(alike, AGE).is_matched
    assert balance_of(alike, SEX).is_matched
    apart = balance_of(people(normal=[30, 34], osteopenia=[50, 54], osteoporosis=[50, 54]), AGE)
    assert not apart.is_matched
    assert apart.difference == pytest.approx(20 / 8**0.5)
    assert apart.sentence.startswith(
        "mean normal 32, osteopenia 52, osteoporosis 52; at most 7.07 standard deviations apart, bey"
    )


def test_a_patient_of_many_films_counts_once() -> None:
    few = people(normal=[60, 62, 64], osteopenia=[60, 62, 64], osteoporosis=[60, 62, 64])
    many = Dataset((*few.radiographs, *few.radiographs[:1] * 9))
    assert balance_of(many, AGE).means == balance_of(few, AGE).means


def test_unknown_ages_are_not_taken_for_matched() -> None:
    nobody = Dataset(tuple(RadiographRow(Path(), "", label, label, "A") for label in ("normal", "osteopenia", "osteoporosis")))
    balance = balance_of(nobody, AGE)
    assert not balance.is_matched
    assert balance.sentence == "too few are known to tell whether the classes differ"
