"""What is known of the person, on the command line: one picture by options, several by a table."""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
from pathlib import Path

import jsonschema
import pytest

from osteo_edge.bundle import EMBEDDED_FOLDER
from tests.answers import told
from tests.bundles import DENSITY
from tests.commands import run
from tests.making import add_fusion, remove_fusion

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = json.loads((ROOT / "osteo_edge/reports/prediction.schema.json").read_text())


def predict(*arguments: object, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
    return run("predict", *arguments, stdin=stdin)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return add_fusion(Path(shutil.copytree(EMBEDDED_FOLDER / DENSITY, tmp_path_factory.mktemp("fused") / "bundle")))


@pytest.fixture
def folder(tmp_path: Path, example: Path) -> Path:
    """Two pictures and a table of three."""
    for name in ("a.png", "b.png"):
        shutil.copy(example, tmp_path / name)
    return tmp_path


def table(folder: Path, *lines: str) -> Path:
    path = folder.parent / f"{folder.name}.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_options_give_a_fused_answer(bundle: Path, example: Path) -> None:
    known = ["--age", "40", "--sex", "male", "--covariate", "prior_fracture=no"]
    done = predict("--bundle", bundle, "--format", "json", *known, example)
    assert done.returncode == 4, done.stderr
    jsonschema.validate(json.loads(done.stdout), SCHEMA)
    record = told(json.loads(done.stdout))
    assert (record["mode"], record["covariates_used"]) == ("fused", {"age_years": 40, "sex": 0, "prior_fracture": 0})
    assert (record["status"], record["label"], record["likeliest"]) == ("referred", None, "normal")
    assert record["message"].startswith("From age, sex and prior fracture (the picture was not shown to add to that): no sign")
    piped = json.loads(predict("--bundle", bundle, "--format", "json", *known, "-", stdin=example.read_bytes()).stdout)
    assert told(piped)["probabilities"] == record["probabilities"]


@pytest.mark.parametrize("sex", ["F", "f", "Female", "FEMALE"])
def test_sex_and_age_have_two_names_in_any_case(bundle: Path, example: Path, sex: str) -> None:
    expected = {"age_years": 40, "sex": 1}
    for known in (["--age", "40", "--sex", sex], ["--covariate", "age=40", "--covariate", f"sex={sex}"]):
        done = predict("--bundle", bundle, "--format", "json", *known, example)
        assert told(json.loads(done.stdout))["covariates_used"] == expected, done.stderr


@pytest.mark.parametrize(
    ("header", "cells"),
    [
        ("file;Age;Sex;prior_fracture", "{}/a.png;67,5;F;no"),
        ("\ufefffile;age_years;sex;prior_fracture", "{}/a.png;67,5;female;0"),
        ("File\tage\tsex\tprior_fracture", "{}/a.png\t67,5\tf\tNO"),
        ("file,age,sex,prior_fracture", "{}/a.png,67.5,F,no"),
        ('"file";"age";"sex";"prior_fracture"', '"{}/a.png";"67,5";"F";"no"'),
    ],
)
def test_a_table_of_any_spreadsheet_is_read(bundle: Path, folder: Path, header: str, cells: str) -> None:
    path = table(folder, header, cells.format(folder.name), "")
    done = predict("--bundle", bundle, "--format", "csv", "--covariates-table", path, folder / "a.png")
    (row,) = csv.DictReader(io.StringIO(done.stdout))
    assert row["covariates_used"] == "age_years=67.5;sex=1;prior_fracture=0", done.stderr


def test_text_shows_both_and_a_referral_outside_of_the_support(bundle: Path, example: Path) -> None:
    done = predict("--verbose", "--bundle", bundle, "--age", "67", "--sex", "female", example)
    assert done.returncode == 4
    for part in ("[outside_support]", "together with age 67, sex female", "picture alone", "[picture_adds_nothing]"):
        assert part in done.stdout


def test_a_bundle_of_pictures_alone_says_that_it_did_not_use_them(bundle_copy: Path, example: Path) -> None:
    done = predict("--bundle", remove_fusion(bundle_copy), "--age", "67", "--covariate", "bmi=24.5", example)
    assert "  Note: this bundle was made to answer without them; not used: bmi and age\n" in done.stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--age", "0.5"], "age_years must be 18 to 110 years"),
        (["--age", "130"], "age_years must be 18 to 110 years"),
        (["--age", "nan"], "age_years must be a number"),
        (["--age", "old"], "--age"),
        (["--sex", "other"], "--sex"),
        (["--covariate", "shoe_size=44"], "knows no covariate 'shoe_size'"),
        (["--covariate", "prior_fracture"], "NAME=VALUE"),
        (["--covariate", "prior_fracture=yes", "--covariate", "prior_fracture=no"], "given twice"),
        (["--age", "60", "--covariate", "age_years=61"], "age_years was given twice"),
        (["--age", "60", "--covariate", "age=61"], "age_years was given twice"),
        (["--covariate", "age=60", "--covariate", "age_years=61"], "age_years was given twice"),
    ],
)
def test_wrong_values_are_usage_errors_before_any_answer(bundle: Path, example: Path, options: list[str], said: str) -> None:
    done = predict("--bundle", bundle, *options, example)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


