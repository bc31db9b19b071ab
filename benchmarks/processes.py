"""Whole processes, timed in turn: time from start to exit and peak memory as the operating system accounts them.

A process' peak is not below that of the one which started it. Programs that have grown large therefore let
``python -m benchmarks.processes`` start theirs: it reads commands from standard input, a JSON object ``{"command"}`` a line,
after a first line that it only answers, and answers each with its ``ProcessRun``.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class ProcessRun:
    """Wall clock in seconds, peak resident memory in MB (10^6 bytes), exit code."""

    seconds: float
    peak_mb: float
    exit_code: int


def run_process(command: Sequence[str]) -> ProcessRun:
    """Run a command to its end, its output thrown away."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    return ProcessRun(seconds, usage.ru_maxrss * 1024 / 1e6, process.returncode)


def run_interleaved(
    commands: Mapping[str, Sequence[str]], *, rounds: int, on_round: Callable[[], None]
) -> dict[str, list[ProcessRun]]:
    """Run every command once a round, after one round that is not counted, so that drifts of the machine hit all alike."""
    for command in commands.values():
        run_process(command)
    runs: dict[str, list[ProcessRun]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            runs[name].append(run_process(command))
        on_round()
    return runs


def paired_ratio(runs: Sequence[ProcessRun], reference: Sequence[ProcessRun]) -> float:
    """Median over the rounds of the ratio of wall clocks within a round."""
    return statistics.median(run.seconds / base.seconds for run, base in zip(runs, reference, strict=True))


def main() -> None:
    for number, line in enumerate(sys.stdin):
        answer = asdict(run_process(json.loads(line)["command"])) if number else {}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
