"""osteo-edge against what else a user would pick: the harness, its figures, and that the peers answer alike."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks import installed
from benchmarks.__main__ import main
from benchmarks.peers import entrants, records, worker
from benchmarks.peers import programme as asked_of
from benchmarks.peers.chart import draw
from benchmarks.peers.entrants import OWN, Entrant, Field, Package
from benchmarks.peers.programme import Programme, Shown
from benchmarks.peers.records import COLD, FOLDER, IMAGE, Participant, Peers, Ratio
from benchmarks.peers.rounds import SAME_ANSWER, Contest, exact_answers, job, ratio_of, rows_of
from benchmarks.peers.table import table
from benchmarks.peers.worker import obey, open_way
from osteo_edge import OsteoPredictor
from osteo_edge.bundle import Bundle, open_bundle

BUNDLE = "knee-mobilenet_v2"
EXAMPLE = Path("examples/synthetic-knee.png")
OTHERS = tuple(filter(None, os.environ.get("OSTEO_EDGE_PEERS_PYTHON", "").split(os.pathsep)))


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return open_bundle(BUNDLE)


@pytest.fixture(scope="module")
def shown(bundle: Bundle) -> tuple[Shown, ...]:
    return tuple(asked_of.examine(bundle, [str(EXAMPLE.resolve())]))


@pytest.fixture(scope="module")
def candidates(bundle: Bundle) -> dict[str, Entrant]:
    """Engine and precision -> entrant of the embedded bundle."""
    return {f"{one.engine} {one.precision}": one for one in entrants._of_bundles([bundle], {})}


def own(candidates: dict[str, Entrant]) -> Entrant:
    return next(one for one in candidates.values() if one.is_own)


# The figures.


def test_a_ratio_is_of_the_rounds_and_its_interval_of_the_rounds_that_were_drawn() -> None:
    base = np.array([10.0, 100.0, 20.0, 40.0, 1.0])
    assert ratio_of((base * 3).tolist(), base.tolist()) == Ratio(3.0, 3.0, 3.0)
    wide = ratio_of([10, 20, 30, 40, 50], [10] * 5)
    assert wide.value == 3.0
    assert 1.0 <= wide.low < 3.0 < wide.high <= 5.0
    assert wide == ratio_of([10, 20, 30, 40, 50], [10] * 5)


def test_rounds_that_only_one_finished_are_not_compared() -> None:
    assert ratio_of([2.0, 4.0, 900.0], [1.0, 2.0]) == Ratio(2.0, 2.0, 2.0)


def test_every_series_is_beside_the_default_and_beside_the_same_network(candidates: dict[str, Entrant]) -> None:
    small = replace(own(candidates), name="small", network="a")
    large = replace(own(candidates), name="large", network="b")
    peer = replace(small, name="peer", network="b", engine="keras")
    alone = replace(peer, name="alone", network="c")
    samples = {
        ("small", IMAGE, 1): [1.0, 2.0],
        ("large", IMAGE, 1): [4.0, 8.0],
        ("peer", IMAGE, 1): [8.0, 16.0],
        ("alone", IMAGE, 1): [3.0, 6.0],
        ("peer", COLD, None): [5.0],
        ("gone", IMAGE, 1): [1.0],
    }
    rows = {(row.entrant, row.task): row for row in rows_of(samples, [small, large, peer, alone])}
    assert set(rows) == {("small", IMAGE), ("large", IMAGE), ("peer", IMAGE), ("alone", IMAGE), ("peer", COLD)}
    assert rows["small", IMAGE].times_default is None
    assert (rows["large", IMAGE].times_default, rows["large", IMAGE].times_same) == (Ratio(4.0, 4.0, 4.0), None)
    assert (rows["peer", IMAGE].times_default, rows["peer", IMAGE].times_same) == (Ratio(8.0, 8.0, 8.0), Ratio(2.0, 2.0, 2.0))
    assert (rows["alone", IMAGE].times_default, rows["alone", IMAGE].times_same) == (Ratio(3.0, 3.0, 3.0), None)
    assert rows["peer", COLD].times_default is None
    assert rows["peer", IMAGE].median_ms == 12.0


# Answers.


@pytest.mark.parametrize("kind", ["onnxruntime fp32", "litert fp32"])
def test_a_script_on_the_same_network_answers_as_osteo_edge_does(
    kind: str, candidates: dict[str, Entrant], shown: tuple[Shown, ...], bundle: Bundle
) -> None:
    if kind.startswith("litert"):
        pytest.importorskip("ai_edge_litert")
    way = open_way(job(candidates[kind], 1, shown))
    (expected,) = exact_answers(bundle, [shown[0].path])
    assert way.answers([0, 0]) == [pytest.approx(expected, abs=SAME_ANSWER)] * 2


def test_two_knees_are_one_answer_wherever_the_batches_end(
    candidates: dict[str, Entrant], shown: tuple[Shown, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine that takes any number of knees at a time, and one knee of a picture in another batch than the other."""
    exact = candidates["onnxruntime fp32"]
    sizes: list[int] = []

    def opened(model: str, threads: int | None) -> Any:
        run = worker._open_onnxruntime(model, threads)

        def in_batches(knees: Any) -> Any:
            sizes.append(len(knees))
            return np.concatenate([run(knee[np.newaxis]) for knee in knees])

        return in_batches

    monkeypatch.setitem(worker._OPENERS, "keras", opened)
    monkeypatch.setattr(worker, "KERAS_BATCH", 3)
    two = replace(shown[0], joints=(shown[0].joints[0], replace(shown[0].joints[0], x_px=shown[0].joints[0].x_px + 40)))
    pictures = (two, shown[0], two)
    singly = open_way(job(exact, 1, pictures))
    together = open_way(job(replace(exact, engine="keras"), 1, pictures))
    assert together.answers([0, 1, 2]) == [pytest.approx(one, abs=1e-6) for one in singly.answers([0, 1, 2])]
    assert sizes == [3, 2]
    assert singly.answers([0]) != singly.answers([1])


