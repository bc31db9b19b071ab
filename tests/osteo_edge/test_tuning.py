"""Measurements of this device: when a stored one holds, what becomes of damaged ones, and how they are made."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from osteo_edge import Bundle, OsteoPredictor, open_bundle
from osteo_edge.engines import measurement, select, tuning
from osteo_edge.engines.device import Processor
from osteo_edge.engines.measurement import MAX_ROUNDS, measure
from osteo_edge.engines.tuning import (
    SCHEMA_VERSION,
    Timing,
    Tuning,
    circumstances,
    find_tuning,
    forget_tuning,
    store_tuning,
    tuning_folder,
)
from osteo_edge.errors import InferenceError, TuningError
from osteo_edge.model import LoadingModel
from osteo_edge.selftest import SelfTestResult
from tests.making import add_precision, rewrite_manifest

THREADS = 2


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where measurements are stored; it does not exist yet."""
    target = tmp_path / "config" / "tuning"
    monkeypatch.setenv("OSTEO_EDGE_TUNING", str(target))
    return target


@pytest.fixture
def bundle() -> Bundle:
    return open_bundle()


@pytest.fixture
def stored(bundle: Bundle) -> Path:
    """A measurement by which LiteRT's fp32 is fastest here."""
    return store_tuning(bundle, tuned(bundle))


def tuned(bundle: Bundle, **changes: Any) -> Tuning:
    timings = (Timing("onnxruntime", "fp32", 4.0, 1.0), Timing("litert", "fp32", 2.0, 2.0))
    made = Tuning(SCHEMA_VERSION, circumstances(bundle, threads=THREADS), "litert", "fp32", timings)
    return replace(made, **changes)


def follows(predictor: OsteoPredictor) -> bool:
    """Whether it runs what is stored, which neither the bundle's own choice nor the last resort is."""
    return (predictor.model.engine, predictor.model.precision) == ("litert", "fp32")


def test_nothing_is_stored_at_first_and_reading_makes_nothing(bundle: Bundle, folder: Path) -> None:
    assert find_tuning(bundle, threads=THREADS) == tuning.Found()
    assert not folder.exists()


def test_a_stored_measurement_is_found_again(bundle: Bundle, stored: Path, folder: Path) -> None:
    assert find_tuning(bundle, threads=THREADS) == tuning.Found(tuned(bundle))
    assert find_tuning(bundle, threads=THREADS).pair == ("litert", "fp32")
    assert [path.name for path in folder.iterdir()] == [stored.name]


@pytest.mark.usefixtures("stored")
def test_auto_follows_it_everywhere(example: Path) -> None:
    assert LoadingModel(threads=THREADS).choices[0].engine == "litert"
    with OsteoPredictor(threads=THREADS) as predictor:
        assert predictor.predict(example).model.engine == "litert"
    assert OsteoPredictor(threads=THREADS, engine="onnxruntime").model.engine == "onnxruntime"
    assert not follows(OsteoPredictor(threads=1)), "measured with other threads"


@pytest.mark.usefixtures("stored")
def test_what_is_asked_for_is_not_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("osteo_edge.model.find_tuning", lambda *_, **__: pytest.fail("read without need"))
    LoadingModel(engine="onnxruntime", precision="fp32").close()


def test_a_change_of_the_bundle_counts(bundle_copy: Path, stored: Path) -> None:
    rewrite_manifest(bundle_copy, lambda manifest: manifest.update(version="9.9"))
    found = find_tuning(open_bundle(bundle_copy), threads=THREADS)
    assert (found.pair, found.ignored_because) == (None, "the bundle changed")


