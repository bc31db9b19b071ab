"""Cold start: a whole ``osteo-edge predict`` process beside the bare import of its libraries."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from benchmarks.processes import ProcessRun, paired_ratio, run_interleaved
from osteo_edge.device import processor
from osteo_edge.records import to_plain

EXAMPLE = Path("examples/synthetic-knee.png")
REFERENCE = "import numpy, cv2, onnxruntime"


@click.command("cold-start")
@click.argument("image", type=click.Path(exists=True, dir_okay=False, path_type=Path), default=EXAMPLE)
@click.option("--rounds", type=click.IntRange(3), default=15, show_default=True)
@click.option("--json", "target", type=click.Path(dir_okay=False, path_type=Path), help="Also write the raw samples.")
def command(image: Path, rounds: int, target: Path | None) -> None:
    """Time and peak memory of cold predictions against python -c "import numpy, cv2, onnxruntime"."""
    commands = _commands(image)
    with click.progressbar(length=rounds, label="rounds", file=sys.stderr) as bar:
        runs = run_interleaved(commands, rounds=rounds, on_round=lambda: bar.update(1))
    report = {"processor": to_plain(processor()), "image": str(image), "rounds": rounds, "commands": _summaries(runs)}
    click.echo(_table(report))
    if target:
        target.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def _commands(image: Path) -> dict[str, list[str]]:
    predict = [*program(), "predict", str(image)]
    return {
        REFERENCE: [sys.executable, "-c", REFERENCE],
        "predict": predict,
        "predict --precision int8": [*predict, "--precision", "int8"],
        "predict --engine litert": [*predict, "--engine", "litert"],
        "predict --engine litert --precision fp16": [*predict, "--engine", "litert", "--precision", "fp16"],
    }


def program() -> list[str]:
    """How ``osteo-edge`` is started with this interpreter."""
    script = Path(sys.executable).with_name("osteo-edge")
    return [str(script)] if script.exists() else [sys.executable, "-m", "osteo_edge"]


def _summaries(runs: dict[str, list[ProcessRun]]) -> dict[str, Any]:
    return {name: _summary(samples, runs[REFERENCE]) for name, samples in runs.items()}


def _summary(samples: Sequence[ProcessRun], reference: Sequence[ProcessRun]) -> dict[str, Any]:
    return {
        "ratio_to_import": round(paired_ratio(samples, reference), 3),
        "median_seconds": round(statistics.median(run.seconds for run in samples), 4),
        "peak_mb": round(max(run.peak_mb for run in samples), 1),
        "exit_codes": sorted({run.exit_code for run in samples}),
        "samples": [to_plain(run) for run in samples],
    }


def _table(report: dict[str, Any]) -> str:
    lines = [f"{report['processor']['model']}, {report['rounds']} rounds, interleaved, medians", ""]
    lines.append(f"{'process':<44} {'ratio':>6} {'ms':>6} {'peak MB':>8}  exit")
    for name, summary in report["commands"].items():
        exits = ",".join(map(str, summary["exit_codes"]))
        milliseconds = summary["median_seconds"] * 1000
        lines.append(f"{name:<44} {summary['ratio_to_import']:>6.2f} {milliseconds:>6.0f} {summary['peak_mb']:>8.1f}  {exits}")
    return "\n".join(lines)