def test_osteo_edge_is_asked_for_the_file_alone(candidates: dict[str, Entrant], shown: tuple[Shown, ...]) -> None:
    told = job(own(candidates), 1, shown)
    assert told["pictures"] == [[shown[0].path, []]]
    way = open_way(told)
    with OsteoPredictor(BUNDLE, threads=1) as predictor:
        expected = list(predictor.predict(shown[0].path).image_probabilities.values())
    assert obey(way, {"answers": [0]}) == {"probabilities": [expected]}
    assert obey(way, {"picture": 0, "seconds": 0})["milliseconds"] > 0
    assert obey(way, {"folder": [0, 0]})["seconds"] > 0
    assert 20 < obey(way, {"memory": True})["peak_mb"] < 20_000


# Who takes part.


def test_missing_packages_are_told(candidates: dict[str, Entrant]) -> None:
    tensorflow, keras, opencv = (Package(name, "1", {name: 1.0}) for name in ("tensorflow", "keras", "opencv-python"))
    peer = replace(candidates["onnxruntime fp32"], name="peer", engine="keras")
    found: list[Entrant] = []
    left_out: dict[str, str] = {}
    entrants._place(peer, {"here": {}, "there": {"keras": keras, "opencv-python": opencv}}, found, left_out)
    assert (found, left_out) == ([], {"peer": "no interpreter has tensorflow-cpu or tensorflow"})
    whole = {"keras": keras, "tensorflow": tensorflow, "opencv-python": opencv}
    entrants._place(peer, {"here": {"keras": keras}, "there": whole}, found, left_out)
    assert [(one.python, one.packages) for one in found] == [("there", (tensorflow, keras, opencv))]


