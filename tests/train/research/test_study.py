from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from osteo_edge.decision.scores import softmax
from osteo_edge.joints import Joint
from osteo_edge.manifest import Metric
from train.data.dataset import Dataset, RadiographRow
from train.ensembles.nested import NestedLogits
from train.fitting.material import marks_of
from train.judging.evaluate import class_aucs
from train.research.study.config import FeatureSet, LearningCurve, Pool, Proof, StudyConfig, System, read_study_config
from train.research.study.features import Described
from train.research.study.proof import dealt_anew, describe_proof, permuted_macro_aucs, pools_of
from train.research.study.systems import Repeat, _members, count_choices, run_repeats, select
from train.research.study.tables import proof_table
from train.runs.cache import key
from train.runs.config import PROJECT, Candidate, ConfigError, Evaluation

SHIPPED = PROJECT / "train" / "configs" / "knee-study.toml"
COUNT = 60
LABEL_OF = np.arange(COUNT) % 3


def _radiographs() -> Dataset:
    rng = np.random.default_rng(1)
    labels = ("normal", "osteopenia", "osteoporosis")
    return Dataset(
        tuple(
            RadiographRow(
                Path(),
                f"{number:064x}",
                labels[label],
                str(number),
                "A",
                {"age_years": 40 + 10 * label + rng.normal()},
                -float(label),
            )
            for number, label in enumerate(LABEL_OF)
        )
    )


def _described() -> Described:
    """One feature set that knows the label, and one of noise."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(COUNT, 6)).astype(np.float32)
    knowing = noise.copy()
    knowing[:, 0] += 2 * LABEL_OF
    return Described(_radiographs(), {"knowing": knowing, "noise": noise}, COUNT)


def _config() -> StudyConfig:
    whole = read_study_config(SHIPPED)
    return replace(
        whole,
        folds=3,
        repeats=2,
        inner_folds=3,
        systems=(System("noise", "noise", "classes"), System("knowing", "knowing", "privileged")),
        forest="knowing",
        linear=replace(whole.linear, inner_folds=2, inverse_penalties=(1e-2, 1.0)),
    )


def test_shipped_configuration_is_read() -> None:
    config = read_study_config(SHIPPED)
    assert config.candidates
    assert set(config.members) <= {one.name for one in config.systems}


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('region = "leg"', 'region = "hip"', "names 'hip'"),
        ('target = "ordinal"', 'target = "weather"', "names 'weather'"),
        ('forest = "resnet knee"', 'forest = "nobody"', "forest names 'nobody'"),
        ('"age_years", "sex"]', '"age_years", "shoe_size"]', "'shoe_size'"),
        ("folds = 5", "folds = 1", "folds and inner_folds"),
        ('region = "leg"', 'region = "leg"\nmask = "gate"', "segmenter is needed"),
        ("seed = 1", "seed = 1\nseeds = 2", "unknown key 'seeds'"),
        ("seed = 1", "seed = ", "not valid TOML"),
    ],
)
def test_wrong_configurations_are_told(tmp_path: Path, before: str, after: str, message: str) -> None:
    text = SHIPPED.read_text()
    assert before in text
    file = tmp_path / "study.toml"
    file.write_text(text.replace(before, after, 1))
    with pytest.raises(ConfigError, match=message):
        read_study_config(file)


def test_the_candidate_that_knows_is_chosen_and_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.ensembles.members.TREES", 5)
    config, described = _config(), _described()
    repeats = run_repeats(config, described, tmp_path, "key")
    assert [one.names for one in repeats] == [("noise", "knowing", "random_forest")] * 2
    assert not np.array_equal(repeats[0].fold_of, repeats[1].fold_of)
    selections = [select(one, ["noise", "knowing"], LABEL_OF) for one in repeats]
    assert count_choices(selections) == {"knowing": 6}
    np.testing.assert_array_equal(selections[0].nested.outer[:, 0], repeats[0].logits("knowing"))
    right = (selections[0].nested.outer[:, 0].argmax(axis=1) == LABEL_OF).mean()
    assert right > (repeats[0].logits("noise").argmax(axis=1) == LABEL_OF).mean()

    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError("the repeat is in the cache")

    monkeypatch.setattr("train.research.study.systems.nested_logits", fail)
    again = run_repeats(config, described, tmp_path, "key")
    np.testing.assert_array_equal(again[1].nested.outer, repeats[1].nested.outer)


def test_gaps_are_filled_from_the_pictures_that_a_member_is_fitted_on() -> None:
    """Other measures of held-back pictures change nothing but those pictures' own scores."""
    config = replace(_config(), systems=(System("measures", "measures", "classes", is_candidate=False),), forest="")
    rng = np.random.default_rng(2)
    values = rng.normal(size=(COUNT, 5)) + LABEL_OF[:, None]
    values[rng.random(values.shape) < 0.2] = np.nan
    training, test = np.arange(45), np.arange(45, COUNT)
    other = values.copy()
    other[test[1:]] = np.nan_to_num(other[test[1:]]) + 100
    first, second = (
        _members(config, Described(_radiographs(), {"measures": one}, COUNT))[1][0](training, test) for one in (values, other)
    )
    assert np.isfinite(first).all()
    np.testing.assert_array_equal(first[0], second[0])
    assert not np.array_equal(first[1:], second[1:])


