from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from train import cache, folds
from train.finetune import Epoch
from train.folds import FoldResult, in_order, run_folds
from train.material import Material


def _result(fold: int) -> FoldResult:
    history = (Epoch(0, 1.1, 1.2, 0.5), Epoch(1, 1.0, None, None))
    rows = [[float(fold), 0.0, 0.0], [float(fold), 1.0, 1.0]]
    return FoldResult("joint", {"joint": {"macro_auc": 0.5}}, 1, (history,), logits=rows, frozen=rows, seconds=2.0)


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