@pytest.mark.usefixtures("stored")
def test_a_change_of_the_processor_counts(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    here = circumstances(bundle, threads=THREADS).processor
    others = (
        Processor("other", here.architecture, here.features),
        Processor(here.model, "other", here.features),
        Processor(here.model, here.architecture, here.features[:-1]),
    )
    for other in others:
        monkeypatch.setattr(tuning, "processor", lambda other=other: other)
        assert find_tuning(bundle, threads=THREADS).ignored_because == "the processor changed"


@pytest.mark.usefixtures("stored")
def test_a_change_of_an_engine_counts(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    real = select.installed_version
    for version in ("other-9.9", None):
        monkeypatch.setattr(
            tuning, "installed_version", lambda name, version=version: version if name == "litert" else real(name)
        )
        assert find_tuning(bundle, threads=THREADS).ignored_because == "the installed engines changed"


@pytest.mark.usefixtures("stored")
def test_a_change_of_threads_or_version_counts(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_tuning(bundle, threads=1).ignored_because == "it was measured with 2 threads"
    monkeypatch.setattr(tuning, "__version__", "9.9")
    assert find_tuning(bundle, threads=THREADS).ignored_because == "osteo-edge changed"


def test_what_the_bundle_does_not_accept_is_never_chosen(bundle: Bundle) -> None:
    store_tuning(bundle, tuned(bundle, engine="onnxruntime", precision="fp16"))
    assert find_tuning(bundle, threads=THREADS).ignored_because == "the bundle does not accept onnxruntime fp16"


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"\xff\xfe", b"{}", b'{"schema_version": 1}', b"0" * (1 << 17), "link", "folder", "extra", "version"],
)
def test_a_damaged_file_is_told_and_does_no_harm(bundle: Bundle, stored: Path, content: object) -> None:
    plain = json.loads(stored.read_text())
    if content in ("extra", "version"):
        stored.write_text(json.dumps(plain | ({"surprise": 1} if content == "extra" else {"schema_version": 2})))
    else:
        stored.unlink()
        if content == "link":
            stored.symlink_to("/etc/hostname")
        elif content == "folder":
            stored.mkdir()
        elif isinstance(content, bytes):
            stored.write_bytes(content)
    found = find_tuning(bundle, threads=THREADS)
    assert found.tuning is None
    assert found.ignored_because
    assert not follows(OsteoPredictor(threads=THREADS))


def test_forgetting(bundle: Bundle, stored: Path) -> None:
    assert forget_tuning(bundle)
    assert not stored.exists()
    assert not forget_tuning(bundle)


def test_a_folder_that_cannot_be_made_is_named(bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("OSTEO_EDGE_TUNING", str(tmp_path / "file" / "tuning"))
    with pytest.raises(TuningError, match="cannot be made"):
        store_tuning(bundle, tuned(bundle))
    assert find_tuning(bundle, threads=THREADS) == tuning.Found()
    assert not forget_tuning(bundle)


def test_a_disk_that_is_full_leaves_what_was_there(
    bundle: Bundle, stored: Path, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TuningError, match="No space left"):
        store_tuning(bundle, tuned(bundle, engine="onnxruntime"))
    assert find_tuning(bundle, threads=THREADS).pair == ("litert", "fp32")
    assert os.listdir(folder) == [stored.name]


def test_the_folder_follows_the_user_s(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("OSTEO_EDGE_TUNING")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert tuning_folder() == tmp_path / "osteo-edge" / "tuning"
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert tuning_folder() == tmp_path / "home" / ".config" / "osteo-edge" / "tuning"


class _Clock:
    """Time that passes only when an engine runs."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class _Engine:
    """Takes as long as it is told to, and rather longer the first time."""

    def __init__(self, clock: _Clock, seconds: float, order: list[float]) -> None:
        self._clock, self._seconds, self._order, self._is_cold = clock, seconds, order, True
        self.inputs = (type("Input", (), {"name": "image"})(),)

    def run(self, feeds: dict[str, Any]) -> dict[str, Any]:
        assert list(feeds) == ["image"]
        self._order.append(self._seconds)
        self._clock.now += self._seconds * (100 if self._is_cold else 1)
        self._is_cold = False
        return {}

    def close(self) -> None:
        self._order.append(-self._seconds)


@pytest.fixture
def clock() -> _Clock:
    return _Clock()


@pytest.fixture
def order(monkeypatch: pytest.MonkeyPatch, clock: _Clock) -> Iterator[list[float]]:
    """Which engine was run when, by its seconds; closing is written with a minus."""
    order: list[float] = []
    seconds = {("onnxruntime", "fp32"): 0.04, ("litert", "fp32"): 0.02, ("litert", "fp16"): 0.01}

    def open_member(bundle: Bundle, member: object, choice: select.EngineChoice, *, threads: int) -> _Engine:
        assert threads == THREADS
        return _Engine(clock, seconds[choice.engine, choice.precision], order)

    monkeypatch.setattr(measurement, "open_member", open_member)
    yield order
    assert sorted(one for one in order if one < 0) == sorted(-one for one in set(order) if one > 0), "all were closed"


def accept(bundle_copy: Path) -> Bundle:
    """A bundle that accepts fp32 everywhere and fp16 for LiteRT, whatever the embedded one does."""
    accepted = {"onnxruntime": ["fp32"], "litert": ["fp32", "fp16"]}
    defaults = {"onnxruntime": "fp32", "litert": "fp32"}

    def change(manifest: dict[str, Any]) -> None:
        manifest["members"][0] |= {"accepted": accepted, "default_precision": defaults}
        manifest["choices"] = []

    return open_bundle(rewrite_manifest(add_precision(bundle_copy, "litert", "fp16"), change))


def test_the_fastest_by_median_wins(bundle_copy: Path, clock: _Clock, order: list[float]) -> None:
    bundle = accept(bundle_copy)
    told: list[float] = []
    measured = measure(bundle, threads=THREADS, clock=clock, on_progress=told.append, budget_s=1e9)
    made = measured.tuning
    assert (made.engine, made.precision, measured.left_out) == ("litert", "fp16", {})
    assert made.circumstances == circumstances(bundle, threads=THREADS)
    assert [(one.engine, one.precision) for one in made.timings] == [
        ("onnxruntime", "fp32"),
        ("litert", "fp32"),
        ("litert", "fp16"),
    ]
    assert [one.median_ms for one in made.timings] == pytest.approx([40, 20, 10])
    assert [one.times_as_fast for one in made.timings] == pytest.approx([1, 2, 4])
    assert len(told) == MAX_ROUNDS
    assert told == sorted(told)
    assert told[-1] == 1.0


def test_all_take_turns_until_the_budget_is_spent(bundle_copy: Path, clock: _Clock, order: list[float]) -> None:
    measure(accept(bundle_copy), threads=THREADS, clock=clock, budget_s=7.1)
    ran = [one for one in order if one > 0]
    assert ran == [0.04, 0.02, 0.01] * 3, "a warm-up and two rounds"
    order.clear()
    slow = measure(accept(bundle_copy), threads=THREADS, clock=clock, budget_s=1e-9)
    assert [one for one in order if one > 0] == [0.04, 0.02, 0.01] * 2, "each runs once, however slow the device"
    assert slow.tuning.precision == "fp16"


def _failing(*paths: str) -> Any:
    return lambda bundle: [SelfTestResult(path, "engine", "precision", "failed", "off by 0.5") for path in paths]


def test_what_fails_its_self_test_here_is_left_out(
    bundle_copy: Path, clock: _Clock, order: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = accept(bundle_copy)
    files = bundle.manifest.members[0].files
    monkeypatch.setattr(measurement, "run_self_test", _failing(files["litert"]["fp16"]))
    measured = measure(bundle, threads=THREADS, clock=clock)
    assert (measured.tuning.engine, measured.tuning.precision) == ("litert", "fp32")
    assert measured.left_out == {("litert", "fp16"): "off by 0.5"}


def test_nothing_is_chosen_where_everything_fails(bundle_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = accept(bundle_copy)
    every = [path for by_precision in bundle.manifest.members[0].files.values() for path in by_precision.values()]
    monkeypatch.setattr(measurement, "run_self_test", _failing(*every))
    with pytest.raises(InferenceError, match=r"onnxruntime fp32: off by 0\.5"):
        measure(bundle, threads=THREADS)
