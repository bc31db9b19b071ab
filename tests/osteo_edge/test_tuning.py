"""Measurements of this device: when a stored one holds, what becomes of damaged ones, and how they are made."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from osteo_edge import Bundle, OsteoPredictor, open_bundle
from osteo_edge.device import Processor
from osteo_edge.engines import select
from osteo_edge.engines import stored as stored_choice
from osteo_edge.engines.stored import (
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
from osteo_edge.selftest import SelfTestResult, reference_pixels
from osteo_edge.tuning import measurement
from osteo_edge.tuning.agreement import compare_answers, variations
from osteo_edge.tuning.measurement import MAX_ROUNDS, MIN_ROUNDS, Faster, measure
from tests.bundles import DENSITY
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
    return open_bundle(DENSITY)


@pytest.fixture
def stored(bundle: Bundle) -> Path:
    """A measurement by which LiteRT's fp16 is fastest here."""
    return store_tuning(bundle, tuned(bundle))


def tuned(bundle: Bundle, **changes: Any) -> Tuning:
    timings = (Timing("onnxruntime", "fp32", 4.0, 1.0, 0.01), Timing("litert", "fp16", 2.0, 2.0, 0.02))
    made = Tuning(SCHEMA_VERSION, circumstances(bundle, threads=THREADS), "litert", "fp16", timings)
    return replace(made, **changes)


def follows(predictor: OsteoPredictor) -> bool:
    """Whether it runs what is stored, which neither the bundle's own choice nor the last resort is."""
    return (predictor.model.engine, predictor.model.precision) == ("litert", "fp16")


def test_nothing_is_stored_at_first_and_reading_makes_nothing(bundle: Bundle, folder: Path) -> None:
    assert find_tuning(bundle, threads=THREADS) == stored_choice.Found()
    assert not folder.exists()


def test_a_stored_measurement_is_found_again(bundle: Bundle, stored: Path, folder: Path) -> None:
    assert find_tuning(bundle, threads=THREADS) == stored_choice.Found(tuned(bundle))
    assert find_tuning(bundle, threads=THREADS).pair == ("litert", "fp16")
    assert [path.name for path in folder.iterdir()] == [stored.name]


@pytest.mark.usefixtures("stored")
def test_auto_follows_it_everywhere(example: Path) -> None:
    assert LoadingModel(DENSITY, threads=THREADS).choices[0].engine == "litert"
    with OsteoPredictor(DENSITY, threads=THREADS) as predictor:
        assert predictor.predict(example).model.engine == "litert"
    assert OsteoPredictor(DENSITY, threads=THREADS, engine="onnxruntime").model.engine == "onnxruntime"
    assert not follows(OsteoPredictor(DENSITY, threads=1)), "measured with other threads"


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
        monkeypatch.setattr(stored_choice, "processor", lambda other=other: other)
        assert find_tuning(bundle, threads=THREADS).ignored_because == "the processor changed"


@pytest.mark.usefixtures("stored")
def test_a_change_of_an_engine_counts(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    real = select.installed_version
    for version in ("other-9.9", None):
        monkeypatch.setattr(
            stored_choice, "installed_version", lambda name, version=version: version if name == "litert" else real(name)
        )
        assert find_tuning(bundle, threads=THREADS).ignored_because == "the installed engines changed"


@pytest.mark.usefixtures("stored")
def test_a_change_of_threads_or_version_counts(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_tuning(bundle, threads=1).ignored_because == "it was measured with 2 threads"
    monkeypatch.setattr(stored_choice, "__version__", "9.9")
    assert find_tuning(bundle, threads=THREADS).ignored_because == "osteo-edge changed"


def test_what_the_bundle_does_not_accept_is_never_chosen(bundle: Bundle) -> None:
    store_tuning(bundle, tuned(bundle, engine="onnxruntime", precision="fp16"))
    assert find_tuning(bundle, threads=THREADS).ignored_because == "the bundle does not accept onnxruntime fp16"


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"\xff\xfe", b"{}", b'{"schema_version": 2}', b"0" * (1 << 17), "link", "folder", "extra", "version"],
)
def test_a_damaged_file_is_told_and_does_no_harm(bundle: Bundle, stored: Path, content: object) -> None:
    plain = json.loads(stored.read_text())
    if content in ("extra", "version"):
        stored.write_text(json.dumps(plain | ({"surprise": 1} if content == "extra" else {"schema_version": 1})))
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
    assert not follows(OsteoPredictor(DENSITY, threads=THREADS))


