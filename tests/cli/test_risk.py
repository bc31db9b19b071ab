"""``osteo-edge risk``: scores and one next step without a picture, and a sentence for everything that cannot be."""

from __future__ import annotations

import csv
import io
import json
import subprocess
from pathlib import Path

import jsonschema
import pytest

from osteo_edge.clinical.instruments import BY_CODE
from osteo_edge.reports.risk import CSV_COLUMNS, INTENDED_USE
from tests.commands import run

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = json.loads((ROOT / "osteo_edge/reports/risk.schema.json").read_text())
WOMAN = ("--age", "67", "--sex", "female", "--weight", "58")


def risk(*arguments: object) -> subprocess.CompletedProcess[str]:
    return run("risk", *arguments)


def table(folder: Path, *lines: str) -> Path:
    path = folder / "persons.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_age_sex_and_weight_are_enough_for_a_first_score() -> None:
    done = risk(*WOMAN)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "OST      -1  in the range where a DXA scan is advised (1 or less)"
    assert lines[2] == "ORAI    not computed: also give estrogen_use"
    assert lines[5].startswith("FRAX    not computed: its formula is not public")
    assert lines[6].startswith("Next: A published risk score is in the range where a DXA scan is advised")
    assert "14 January 2025: women of 65 and over (B)" in lines[7]
    assert lines[-1] == INTENDED_USE


def test_all_that_is_known_gives_all_scores_and_their_sources() -> None:
    known = ["estrogen_use=no", "estrogen_ever=no", "prior_fracture=no", "rheumatoid_arthritis=no", "asian_ethnicity=yes"]
    given = [word for one in known for word in ("--covariate", one)]
    done = risk(*WOMAN, *given, "--sources")
    for name, value in {"OST": -1, "OSTA": -1, "ORAI": 20, "SCORE": 12, "OSIRIS": -2}.items():
        assert f"{name:<8}{value:>3}  in the range" in done.stdout
    assert "sensitivity 93.3 %, specificity 46.4 % for T <= -2" in done.stdout
    assert "Note: SCORE: computed without race" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        WOMAN,
        ("--age", "12"),
        ("--sex", "male"),
        ("--weight", "150"),
        ("--age", "70", "--sex", "m", "--weight", "70 kg"),
        (*WOMAN, "--covariate", "black_ethnicity=yes", "--covariate", "prior_fracture=yes"),
    ],
)
def test_json_is_as_its_schema_says(arguments: tuple[str, ...]) -> None:
    done = risk(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    jsonschema.validate(record, SCHEMA)
    assert [one["score"] for one in record["scores"]] == list(BY_CODE)
    assert record["not_open"]["frax"].startswith("FRAX is not computed")
    assert record["next_step"]["sentence"]


def test_json_holds_what_was_known_and_what_was_found() -> None:
    record = json.loads(risk(*WOMAN, "--covariate", "estrogen_use=yes", "--json").stdout)
    assert record["known"] == {"age_years": 67, "sex": "female", "weight_kg": 58, "estrogen_use": 1, "estrogen_ever": 1}
    ost, osta, orai, *_ = record["scores"]
    assert (ost["status"], ost["value"], ost["in_range"]) == ("computed", -1, True)
    assert (osta["status"], osta["missing"]) == ("missing", ["asian_ethnicity"])
    assert (orai["value"], orai["made_for"][0]["referral"]) == (18, {"at_least": 9, "at_most": None})
    assert record["next_step"]["scores"] == ["ost", "orai"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "--age, --sex and --weight are enough for a first score"),
        (("--weight", "128lb"), "must be in kilograms, not pounds; 128lb are 58.1 kg"),
        (("--weight", "580"), "weight_kg must be 25 to 250 kg"),
        (("--weight", "-5"), "weight_kg must be 25 to 250 kg"),
        (("--weight", "\x1b[31m"), "weight_kg must be a number"),
        (("--age", "200"), "age_years must be 1 to 120 years"),
        (("--age", "0.67"), "age_years must be 1 to 120 years"),
        (("--age", "old"), "not a valid float"),
        (("--sex", "x"), "--sex"),
        (("--covariate", "estrogen_use=perhaps"), "estrogen_use must be yes or no"),
        (("--covariate", "estrogen_us=no"), "no score asks for 'estrogen_us'; they ask for age_years"),
        (("--covariate", "estrogen_use"), "NAME=VALUE"),
        (("--weight", "58", "--covariate", "weight=60"), "weight_kg was given twice"),
        (("--weight", "58", "--covariate", "weight_kg=60"), "weight_kg was given twice"),
        (("--age", "58", "--covariate", "age=60"), "age_years was given twice"),
        (("--covariate", "fractures_after_45=1.5"), "must be a whole number"),
        (("--covariate", "prior_fracture=no", "--covariate", "fractures_after_45=2"), "contradict one another"),
        (("--covariates-table", "nothing.csv"), "does not exist"),
    ],
)
def test_bad_input_is_told_in_a_sentence(arguments: tuple[str, ...], said: str) -> None:
    done = risk(*arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "\x1b" not in done.stderr
    assert done.stdout == ""


def test_a_table_in_and_a_table_out(tmp_path: Path) -> None:
    path = table(
        tmp_path,
        "Person;Age;Sex;Weight;estrogen_use;shoe_size",
        "a;67;female;58,5;no;38",
        "b;70;male;70;;44",
        "c;;;;;",
        ";30;F;60;;37",
    )
    done = risk("--covariates-table", path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "osteo-edge: no score asks for shoe_size; passed over\n"
    rows = rows_of(done.stdout)
    assert tuple(rows[0]) == CSV_COLUMNS
    assert [row["person"] for row in rows] == ["a", "b", "c", "line 5"]
    assert [(row["ost"], row["ost_in_range"], row["orai"]) for row in rows] == [
        ("-1", "yes", "20"),
        ("0", "yes", ""),
        ("", "", ""),
        ("", "", ""),
    ]
    assert rows[2]["ost_not_computed"] == "missing age_years;missing sex;missing weight_kg"
    assert "below 45" in rows[3]["ost_not_computed"]
    assert [row["next_step"] for row in rows] == ["score_woman_from_65", "score_man", "somebody", "young_adult"]
    records = json.loads(risk("--covariates-table", path, "--json").stdout)
    for record in records:
        jsonschema.validate(record, SCHEMA)
    assert [record["person"] for record in records] == ["a", "b", "c", "line 5"]


def test_the_table_of_pictures_serves_too(tmp_path: Path) -> None:
    done = risk("--covariates-table", table(tmp_path, "file,age,sex,weight_kg", "knee.png,67,F,58"))
    assert [(row["person"], row["ost"]) for row in rows_of(done.stdout)] == [("knee.png", "-1")]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (("person,age",), "has no row below its first line"),
        (("age,sex", "67,F"), "must have a column 'person' or 'file'"),
        (("person,age,age", "a,1,2"), "no column twice"),
        (("person,age,age_years", "a,1,2"), "line 2: age_years was given twice"),
        (("person,weight", "a,58", "b,128 lb"), "line 3: weight_kg must be in kilograms, not pounds"),
        (("person,age", "a,67", "a,68"), "line 3: this person has a row already, in line 2"),
        (("person,age", "a"), "line 2: has more or fewer cells"),
        (("person,age", 'a,"67'), "cannot be read as CSV"),
    ],
)
def test_a_faulty_table_is_told_by_line_and_nothing_is_half_told(tmp_path: Path, lines: tuple[str, ...], said: str) -> None:
    for more in ((), ("--json",)):
        done = risk("--covariates-table", table(tmp_path, *lines), *more)
        assert (done.returncode, done.stdout) == (2, "")
        assert said in done.stderr


