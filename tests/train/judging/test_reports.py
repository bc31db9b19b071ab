from __future__ import annotations

import csv
import dataclasses
import io
import json
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from openpyxl import load_workbook

from osteo_edge.integrity import sha256_hex
from osteo_edge.manifest import Metric
from train.judging.commands import compare, report
from train.judging.comparison import compare_systems
from train.judging.pages.headline import Finding, findings, headline
from train.judging.pages.reading import read_run
from train.judging.pages.tables import as_csv, result_rows
from train.judging.pages.wording import with_interval
from train.runs.folder import RunError
from train.runs.scores import Scores, group_digests, write_scores

COMMITTED = Path(__file__).parents[3] / "train" / "results" / "knee-mobilenet_v2"
DIGESTS = tuple(sha256_hex(bytes([number])) for number in range(60))
LABELS = np.repeat([0, 1, 2], 20)
SMALL_FILES = ("config.toml", "curves.json", "metrics.json", "oof.json", "regions.json", "run.json", "split.json")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A copy of the committed run that a test may change."""
    folder = tmp_path / "run"
    folder.mkdir()
    for name in SMALL_FILES:
        shutil.copy(COMMITTED / name, folder / name)
    # One training of each fold is enough to be drawn.
    change(folder / "curves.json", lambda folds: folds.__setitem__(slice(None), [fold[:1] for fold in folds]))
    return folder


def change(path: Path, edit: Callable[[Any], None]) -> None:
    plain = json.loads(path.read_text())
    edit(plain)
    path.write_text(json.dumps(plain))


def system(name: str, *, strength: float = 0.0, seed: int = 0, repeats: int = 1, per_patient: int = 1) -> Scores:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(repeats, 60, 3)) + strength * np.eye(3)[LABELS]
    groups = group_digests([str(number // per_patient) for number in range(60)], DIGESTS)
    return Scores(name, DIGESTS, LABELS, groups, np.zeros((repeats, 60), np.int64), logits)


def write_run(folder: Path, *systems: Scores) -> Path:
    folder.mkdir()
    write_scores(folder, systems)
    return folder


def run_compare(*arguments: Any) -> Result:
    return CliRunner().invoke(compare, [str(argument) for argument in arguments])


# Comparison


def test_compare_two_runs(tmp_path: Path) -> None:
    good = write_run(tmp_path / "good", system("model", strength=2, repeats=3))
    blind = write_run(tmp_path / "blind", system("model", seed=1))
    result = run_compare(good, blind, "--json", "--resamples", 200)
    assert result.exit_code == 0
    plain = json.loads(result.stdout)
    assert plain["names"] == ["good, model", "blind, model"]
    assert plain["radiographs"] == plain["patients"] == 60
    assert plain["difference"]["macro_auc"]["low"] > 0
    assert plain["auc_tests"]["normal"]["p_value"] < 0.01
    assert plain["accuracy_test"]["first_ahead"] > plain["accuracy_test"]["second_ahead"]
    gap = plain["first"]["brier"]["value"] - plain["second"]["brier"]["value"]
    assert plain["difference"]["brier"]["value"] == pytest.approx(gap)
    text = run_compare(good, blind, "--resamples", 200).stdout
    line = next(line for line in text.splitlines() if line.startswith("Macro AUC"))
    assert with_interval(Metric(**plain["difference"]["macro_auc"]), signed=True) in line
    assert line.endswith("*")


def test_compare_two_systems_of_one_run(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", system("model"), system("age_sex", strength=2, seed=1))
    result = run_compare(folder, folder, "--against", "age_sex", "--json", "--resamples", 200)
    assert json.loads(result.stdout)["difference"]["macro_auc"]["high"] < 0


def test_only_common_radiographs_are_compared(tmp_path: Path) -> None:
    whole, part = system("model"), system("model", seed=1).subset([DIGESTS[place] for place in range(0, 60, 2)])
    comparison = compare_systems(whole, part, ("a", "b"), count=100, seed=0)
    assert (comparison.radiographs, comparison.only_in) == (30, (30, 0))


def test_patients_of_the_richer_run_count() -> None:
    """An old file knows no patients; the other run's are taken, whichever comes first."""
    paired, single = system("model", per_patient=2), system("model", seed=1)
    assert compare_systems(paired, single, ("a", "b"), count=100, seed=0).patients == 30
    assert compare_systems(single, paired, ("a", "b"), count=100, seed=0).patients == 30
    three = system("model", per_patient=3)
    with pytest.raises(RunError, match="other patients"):
        compare_systems(paired, three, ("a", "b"), count=100, seed=0)


