"""The folder of a run of grades: what judging writes, what whoever exports it reads, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from osteo_edge.integrity import sha256_hex
from osteo_edge.records import to_plain
from tests.train.grading.test_grading import OneJoint, small_config, smooth_picture, write_index
from train.ensembles.commands import ensemble
from train.grading.judge_command import judge_grades
from train.grading.knees import read_index
from train.grading.question import LABELS, QUESTION
from train.grading.run import judge
from train.grading.stacking import read_stacking_config
from train.runs.config import ConfigError
from train.runs.folder import RunError, load_run, read_calibration, read_digests, read_judged_digests, write_digests

TRAINED, JUDGED = 20, 100
FINDER = Path(__file__).parents[3] / "train/results/knee-finder/finder.npz"


def write_knees(folder: Path) -> None:
    """Twenty knees to train on and a hundred to judge, two a patient and twenty of each grade; one without a joint."""
    rows = []
    for part, count, start in (("train", TRAINED, 0), ("val", JUDGED, 1000)):
        for number in range(count):
            file = folder / f"{part}{number}.png"
            dark = part == "val" and number == 7
            picture = np.tile(np.array([90, 170], np.uint8), (80, 40)) if dark else smooth_picture(start + number) // 2 + 110
            file.write_bytes(cv2.imencode(".png", picture)[1].tobytes())
            rows.append(
                {
                    "file": file.name,
                    "split": part,
                    "kl_grade": str(number % 5),
                    "patient": str(start + number // 2),
                    "side": ("left", "right")[number % 2],
                    "sha256": sha256_hex(file.read_bytes()),
                }
            )
    write_index(folder, rows)


class Finder(OneJoint):
    """Finds no joint where neighbouring columns differ, as in no film."""

    def find(self, pixels: np.ndarray) -> tuple[Any, ...]:
        return () if np.abs(np.diff(pixels.astype(int), axis=1)).mean() > 60 else super().find(pixels)


@pytest.fixture(scope="session")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder with the random weights of a small network, judged."""
    pytest.importorskip("keras")
    from train.fitting.material import open_network
    from train.networks.network import round_to_float16, weights_of

    data, folder = tmp_path_factory.mktemp("knees"), tmp_path_factory.mktemp("runs") / "knee-grades"
    folder.mkdir()
    write_knees(data)
    config = small_config(data, epochs=(1, 0))
    network = open_network("small_cnn", "random", config.region, labels=5, seed=3)
    round_to_float16(network)
    np.savez_compressed(folder / "weights.npz", **weights_of(network))
    (folder / "config.toml").write_text(as_toml(to_plain(config)))
    (folder / "run.json").write_text('{"epochs": 3, "seconds": 60, "not_found": {"training": 2}}')
    judge(config, read_index(data), Finder(), "digest of the finder", folder=folder)
    return folder


def as_toml(plain: dict[str, Any]) -> str:
    """The few kinds of values that a configuration of grades has."""
    tables = {name: value for name, value in plain.items() if isinstance(value, dict)}
    lines = [f"{name} = {json.dumps(value)}" for name, value in plain.items() if name not in tables]
    for name, table in tables.items():
        rows = {key: value for key, value in table.items() if isinstance(value, list) and value and isinstance(value[0], dict)}
        lines += ["", f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in table.items() if key not in rows)]
        for key, values in rows.items():
            for value in values:
                lines += ["", f"[[{name}.{key}]]", *(f"{inner} = {json.dumps(one)}" for inner, one in value.items())]
    return "\n".join(lines) + "\n"


def test_a_judged_run_opens_and_knows_what_it_was_trained_and_judged_on(judged: Path) -> None:
    run = load_run(judged)
    assert (run.kind, run.labels, run.target, run.body_part) == ("grades", LABELS, "classes", "knee")
    assert (run.region.name, run.input.height_px) == ("joint_line", 64)
    assert len(run.training_digests) == TRAINED
    assert len(read_judged_digests(judged)) == JUDGED
    assert not run.training_digests & read_judged_digests(judged)
    assert run.min_side_px == 56  # pictures of 80 px, made coarser by 0.7 at most


def test_its_network_gives_calibrated_logits(judged: Path) -> None:
    from train.runs.folder import load_network

    run = load_run(judged)
    assert run.calibration is not None
    plain = load_network(judged, run.backbone, run.input, labels=5)
    views = np.random.default_rng(1).uniform(0, 255, (2, 64, 64, 1)).astype(np.float32)
    calibrated, raw = (np.asarray(network(views)["logits"]) for network in (run.network(), plain))
    np.testing.assert_allclose(calibrated, raw / np.float32(run.calibration.temperature), rtol=1e-4, atol=1e-5)
    assert run.calibration.temperature != 1


