"""The measured process, run in this one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from osteo_edge import open_bundle
from osteo_edge.benchmark.measure import reference_picture
from osteo_edge.benchmark.worker import Job, measure_job
from osteo_edge.engines.base import Engine
from osteo_edge.errors import InferenceError
from osteo_edge.model import LoadingModel
from tests.bundles import DENSITY
from tests.making import make_ensemble


def events_of(bundle: Path | str, *pictures: str, queries: int = 4, seed: int = 0) -> list[Mapping[str, Any]]:
    events: list[Mapping[str, Any]] = []
    shown = pictures or (reference_picture(open_bundle(bundle)),)
    measure_job(Job((str(bundle),), "onnxruntime", "fp32", 1, shown, 0.0, queries, seed), events.append)
    return events


@pytest.mark.parametrize(("sure_at", "members"), [(0.0, {0}), (1.0, {0, 1})])
def test_of_a_cascade_the_members_that_answered_are_timed_alone(
    bundle_copy: Path, monkeypatch: pytest.MonkeyPatch, sure_at: float, members: set[int]
) -> None:
    asked: list[int] = []
    original = LoadingModel.engine

    def engine(self: LoadingModel, member: int = 0) -> Engine:
        asked.append(member)
        return original(self, member)

    monkeypatch.setattr(LoadingModel, "engine", engine)
    make_ensemble(bundle_copy, {"kind": "cascade", "exits": [sure_at]})
    events = events_of(bundle_copy)
    assert set(asked) == members
    assert [event["scope"] for event in events if event["event"] == "started"] == ["end_to_end", "model_alone"]


def test_pictures_are_drawn_with_replacement_by_the_seed(
    example: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from osteo_edge.predictor import OsteoPredictor

    pictures = [tmp_path / f"{number}.png" for number in range(3)]
    for picture in pictures:
        picture.write_bytes(example.read_bytes())
    shown: list[str] = []
    original = OsteoPredictor.predict

    def predict(self: OsteoPredictor, image: Any, **options: Any) -> Any:
        shown.append(Path(image).name)
        return original(self, image, **options)

    monkeypatch.setattr(OsteoPredictor, "predict", predict)
    orders = []
    for seed in (0, 0, 1):
        shown.clear()
        events_of("knee-mobilenet_v2", *map(str, pictures), queries=12, seed=seed)
        assert shown[:3] == ["0.png", "1.png", "2.png"]  # each once, before anything is counted
        orders.append(shown[3:])
    assert orders[0] == orders[1] != orders[2]
    assert len(orders[0]) == 12
    assert len(set(orders[0])) == 3


def test_an_engine_that_fails_while_it_is_measured_is_an_error_after_what_it_did(monkeypatch: pytest.MonkeyPatch) -> None:
    from osteo_edge.engines.onnx import OnnxEngine

    original, runs = OnnxEngine.run, iter(range(1000))

    def run(self: OnnxEngine, feeds: Any) -> Any:
        if next(runs) >= 6:  # one answer, four queries, one warm-up of the model alone
            raise InferenceError("the engine broke")
        return original(self, feeds)

    monkeypatch.setattr(OnnxEngine, "run", run)
    events: list[Mapping[str, Any]] = []
    picture = reference_picture(open_bundle(DENSITY))
    with pytest.raises(InferenceError, match="broke"):
        measure_job(Job(("knee-mobilenet_v2",), "onnxruntime", "fp32", 1, (picture,), 0.0, 4, 0), events.append)
    (batch,) = (event for event in events if event["event"] == "samples")
    assert len(batch["samples_ms"]) == 4