def test_compare_refuses_runs_without_common_radiographs(tmp_path: Path) -> None:
    other = tuple(sha256_hex(digest.encode()) for digest in DIGESTS)
    first = write_run(tmp_path / "first", system("model"))
    second = write_run(tmp_path / "second", dataclasses.replace(system("model"), digests=other))
    result = run_compare(first, second)
    assert result.exit_code == 2
    assert "no radiograph in common" in result.stderr


def test_compare_refuses_other_labels(tmp_path: Path) -> None:
    first = write_run(tmp_path / "first", system("model"))
    relabelled = dataclasses.replace(system("model"), labels=np.roll(LABELS, 1))
    result = run_compare(first, write_run(tmp_path / "second", relabelled))
    assert result.exit_code == 2
    assert "3 of 60 radiographs other labels" in result.stderr


def test_compare_refuses_a_lost_class(tmp_path: Path) -> None:
    first = write_run(tmp_path / "first", system("model"))
    second = write_run(tmp_path / "second", system("model").subset(DIGESTS[:40]))
    assert "no radiograph of osteoporosis" in run_compare(first, second).stderr


def test_compare_names_the_systems_that_there_are(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", system("model"), system("age_sex"))
    result = run_compare(folder, folder, "--system", "agesex")
    assert result.exit_code == 2
    assert "age_sex, model" in result.stderr


def test_compare_refuses_a_damaged_file(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", system("model"))
    (folder / "oof.json").write_text("{")
    result = run_compare(folder, folder)
    assert result.exit_code == 2
    assert "oof.json" in result.stderr
    assert "Traceback" not in result.output


# Tables


def test_tables_equal_the_metrics(run: Path) -> None:
    assert CliRunner().invoke(report, [str(run)]).exit_code == 0
    metrics = json.loads((run / "metrics.json").read_text())
    systems = {"model": metrics["model"], **metrics["baselines"]}
    written = list(csv.DictReader(io.StringIO((run / "results.csv").read_text())))
    sheet = load_workbook(run / "results.xlsx")["results"]
    columns = [cell.value for cell in sheet[1]]
    in_sheet = [dict(zip(columns, row, strict=True)) for row in sheet.iter_rows(min_row=2, values_only=True)]
    assert len(written) == len(in_sheet) == sum(map(len, systems.values()))
    for row, cells in zip(written, in_sheet, strict=True):
        metric = systems[row["system"]][row["figure"]]
        assert [float(row[name]) for name in ("value", "low", "high")] == [metric[name] for name in ("value", "low", "high")]
        # A workbook holds 16 digits.
        assert [cells[name] for name in ("value", "low", "high")] == pytest.approx(list(metric.values()), rel=1e-15, abs=0)
        paired = metrics["model_less_baseline"].get(row["system"], {}).get(row["figure"])
        assert row["model_less_system"] == ("" if paired is None else str(paired["value"]))
        assert cells["model_less_system_high"] == (None if paired is None else pytest.approx(paired["high"], rel=1e-15))


def test_confusion_and_studies_in_the_workbook(run: Path) -> None:
    table = {"title": "Ages", "note": "n", "columns": ["band", "auc"], "rows": [["=1+1", 0.5], ["b\x01", None]]}
    (run / "tables.json").write_text(json.dumps({"tables": [table]}))
    assert CliRunner().invoke(report, [str(run)]).exit_code == 0
    book = load_workbook(run / "results.xlsx")
    matrix = json.loads((run / "metrics.json").read_text())["confusion_matrix"]["model"]
    assert [list(row[2:]) for row in book["confusion"].iter_rows(min_row=2, max_row=4, values_only=True)] == matrix
    assert [list(row) for row in book["table 1"].iter_rows(min_row=2, values_only=True)] == [["=1+1", 0.5], ["b", None]]
    assert book["table 1"]["A2"].data_type == "s"


def test_names_are_no_formulas_in_csv(run: Path) -> None:
    change(run / "run.json", lambda plain: plain.update(name="=cmd()"))
    material = read_run(run)
    assert next(iter(result_rows(material)))[0] == "=cmd()"
    assert as_csv(material).splitlines()[1].startswith("'=cmd()")


# Page


class _Outside(HTMLParser):
    """Tags, and addresses that a browser would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]


def page_of(run: Path) -> str:
    result = CliRunner().invoke(report, [str(run)])
    assert result.exit_code == 0, result.output
    return (run / "report.html").read_text()


def test_page_holds_everything_itself(run: Path) -> None:
    page = page_of(run)
    outside = _Outside()
    outside.feed(page)
    assert all(address.startswith("#") for address in outside.addresses)
    assert not {"script", "link", "iframe"} & set(outside.tags)
    assert outside.tags.count("svg") == 5
    metrics = read_run(run).metrics
    assert with_interval(Metric(**metrics["model"]["macro_auc"])) in page
    assert f'<p class="headline">{headline(findings(read_run(run)))}</p>' in page
    assert "Research use" in page
    assert "tensorflow" in page
    assert not list(run.glob("*.part"))


def test_page_escapes_what_the_run_says(run: Path) -> None:
    evil = "<script>alert(1)</script>"
    change(run / "run.json", lambda plain: plain.update(name=evil, extra={evil: evil}))
    change(run / "metrics.json", lambda plain: plain["baselines"].update({evil: plain["baselines"]["majority"]}))
    change(run / "regions.json", lambda plain: plain["candidates"][0]["region"].update(name=evil))
    (run / "tables.json").write_text(
        json.dumps({"tables": [{"title": evil, "note": evil, "columns": [evil], "rows": [[evil]]}]})
    )
    (run / "config.toml").write_text(evil)
    page = page_of(run)
    assert "<script" not in page
    assert page.count("&lt;script&gt;") > 8


def test_page_renders_studies_and_extra_files(run: Path) -> None:
    figure = {"value": 0.5, "low": 0.4, "high": 0.6}
    (run / "tables.json").write_text(
        json.dumps({"tables": [{"title": "Age bands", "columns": ["band", "AUC"], "rows": [["40 to 50", figure]]}]})
    )
    (run / "fusion.json").write_text(json.dumps({"covariates": ["age_years"], "gain": figure, "kernel": [[1.0]] * 3}))
    steps = [{"radiographs": size, "figures": {"macro_auc": figure, "balanced_accuracy": figure}} for size in (50, 100)]
    (run / "learning.json").write_text(json.dumps({"steps": steps}))
    page = page_of(run)
    assert "<h3>Age bands</h3>" in page
    assert page.count("0.50 (0.40 to 0.60)") == 2
    assert "[3 values]" in page
    assert "Performance against training radiographs" in page


def test_page_of_a_run_without_optional_files(run: Path) -> None:
    for name in ("oof.json", "curves.json", "regions.json"):
        (run / name).unlink()
    page = page_of(run)
    assert "Model and baselines" in page
    assert "Which part of the leg" not in page


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("metrics.json", "{", "metrics.json"),
        ("metrics.json", "[]", "object"),
        ("metrics.json", '{"labels": ["a"]}', "labels"),
        ("run.json", "null", "object"),
        ("oof.json", "{}", "oof.json"),
        ("curves.json", "[[[{}]]]", "curves.json"),
        ("curves.json", "3", "curves.json"),
        ("regions.json", '{"candidates": [{}], "chosen": "x"}', "does not write"),
        ("tables.json", "{}", "no list of tables"),
        ("tables.json", '{"tables": [{"columns": ["a"], "rows": [[]]}]}', "another length"),
        ("tables.json", '{"tables": [[]]}', r"tables\[0\]"),
        ("learning.json", '{"steps": [{}]}', "learning"),
    ],
)
def test_damaged_files_are_named(run: Path, name: str, text: str, message: str) -> None:
    (run / name).write_text(text)
    result = CliRunner().invoke(report, [str(run)])
    assert result.exit_code == 2
    assert re.search(message, result.stderr)
    assert "Traceback" not in result.output
    assert not (run / "report.html").exists()


@pytest.mark.parametrize(
    "edit",
    [
        lambda plain: plain["model"].update(macro_auc={"value": "x", "low": 0, "high": 1}),
        lambda plain: plain.pop("model"),
        lambda plain: plain["confusion_matrix"].update(model=[[1, 2], [3, 4]]),
        lambda plain: plain.update(model_less_baseline=[]),
    ],
)
def test_damaged_metrics_are_named(run: Path, edit: Callable[[Any], None]) -> None:
    change(run / "metrics.json", edit)
    with pytest.raises(RunError, match=r"metrics\.json"):
        read_run(run)


def test_missing_run_file(run: Path) -> None:
    (run / "run.json").unlink()
    assert "run.json: cannot be read" in CliRunner().invoke(report, [str(run)]).stderr


# Headline


def test_no_good_news_alone() -> None:
    good, bad = Finding("shown", "Better than chance.", ""), Finding("worse", "Worse than age and sex alone.", "")
    assert headline([good, good, bad, bad]) == "Better than chance. Worse than age and sex alone."
    assert headline([good]) == "Better than chance."


@pytest.mark.parametrize(
    ("low", "high", "sentence"),
    [
        (0.51, 0.7, "Better than chance."),
        (0.49, 0.7, "Not shown to be better than chance."),
        (0.2, 0.45, "Worse than chance: something is wrong with the run."),
    ],
)
def test_headline_follows_the_interval(run: Path, low: float, high: float, sentence: str) -> None:
    change(run / "metrics.json", lambda plain: plain["model"]["macro_auc"].update(low=low, value=(low + high) / 2, high=high))
    assert findings(read_run(run))[0].sentence == sentence


@pytest.mark.parametrize(
    ("low", "high", "sentence"),
    [
        (0.01, 0.2, "Better than age and sex alone."),
        (-0.1, 0.2, "Not shown to be better than age and sex alone."),
        (-0.3, -0.1, "Worse than age and sex alone."),
    ],
)
def test_sentence_on_age_and_sex(run: Path, low: float, high: float, sentence: str) -> None:
    change(
        run / "metrics.json",
        lambda plain: plain["model_less_baseline"]["age_sex"]["macro_auc"].update(low=low, value=(low + high) / 2, high=high),
    )
    assert sentence in [one.sentence for one in findings(read_run(run))]


def test_sentence_on_what_the_picture_adds(run: Path) -> None:
    person = system("covariates", strength=1, seed=3)
    (run / "oof.json").unlink()
    write_scores(run, [system("model"), person, dataclasses.replace(person, name="fused")])
    assert "The picture adds nothing shown to the covariates." in [one.sentence for one in findings(read_run(run))]
    write_scores(run, [system("model"), person, system("fused", strength=5)])
    assert "The picture adds to the covariates." in [one.sentence for one in findings(read_run(run))]
    write_scores(run, [system("model"), system("age_sex", strength=5), system("fused")])
    told = [one for one in findings(read_run(run)) if "together" in one.sentence]
    assert [one.sentence for one in told] == ["Picture and covariates together are worse than age and sex alone."]


def test_shuffled_labels_need_enough_shuffles(run: Path) -> None:
    for aucs, verdict in (
        ([0.9], "not_shown"),
        ([0.5] * 5, "not_shown"),
        ([0.5] * 19, "shown"),
        ([0.5] * 18 + [0.9], "not_shown"),
    ):
        change(run / "metrics.json", lambda plain, aucs=aucs: plain["permuted_labels"].update(macro_auc=aucs))
        told = [one for one in findings(read_run(run)) if "shuffled" in one.sentence]
        assert [one.verdict for one in told] == [verdict]
