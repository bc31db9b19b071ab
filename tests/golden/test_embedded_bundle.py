"""The embedded bundles give their recorded numbers, the same by every way in, with every engine."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from osteo_edge import Answer, Knee, OsteoPredictor, Status, embedded_bundles, open_bundle
from osteo_edge.bundle import MANIFEST, MANIFEST_DIGEST, manifest_digest_line
from osteo_edge.errors import InferenceError, InputError, QualityRejected, ReportError
from osteo_edge.images import reader
from osteo_edge.integrity import sha256_hex
from osteo_edge.prediction import Prediction

FILES = [
    (name, engine, precision)
    for name in embedded_bundles()
    for engine, by_precision in open_bundle(name).manifest.members[0].files.items()
    for precision in by_precision
]
# The int8 files of one engine round differently on processors with other instructions.
TOLERANCES = {"fp32": 1e-3, "fp16": 2e-3, "int8": 3e-2}

# Recorded by record.py on x86-64 with the pinned versions; what every engine and precision must stay near to.
GOLDEN_FILE = Path(__file__).with_name("synthetic-knee.json")


def probabilities(prediction: Prediction) -> np.ndarray:
    return np.array(list(prediction.probabilities.values()))


@pytest.fixture(scope="module", params=embedded_bundles())
def predictor(request: pytest.FixtureRequest) -> OsteoPredictor:
    return OsteoPredictor(request.param)


@pytest.mark.parametrize(("bundle", "engine", "precision"), FILES)
def test_golden_numbers(bundle: str, engine: str, precision: str, example: Path) -> None:
    golden = json.loads(GOLDEN_FILE.read_text())[bundle]
    prediction = OsteoPredictor(bundle, engine=engine, precision=precision).predict(example)
    assert prediction.model.digest == golden["sha256"], "the bundle was made anew: record its numbers anew"
    assert (prediction.model.engine, prediction.model.precision) == (engine, precision)
    expected = golden["probabilities"][f"{engine} {precision}"]
    np.testing.assert_allclose(probabilities(prediction), expected, atol=TOLERANCES[precision])
    (knee,), (joint,) = prediction.knees, golden["joints"]
    np.testing.assert_allclose([knee.joint.x_px, knee.joint.y_px, knee.joint.width_px], joint, atol=0.01 * joint[2])


def test_path_bytes_and_array_agree(predictor: OsteoPredictor, example: Path) -> None:
    by_path = predictor.predict(example)
    by_bytes = predictor.predict(example.read_bytes())
    by_array = predictor.predict(cv2.imread(str(example), cv2.IMREAD_UNCHANGED))
    deep = predictor.predict(cv2.imread(str(example), cv2.IMREAD_UNCHANGED).astype(np.uint16) * 257)
    np.testing.assert_array_equal(probabilities(by_path), probabilities(by_bytes))
    np.testing.assert_array_equal(probabilities(by_path), probabilities(by_array))
    # 16 bits are resized more finely than 8; in an integer file a value may round to the next step.
    atol = max(1e-2, TOLERANCES[predictor.model.precision])
    np.testing.assert_allclose(probabilities(by_path), probabilities(deep), atol=atol)
    assert by_path.digest == by_bytes.digest


def test_the_same_picture_twice_gives_the_same_numbers(predictor: OsteoPredictor, example: Path) -> None:
    first, second = predictor.predict_many([example, example])
    np.testing.assert_array_equal(probabilities(first), probabilities(second))
    one_thread = OsteoPredictor(predictor.bundle.root, threads=1).predict(example)
    np.testing.assert_allclose(probabilities(first), probabilities(one_thread), atol=1e-5)


def test_the_box_holds_the_joint(predictor: OsteoPredictor, example: Path) -> None:
    (knee,) = predictor.predict(example).knees
    assert knee.box.x0 < knee.joint.x_px < knee.box.x1
    assert knee.box.y0 < knee.joint.y_px < knee.box.y1
    region = predictor.bundle.manifest.members[0].region
    assert knee.box.height / knee.box.width == pytest.approx((region.above + region.below) / (2 * region.half_width), rel=0.02)


def test_border_and_marker_change_nothing_much(predictor: OsteoPredictor, example: Path) -> None:
    picture = cv2.imread(str(example), cv2.IMREAD_GRAYSCALE)
    padded = cv2.copyMakeBorder(picture, 100, 60, 150, 90, cv2.BORDER_CONSTANT, value=0)
    cv2.putText(padded, "L", (60, 1000), cv2.FONT_HERSHEY_SIMPLEX, 2.0, 255, 6)
    np.testing.assert_allclose(probabilities(predictor.predict(picture)), probabilities(predictor.predict(padded)), atol=0.1)


def test_saliency_covers_the_box(predictor: OsteoPredictor, example: Path) -> None:
    prediction = predictor.predict(example, explain=True)
    (knee,) = prediction.knees
    assert knee.saliency is not None
    assert knee.saliency.ndim == 2
    assert np.isfinite(knee.saliency).all()
    assert knee.saliency.std() > 0


def test_an_overlay_needs_an_explanation(predictor: OsteoPredictor, example: Path, tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="explain=True"):
        predictor.predict(example).save_overlay(tmp_path / "overlay.png")
    explained = predictor.predict(example, explain=True)
    assert cv2.imread(str(explained.save_overlay(tmp_path / "overlay.jpg"))) is not None
    for bad in (tmp_path / "overlay.xyz", tmp_path / "no" / "overlay.png"):
        with pytest.raises(ReportError):
            explained.save_overlay(bad)


def test_what_cannot_be_read_raises_alone_and_is_rejected_among_many(
    predictor: OsteoPredictor, example: Path, tmp_path: Path
) -> None:
    missing = tmp_path / "missing.png"
    with pytest.raises(InputError):
        predictor.predict(missing)
    good, bad, small = predictor.predict_many([example, missing, np.zeros((10, 10), np.uint8)])
    assert good.raise_for_status() is good
    assert (bad.status, bad.label, bad.digest, bad.source) == (Status.REJECTED, None, None, str(missing))
    assert [finding.code for finding in small.findings] == ["too_small", "constant"]
    for rejected in (bad, small):
        assert dict(rejected.probabilities) == {}
        assert rejected.label_set == ()
        with pytest.raises(QualityRejected):
            rejected.raise_for_status()


def test_a_closed_predictor_and_impossible_threads_say_so(example: Path) -> None:
    with OsteoPredictor() as closed:
        pass
    with pytest.raises(InferenceError, match="closed"):
        closed.predict(example)
    for threads in (0, -5, 10**6):
        with pytest.raises(ValueError, match="threads"):
            OsteoPredictor(threads=threads)


@pytest.mark.parametrize(("is_proven", "status"), [(True, Status.REPORTED), (False, Status.REFERRED)])
def test_a_bundle_that_was_not_shown_to_work_refers_every_picture(
    bundle_copy: Path, example: Path, is_proven: bool, status: Status
) -> None:
    manifest = json.loads((bundle_copy / MANIFEST).read_text())
    manifest["is_proven"] = is_proven
    manifest["conformal"]["min_probabilities"] = [0.99] * 3  # one class always stands alone
    data = json.dumps(manifest).encode()
    (bundle_copy / MANIFEST).write_bytes(data)
    (bundle_copy / MANIFEST_DIGEST).write_bytes(manifest_digest_line(sha256_hex(data)))
    prediction = OsteoPredictor(bundle_copy).predict(example)
    assert (prediction.status, len(prediction.label_set)) == (status, 1)
    assert ("unproven" in [finding.code for finding in prediction.findings]) is not is_proven
    unproven = "This test cannot tell from this picture. The test was not shown to tell more than chance. If you are over 65"
    assert prediction.message.startswith(unproven) is not is_proven


def test_one_path_is_not_taken_for_several(predictor: OsteoPredictor, example: Path) -> None:
    data = example.read_bytes()
    with example.open("rb") as file:
        for one in (str(example), example, data, bytearray(data), memoryview(data), file, np.zeros((9, 9), np.uint8)):
            with pytest.raises(TypeError, match="use predict for one"):
                predictor.predict_many(one)  # type: ignore[arg-type]


def test_a_picture_in_whatever_form_gets_the_same_answer(predictor: OsteoPredictor, example: Path) -> None:
    data = example.read_bytes()
    grey = reader.read(example).pixels
    expected = dict(predictor.predict(example).probabilities)
    with example.open("rb") as file:
        forms = [data, bytearray(data), memoryview(data), file, io.BytesIO(data), grey, grey[..., None]]
        forms += [np.dstack([grey] * 3), np.dstack([grey] * 3 + [np.full_like(grey, 255)])]
        for answer in predictor.predict_many(forms):
            assert dict(answer.probabilities) == expected
    with pytest.raises(TypeError, match="a path"):
        predictor.predict(12)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["noise", "gradient", "document"])
def test_pictures_without_a_knee_get_no_label(predictor: OsteoPredictor, kind: str) -> None:
    if kind == "noise":
        picture = np.random.default_rng(5).integers(0, 255, (700, 600), np.uint8)
    elif kind == "gradient":
        picture = np.tile(np.linspace(0, 255, 800).astype(np.uint8), (600, 1))
    else:
        picture = np.full((800, 600), 255, np.uint8)
        for line in range(20, 780, 24):
            cv2.putText(picture, "the quick brown fox jumps over the lazy dog", (20, line), cv2.FONT_HERSHEY_SIMPLEX, 0.7, 0, 2)
    prediction = predictor.predict(picture)
    assert (prediction.status, prediction.label) == (Status.REJECTED, None)
    assert [finding.code for finding in prediction.findings] == ["no_knee"]


@pytest.mark.slow
def test_both_engines_agree_on_every_real_radiograph(data_folder: Path) -> None:
    files = sorted(path for path in (data_folder / "knee").rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    assert len(files) >= 100
    both = list(embedded_bundles())
    onnx, litert = (OsteoPredictor(both, engine=engine, precision="fp32") for engine in ("onnxruntime", "litert"))
    answered = 0
    for left, right in zip(onnx.predict_many(files), litert.predict_many(files), strict=True):
        assert [knee.box for knee in left.knees] == [knee.box for knee in right.knees]
        answered += bool(left.knees)
        for one, other in zip(_scored(left), _scored(right), strict=True):
            for label, probability in one.probabilities.items():
                assert abs(probability - other.probabilities[label]) <= 1e-4, left.source
    assert answered >= 0.97 * len(files)


def _scored(prediction: Prediction) -> Iterator[Answer | Knee]:
    for answer in prediction.answers:
        yield answer
        yield from answer.knees
