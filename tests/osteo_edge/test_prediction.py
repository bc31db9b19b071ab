"""The records at the two ends: compared, hashed, copied, pickled, sent between processes."""

from __future__ import annotations

import copy
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from osteo_edge import OsteoPredictor, Prediction
from osteo_edge.images.reader import read

ROOT = Path(__file__).resolve().parents[2]
Again = Callable[[Any], Any]


@pytest.fixture(scope="module")
def predictor() -> Iterator[OsteoPredictor]:
    with OsteoPredictor(threads=1) as predictor:
        yield predictor


@pytest.fixture(scope="module")
def answers(predictor: OsteoPredictor, example: Path) -> list[Prediction]:
    return [predictor.predict(example, explain=True), *predictor.predict_many(["missing.png"])]


def by_pickle(record: Any) -> Any:
    return pickle.loads(pickle.dumps(record))


AGAIN = pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, by_pickle])


@AGAIN
def test_an_answer_is_made_again_whole(answers: list[Prediction], again: Again) -> None:
    for answer in answers:
        other = again(answer)
        assert other == answer
        assert hash(other) == hash(answer)
        assert other.to_dict() == answer.to_dict()
        assert list(other.probabilities) == list(answer.probabilities)
        for knee, same in zip(answer.knees, other.knees, strict=True):
            assert (hash(same), hash(same.joint), hash(same.box)) == (hash(knee), hash(knee.joint), hash(knee.box))
            np.testing.assert_array_equal(same.saliency, knee.saliency)


@AGAIN
def test_a_radiograph_is_made_again_whole_and_stays_read_only(example: Path, again: Again) -> None:
    radiograph = read(example)
    other = again(radiograph)
    assert (other, hash(other)) == (radiograph, hash(radiograph))
    np.testing.assert_array_equal(other.pixels, radiograph.pixels)
    with pytest.raises(ValueError, match="read-only"):
        other.pixels[0, 0] = 1


def test_radiographs_differ_by_what_was_decoded(example: Path) -> None:
    greys = np.arange(12, dtype=np.uint8)
    shapes = {read(greys.reshape(shape), source="array") for shape in ((3, 4), (4, 3), (3, 4))}
    assert len(shapes) == 2
    assert read(example) != read(example, source="another name")


def test_times_do_not_make_an_answer_another(predictor: OsteoPredictor, example: Path, answers: list[Prediction]) -> None:
    again = predictor.predict(example)
    assert again.timings_ms != answers[0].timings_ms
    assert list(again.timings_ms) == ["read", "quality", "region", "prepare", "run", "decide"]
    assert predictor.predict(example) == again


def test_no_mapping_of_an_answer_can_be_written_to(answers: list[Prediction]) -> None:
    for answer in answers:
        for mapping in (answer.probabilities, answer.image_probabilities, answer.covariates_used, answer.timings_ms):
            with pytest.raises(TypeError, match="does not support item assignment"):
                mapping["normal"] = 1.0  # type: ignore[index]


def test_an_opened_bundle_goes_along(predictor: OsteoPredictor) -> None:
    bundle = by_pickle(predictor.bundle)
    assert (bundle, hash(bundle)) == (predictor.bundle, hash(predictor.bundle))


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_predictor_says_that_it_holds_an_engine(predictor: OsteoPredictor, again: Again) -> None:
    for holder in (predictor, predictor._models[0]):
        with pytest.raises(TypeError, match=r"holds a loaded engine.*each worker process make its own"):
            again(holder)


_POOL = """
import json, sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from osteo_edge import InputError, OsteoPredictor

def start():
    global predictor
    predictor = OsteoPredictor(threads=1)

def answer(path):
    return predictor.predict(path)

if __name__ == "__main__":
    answers, faults = [], []
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=start) as pool:
        for future in [pool.submit(answer, path) for path in sys.argv[1:]]:
            try:
                answers.append(future.result(60).to_dict())
            except InputError as error:
                faults.append(error.code)
    print(json.dumps([answers, faults]))
"""


def test_answers_and_errors_come_back_from_a_process_pool(tmp_path: Path, example: Path, predictor: OsteoPredictor) -> None:
    script = tmp_path / "pool.py"
    script.write_text(_POOL)
    command = [sys.executable, str(script), str(example), "missing.png", str(example)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=120)
    answers, faults = json.loads(done.stdout)
    assert faults == ["not_found"]
    here = predictor.predict(example).to_dict()
    for answer in answers:
        assert answer | {"timings_ms": None} == here | {"timings_ms": None}