def test_a_table_stands_in_place_of_options(tmp_path: Path) -> None:
    path = table(tmp_path, "person,age", "a,67")
    for option in (("--age", "60"), ("--weight", "60"), ("--sex", "F"), ("--covariate", "estrogen_use=no")):
        assert "stands in place of" in risk("--covariates-table", path, *option).stderr


def test_names_of_persons_cannot_steer_a_terminal(tmp_path: Path) -> None:
    done = risk("--covariates-table", table(tmp_path, "person,age", '"a\x1b[31m",67'))
    assert done.returncode == 0
    assert "\x1b" not in done.stdout


def predict(*arguments: object) -> subprocess.CompletedProcess[str]:
    return run("predict", *arguments)


def test_predict_takes_the_same_options(example: Path, tmp_path: Path) -> None:
    record = json.loads(predict("--format", "json", *WOMAN, example).stdout)
    jsonschema.validate(record["risk"], SCHEMA)
    assert record["risk"]["next_step"] == json.loads(risk(*WOMAN, "--json").stdout)["next_step"]
    path = table(tmp_path, "file,age,sex,weight,estrogen_use", f"{example},67,F,58,no")
    from_table = json.loads(predict("--format", "json", "--covariates-table", path, example).stdout)
    assert from_table["risk"]["next_step"]["scores"] == ["ost", "orai"]


def test_predict_tells_scores_in_text_and_refuses_pounds(example: Path) -> None:
    said = predict(*WOMAN, example).stdout
    assert "Published risk scores, without the picture:\n    OST      -1  in the range" in said
    wrong = predict("--age", "67", "--sex", "F", "--weight", "128 lb", example)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "are 58.1 kg" in wrong.stderr
    several = predict(*WOMAN, example, example)
    assert "--weight and --covariate are of one person" in several.stderr
