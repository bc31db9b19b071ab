"""The pipeline on members that take whole grey levels."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from osteo_edge import OsteoPredictor, open_bundle
from osteo_edge.engines.base import CLOSED
from osteo_edge.engines.select import choose, open_engine
from osteo_edge.errors import InferenceError
from osteo_edge.model import LoadingModel
from osteo_edge.prediction import Prediction
from osteo_edge.selftest import reference_tensors, run_self_test
from tests.bundles import DENSITY
from tests.making import keep_one_file, rewrite_file, rewrite_manifest
from train.synthetic import render, sample_case


@pytest.fixture
def whole(bundle_copy: Path) -> Path:
    """The embedded network behind an input of bytes."""
    folder = keep_one_file(bundle_copy)
    path = open_bundle(folder).manifest.members[0].files["onnxruntime"]["fp32"]
    model = onnx.load(folder / path)
    image = model.graph.input[0]
    image.type.tensor_type.elem_type = TensorProto.UINT8
    for node in model.graph.node:
        node.input[:] = ["floats" if name == image.name else name for name in node.input]
    model.graph.node.insert(0, helper.make_node("Cast", [image.name], ["floats"], to=TensorProto.FLOAT))
    rewrite_file(folder, path, model.SerializeToString())
    return rewrite_manifest(folder, _take_bytes)


def _take_bytes(manifest: dict[str, Any]) -> None:
    manifest["members"][0]["input"]["dtype"] = "uint8"


def test_members_of_whole_grey_levels_answer_nearly_the_same(whole: Path, example: Path) -> None:
    bundle = open_bundle(whole)
    (tensors,) = reference_tensors(bundle)
    assert {tensor.dtype.name for tensor in tensors} == {"uint8"}
    engine = open_engine(bundle, choose(bundle.manifest)[0], threads=1)
    assert engine.inputs[0].dtype == "uint8"
    rounded = OsteoPredictor(whole).predict(example, explain=True)
    exact = OsteoPredictor(DENSITY, engine="onnxruntime", precision="fp32").predict(example)
    differences = np.subtract(list(rounded.probabilities.values()), list(exact.probabilities.values()))
    assert 0 < np.abs(differences).max() < 0.02
    assert {result.engine for result in run_self_test(bundle)} == {"finder", "onnxruntime"}


def test_a_predictor_says_what_answers_without_waiting_for_an_engine(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        pytest.fail("an engine was asked for")

    monkeypatch.setattr(LoadingModel, "engine", never)
    model = LoadingModel(whole, engine="onnxruntime", precision="fp32", threads=4, workers=2)
    manifest = open_bundle(whole).manifest
    named = f"<OsteoPredictor {manifest.name} {manifest.version}: onnxruntime fp32, "
    assert repr(OsteoPredictor(model)) == f"{named}2 workers of 2 threads>"
    one = LoadingModel(whole, engine="onnxruntime", precision="fp32", threads=1)
    assert repr(OsteoPredictor(one)) == f"{named}1 thread>"
    for loading in (model, one):
        loading.close()


@pytest.fixture(scope="module")
def pictures() -> list[Any]:
    knees = [drawn(seed, layout) for seed, layout in ((1, "one_knee"), (2, "two_knees"), (3, "one_knee"))]
    return [*knees, "missing.png", np.zeros((10, 10), np.uint8), b"text", knees[1], *knees]


@pytest.fixture(scope="module")
def predictor() -> Iterator[OsteoPredictor]:
    with OsteoPredictor(DENSITY, engine="onnxruntime", precision="fp32", threads=2) as predictor:
        yield predictor


class TestSeveralPictures:
    """A list is read ahead on threads; the answers are those of one picture after the other."""

    def test_are_answered_as_one_by_one(self, predictor: OsteoPredictor, pictures: list[Any]) -> None:
        ahead = [told(answer) for answer in predictor.predict_many(pictures, explain=True)]
        one_by_one = [told(answer) for answer in predictor.predict_many(iter(pictures), explain=True)]
        assert ahead == one_by_one
        assert [told(predictor.predict(picture, explain=True)) for picture in pictures[:3]] == ahead[:3]
        assert [record["status"] == "rejected" for record, _ in ahead] == [False] * 3 + [True] * 3 + [False] * 4
        assert [record["findings"][0]["code"] for record, _ in ahead[3:6]] == ["not_found", "too_small", "unsupported_format"]

    @pytest.mark.parametrize("engine", ["onnxruntime", "litert"])
    def test_are_answered_side_by_side_as_one_by_one(self, engine: str, pictures: list[Any]) -> None:
        with OsteoPredictor(DENSITY, engine=engine, precision="fp32", threads=4, workers=4) as several:
            together = [told(answer) for answer in several.predict_many(pictures, explain=True)]
        with OsteoPredictor(DENSITY, engine=engine, precision="fp32", threads=1) as alone:
            assert together == [told(answer) for answer in alone.predict_many(pictures, explain=True)]

    def test_side_by_side_share_the_threads(self) -> None:
        shared = [OsteoPredictor(DENSITY, threads=4, workers=workers) for workers in (1, 2, 4, 9)]
        assert [predictor._models[0].threads for predictor in shared] == [4, 2, 1, 1]
        with pytest.raises(ValueError, match="workers must be 1 to 256, not 0"):
            OsteoPredictor(DENSITY, workers=0)

    def test_keep_pixels_only_for_explanations(self, predictor: OsteoPredictor, pictures: list[Any]) -> None:
        assert all(answer.radiograph is None for answer in predictor.predict_many(pictures))
        for answer, picture in zip(predictor.predict_many(pictures[:3], explain=True), pictures, strict=False):
            assert answer.radiograph is not None
            np.testing.assert_array_equal(answer.radiograph.pixels, picture)

    def test_of_a_generator_are_asked_for_one_by_one(self, predictor: OsteoPredictor, pictures: list[Any]) -> None:
        asked = 0

        def slowly() -> Iterator[Any]:
            nonlocal asked
            for picture in pictures:
                asked += 1
                yield picture

        for answered, _ in enumerate(predictor.predict_many(slowly()), start=1):
            assert asked == answered

    def test_left_early_end_their_threads(self, predictor: OsteoPredictor, pictures: list[Any]) -> None:
        answers = predictor.predict_many(20 * pictures)
        next(answers)
        assert any(thread.name.startswith("osteo-edge-ahead") for thread in threading.enumerate())
        del answers
        assert not any(thread.name.startswith("osteo-edge-ahead") for thread in threading.enumerate())

    def test_take_no_thread_for_one_picture_or_processor(self, pictures: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "osteo_edge.ahead", None)  # an import would fail
        with OsteoPredictor(DENSITY, engine="onnxruntime", precision="fp32", threads=1) as alone:
            assert len(list(alone.predict_many(pictures))) == len(pictures)
        with OsteoPredictor(DENSITY, engine="onnxruntime", precision="fp32", threads=2) as predictor:
            assert len(list(predictor.predict_many(pictures[:1]))) == 1


@pytest.mark.parametrize("engine", ["onnxruntime", "litert"])
class TestClosing:
    """While others predict: what has begun ends, what comes after says that the predictor was closed."""

    def test_an_engine_lets_its_runs_end(self, engine: str) -> None:
        bundle = open_bundle(DENSITY)
        choice = choose(bundle.manifest, engine=engine, precision="fp32")[0]
        (tensors,) = reference_tensors(bundle)
        loaded = open_engine(bundle, choice, threads=1)
        name = loaded.inputs[0].name
        expected = loaded.run({name: tensors[0]})["logits"]

        class Closing(dict[str, Any]):
            """Closed at the moment at which the engine takes its input."""

            def keys(self) -> Any:
                loaded.close()
                return super().keys()

            def __iter__(self) -> Iterator[str]:
                loaded.close()
                return super().__iter__()

        np.testing.assert_array_equal(loaded.run(Closing({name: tensors[0]}))["logits"], expected)
        loaded.close()
        with pytest.raises(InferenceError, match="the predictor was closed"):
            loaded.run({name: tensors[0]})

    def test_while_other_threads_predict(self, engine: str, pictures: list[Any]) -> None:
        for _ in range(5):
            predictor = OsteoPredictor(DENSITY, engine=engine, precision="fp32", threads=1)
            faults: list[BaseException] = []
            answered = threading.Event()

            threads = [threading.Thread(target=ask, args=(predictor, pictures[0], faults, answered)) for _ in range(4)]
            for thread in threads:
                thread.start()
            assert answered.wait(60)
            predictor.close()
            for thread in threads:
                thread.join()
            assert [(type(fault), str(fault)) for fault in faults] == 4 * [(InferenceError, CLOSED)]

    @pytest.mark.parametrize("workers", [1, 3])
    def test_in_the_midst_of_several_pictures(self, engine: str, workers: int, pictures: list[Any]) -> None:
        predictor = OsteoPredictor(DENSITY, engine=engine, precision="fp32", threads=3, workers=workers)
        answers = predictor.predict_many(50 * pictures[:3])
        next(answers)
        predictor.close()
        with pytest.raises(InferenceError, match="the predictor was closed"):
            list(answers)
        predictor.close()  # again does no harm
        assert not any(thread.name.startswith("osteo-edge") for thread in threading.enumerate())

    def test_loads_nothing_afterwards(self, engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
        model = LoadingModel(engine=engine, precision="fp32", threads=1)
        model.close()
        with pytest.raises(InferenceError, match="the predictor was closed"):
            model.engine()
        unloaded = model._loading[0]
        unloaded._thread = None  # as a cascade's later member, which nobody has asked for
        monkeypatch.setattr("osteo_edge.model.open_member", None)
        with pytest.raises(InferenceError, match="the predictor was closed"):
            unloaded.engine()
        assert unloaded._thread is None


def ask(predictor: OsteoPredictor, picture: Any, faults: list[BaseException], answered: threading.Event) -> None:
    """Again and again, until it fails."""
    try:
        while True:
            predictor.predict(picture)
            answered.set()
    except BaseException as fault:
        faults.append(fault)


def drawn(seed: int, layout: str) -> NDArray[Any]:
    anatomies, acquisition = sample_case(np.random.default_rng(seed), layout=layout)
    return render(anatomies, acquisition, seed=seed).pixels


@pytest.mark.parametrize("bundle", [b"knee-mobilenet_v2", bytearray(b"knee")])
def test_a_name_in_bytes_is_no_list_of_numbers(bundle: Any) -> None:
    with pytest.raises(TypeError, match=type(bundle).__name__):
        OsteoPredictor(bundle)


def told(answer: Prediction) -> tuple[dict[str, Any], list[bytes]]:
    """All that was answered, to the last digit, but for the times."""
    heats = [knee.saliency.tobytes() for knee in answer.knees if knee.saliency is not None]
    return {key: value for key, value in answer.to_dict().items() if key != "timings_ms"}, heats
