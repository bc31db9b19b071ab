from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from train.data.crops import Crops
from train.data.dataset import LABELS, Dataset, RadiographRow
from train.fitting import folds
from train.fitting.finetune import Epoch, Trainer
from train.fitting.folds import FoldResult, in_order, run_folds
from train.fitting.material import Material
from train.fitting.teaching import Teaching, plain_classes
from train.networks.targets import as_raw_head
from train.runs import cache
from train.runs.config import PROJECT, Candidate, Choice, Config, read_config

SHIPPED = PROJECT / "train" / "configs" / "knee-mobilenet_v2.toml"
FOLDS = 3
# Three labels, six patients of each, two radiographs of each patient; a patient's radiographs lie far apart.
COUNT = 36
LABEL_OF = np.arange(COUNT) % 3
GROUP_OF = np.arange(COUNT) % 18
FOLD_OF = GROUP_OF // 3 % FOLDS
# Radiographs 0 and 1 show two knees, which do not lie side by side.
OWNER = np.array([*range(COUNT), 0, 1])
FEATURES = 1280


def _result(fold: int) -> FoldResult:
    history = (Epoch(0, 1.1, 1.2, 0.5), Epoch(1, 1.0, None, None))
    rows = [[float(fold), 0.0, 0.0], [float(fold), 1.0, 1.0]]
    return FoldResult("joint", {"joint": {"macro_auc": 0.5}}, 1, (history,), logits=rows, inner=[], frozen=rows, seconds=2.0)


def _material(folder: Path) -> Material:
    material = SimpleNamespace(
        cache=folder, key="key", config=SimpleNamespace(folds=2), labels=np.zeros(4), fold_of=np.array([0, 1, 1, 0])
    )
    return cast(Material, material)


def test_finished_folds_are_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.save_json(tmp_path / "fold0-key.json", _result(0))
    trained: list[int] = []

    def run_fold(_: Any, fold: int) -> FoldResult:
        trained.append(fold)
        return _result(fold)

    monkeypatch.setattr(folds, "_run_fold", run_fold)
    assert run_folds(_material(tmp_path)) == [_result(0), _result(1)]
    assert trained == [1]
    assert run_folds(_material(tmp_path)) == [_result(0), _result(1)]
    assert trained == [1]


def test_rows_return_to_their_places(tmp_path: Path) -> None:
    rows = in_order(_material(tmp_path), [_result(fold).logits for fold in range(2)])
    assert rows.tolist() == [[0, 0, 0], [1, 0, 0], [1, 1, 1], [0, 1, 1]]


def test_cache_hides_itself_and_goes(tmp_path: Path) -> None:
    folder = cache.open_cache(tmp_path)
    assert (folder / ".gitignore").read_text() == "*\n"
    cache.remove_cache(tmp_path)
    assert not folder.exists()


def test_key_changes_with_any_part() -> None:
    assert cache.key(_result(0), "a") == cache.key(_result(0), "a")
    assert len({cache.key(_result(0), "a"), cache.key(_result(1), "a"), cache.key(_result(0), "b")}) == 3


def _config() -> Config:
    config = read_config(SHIPPED)
    return replace(
        config,
        backbone="mobilenet_v2_0.35",
        weights="random",
        folds=FOLDS,
        candidates=(Candidate("joint", 0.65, 0.65, 0.65, 32, 32),),
        linear=replace(config.linear, inner_folds=2, inverse_penalties=(1e-3,)),
        choice=Choice(repeats=1, folds=2),
        augmentation=replace(config.augmentation, views=2),
        training=replace(config.training, trainable_from="Conv_1", validation_folds=3, validation_parts=2),
    )