MEASURED = PROJECT / "train" / "configs" / "knee-measures-study.toml"


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("is_candidate = false", "", "set is_candidate = false"),
        ('forest = ""', 'forest = "measures"', "forest cannot take measures"),
        ('[learning]\nfeatures = "block 6"', '[learning]\nfeatures = "measures"', "learning.features cannot be measures"),
        ('name = "measures"\nregion', 'name = "measures"\nmask = "gate"\nregion', "no backbone, weights or mask"),
        ('segmenter = "train/results/knee-segmentation/segmenter.npz"', "", "segmenter is needed"),
        ('backbone = "mobilenet_v2_1.0@block_6_expand_relu"', "", "needs a backbone and weights"),
    ],
)
def test_measures_are_asked_for_where_gaps_can_be_filled(tmp_path: Path, before: str, after: str, message: str) -> None:
    text = MEASURED.read_text()
    assert before in text
    file = tmp_path / "study.toml"
    file.write_text(text.replace(before, after, 1))
    with pytest.raises(ConfigError, match=message):
        read_study_config(file)


def test_the_choice_never_sees_the_pictures_held_back() -> None:
    """A candidate that is right on held-back pictures alone is not chosen."""
    fold_of = np.arange(COUNT) // 3 % 2
    truth = np.eye(3)[LABEL_OF] * 5.0
    noise = np.random.default_rng(0).normal(size=(COUNT, 3))
    outer = np.stack([truth, noise], axis=1)
    inner = tuple(np.stack([noise, truth], axis=1)[fold_of != fold] for fold in range(2))
    chosen = select(Repeat(("late", "early"), NestedLogits(fold_of, inner, outer)), ["late", "early"], LABEL_OF)
    assert chosen.chosen == ("early", "early")


PROVING = PROJECT / "train" / "configs" / "knee-bone-density-proof.toml"


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("permutations = 200", "permutations = 99", "are too few: p would be 0.01 or more"),
        ("largest_p = 0.01", "largest_p = 1.0", "proof.largest_p must lie between"),
        ('covariates = "age and sex"', 'covariates = "shoes"', "proof.covariates names 'shoes'"),
        ('fused = ["selected", ', "fused = [", "needs 'selected' among what is fused"),
        ('name = "graded"', 'name = "model"', "pools holds one name twice"),
        ('systems = ["graded, knee", ', 'systems = ["graded, hip", ', "names 'graded, hip'"),
        ("ensembles = []", 'ensembles = ["mean"]', "members is empty"),
    ],
)
def test_a_rule_that_nothing_could_meet_is_told(tmp_path: Path, before: str, after: str, message: str) -> None:
    text = PROVING.read_text()
    assert before in text
    file = tmp_path / "study.toml"
    file.write_text(text.replace(before, after, 1))
    with pytest.raises(ConfigError, match=message):
        read_study_config(file)