def test_packages_that_lie_in_different_interpreters_are_told(candidates: dict[str, Entrant]) -> None:
    opencv = Package("opencv-python", "1", {})
    left_out: dict[str, str] = {}
    peer = replace(candidates["onnxruntime fp32"], name="peer", engine="torch")
    offered = {"here": {"torch": opencv, "keras": opencv}, "there": {"opencv-python": opencv}}
    entrants._place(peer, offered, [], left_out)
    assert left_out == {"peer": "no interpreter has torch and keras and opencv-python-headless or opencv-python"}


def test_no_python_is_told_in_one_line() -> None:
    with pytest.raises(click.ClickException, match="no Python that can be asked"):
        entrants.look_up("/bin/false")


def test_sizes_are_of_a_distribution_and_of_all_that_it_needs() -> None:
    found = installed.look_up("osteo-edge")
    assert found is not None
    assert {"osteo-edge", "numpy", "opencv-python-headless", "click"} <= set(found["mb"])
    assert not {"tensorflow-cpu", "pytest", "ai-edge-litert"} & set(found["mb"])  # of extras
    assert found["mb"]["osteo-edge"] > 0.5  # the embedded bundle is in it
    assert installed.look_up("no-such-distribution") is None


@pytest.mark.slow
def test_keras_own_convnext_is_the_same_function() -> None:
    keras = pytest.importorskip("keras")
    from train.networks.network import build_network, randomise

    network = build_network("convnext_tiny", height_px=64, width_px=32, labels=3)
    randomise(network, seed=0)
    grouped = entrants.grouped_convnext(network, "convnext_tiny")
    grey = np.random.default_rng(0).uniform(0, 255, (1, 64, 32, 1)).astype(np.float32)
    expected = keras.ops.convert_to_numpy(entrants.as_user_has_it(network)(grey))
    found = keras.ops.convert_to_numpy(grouped(grey.repeat(3, axis=3)))
    assert "groups" in json.dumps(grouped.get_config())
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


# The whole.


def programme(shown: tuple[Shown, ...]) -> Programme:
    return Programme(shown * 3, {IMAGE: (0,)}, (1, 2), rounds=3, cold_rounds=3, seconds=0)


def contest(asked: Programme, field: Field, bundle: Bundle, place: Path) -> Peers:
    *_, found = Contest(field, [bundle], asked, place, on_round=lambda: None).measure()
    return found


@pytest.mark.slow
def test_what_is_measured_is_a_record_with_raw_samples(
    candidates: dict[str, Entrant], shown: tuple[Shown, ...], bundle: Bundle, tmp_path: Path
) -> None:
    script = replace(
        candidates["onnxruntime fp32"], packages=(Package("onnxruntime", "1.0", {"onnxruntime": 2.0, "numpy": 3.0}),)
    )
    broken = replace(script, name="a broken one", model=tmp_path / "missing.onnx")
    field = Field((own(candidates), script, broken), {"another": "no interpreter has it"})
    found = contest(programme(shown), field, bundle, tmp_path)

    names = {own(candidates).name, script.name}
    samples = {(row.entrant, row.task, row.threads): len(row.samples_ms) for row in found.rows}
    # Two pictures of a folder are fewer than rounds: two portions.
    kinds = {(IMAGE, 1): 3, (IMAGE, None): 3, (FOLDER, None): 2, (COLD, None): 3}
    assert samples == {(name, *kind): rounds for name in names for kind, rounds in kinds.items()}
    assert {one.name for one in found.participants} == names
    assert set(found.left_out) == {"another", "a broken one"}
    assert "missing.onnx" in found.left_out["a broken one"]
    (one,) = [one for one in found.participants if one.name == script.name]
    assert one.max_difference is not None
    assert one.max_difference < SAME_ANSWER
    assert one.total_mb == 5.0
    assert one.peak_mb is not None
    assert one.cold_peak_mb is not None
    assert not one.stages_ms
    (ours,) = [one for one in found.participants if one.engine == OWN]
    assert {"read", "region", "run"} <= set(ours.stages_ms)
    assert all(milliseconds > 0 for milliseconds in ours.stages_ms.values())
    written = tmp_path / "results" / "peers.json"
    records.write(found, written)
    assert records.read(written) == found
    again = CliRunner().invoke(main, ["peers", "--again", str(written)], catch_exceptions=False)
    assert again.output.strip() == table(found)
    assert "left out: a broken one" in again.output
    for suffix in (".png", ".svg"):
        draw(found, tmp_path / f"chart{suffix}")
        assert (tmp_path / f"chart{suffix}").stat().st_size > 5000


