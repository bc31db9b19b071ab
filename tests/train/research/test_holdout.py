"""One training under a time budget, on a handful of small pictures: that it runs, not that it learns."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
from click.testing import CliRunner
from sklearn.metrics import balanced_accuracy_score, f1_score, precision_score, roc_auc_score

from osteo_edge.errors import OsteoEdgeError
from osteo_edge.integrity import sha256_hex
from train.data.dataset import LABELS, Dataset, DatasetError, RadiographRow
from train.data.split import HoldOut, hold_out
from train.networks.backbones import BACKBONES, find_backbone
from train.networks.network import LOGITS
from train.research.holdout import hold_out as run_module
from train.research.holdout.commands import holdout
from train.research.holdout.config import HoldOutConfig, check, read_hold_out_config
from train.research.holdout.hold_out import HoldOutRun, labels_of, new_network, read_hold_out_run, run_hold_out, settings_digest
from train.research.holdout.judgement import figures_of, judge
from train.research.holdout.pictures import Pictures, find_rejected, gather_pictures, masked_pictures, shear_zoom_flip, without
from train.research.holdout.preparation import Outlier, Preparation
from train.research.holdout.training import TimedTrainer, Trained, chosen_epoch, prepare_for_training
from train.research.papers.networks import SEGMENTER
from train.runs.config import PROJECT, ConfigError
from train.runs.folder import RunError

pytestmark = pytest.mark.slow  # trains

CONFIGS = PROJECT / "train" / "configs" / "papers"
OURS, PUBLISHED = CONFIGS / "ours.toml", CONFIGS / "published.toml"
COUNT = 36
BACKBONE = "small_cnn"  # few layers: tracing a large network would take most of the time


class NoFinder:
    """Whole radiographs need none."""

    def find(self, pixels: object) -> tuple[()]:
        raise AssertionError("the finder was asked for a whole radiograph")


def _tiny(backbone: str = BACKBONE, *, side_px: int = 32, epochs: int = 2) -> HoldOutConfig:
    config = read_hold_out_config(OURS)
    return replace(
        config,
        backbone=backbone,
        weights={},
        view=replace(config.view, kind="whole", height_px=side_px, width_px=side_px),
        fitting=replace(config.fitting, max_epochs=epochs, batch_size=8),
        resamples=100,
        time_budget_s=300.0,
    )


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Noise in several sizes; to draw knees would take longer than the tests themselves."""
    folder, rng = tmp_path_factory.mktemp("radiographs"), np.random.default_rng(5)
    rows = []
    for number in range(COUNT):
        path, label = folder / f"radiograph-{number}.png", number % len(LABELS)
        cv2.imwrite(str(path), rng.integers(0, 255, (70 + number % 5, 60), np.uint8))
        known = {"age_years": 50.0 + 5 * label + rng.normal(), "sex": float(rng.integers(2))}
        digest = sha256_hex(path.read_bytes())
        rows.append(RadiographRow(path, digest, LABELS[label], str(number), "AB"[number // 3 % 2], known))
    return Dataset(tuple(rows))


def _run(dataset: Dataset, output: Path, config: HoldOutConfig | None = None, **options: bool) -> HoldOutRun:
    return run_hold_out(config or _tiny(), NoFinder(), "none", dataset=dataset, output=output, config_text="x", **options)


def _rows(groups_per_label: int) -> Dataset:
    return Dataset(
        tuple(
            RadiographRow(Path(), f"{label}-{group}-{twin}", label, f"{label}{group}", "AB"[group % 2])
            for label in LABELS
            for group in range(groups_per_label)
            for twin in range(2)
        )
    )


def test_hold_out_keeps_groups_whole_and_every_stratum_even() -> None:
    dataset = _rows(20)
    parts = hold_out(dataset, test_share=0.3, validation_share=0.1, seed=2)
    assert sorted(np.concatenate([parts.training, parts.validation, parts.test]).tolist()) == list(range(120))
    groups = [{dataset.radiographs[index].patient_group for index in part} for part in vars(parts).values()]
    assert not groups[0] & groups[1]
    assert not groups[0] & groups[2]
    assert not groups[1] & groups[2]
    for label in LABELS:
        for acquisition in "AB":
            in_test = [(row.label, row.acquisition) == (label, acquisition) for row in dataset.subset(parts.test).radiographs]
            assert sum(in_test) == 6


def test_validation_share_leaves_the_test_part_as_it_is() -> None:
    dataset = _rows(20)
    alone, beside = (hold_out(dataset, test_share=0.3, validation_share=share, seed=2) for share in (0.0, 0.2))
    assert np.array_equal(alone.test, beside.test)
    assert alone.validation.size == 0
    assert not np.array_equal(alone.test, hold_out(dataset, test_share=0.3, seed=3).test)


def test_too_few_groups_are_told_before_training(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="normal, of which there are 1 patient groups"):
        hold_out(_rows(1), test_share=0.3, seed=1)
    small = Dataset(tuple(row for row in dataset.radiographs if row.label != "osteoporosis"))
    with pytest.raises(DatasetError, match="osteoporosis"):
        _run(small, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_figures_equal_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 3, 60), rng.dirichlet(np.ones(3), 60)
    figures = figures_of(labels, scores, LABELS)
    answers = scores.argmax(axis=1)
    assert figures["accuracy"] == pytest.approx((answers == labels).mean())
    assert figures["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(labels, answers))
    assert figures["macro_auc"] == pytest.approx(roc_auc_score(labels, scores, multi_class="ovr"))
    assert figures["macro_f1"] == pytest.approx(f1_score(labels, answers, average="macro"))
    assert figures["precision_normal"] == pytest.approx(precision_score(labels == 0, answers == 0))


def test_two_classes_are_judged_as_well() -> None:
    labels, groups = np.array([0, 1] * 10), [str(place) for place in range(20)]
    good, coin = np.eye(2)[labels], np.full((20, 2), 0.5)
    figures, differences = judge(labels, {"model": good, "coin": coin}, groups, ("a", "b"), model="model", count=100, seed=1)
    assert figures["model"]["accuracy"].value == 1.0
    assert figures["coin"]["macro_auc"].value == 0.5
    assert differences["coin"]["macro_auc"].low == 0.5


def test_published_augmentation_keeps_shape_range_and_what_is_plain() -> None:
    rng = np.random.default_rng(1)
    image = np.random.default_rng(2).random((40, 30), np.float32) * 255
    views = [shear_zoom_flip(image, rng) for _ in range(20)]
    assert {view.shape for view in views} == {(40, 30)}
    assert min(view.min() for view in views) >= 0
    assert max(view.max() for view in views) <= 255.01
    assert all(np.allclose(shear_zoom_flip(np.full((9, 9), 7.0, np.float32), rng), 7.0) for _ in range(5))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: replace(c, shares=replace(c.shares, validation=0.0)), "shares.validation"),
        (lambda c: replace(c, shares=replace(c.shares, test=1.0)), "shares.test"),
        (lambda c: replace(c, movement=None), "movement"),
        (lambda c: replace(c, view=replace(c.view, half_width=0.0)), "half_width"),
        (lambda c: replace(c, time_budget_s=0.0), "time_budget_s"),
        (lambda c: replace(c, fitting=replace(c.fitting, learning_rate=0.0)), "learning_rate"),
        (lambda c: replace(c, resamples=1), "resamples"),
        (lambda c: replace(c, mask="gate"), "segmenter"),
        (lambda c: replace(c, mask="gate", segmenter="s", view=replace(c.view, kind="whole")), "mask needs view.kind"),
        (lambda c: replace(c, mask="gate", segmenter="s", preparation=Preparation(denoise="nlm")), "preparation"),
    ],
)
def test_wrong_settings_are_named(change: Callable[[HoldOutConfig], HoldOutConfig], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check(change(read_hold_out_config(OURS)), "ours.toml")


def test_unknown_step_of_preparation_is_named(tmp_path: Path) -> None:
    file = tmp_path / "wrong.toml"
    file.write_text(OURS.read_text() + '\n[preparation]\ndenoise = "bleach"\n')
    with pytest.raises(ConfigError, match=r"preparation\.denoise"):
        read_hold_out_config(file)


def _with_odd_pictures(dataset: Dataset, odd: Iterable[int]) -> Pictures:
    """Noise of one kind, but for those that are nearly white."""
    images = np.random.default_rng(0).uniform(60, 180, (len(dataset.radiographs), 32, 32)).astype(np.float32)
    for place in odd:
        images[place] = images[place] * 0.01 + 250
    return Pictures(dataset, np.arange(len(images)), images)


def test_outliers_are_sought_in_the_training_part_alone(dataset: Dataset) -> None:
    parts = hold_out(dataset, test_share=0.3, validation_share=0.2, seed=1)
    learnt, judged = int(parts.training[3]), int(parts.test[0])
    pictures, preparation = _with_odd_pictures(dataset, [learnt, judged]), Preparation(outliers=True)
    rejected = find_rejected(pictures, parts.training, preparation)
    assert learnt in {one.place for one in rejected}
    assert {one.place for one in rejected} <= set(parts.training.tolist())
    assert find_rejected(pictures, parts.training, Preparation()) == ()
    left = without(pictures, rejected)
    np.testing.assert_array_equal(left.of(parts.test)[0], pictures.of(parts.test)[0])
    shown, place = left.of(parts.training)
    assert len(shown) == len(parts.training) - len(rejected)
    assert learnt not in parts.training[place]
    # Other test and validation pictures: the same limits, hence the same are rejected.
    others = replace(pictures, images=np.where(np.isin(np.arange(COUNT), parts.training)[:, None, None], pictures.images, 3.0))
    assert find_rejected(replace(others, images=others.images.astype(np.float32)), parts.training, preparation) == rejected


def test_prepared_run_judges_every_test_radiograph_and_tells_what_it_left_out(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = hold_out(dataset, test_share=0.3, validation_share=0.14, seed=1)
    odd = [int(parts.training[3]), *parts.test.tolist()]
    monkeypatch.setattr(run_module, "gather_pictures", lambda *_: _with_odd_pictures(dataset, odd))
    config = replace(_tiny(epochs=1), preparation=Preparation(outliers=True, denoise="median", standardise="zscore"))
    run = _run(dataset, tmp_path, config)
    assert run.scores["test"].keys() == {dataset.radiographs[place].sha256 for place in parts.test.tolist()}
    rejected = [one["sha256"] for one in run.run["rejected"]]
    assert dataset.radiographs[odd[0]].sha256 in rejected
    assert run.run["training_pictures"] == len(parts.training) - len(rejected)


def test_class_of_outliers_alone_is_told(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        run_module,
        "find_rejected",
        lambda pictures, *_: [
            Outlier(place, row.sha256, "odd") for place, row in enumerate(dataset.radiographs) if row.label == "normal"
        ],
    )
    with pytest.raises(DatasetError, match="every training picture of normal is an outlier"):
        _run(dataset, tmp_path)


def test_mask_takes_the_place_of_the_picture_and_is_kept(dataset: Dataset, tmp_path: Path) -> None:
    config = replace(read_hold_out_config(OURS), mask="replace", segmenter=SEGMENTER)
    pictures = Pictures(dataset, np.arange(COUNT), np.random.default_rng(0).random((COUNT, 112, 112), np.float32) * 255)
    few = replace(pictures, radiographs=dataset.subset(np.arange(2)), owner=np.arange(2), images=pictures.images[:2])
    masked = masked_pictures(few, config, tmp_path)
    assert set(np.unique(masked.images)) <= {0.0, 255.0}
    assert masked.images.shape == few.images.shape
    (kept,) = tmp_path.glob("masked-*.npz")
    assert kept.stat().st_size > 0
    assert masked_pictures(few, replace(config, mask=""), tmp_path) is few


def test_switches_that_are_off_leave_the_digest_as_it_was(dataset: Dataset) -> None:
    config = _tiny()
    plain = settings_digest(config, dataset, "none")
    assert settings_digest(replace(config, segmenter="somewhere"), dataset, "none") == plain
    others = [replace(config, preparation=Preparation(outliers=True)), replace(config, mask="gate", segmenter=SEGMENTER)]
    assert len({plain, *(settings_digest(one, dataset, "none") for one in others)}) == 3


def test_unknown_key_is_named(tmp_path: Path) -> None:
    file = tmp_path / "wrong.toml"
    file.write_text("colour = 1\n" + OURS.read_text())
    with pytest.raises(ConfigError, match="colour"):
        read_hold_out_config(file)


@pytest.fixture(scope="module")
def finished(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, HoldOutRun]:
    output = tmp_path_factory.mktemp("run")
    return output, _run(dataset, output)


def test_folder_is_complete_and_holds_no_picture(dataset: Dataset, finished: tuple[Path, HoldOutRun]) -> None:
    output, run = finished
    assert {path.name for path in output.iterdir()} == {
        *("config.toml", "split.json", "scores.json", "metrics.json", "curves.json", "curves.png", "run.json")
    }
    split = json.loads((output / "split.json").read_text())["parts"]
    assert run.scores["test"].keys() == set(split["test"])
    assert run.scores["validation"].keys() == set(split["validation"])
    assert run.run["weights"] == {"kind": "random"}
    assert run.run["epochs"] == 2
    assert not run.run["stopped_early"]
    text = "".join(path.read_text() for path in output.glob("*.json"))
    assert not any(row.path.name in text for row in dataset.radiographs)


def test_figures_are_those_of_the_stored_scores(finished: tuple[Path, HoldOutRun]) -> None:
    _, run = finished
    labels = np.array([LABELS.index(one["label"]) for one in run.scores["test"].values()])
    logits = np.array([one["logits"] for one in run.scores["test"].values()])
    assert run.metrics["model"]["accuracy"]["value"] == pytest.approx((logits.argmax(axis=1) == labels).mean())
    assert {"majority", "age_sex", "file_metadata"} <= run.metrics["baselines"].keys()
    assert run.metrics["baselines"]["majority"]["balanced_accuracy"]["value"] == pytest.approx(1 / 3)


def test_finished_run_is_found_again(
    dataset: Dataset, finished: tuple[Path, HoldOutRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    output, run = finished
    monkeypatch.setattr(TimedTrainer, "run", lambda self: pytest.fail("trained again"))
    assert _run(dataset, output).run == run.run
    config = _tiny()
    with pytest.raises(pytest.fail.Exception, match="trained again"):
        _run(dataset, output, replace(config, fitting=replace(config.fitting, learning_rate=2e-4)))


def test_budget_below_one_epoch_gives_the_untrained_network(dataset: Dataset, tmp_path: Path) -> None:
    config = _tiny()
    short = _run(dataset, tmp_path, replace(config, time_budget_s=1e-3), keep_checkpoint=True)
    assert short.run["epochs"] == 0
    assert short.run["stopped_early"]
    longer = _run(dataset, tmp_path, config)
    assert longer.run["epochs"] == 2
    assert not longer.run["stopped_early"]


def _least_network() -> keras.Model:
    """What the trainer needs of a network, dropout and BatchNorm among it, with as little to trace as can be."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(1)
    image = keras.Input((32, 32, 1))
    x = keras.layers.Conv2D(4, 4, strides=4)(keras.layers.Rescaling(1 / 255)(image))
    x = keras.layers.Dropout(0.2)(keras.layers.GlobalAveragePooling2D()(keras.layers.BatchNormalization()(x)))
    return keras.Model(image, {LOGITS: keras.layers.Dense(len(LABELS))(x)})


def _trainer(dataset: Dataset, config: HoldOutConfig, folder: Path, name: str) -> TimedTrainer:
    pictures = gather_pictures(dataset, config.view, NoFinder(), "none", folder)
    parts = hold_out(dataset, test_share=0.3, validation_share=0.2, seed=1)
    return TimedTrainer(
        _least_network(), pictures, labels_of(dataset, config), parts, config, checkpoint=folder / name, budget_s=300.0
    )


def test_resumed_training_equals_an_unbroken_one(dataset: Dataset, tmp_path: Path) -> None:
    config = _tiny(epochs=2)
    whole = _trainer(dataset, config, tmp_path, "whole.npz").run()
    _trainer(dataset, replace(config, fitting=replace(config.fitting, max_epochs=1)), tmp_path, "parts.npz").run()
    resumed = _trainer(dataset, config, tmp_path, "parts.npz").run()
    assert [line.epoch for line in resumed.history] == [0, 1, 2]
    assert np.allclose(resumed.test, whole.test, atol=1e-4)


def test_epoch_is_chosen_where_it_says() -> None:
    def line(epoch: int, validation_loss: float, accuracy: float) -> object:
        from train.research.holdout.training import Epoch

        return Epoch(epoch, 1.0, validation_loss, accuracy, 1.0)

    history = [line(0, 1.1, 0.3), line(1, 0.9, 0.2), line(2, 1.0, 0.6)]
    assert [chosen_epoch(history, way) for way in ("validation", "test", "last")] == [1, 2, 2]  # type: ignore[arg-type]
    untrained_best = [line(0, 0.1, 0.9), *history[1:]]
    assert [chosen_epoch(untrained_best, way) for way in ("validation", "test")] == [1, 2]  # type: ignore[arg-type]
    assert chosen_epoch(history[:1], "validation") == 0  # type: ignore[arg-type]


def test_batch_norm_learns_from_random_weights_alone() -> None:
    config = _tiny()
    network = new_network(config)
    norms = [layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert norms
    assert all(norm.trainable for norm in norms)
    prepare_for_training(network, from_random=False)
    assert not any(norm.trainable for norm in norms)


def test_two_knees_of_a_radiograph_count_as_one(dataset: Dataset, tmp_path: Path) -> None:
    images = np.random.default_rng(0).random((COUNT + 5, 32, 32), np.float32) * 255
    owner = np.sort(np.concatenate([np.arange(COUNT), np.arange(5)]))
    pictures, config = Pictures(dataset, owner, images), _tiny(epochs=1)
    parts = hold_out(dataset, test_share=0.3, validation_share=0.2, seed=1)
    trained: Trained = TimedTrainer(
        _least_network(), pictures, labels_of(dataset, config), parts, config, checkpoint=tmp_path / "c.npz", budget_s=300.0
    ).run()
    assert trained.test.shape == (2, len(parts.test), 3)
    shown, place = pictures.of(parts.test)
    assert len(shown) == np.isin(owner, parts.test).sum()
    assert set(place.tolist()) == set(range(len(parts.test)))


def test_test_labels_have_no_part_in_the_training(dataset: Dataset, tmp_path: Path) -> None:
    """Other labels in the test part: the same scores, since nothing but the judgement sees them."""
    config = _tiny(epochs=1)
    first = _trainer(dataset, config, tmp_path, "first.npz")
    parts: HoldOut = first._parts
    second = _trainer(dataset, config, tmp_path, "second.npz")
    second._labels = first._labels.copy()
    second._labels[parts.test] = first._labels[parts.test][::-1]
    assert np.allclose(first.run().test, second.run().test, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--backbone", "vgg17"], "unknown backbone 'vgg17'"),
        (["--time-budget", "-3"], "time budget"),
        (["--time-budget", "0"], "time budget"),
        (["--time-budget", "nan"], "time budget"),
        (["--data", "nowhere"], "nowhere"),
    ],
)
def test_command_tells_what_is_wrong_in_one_line(options: list[str], message: str) -> None:
    result = CliRunner().invoke(holdout, ["--config", str(PUBLISHED), *options])
    assert result.exit_code == 2
    assert message in result.output
    assert "Traceback" not in result.output


def test_damaged_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not the folder"):
        read_hold_out_run(tmp_path)
    for name in ("run.json", "metrics.json", "scores.json"):
        (tmp_path / name).write_text("{")
    with pytest.raises(OsteoEdgeError, match="damaged"):
        read_hold_out_run(tmp_path)


@pytest.mark.parametrize("backbone", [one.name for one in BACKBONES])
def test_every_backbone_trains(backbone: str, dataset: Dataset, tmp_path: Path) -> None:
    config = _tiny(backbone, side_px=find_backbone(backbone).min_side_px, epochs=1)
    run = _run(dataset, tmp_path, replace(config, fitting=replace(config.fitting, batch_size=16), time_budget_s=900.0))
    assert run.run["epochs"] == 1
    assert all(np.isfinite(one["logits"]).all() for one in run.scores["test"].values())
