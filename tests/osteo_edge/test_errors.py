"""Every error goes through copies, pickles and process pools unchanged."""

from __future__ import annotations

import ast
import copy
import inspect
import multiprocessing
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from osteo_edge.errors import InputError, OsteoEdgeError, UnreadableImageError
from osteo_edge.images import reader

ROOT = Path(__file__).resolve().parents[2]
TREES = ("osteo_edge", "train", "export", "benchmarks")


def error_classes() -> list[type[Exception]]:
    """All of the four trees, found in their sources, so that a new one takes part by itself."""
    found = []
    for tree in TREES:
        for path in sorted((ROOT / tree).rglob("*.py")):
            names = list(_errors_in(path))
            if names:
                module = import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
                found += [getattr(module, name) for name in names]
    return found


def _errors_in(path: Path) -> Iterator[str]:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        bases = {ast.unparse(base).rpartition(".")[2] for base in node.bases} if isinstance(node, ast.ClassDef) else set()
        if isinstance(node, ast.ClassDef) and any(base.endswith(("Error", "Exception", "Warning")) for base in bases):
            yield node.name


def made(kind: type[Exception]) -> Exception:
    """With a message, and text for whatever else its constructor asks for by name."""
    parameters = inspect.signature(kind.__init__).parameters.values()
    named = {one.name: f"the {one.name}" for one in parameters if one.kind is one.KEYWORD_ONLY}
    return kind("what is wrong, and where", **named)


def state(error: BaseException) -> tuple[Any, ...]:
    return type(error), str(error), error.args, vars(error)


def by_pickle(error: Exception) -> Exception:
    remade: Exception = pickle.loads(pickle.dumps(error))
    return remade


def by_oldest_pickle(error: Exception) -> Exception:
    remade: Exception = pickle.loads(pickle.dumps(error, protocol=0))
    return remade


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, by_pickle, by_oldest_pickle])
@pytest.mark.parametrize("kind", error_classes(), ids=lambda kind: kind.__name__)
def test_every_error_is_made_again_whole(kind: type[Exception], again: Callable[[Exception], Exception]) -> None:
    error = made(kind)
    error.add_note("a note")
    assert state(again(error)) == state(error)
    assert hash(error) == hash(error)


def test_the_classes_are_all_found() -> None:
    found = error_classes()
    assert {kind for kind in _below(OsteoEdgeError) if kind.__module__.startswith(TREES)} <= set(found)
    assert {kind.__name__ for kind in found} >= {"InputError", "QualityRejected", "ConfigError", "ExportError"}


def _below(kind: type[OsteoEdgeError]) -> Iterator[type[OsteoEdgeError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _below(child)


class _AskingError(InputError):
    """As a user may derive: its constructor asks for more, and by position."""

    def __init__(self, path: str, line: int) -> None:
        super().__init__(f"{path}, line {line}", code="asking")
        self.line = line


def test_an_error_derived_elsewhere_is_too() -> None:
    assert state(copy.deepcopy(_AskingError("a.csv", 3))) == state(_AskingError("a.csv", 3))


def test_a_process_pool_hands_a_worker_s_error_over_and_goes_on() -> None:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        for _ in range(2):
            with pytest.raises(UnreadableImageError, match="no such file") as raised:
                pool.submit(reader.read, "missing.png").result(timeout=60)
            assert raised.value.code == "not_found"