def test_a_child_gets_no_answer(bundle: Path, bundle_copy: Path, example: Path) -> None:
    for folder in (bundle, remove_fusion(bundle_copy)):
        done = predict("--bundle", folder, "--format", "json", "--age", "8", example)
        record = json.loads(done.stdout)
        jsonschema.validate(record, SCHEMA)
        assert (done.returncode, record["status"], told(record)["likeliest"]) == (4, "rejected", None)
        assert [finding["code"] for finding in record["findings"]] == ["immature"]
        assert record["message"].startswith("Below 18 years of age no answer is given.")


def test_covariates_are_of_one_person(bundle: Path, folder: Path, example: Path) -> None:
    done = predict("--bundle", bundle, "--age", "60", folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--covariates-table" in done.stderr
    (folder / "b.png").unlink()
    assert predict("--bundle", bundle, "--age", "60", "--sex", "male", folder).returncode in (0, 4)


def test_a_table_serves_a_folder(bundle: Path, folder: Path) -> None:
    name = folder.name
    rows = ["file,sex,age_years,prior_fracture", f"{name}/a.png,male,40,", f"{name}/b.png,,67,yes", "elsewhere.png,male,40,"]
    done = predict("--bundle", bundle, "--format", "csv", "--covariates-table", table(folder, *rows), folder)
    first, second = csv.DictReader(io.StringIO(done.stdout))
    assert (first["mode"], first["covariates_used"]) == ("fused", "age_years=40;sex=0")
    assert (second["mode"], second["notes"]) == ("image", "covariates_incomplete")
    assert first["image_probabilities"] == second["probabilities"]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (["name,sex", "a.png,male"], "must have a column 'file'"),
        (["file,sex,sex", "a.png,male,male"], "no column twice"),
        (["file,sex", "{}/a.png,male"], "has no row for"),
        (["file,sex", "{}/a.png,male", "{}/b.png,male", "{}/../{}/a.png,female"], "line 4: this file has a row already"),
        (["file,sex", "{}/a.png,male,1", "{}/b.png,male"], "line 2: has more or fewer cells"),
        (["file,sex", "{}/a.png,male", "{}/b.png"], "line 3: has more or fewer cells"),
        (["file,label", "{}/a.png,normal", "{}/b.png,normal"], "knows no covariate 'label'"),
        (["file,age_years", "{}/a.png,40", "{}/b.png,400"], "b.png in the table of covariates: age_years must be 18 to 110"),
        (["file;age;age_years", "{}/a.png;40;41", "{}/b.png;40;"], "line 2: age_years was given twice"),
        (["file,age", '{}/a.png,"40,5"', "{}/b.png,40"], "a.png in the table of covariates: age_years must be a number"),
        ([], "must have a column 'file'"),
    ],
)
def test_a_wrong_table_is_told_before_any_answer(bundle: Path, folder: Path, rows: list[str], said: str) -> None:
    path = table(folder, *(row.replace("{}", folder.name) for row in rows))
    done = predict("--bundle", bundle, "--covariates-table", path, folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr.replace("\n", " ")


def test_a_table_that_is_no_text_or_stands_beside_options_is_refused(bundle: Path, folder: Path) -> None:
    path = folder.parent / "odd.csv"
    path.write_bytes(b"file,sex\n\xff\xfe,male\n")
    assert "CSV in UTF-8" in predict("--bundle", bundle, "--covariates-table", path, folder).stderr
    assert "stands in place of" in predict("--age", "60", "--covariates-table", path, folder).stderr
    assert predict("--covariates-table", "missing.csv", folder).returncode == 2