def test_an_interruption_keeps_whole_rounds(
    candidates: dict[str, Entrant], shown: tuple[Shown, ...], bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = 0

    def interrupt() -> None:
        nonlocal turns
        turns += 1
        if turns == 3:
            raise KeyboardInterrupt

    field = Field((own(candidates), candidates["onnxruntime fp32"]), {})
    *_, found = Contest(field, [bundle], programme(shown), tmp_path, on_round=interrupt).measure()
    assert {(row.task, len(row.samples_ms)) for row in found.rows} == {(IMAGE, 2)}
    assert len(found.rows) == 2


def test_osteo_edge_that_cannot_be_run_ends_the_measuring(
    candidates: dict[str, Entrant], shown: tuple[Shown, ...], bundle: Bundle, tmp_path: Path
) -> None:
    field = Field((replace(own(candidates), model=tmp_path),), {})
    with pytest.raises(click.ClickException, match="osteo-edge, knee-mobilenet_v2 failed"):
        contest(programme(shown), field, bundle, tmp_path)


def test_a_folder_is_of_copies_of_the_pictures_in_turn(shown: tuple[Shown, ...], tmp_path: Path) -> None:
    copies = list(asked_of.copied(shown, 3, tmp_path / "folder"))
    assert [Path(one.path).name for one in copies] == ["00000.png", "00001.png", "00002.png"]
    assert {Path(one.path).read_bytes() for one in copies} == {EXAMPLE.read_bytes()}
    assert copies[2].joints == shown[0].joints


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--bundle", "no-such-bundle"], "no bundle named"),
        (["--chart", "chart.txt"], ".png or .svg"),
        (["--image", "pyproject.toml"], "shows no knee"),
        (["--again", "pyproject.toml"], "pyproject.toml"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(options: list[str], told: str) -> None:
    result = CliRunner().invoke(main, ["peers", *options])
    assert result.exit_code in (1, 2)
    assert told in result.output


@pytest.mark.slow
def test_the_embedded_bundle_beside_everything_that_is_installed(tmp_path: Path) -> None:
    target, chart = tmp_path / "peers.json", tmp_path / "peers.png"
    options = ["--rounds", "3", "--cold-rounds", "1", "--seconds", "0", "--pictures", "6", "--data", "examples"]
    others = [part for python in OTHERS for part in ("--peers", python)]
    runs = ["--run", "train/results/knee-mobilenet_v2"]
    files = ["--json", str(target), "--chart", str(chart)]
    result = CliRunner().invoke(main, ["peers", *options, *others, *runs, *files], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    found = records.read(target)
    exact = [one for one in found.participants if one.precision == "fp32" and one.engine != OWN]
    assert {"keras", "tensorflow", "onnxruntime", "litert"} <= {one.engine for one in exact}
    assert all(isinstance(one, Participant) and one.max_difference is not None for one in exact)
    assert max(one.max_difference or 0.0 for one in exact) < SAME_ANSWER
    assert chart.stat().st_size > 5000
    if not OTHERS:
        assert "no interpreter has torch" in found.left_out["PyTorch by Keras, knee-mobilenet_v2"]
    assert sys.executable not in target.read_text()