@pytest.fixture
def material(tmp_path: Path) -> Material:
    """Noise; the first feature of a radiograph is its number, by which the spies know it again."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(COUNT, FEATURES)).astype(np.float32)
    features[:, 0] = np.arange(COUNT)
    rows = [
        RadiographRow(Path(), str(number), LABELS[label], str(group), "A")
        for number, (label, group) in enumerate(zip(LABEL_OF, GROUP_OF, strict=True))
    ]
    crops = Crops(OWNER, {"joint": rng.uniform(0, 255, (len(OWNER), 32, 32)).astype(np.float32)})
    return Material(
        _config(), tmp_path, "key", Dataset(tuple(rows)), crops, LABEL_OF, FOLD_OF, {"joint": features}, plain_classes(COUNT)
    )


@dataclass
class Seen:
    """Numbers of the radiographs that reached each step of a fold, one set a call.

    Attributes:
        trainings: training and validation part of each training.
    """

    chosen_on: list[set[int]] = field(default_factory=list)
    fitted_on: list[set[int]] = field(default_factory=list)
    judged: list[set[int]] = field(default_factory=list)
    trainings: list[tuple[set[int], set[int] | None]] = field(default_factory=list)
    scored: list[set[int]] = field(default_factory=list)


def _numbers(features: NDArray[np.float32], labels: Any, groups: Any) -> set[int]:
    """The radiographs of these rows, whose labels and groups must be theirs."""
    numbers = features[:, 0].astype(int)
    assert np.array_equal(labels, LABEL_OF[numbers])
    assert np.array_equal(groups, GROUP_OF[numbers].astype(str))
    return set(numbers.tolist())


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    """Every step of a fold replaced by one that only notes what it is given."""
    seen = Seen()

    def predict_proba(features: NDArray[np.float32]) -> NDArray[np.float64]:
        seen.judged.append(set(features[:, 0].astype(int).tolist()))
        return np.full((len(features), 3), 1 / 3)

    def fit(_: Teaching, features: Any, labels: Any, groups: Any, *__: Any, seed: int) -> Any:
        seen.fitted_on.append(_numbers(features, labels, groups))
        return SimpleNamespace(predict_proba=predict_proba)

    def score_regions(features: Any, labels: Any, groups: Any, _: Config, __: Any) -> Any:
        seen.chosen_on.append(_numbers(features["joint"], labels, groups))
        return {"joint": np.full((1, len(labels), 3), 1 / 3)}

    def train(_: Material, __: str, training: Any, validation: Any, *___: Any) -> Any:
        seen.trainings.append((set(training.tolist()), None if validation is None else set(validation.tolist())))
        held_back = None if validation is None else np.array(validation)[:, np.newaxis] * np.ones(3)
        return folds.Trained(None, (Epoch(0, 1.0, 1.0, 0.5),), held_back)

    def score(_: Any, __: Material, ___: str, radiographs: Any) -> Any:
        seen.scored.append(set(radiographs.tolist()))
        return np.zeros((len(radiographs), 3), np.float32)

    for name, spy in (("score_regions", score_regions), ("train", train), ("score", score), ("weights_of", lambda network: {})):
        monkeypatch.setattr(folds, name, spy)
    monkeypatch.setattr(Teaching, "fit", fit)
    return seen


@pytest.mark.parametrize("fold", range(FOLDS))
def test_held_back_radiographs_reach_nothing_but_the_last_step(material: Material, seen: Seen, fold: int) -> None:
    folds._run_fold(material, fold)
    held_back = set(np.flatnonzero(fold == FOLD_OF).tolist())
    training = set(range(COUNT)) - held_back
    assert seen.chosen_on == seen.fitted_on == [training]
    assert seen.judged == seen.scored == [held_back]
    assert seen.trainings[-1] == (training, None)


def test_inner_logits_are_of_the_training_that_held_the_radiograph_back(material: Material, seen: Seen) -> None:
    every = replace(material.config.training, validation_parts=material.config.training.validation_folds)
    result = folds._run_fold(replace(material, config=replace(material.config, training=every)), 0)
    assert np.array_equal(np.array(result.inner)[:, 0], np.flatnonzero(FOLD_OF != 0))


def test_without_all_inner_parts_there_are_no_inner_logits(material: Material, seen: Seen) -> None:
    assert folds._run_fold(material, 0).inner == []


def test_inner_validation_shares_no_patient_with_the_inner_training(material: Material, seen: Seen) -> None:
    folds._run_fold(material, 0)
    *inner, _ = seen.trainings
    assert len(inner) == material.config.training.validation_parts
    for kept, validation in inner:
        assert validation
        assert kept | validation == set(np.flatnonzero(FOLD_OF != 0).tolist())
        assert not kept & validation
        assert not {GROUP_OF[number] for number in kept} & {GROUP_OF[number] for number in validation}


def test_a_training_uses_its_part_alone_and_ends_in_half_precision(material: Material, monkeypatch: pytest.MonkeyPatch) -> None:
    fitted_on, trained_on = [], []

    def fit(teaching: Teaching, features: Any, labels: Any, groups: Any, settings: Any, *, seed: int) -> Any:
        fitted_on.append(_numbers(features, labels, groups))
        return fit_teaching(teaching, features, labels, groups, settings, seed=seed)

    def run(trainer: Trainer, training: Any, validation: Any, *, epochs: int) -> Any:
        trained_on.append((set(training.tolist()), validation))
        return original(trainer, training, validation, epochs=epochs)

    original, fit_teaching = Trainer.run, Teaching.fit
    monkeypatch.setattr(Teaching, "fit", fit)
    monkeypatch.setattr(Trainer, "run", run)
    training = np.flatnonzero(FOLD_OF != 1)
    trained = folds.train(material, "joint", training, None, 1, "fold1")
    assert fitted_on == [set(training.tolist())]
    assert trained_on == [(set(training.tolist()), None)]
    assert trained.history[-1].epoch == 1
    for variable in trained.network.weights:
        weights = keras.ops.convert_to_numpy(variable)
        if not variable.path.endswith(("moving_mean", "moving_variance")):
            np.testing.assert_array_equal(weights, weights.astype(np.float16))


@pytest.mark.slow
@pytest.mark.parametrize("start", ["hierarchical", "ordinal"])
def test_other_targets_start_from_their_own_classifier(material: Material, start: str) -> None:
    config = replace(material.config, start=start)
    taught = replace(material.teaching, kind=start)
    trained = folds.train(replace(material, config=config, teaching=taught), "joint", np.arange(COUNT), None, 0, start)
    fitted = taught.fit(material.features["joint"], LABEL_OF, material.groups, config.linear, seed=config.seed)
    kernel, _ = as_raw_head(fitted)
    given = keras.ops.convert_to_numpy(trained.network.get_layer("head").weights[0])
    np.testing.assert_allclose(given, kernel, atol=1e-3)


def test_score_is_the_mean_of_each_pictures_knees(material: Material) -> None:
    """Knees of a picture lie apart, pictures are in no order, and some are of other folds."""
    owner = np.array([7, 2, 9, 4, 2, 7, 0, 7])
    images = np.random.default_rng(1).uniform(0, 255, (len(owner), 2, 2)).astype(np.float32)
    image = keras.Input((2, 2, 1))
    network = keras.Model(image, {"logits": keras.layers.Dense(3)(keras.layers.Flatten()(image)), "features": image})
    logits = network.predict(images[..., np.newaxis], verbose=0)["logits"]
    shown = replace(material, crops=Crops(owner, {"joint": images}))
    expected = [logits[[1, 4]].mean(axis=0), logits[[0, 5, 7]].mean(axis=0), logits[2]]
    given = folds.score(network, shown, "joint", np.array([2, 7, 9]))
    np.testing.assert_allclose(given, expected, rtol=1e-4, atol=1e-3)


def test_json_without_numbers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        cache.save_json(tmp_path / "figures.json", {"macro_auc": float("nan")})
    assert not list(tmp_path.iterdir())


def test_key_changes_with_the_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    before = cache.key("a")
    monkeypatch.setattr(cache, "versions", lambda: {"numpy": "0.1"})
    assert cache.key("a") != before
