from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from osteo_edge.integrity import sha256_hex
from train.runs.folder import RunError
from train.runs.scores import Scores, group_digests, log_probabilities, read_scores, write_scores

RESULTS = Path(__file__).parents[3] / "train" / "results"
DIGESTS = tuple(sha256_hex(bytes([number])) for number in range(6))
GROUPS = group_digests(["p1", "p1", "p2", "p3", "p4", "p5"], DIGESTS)
LABELS = np.array([0, 0, 1, 1, 2, 2])


def scores(name: str, seed: int = 0) -> Scores:
    rng = np.random.default_rng(seed)
    return Scores(name, DIGESTS, LABELS, GROUPS, rng.integers(3, size=(2, 6)), rng.normal(size=(2, 6, 3)))


def test_written_and_read_again(tmp_path: Path) -> None:
    written = {"model": scores("model"), "age_sex": scores("age_sex", seed=1)}
    write_scores(tmp_path, written.values())
    read = read_scores(tmp_path)
    assert list(read) == ["model", "age_sex"]
    for name, one in read.items():
        again = one.subset(DIGESTS)
        assert again.groups == GROUPS
        assert again.labels.tolist() == LABELS.tolist()
        np.testing.assert_array_equal(again.fold_of, written[name].fold_of)
        np.testing.assert_array_equal(again.logits, written[name].logits)
        np.testing.assert_allclose(one.probabilities.sum(axis=-1), 1)


def test_radiographs_are_the_keys(tmp_path: Path) -> None:
    write_scores(tmp_path, [scores("model")])
    assert set(json.loads((tmp_path / "oof.json").read_text())["radiographs"]) == set(DIGESTS)


def test_the_committed_run_is_read() -> None:
    model = read_scores(RESULTS / "knee-mobilenet_v2")["model"]
    assert model.logits.shape == (model.fold_of.shape[0], len(model.digests), 3)
    assert set(np.unique(model.labels)) == {0, 1, 2}


def test_first_schema(tmp_path: Path) -> None:
    radiographs = {digest: {"label": "osteopenia", "fold": 2, "logits": [0.0, 1.0, 2.0]} for digest in DIGESTS}
    plain = {"schema_version": 1, "labels": ["normal", "osteopenia", "osteoporosis"], "radiographs": radiographs}
    (tmp_path / "oof.json").write_text(json.dumps(plain))
    model = read_scores(tmp_path)["model"]
    assert model.logits.shape == (1, 6, 3)
    assert model.fold_of.tolist() == [[2] * 6]
    assert len(set(model.groups)) == 6


def test_probabilities_of_zero_come_back() -> None:
    probabilities = np.array([[0.0, 0.25, 0.75], [1.0, 0.0, 0.0]])
    one = dataclasses.replace(scores("x"), logits=log_probabilities(probabilities)[np.newaxis])
    np.testing.assert_allclose(one.probabilities[0], probabilities, atol=1e-29)


def test_group_digests_tell_no_name_and_keep_groups() -> None:
    assert GROUPS[0] == GROUPS[1]
    assert len(set(GROUPS)) == 5
    assert sha256_hex(b"p1") not in GROUPS


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"groups": ("p1",) * 6}, "must be digests"),
        ({"logits": np.full((2, 6, 3), np.nan)}, "not a finite number"),
        ({"logits": np.zeros((1, 6, 3))}, "another shape"),
        ({"logits": np.zeros((0, 6, 3))}, "no scores"),
        ({"digests": DIGESTS[:1] * 6}, "radiograph twice"),
    ],
)
def test_unfit_scores_are_not_written(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(RunError, match=message):
        write_scores(tmp_path, [dataclasses.replace(scores("model"), **change)])
    assert not (tmp_path / "oof.json").exists()


def test_systems_must_be_of_the_same_radiographs(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="same radiographs"):
        write_scores(tmp_path, [scores("model"), scores("short").subset(DIGESTS[:4])])
    with pytest.raises(RunError, match="one name"):
        write_scores(tmp_path, [scores("model"), scores("model")])
    with pytest.raises(RunError, match="no system"):
        write_scores(tmp_path, [])


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("schema_version", 3, "version 1 or 2"),
        ("labels", ["a", "b", "c"], "its labels are"),
        ("systems", {"model": {"folds": [[0] * 6]}}, "damaged"),
        ("systems", {"model": {"folds": [[0] * 6], "logits": [[[0.0, 0.0]] * 6]}}, "another shape"),
        ("systems", {"model": {"folds": [[0] * 6], "logits": [[0.0], [0.0, 1.0]]}}, "damaged"),
        ("systems", [], "damaged"),
        ("radiographs", [], "damaged"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, key: str, value: Any, message: str) -> None:
    write_scores(tmp_path, [scores("model")])
    path = tmp_path / "oof.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(RunError, match=message) as raised:
        read_scores(tmp_path)
    assert "oof.json" in str(raised.value)


@pytest.mark.parametrize("text", ["", "[1, 2]", "{", '{"schema_version": NaN}'])
def test_files_that_are_no_scores(tmp_path: Path, text: str) -> None:
    (tmp_path / "oof.json").write_text(text)
    with pytest.raises(RunError, match=r"oof\.json"):
        read_scores(tmp_path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"oof\.json.*cannot be read"):
        read_scores(tmp_path)