def test_figures_label_sets_and_baselines_are_written(judged: Path) -> None:
    metrics = load_run(judged).metrics
    assert (metrics["knees"], metrics["patients"], metrics["knees_found"]) == (JUDGED, JUDGED // 2, JUDGED - 1)
    assert metrics["not_found_by_grade"] == [0, 0, 1, 0, 0]
    assert metrics["label_sets"]["knees"] == JUDGED - 1
    assert sum(map(sum, metrics["label_sets"]["told_by_grade"].values())) == JUDGED - 1
    assert set(metrics["baselines"]) == {"majority", "file_metadata", "border_ring"}
    assert metrics["baselines"]["majority"]["auc_definite"]["value"] == 0.5
    assert metrics["less_baseline"]["majority"]["auc_definite"]["value"] == pytest.approx(
        metrics["figures"]["auc_definite"]["value"] - 0.5
    )


def test_facts_of_the_training_stay(judged: Path) -> None:
    run = json.loads((judged / "run.json").read_text())
    assert (run["epochs"], run["seconds"]) == (3, 60)
    assert run["not_found"] == {"training": 2, "validation": 1}
    assert run["knees"] == {"training": TRAINED, "validation": JUDGED}


def test_its_question_is_the_one_that_the_export_reads(judged: Path) -> None:
    from export.source import load_source

    source = load_source(judged)
    assert source.question == QUESTION
    assert source.kind == "grades"
    assert source.calibration_digests == read_judged_digests(judged)


def copied(judged: Path, tmp_path: Path) -> Path:
    for path in judged.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("weights.npz", lambda data: data + b" ", "of other weights than weights.npz"),
        ("calibration.json", lambda data: data.replace(b"temperature", b"warmth"), "judge-grades"),
        ("trained.npy", lambda data: data[:-40], "judge-grades"),
        ("trained.npy", lambda data: b"", "judge-grades"),
        ("run.json", lambda data: data.replace(b'"labels"', b'"words"'), "not the folder of a finished run"),
    ],
)
def test_what_does_not_fit_together_is_refused(
    judged: Path, tmp_path: Path, file: str, change: Callable[[bytes], bytes], message: str
) -> None:
    folder = copied(judged, tmp_path)
    (folder / file).write_bytes(change((folder / file).read_bytes()))
    with pytest.raises(RunError, match=message):
        load_run(folder)


def test_digests_come_back_as_they_were(tmp_path: Path) -> None:
    digests = frozenset(sha256_hex(bytes([number])) for number in range(5))
    write_digests(tmp_path, digests)
    assert read_digests(tmp_path) == digests


def test_weights_of_another_network_are_no_run_to_judge(judged: Path, tmp_path: Path) -> None:
    from train.grading.config import read_grading_config

    folder = copied(judged, tmp_path)
    text = (folder / "config.toml").read_text().replace("small_cnn", "resnet18")
    (folder / "config.toml").write_text(text)
    config = read_grading_config(folder / "config.toml")
    with pytest.raises((RunError, ConfigError), match=r"weights\.npz|stored weights"):
        judge(config, read_index(Path(config.data)), Finder(), "digest", folder=folder)


def test_the_command_judges_a_folder(judged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from click.testing import CliRunner

    from train.__main__ import main

    folder = copied(judged, tmp_path)
    (folder / "calibration.json").unlink()
    monkeypatch.setattr("train.data.places.open_configured", lambda configured, given: (Finder(), "digest of the finder"))
    outcome = CliRunner().invoke(main, ["judge-grades", "--run", str(folder)])
    assert outcome.exit_code == 0, outcome.output
    for name in ("calibration.json", "metrics.json", "scores.json", "run.json", "regions.json", "question.json", "trained.npy"):
        assert (folder / name).read_bytes() == (judged / name).read_bytes(), name


def stacked(judged: Path, tmp_path: Path, *members: Path) -> Path:
    """The file of a configuration."""
    run = json.loads((judged / "config.toml").read_text().split("data = ")[1].split("\n")[0])
    plain = {"name": "both", "data": run, "output": str(tmp_path / "both"), "members": [str(one) for one in members]}
    (tmp_path / "both.toml").write_text(as_toml({**plain, "seed": 1, "resamples": 100}))
    return tmp_path / "both.toml"


def test_two_runs_become_the_folder_of_one(judged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from export.source import load_source

    judged_again: list[Path] = []

    (tmp_path / "second").mkdir()
    members = (tmp_path / "knee-grades", tmp_path / "second")
    members[0].mkdir()
    for member in members:
        copied(judged, member)
    config = stacked(judged, tmp_path, *members)
    done = CliRunner().invoke(ensemble, ["--config", str(config)])
    assert done.exit_code == 0, done.output
    source = load_source(tmp_path / "both")
    assert (source.kind, source.names, source.ensemble.kind) == ("grades", ("knee-grades", "second"), "stacking")
    assert source.calibration == read_calibration(tmp_path / "both", members)
    assert set(source.metrics["members"]) == {"knee-grades", "second", "mean"}
    assert "stacking" in source.metrics["method"]
    scores = json.loads((tmp_path / "both" / "scores.json").read_text())["knees"]
    assert len(scores) == source.metrics["knees"]
    before = (tmp_path / "both" / "calibration.json").read_bytes()
    monkeypatch.setattr("train.grading.run.judge", lambda config, knees, finder, digest, *, folder: judged_again.append(folder))
    again = CliRunner().invoke(judge_grades, ["--run", str(tmp_path / "both"), "--finder", str(FINDER)])
    assert again.exit_code == 0, again.output
    assert judged_again == list(members)
    assert (tmp_path / "both" / "calibration.json").read_bytes() == before
    assert sum(np.exp(next(iter(scores.values()))["logits"])) == pytest.approx(1, abs=1e-3)


def test_a_member_that_was_judged_on_other_knees_is_refused(judged: Path, tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    copied(judged, tmp_path / "second")
    scores = json.loads((tmp_path / "second" / "scores.json").read_text())
    scores["knees"].popitem()
    (tmp_path / "second" / "scores.json").write_text(json.dumps(scores))
    done = CliRunner().invoke(ensemble, ["--config", str(stacked(judged, tmp_path, judged, tmp_path / "second"))])
    assert done.exit_code == 2
    assert "does not hold every validation knee" in done.output
    assert isinstance(done.exception, SystemExit)


def test_members_must_be_several_and_none_twice(judged: Path, tmp_path: Path) -> None:
    for members in ((judged,), (judged, judged)):
        with pytest.raises(ConfigError, match="members"):
            read_stacking_config(stacked(judged, tmp_path, *members))