def test_people_are_dealt_to_pictures_whole() -> None:
    """Label, T-score and age go together, and all radiographs of a patient get one person's."""
    rows = _radiographs().radiographs
    twice = Dataset((*rows, *(replace(row, sha256=f"{number:064x}") for number, row in enumerate(rows[:10], COUNT))))
    dealt = dealt_anew(twice, np.random.default_rng(0))
    person = {(row.label, row.t_score, row.covariates["age_years"]) for row in rows}
    assert len(person) == COUNT
    assert {(row.label, row.t_score, row.covariates["age_years"]) for row in dealt.radiographs} == person
    assert [row.sha256 for row in dealt.radiographs] == [row.sha256 for row in twice.radiographs]
    assert dealt.groups == twice.groups
    for place in range(10):
        assert dealt.radiographs[place].covariates == dealt.radiographs[COUNT + place].covariates
    moved = sum(one.covariates != other.covariates for one, other in zip(dealt.radiographs, twice.radiographs, strict=True))
    assert moved > COUNT / 2


def _proving() -> StudyConfig:
    return replace(
        _config(),
        repeats=1,
        forest="",
        pools=(Pool("blind", ("noise",)), Pool("seeing", ("knowing",))),
        proof=Proof(permutations=4, largest_p=0.5, covariates="age"),
    )


def test_permuted_people_leave_chance_and_a_stopped_count_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, described = _proving(), _described()
    whole = permuted_macro_aucs(config, described, tmp_path, "key")
    assert set(whole) == {"model", "blind", "seeing"}
    assert all(len(values) == 4 and 0.2 < np.mean(values) < 0.65 for values in whole.values())
    selected = [select(one, ["noise", "knowing"], LABEL_OF) for one in run_repeats(config, described, tmp_path, "key")]
    assert class_aucs(LABEL_OF, softmax(selected[0].nested.outer[:, 0])).mean() > max(whole["model"])

    (file,) = tmp_path.glob("permuted-*.json")
    file.write_text(json.dumps(json.loads(file.read_text())[:2]))
    done = []
    monkeypatch.setattr(
        "train.research.study.proof._permuted_once", lambda *given: done.append(given[2]) or dict.fromkeys(whole, 0.5)
    )
    again = permuted_macro_aucs(config, described, tmp_path, "key")
    assert done == [2, 3]
    assert again["model"] == [*whole["model"][:2], 0.5, 0.5]


@pytest.mark.parametrize(
    ("permuted", "gain", "is_proven"),
    [([0.5] * 4, 0.02, True), ([0.5, 0.5, 0.5, 0.9], 0.02, False), ([0.5] * 4, -0.02, False)],
    ids=["both", "chance does as well", "nothing is added"],
)
def test_the_rule_asks_for_both(permuted: list[float], gain: float, is_proven: bool) -> None:
    config = replace(_proving(), proof=Proof(permutations=4, largest_p=0.3, covariates="age"))
    rng = np.random.default_rng(0)
    scores = {name: rng.dirichlet([1, 1, 1], COUNT)[np.newaxis] for name in pools_of(config)}
    figures = {name: {"macro_auc": Metric(0.8, 0.7, 0.9)} for name in scores}
    one = {figure: Metric(0.8, 0.7, 0.9) for figure in ("macro_auc", "balanced_accuracy")}
    gains = {"covariates": {figure: Metric(gain + 0.01, gain, gain + 0.02) for figure in one}}
    fusion: Any = SimpleNamespace(names=("age_years",), figures={"covariates": one, "fused": one}, gains=gains)
    chances = dict.fromkeys(scores, permuted)
    groups = [str(number) for number in range(COUNT)]
    assert config.proof
    proof = describe_proof(config, config.proof, figures, scores, LABEL_OF, groups, chances, fusion)
    assert proof["is_proven"] is is_proven
    assert proof["macro_auc"]["model"]["p_value"] == (1 + sum(value >= 0.8 for value in permuted)) / 5
    assert list(proof["pools_compared"]) == ["seeing less blind"]
    table = proof_table(proof)
    assert all(len(row) == len(table["columns"]) for row in table["rows"])
    assert ("is proven" if is_proven else "is not proven") in table["note"]


