"""What risk scores alone tell of labelled persons: whom they are of, what is assumed, and figures known by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from train.__main__ import main
from train.data.dataset import LABELS, Dataset, RadiographRow
from train.research import risk_scores
from train.research.risk_scores import EVERYBODY, Figures, as_json, as_table, measure, score_rulers, told_of
from train.runs.scores import Scores, group_digests, write_scores

ROOT = Path(__file__).resolve().parents[3]
COMMITTED = ROOT / "train/results/risk-scores.json"
WOMEN = "women of 45 and over, after menopause"


def row(number: int, label: str, age: float, sex: float, weight: float, **known: float) -> RadiographRow:
    covariates = {"age_years": age, "sex": sex, "weight_kg": weight} | known
    return RadiographRow(Path(f"{number}.png"), f"{number:064x}", label, str(number), "A", covariates)


def persons() -> Dataset:
    """Women whom OST tells apart but for one; men; and young women, of whom it is not."""
    light = [row(n, "osteoporosis", 70, 1, 50 + n, estrogen_use=0, prior_fracture=1) for n in range(8)]
    heavy = [row(10 + n, "osteopenia", 55, 1, 80 + n, estrogen_use=1, prior_fracture=0) for n in range(7)]
    odd = [row(20, "osteopenia", 70, 1, 50, estrogen_use=0, prior_fracture=0)]
    men = [row(30 + n, "normal" if n > 5 else "osteoporosis", 60 + n, 0, 90 - 4 * n) for n in range(12)]
    young = [row(50 + n, "normal", 30, 1, 60) for n in range(6)]
    return Dataset((*light, *heavy, *odd, *men, *young))


def systems(dataset: Dataset) -> dict[str, Scores]:
    """A picture that says the same of everybody, and age and sex that know the label."""
    labels = np.array(dataset.label_indices)
    digests = tuple(one.sha256 for one in dataset.radiographs)
    groups = group_digests(dataset.groups, digests)
    folds = np.zeros((1, len(labels)), np.int64)
    logits = {"model": np.zeros((1, len(labels), len(LABELS))), "age_sex": 9 * np.eye(len(LABELS))[labels][np.newaxis]}
    return {name: Scores(name, digests, labels, groups, folds, one) for name, one in logits.items()}


@pytest.fixture(scope="module")
def figures() -> list[Figures]:
    return list(measure(persons(), systems(persons()), count=200, seed=0))


def of(figures: list[Figures], ruler: str, group: str, target: str = "osteoporosis", beside: str = "ost") -> Figures:
    (one,) = [one for one in figures if (one.ruler, one.beside, one.group, one.target) == (ruler, beside, group, target)]
    return one


def test_figures_by_hand(figures: list[Figures]) -> None:
    """OST refers all eight and the odd one of eight others; the odd one ties with the first of the eight."""
    found = of(figures, "ost", WOMEN)
    assert (found.persons, found.with_target) == (16, 8)
    assert found.sensitivity is not None
    assert found.specificity is not None
    assert found.referred is not None
    assert (found.sensitivity.value, found.specificity.value, found.referred.value) == (1.0, 7 / 8, 9 / 16)
    # 56 of 64 pairs with the seven; of the odd one's eight, index -4: five are tied with it (50 to 54 kg), three are heavier.
    indices = [int((50 + n - 70) / 5) for n in range(8)]
    ranks = sum(1.0 if index < -4 else 0.5 if index == -4 else 0.0 for index in indices)
    assert found.auc.value == pytest.approx((56 + ranks) / 64)
    assert found.auc.low <= found.auc.value <= found.auc.high
    assert of(figures, "picture", WOMEN).auc.value == 0.5
    assert of(figures, "age_sex", WOMEN).auc.value == 1.0
    assert found.less["picture"].value == pytest.approx(found.auc.value - 0.5)
    assert found.less["age_sex"].value == pytest.approx(found.auc.value - 1)


def test_each_population_has_its_own_cut_off() -> None:
    by_group = {(ruler.name, group): ruler for group, ruler in score_rulers(persons())}
    women, men = by_group["ost", WOMEN], by_group["ost", "men of 50 and over"]
    assert np.isfinite(women.values).sum() == 16
    assert np.isfinite(men.values).sum() == 12
    assert np.isfinite(by_group["ost", EVERYBODY].values).sum() == len(persons().radiographs)
    assert men.in_range is not None
    assert {-value for value in men.values[men.in_range]} <= set(range(-20, 4))
    assert not np.isfinite(by_group["orai", "women of 45 and over"].values[16:]).any()


def test_groups_that_say_nothing_are_left_out(figures: list[Figures]) -> None:
    """No woman of 45 and over is normal."""
    assert {one.group for one in figures if one.target == "low_density"} == {"men of 50 and over", EVERYBODY}


def test_high_is_more_risk_whichever_way_a_score_goes() -> None:
    for _, ruler in score_rulers(persons()):
        if ruler.name != "osta":
            heavy, light = ruler.values[8:15], ruler.values[:8]
            assert np.nanmin([*light, np.inf]) >= np.nanmax([*heavy, -np.inf]), ruler.name


def test_what_is_assumed_is_said_and_nothing_else() -> None:
    known = told_of(row(1, "normal", 50, 1, 60, estrogen_use=1, prior_fracture=1, menopause_age_years=48, smoker=1))
    assumed = {
        "rheumatoid_arthritis": 0,
        "asian_ethnicity": 1,
        "estrogen_ever": 1,
        "fractures_after_45": 1,
        "after_menopause": 1,
    }
    told = {"age_years": 50, "sex": "female", "weight_kg": 60, "estrogen_use": 1, "prior_fracture": 1}
    assert known == told | assumed
    assert set(risk_scores.ASSUMED) == set(assumed)
    assert "after_menopause" not in told_of(row(1, "normal", 50, 1, 60))


def test_the_command_writes_what_it_measures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, output = tmp_path / "run", tmp_path / "risk.json"
    run.mkdir()
    write_scores(run, systems(persons()).values())
    monkeypatch.setattr(risk_scores, "read_dataset", lambda _: persons())
    arguments = [
        "research",
        "risk-scores",
        "--data",
        str(tmp_path),
        "--run",
        str(run),
        "--output",
        str(output),
        "--resamples",
        "100",
    ]
    done = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert json.loads(output.read_text())["run"] == "run"
    assert "| ost |" in done.output


def test_a_table_shows_every_figure_once(figures: list[Figures]) -> None:
    lines = [line for line in as_table(figures).splitlines() if line.startswith("| ") and "AUC" not in line]
    assert len(lines) == len(figures)


def test_the_committed_figures_are_those_of_the_data(data_folder: Path) -> None:
    """Without the intervals, which take 2,000 resamples."""
    from train.data.dataset import read_dataset
    from train.runs.scores import read_scores

    committed = json.loads(COMMITTED.read_text())
    scores = read_scores(ROOT / "train/results" / committed["run"])
    dataset = read_dataset(data_folder / "knee")
    scored = set(scores["model"].digests)
    dataset = dataset.subset(place for place, one in enumerate(dataset.radiographs) if one.sha256 in scored)
    again = as_json(measure(dataset, scores, count=2, seed=1), run=committed["run"], count=2, seed=1)["figures"]
    kept = committed["figures"]
    assert [(one["ruler"], one["beside"], one["group"], one["target"]) for one in again] == [
        (one["ruler"], one["beside"], one["group"], one["target"]) for one in kept
    ]
    for one, other in zip(again, kept, strict=True):
        for name in ("auc", "sensitivity", "specificity", "referred"):
            assert (one[name] or {}).get("value") == pytest.approx((other[name] or {}).get("value"))
