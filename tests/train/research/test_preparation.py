from __future__ import annotations

import numpy as np
import pytest

from train.research.holdout.preparation import (
    OUTLIER_LIMIT,
    RUNTIME,
    Preparation,
    PreparationError,
    find_outliers,
    fit_limits,
    measure_qualities,
    prepare_crops,
)


@pytest.fixture
def crops() -> np.ndarray:
    rng = np.random.default_rng(0)
    smooth = np.linspace(40, 200, 64, dtype=np.float32)[:, np.newaxis] * np.ones((1, 48), np.float32)
    return np.clip(smooth + rng.normal(0, 5, (6, 64, 48)), 0, 255).astype(np.float32)


@pytest.mark.parametrize("denoise", ["none", "median", "nlm"])
@pytest.mark.parametrize("standardise", ["percentile", "zscore", "clahe"])
def test_shape_type_and_range_stay(crops: np.ndarray, denoise: str, standardise: str) -> None:
    before = crops.copy()
    prepared = prepare_crops(crops, Preparation(denoise=denoise, standardise=standardise))
    assert (prepared.shape, prepared.dtype) == (crops.shape, np.float32)
    assert prepared.min() >= 0
    assert prepared.max() <= 255
    np.testing.assert_array_equal(crops, before)
    assert prepare_crops(crops[:0], Preparation(denoise=denoise, standardise=standardise)).shape == (0, 64, 48)


def test_the_default_changes_nothing(crops: np.ndarray) -> None:
    np.testing.assert_array_equal(prepare_crops(crops, RUNTIME), crops)
    assert RUNTIME.is_exportable
    assert Preparation(outliers=True).is_exportable
    assert not Preparation(denoise="median").is_exportable
    assert not Preparation(standardise="zscore").is_exportable


@pytest.mark.parametrize("denoise", ["median", "nlm"])
def test_noise_falls_and_the_slope_stays(crops: np.ndarray, denoise: str) -> None:
    clean = np.linspace(40, 200, 64)[:, np.newaxis]
    noise = np.std(prepare_crops(crops, Preparation(denoise=denoise)) - clean)
    assert noise < 0.8 * np.std(crops - clean)


def test_z_scores_forget_brightness_and_contrast(crops: np.ndarray) -> None:
    darker = (crops * 0.5 + 10).astype(np.float32)
    settings = Preparation(standardise="zscore")
    np.testing.assert_allclose(prepare_crops(darker, settings), prepare_crops(crops, settings), atol=0.01)


def test_each_knee_is_prepared_by_itself(crops: np.ndarray) -> None:
    for standardise in ("zscore", "clahe"):
        settings = Preparation(denoise="median", standardise=standardise)
        np.testing.assert_array_equal(prepare_crops(crops, settings)[2:3], prepare_crops(crops[2:3], settings))


def _many() -> np.ndarray:
    rng = np.random.default_rng(1)
    level = rng.normal(0, 4, (40, 1, 1))
    return np.clip(120 + level + rng.normal(0, 20 + level / 4, (40, 32, 32)), 0, 255).astype(np.float32)


def test_outliers_are_found_with_their_reason() -> None:
    images = _many()
    images[3] = images[3] / 4  # underexposed
    images[7] = np.float32(120) + (images[7] - 120) * np.float32(0.05)  # blurred to one grey
    widths = np.full(40, 300.0) * np.exp(np.random.default_rng(2).normal(0, 0.05, 40))
    widths[11] = 40
    names, values = measure_qualities(images, widths)
    found = find_outliers(values, fit_limits(names, values), [f"{place:064x}" for place in range(40)])
    reasons = {outlier.place: outlier.reason for outlier in found}
    assert {3, 7, 11} <= reasons.keys()
    assert len(reasons) <= 5
    assert "below the median" in reasons[3]
    assert reasons[11].startswith("knee_size")
    assert found[0].sha256 == f"{found[0].place:064x}"


def test_limits_come_from_the_training_knees_alone() -> None:
    names, values = measure_qualities(_many())
    limits = fit_limits(names, values[:30])
    assert limits == fit_limits(names, np.concatenate([values[:30]]))
    assert limits.median == pytest.approx(np.median(values[:30], axis=0).tolist())
    strange = values[30:].copy()
    strange[0, 0] = limits.median[0] + (OUTLIER_LIMIT + 1) * limits.deviation[0]
    assert 0 in {outlier.place for outlier in find_outliers(strange, limits, ["0"] * 10)}


def test_a_quality_that_never_varies_rejects_nothing() -> None:
    values = np.ones((5, 3))
    limits = fit_limits(("exposure", "contrast", "sharpness"), values)
    assert find_outliers(values + 1, limits, ["0"] * 5) == ()


def test_refusals(crops: np.ndarray) -> None:
    with pytest.raises(PreparationError, match="known are none, median, nlm"):
        Preparation(denoise="gauss")
    with pytest.raises(PreparationError, match="known are percentile, zscore, clahe"):
        Preparation(standardise="whiten")
    with pytest.raises(PreparationError, match="float32"):
        prepare_crops(crops[0], RUNTIME)
    with pytest.raises(PreparationError, match="hold no NaN"):
        prepare_crops(np.full((1, 4, 4), np.nan, np.float32), RUNTIME)
    with pytest.raises(PreparationError, match="without a single knee"):
        fit_limits(("exposure",), np.empty((0, 1)))