def test_a_corrected_label_asks_for_other_results() -> None:
    """What the cache is named by changes with all that the table says."""
    rows = _radiographs()
    first, *others = rows.radiographs
    for other in (replace(first, label="osteoporosis"), replace(first, t_score=0.5), replace(first, covariates={})):
        assert key(marks_of(Dataset((other, *others)))) != key(marks_of(rows))
    assert key(marks_of(Dataset((replace(first, path=Path("elsewhere")), *others)))) == key(marks_of(rows))


@pytest.mark.slow
def test_a_study_writes_its_folder(tmp_path: Path) -> None:
    from train.data.dataset import read_dataset
    from train.judging.pages.writing import write_reports
    from train.research.study.study import study
    from train.synthetic import write_dataset

    class FixedFinder:
        def find(self, pixels: Any) -> tuple[Any, ...]:
            height, width = pixels.shape
            return (Joint(x_px=width / 2, y_px=height / 2, width_px=0.4 * width, score=1.0, laterality=None),)

    write_dataset(tmp_path, count=45, seed=3, scale=0.1)
    whole = read_study_config(SHIPPED)
    config = replace(
        whole,
        folds=2,
        repeats=2,
        inner_folds=2,
        regions=(Candidate("knee", 0.8, 0.8, 0.8, 32, 32),),
        features=(FeatureSet("small", "knee", "mobilenet_v2_0.35", "random"),),
        systems=(System("classes", "small", "classes"), System("ordinal", "small", "ordinal")),
        pools=(Pool("plain", ("classes",)), Pool("in order", ("ordinal",))),
        proof=Proof(permutations=2, largest_p=0.5, covariates="age and sex"),
        members=("classes", "ordinal"),
        ensembles=("mean", "stacking", "cascade"),
        forest="",
        fused=("selected",),
        covariates=whole.covariates[:1],
        learning=LearningCurve("small", (16, 20), 1),
        linear=replace(whole.linear, inner_folds=2, inverse_penalties=(1e-3, 1e-1)),
        evaluation=Evaluation(resamples=100, permutations=1, coverages=(0.8,)),
    )
    output = tmp_path / "study"
    study(config, FixedFinder(), "fixed", dataset=read_dataset(tmp_path), output=output, config_text="text")
    metrics = json.loads((output / "metrics.json").read_text())
    assert {"classes", "ordinal", "ensemble_stacking", "majority", "age_sex"} <= set(metrics["baselines"])
    assert sum(metrics["chosen"].values()) == 4
    proof = json.loads((output / "proof.json").read_text())
    assert proof["macro_auc"]["model"]["value"] == metrics["model"]["macro_auc"]["value"]
    assert metrics["permuted_labels"]["macro_auc"] == proof["permuted_macro_auc"]["model"]
    assert set(proof["pools_compared"]) == {"in order less plain"}
    tables = json.loads((output / "tables.json").read_text())["tables"]
    assert all(len(row) == len(table["columns"]) for table in tables for row in table["rows"])
    assert "selected + age and sex" in json.loads((output / "fusions.json").read_text())
    assert ".png" not in (output / "oof.json").read_text()
    assert all(path.stat().st_size > 0 for path in write_reports(output))