def test_forgetting(bundle: Bundle, stored: Path) -> None:
    assert forget_tuning(bundle)
    assert not stored.exists()
    assert not forget_tuning(bundle)


def test_a_folder_that_cannot_be_made_is_named(bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("OSTEO_EDGE_TUNING", str(tmp_path / "file" / "tuning"))
    with pytest.raises(TuningError, match="cannot be made"):
        store_tuning(bundle, tuned(bundle))
    assert find_tuning(bundle, threads=THREADS) == stored_choice.Found()
    assert not forget_tuning(bundle)


def test_a_disk_that_is_full_leaves_what_was_there(
    bundle: Bundle, stored: Path, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TuningError, match="No space left"):
        store_tuning(bundle, tuned(bundle, engine="onnxruntime"))
    assert find_tuning(bundle, threads=THREADS).pair == ("litert", "fp16")
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
    """Takes as long as it is told to, in one run after the other, and rather longer the first time."""

    def __init__(self, clock: _Clock, seconds: Sequence[float], order: list[float]) -> None:
        self._clock, self._seconds, self._order, self._is_cold = clock, seconds[0], order, True
        self._next = cycle(seconds)
        self.inputs = (type("Input", (), {"name": "image"})(),)

    def run(self, feeds: dict[str, Any]) -> dict[str, Any]:
        assert list(feeds) == ["image"]
        self._order.append(self._seconds)
        self._clock.now += self._seconds * 100 if self._is_cold else next(self._next)
        self._is_cold = False
        return {}

    def close(self) -> None:
        self._order.append(-self._seconds)


@pytest.fixture
def clock() -> _Clock:
    return _Clock()


@pytest.fixture
def seconds() -> dict[tuple[str, str], Sequence[float]]:
    """How long each takes, one run after the other and then from the start."""
    return {("onnxruntime", "fp32"): (0.04,), ("litert", "fp32"): (0.02,), ("litert", "fp16"): (0.01,)}


@pytest.fixture
def order(
    monkeypatch: pytest.MonkeyPatch, clock: _Clock, seconds: dict[tuple[str, str], Sequence[float]]
) -> Iterator[list[float]]:
    """Which engine was run when, by its first seconds; closing is written with a minus."""
    order: list[float] = []
    opened = 0

    def open_member(bundle: Bundle, member: object, choice: select.EngineChoice, *, threads: int) -> _Engine:
        nonlocal opened
        opened += 1
        assert threads == THREADS
        return _Engine(clock, seconds[choice.engine, choice.precision], order)

    monkeypatch.setattr(measurement, "open_member", open_member)
    yield order
    assert sum(one < 0 for one in order) == opened, "all were closed"


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
    assert [one.scatter for one in made.timings] == pytest.approx([0, 0, 0])
    assert (measured.faster, measured.exact) == (None, ("onnxruntime", "fp32"))
    assert len(told) == MAX_ROUNDS
    assert told == sorted(told)
    assert told[-1] == 1.0


def test_all_take_turns_until_the_budget_is_spent(bundle_copy: Path, clock: _Clock, order: list[float]) -> None:
    measure(accept(bundle_copy), threads=THREADS, clock=clock, budget_s=7.5)
    ran = [one for one in order if one > 0]
    assert ran == [0.04, 0.02, 0.01] * 9, "a warm-up of 7 s, and as many rounds of 0.07 s as 0.5 s take"
    ran_before = len(order)
    told: list[float] = []
    slow = measure(accept(bundle_copy), threads=THREADS, clock=clock, budget_s=1e-9, on_progress=told.append)
    ran = [one for one in order[ran_before:] if one > 0]
    assert ran == [0.04, 0.02, 0.01] * (1 + MIN_ROUNDS), "as many as tell more than chance, however slow the device"
    assert slow.tuning.precision == "fp16"
    assert told == pytest.approx([number / MIN_ROUNDS for number in range(1, MIN_ROUNDS + 1)])


def kept(bundle: Bundle, clock: _Clock, **options: Any) -> tuple[str, str, Faster | None]:
    measured = measure(bundle, threads=THREADS, clock=clock, budget_s=1e9, **options)
    return measured.tuning.engine, measured.tuning.precision, measured.faster


@pytest.mark.parametrize(
    ("fp32", "fp16", "expected"),
    [
        # Equal; then twice a lower median, but only 70 of 100 rounds won; then little, but beyond the noise.
        ((0.020,), (0.020,), ("fp32", None)),
        ((0.020,), (*[0.018] * 7, *[0.030] * 3), ("fp32", 70)),
        ((*[0.018, 0.022] * 5,), (*[0.017] * 2, 0.023, 0.021, *[0.017] * 4, 0.023, 0.024), ("fp32", 70)),
        ((0.020,), (*[0.0199] * 8, *[0.030] * 2), ("fp16", None)),
        # The machine slows down by half in the middle, for both alike.
        ((*[0.020] * 50, *[0.030] * 50), (*[0.019] * 50, *[0.029] * 50), ("fp16", None)),
    ],
)
def test_a_less_exact_file_must_be_faster_beyond_the_noise(
    bundle_copy: Path,
    clock: _Clock,
    seconds: dict[tuple[str, str], Sequence[float]],
    order: list[float],
    fp32: Sequence[float],
    fp16: Sequence[float],
    expected: tuple[str, int | None],
) -> None:
    seconds["litert", "fp32"], seconds["litert", "fp16"] = fp32, fp16
    precision, won = expected
    faster = None if won is None else Faster("litert", "fp16", won, 100)
    assert kept(accept(bundle_copy), clock) == ("litert", precision, faster)


def test_few_rounds_must_all_be_won(
    bundle_copy: Path, clock: _Clock, seconds: dict[tuple[str, str], Sequence[float]], order: list[float]
) -> None:
    seconds["litert", "fp16"] = (0.01, 0.01, 0.03, 0.01, 0.01, 0.01)
    measured = measure(accept(bundle_copy), threads=THREADS, clock=clock, budget_s=1e-9)
    assert (measured.tuning.precision, measured.faster) == ("fp32", Faster("litert", "fp16", 5, MIN_ROUNDS))


def test_among_level_ones_the_most_exact_is_kept_whatever_the_fastest(
    bundle_copy: Path, clock: _Clock, seconds: dict[tuple[str, str], Sequence[float]], order: list[float]
) -> None:
    """LiteRT's fp16 beats neither of the fp32 files, of which the one that is taken without a measurement is kept."""
    bundle = accept(bundle_copy)
    seconds |= {
        ("onnxruntime", "fp32"): (0.0200,),
        ("litert", "fp32"): (0.0199,),
        ("litert", "fp16"): (*[0.0198] * 6, *[0.03] * 4),
    }
    assert kept(bundle, clock)[:2] == ("litert", "fp32"), "it beat the other in every round"
    seconds["litert", "fp32"] = (*[0.0199] * 6, *[0.03] * 4)
    assert kept(bundle, clock) == ("onnxruntime", "fp32", Faster("litert", "fp16", 60, 100))
    preferred = {"architecture": "", "engine": "litert", "features": [], "precision": "fp32"}
    rewrite_manifest(bundle.root, lambda manifest: manifest.update(choices=[preferred]))
    seconds["litert", "fp32"] = (0.0200,)
    assert kept(open_bundle(bundle.root), clock)[:2] == ("litert", "fp32")


STAT = "cpu  {} 10 20 1000 50 1 2 3 0 0\ncpu0 1 1 1 1\n"


@pytest.mark.parametrize(
    ("used", "own", "seconds_passed", "others", "is_busy"),
    [
        (2000, 20.0, 10.0, 0.0, False),
        (2500, 20.0, 10.0, 0.5, True),
        (2100, 20.0, 10.0, 0.1, False),
        (2500, 20.0, 0.5, None, False),
    ],
)
def test_the_work_of_other_programs_is_told(
    bundle_copy: Path,
    clock: _Clock,
    order: list[float],
    monkeypatch: pytest.MonkeyPatch,
    used: int,
    own: float,
    seconds_passed: float,
    others: float | None,
    is_busy: bool,
) -> None:
    """In ticks of 1/100 s: what all used meanwhile, of which ``own`` seconds were this process's."""
    moments = iter([(STAT.format(5000), 3.0, 100.0), (STAT.format(5000 + used), 3.0 + own, 100.0 + seconds_passed)])
    moment: list[tuple[str, float, float]] = []

    def read(path: Path, mode: str) -> io.BytesIO:
        assert (path, mode) == (Path("/proc/stat"), "rb")
        moment[:] = [next(moments)]
        return io.BytesIO(moment[0][0].encode())

    bundle = accept(bundle_copy)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(os, "sysconf", lambda name: {"SC_CLK_TCK": 100}[name])
    monkeypatch.setattr(os, "times", lambda: (moment[0][1], 0.0, 0.0, 0.0, 0.0))
    monkeypatch.setattr(measurement.time, "monotonic", lambda: moment[0][2])
    with monkeypatch.context() as patched:
        patched.setattr(measurement, "Path", lambda name: type("Stat", (), {"open": lambda _, mode: read(Path(name), mode)})())
        measured = measure(bundle, threads=THREADS, clock=clock, budget_s=1e-9)
    assert measured.other_work == (None if others is None else pytest.approx(others))
    assert measured.is_busy == is_busy


def test_a_system_that_does_not_tell_is_not_called_busy(
    bundle_copy: Path, clock: _Clock, order: list[float], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bundle = accept(bundle_copy)
    for content in (None, "", "cpu\n", "cpu a b c d e f g h\n"):
        place = tmp_path / "stat"
        if content is not None:
            place.write_text(content)
        with monkeypatch.context() as patched:
            patched.setattr(measurement, "Path", lambda _, place=place: place)
            measured = measure(bundle, threads=THREADS, clock=clock, budget_s=1e-9)
        assert (measured.other_work, measured.is_busy) == (None, False)


def test_variations_are_many_and_always_the_same(bundle: Bundle) -> None:
    shown = list(variations(bundle))
    assert len({one.tobytes() for one in shown}) == len(shown) == 36
    assert np.array_equal(shown[0], reference_pixels(bundle))
    assert all(np.array_equal(one, other) for one, other in zip(shown, variations(bundle), strict=True))


def test_the_same_file_answers_alike(bundle: Bundle, example: Path, tmp_path: Path) -> None:
    (tmp_path / "no picture.png").write_text("text")
    exact = ("onnxruntime", "fp32")
    found = compare_answers(bundle, exact, exact, [example, tmp_path / "no picture.png", tmp_path / "missing"], threads=THREADS)
    assert (found.engine, found.precision) == exact
    assert (found.pictures, found.different, found.largest_difference) == (1, 0, 0.0)
    nothing = compare_answers(bundle, exact, exact, [tmp_path / "missing"], threads=THREADS)
    assert (nothing.pictures, nothing.different, nothing.largest_difference) == (0, 0, 0.0)


def test_another_file_s_answers_are_counted(bundle: Bundle) -> None:
    """The counts are made again here, by hand, from both predictors' answers."""
    exact, reduced = ("onnxruntime", "fp32"), ("onnxruntime", "int8")
    if not select.is_accepted(bundle.manifest.members, *reduced):
        pytest.skip("the embedded bundle has no such file")
    shown = list(variations(bundle))[:12]
    found = compare_answers(bundle, reduced, exact, shown, threads=1)
    answers = []
    for engine, precision in (reduced, exact):
        with OsteoPredictor(DENSITY, engine=engine, precision=precision, threads=1) as predictor:
            answers.append([predictor.predict(one) for one in shown])
    pairs = [pair for pair in zip(*answers, strict=True) if all(one.probabilities for one in pair)]
    largest = max(
        abs(one.probabilities[label] - other.probabilities[label]) for one, other in pairs for label in one.probabilities
    )
    assert found.pictures == len(pairs)
    assert found.different == sum(
        (one.status, one.likeliest, one.label_set) != (other.status, other.likeliest, other.label_set) for one, other in pairs
    )
    assert found.largest_difference == pytest.approx(largest)
    assert found.largest_difference > 1e-4, "the files are two"


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
