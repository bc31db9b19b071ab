"""Processes that are measured: fresh ``osteo-edge predict`` processes, and the worker."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from osteo_edge.benchmark.limits import Confinement
from osteo_edge.benchmark.records import ColdRun
from osteo_edge.benchmark.worker import Job, as_line
from osteo_edge.chatter import is_chatter
from osteo_edge.interruption import held_back

# The search path is handed over, so that the worker is the same osteo-edge, and no file of the current folder is imported.
_START = "import sys, json; sys.path[:] = json.loads(sys.argv[1]); from osteo_edge.benchmark.worker import main; main()"
# Of ``osteo-edge predict``: reported, and referred.
_ANSWERS = (0, 4)
_LONGEST_MESSAGE = 300


class ProcessFailure(Exception):  # noqa: N818  it is caught by the row that it belongs to
    """A measured process ended before it was done.

    Args:
        message: what is known of the reason, one line.
        fault: class of the error that ended it; ``Ended`` where it could not tell.
    """

    def __init__(self, message: str, *, fault: str = "Ended") -> None:
        super().__init__(message)
        self.fault = fault


def cold_run(job: Job, picture: str, confinement: Confinement) -> ColdRun:
    """Start ``osteo-edge predict`` for a picture and wait for its answer and its end.

    Raises:
        ProcessFailure: it gave no answer.
    """
    start = time.perf_counter()
    with _started(_predict_command(job, picture), confinement, stdin=subprocess.DEVNULL) as process:
        first = process.output.read(1)
        answer_ms = (time.perf_counter() - start) * 1000
        process.output.read()
        peak_bytes = process.wait()
        exit_ms = (time.perf_counter() - start) * 1000
        if not first or process.code not in _ANSWERS:
            raise process.failure()
    return ColdRun(round(answer_ms, 2), round(exit_ms, 2), peak_bytes)


def _predict_command(job: Job, picture: str) -> list[str]:
    script = Path(sys.executable).with_name("osteo-edge")
    program = [str(script)] if script.exists() else [sys.executable, "-m", "osteo_edge"]
    asked = [part for name in job.bundles for part in ("--bundle", name)]
    options = {"--engine": job.engine, "--precision": job.precision, "--threads": str(job.threads)}
    return [*program, "predict", *asked, *(part for pair in options.items() for part in pair), "--", picture]


def run_worker(
    job: Job, confinement: Confinement, *, every_s: float = 0.25, on_tick: Callable[[], object] = lambda: None
) -> Generator[Mapping[str, Any], None, None]:
    """The worker's events, one after the other; closing it ends the worker.

    Args:
        on_tick: called at least every ``every_s`` seconds while nothing is told.

    Raises:
        ProcessFailure: it ended before it was done.
    """
    command = [sys.executable, "-c", _START, json.dumps(sys.path)]
    with _started(command, confinement, stdin=subprocess.PIPE) as process:
        process.give(as_line(job))
        with selectors.DefaultSelector() as selector:
            selector.register(process.output, selectors.EVENT_READ)
            rest = b""
            while True:
                if not selector.select(every_s):
                    on_tick()
                    continue
                data = os.read(process.output.fileno(), 1 << 20)
                if not data:
                    break
                *lines, rest = (rest + data).split(b"\n")
                for event in map(json.loads, lines):
                    if event["event"] == "done":
                        return
                    if event["event"] == "failed":
                        raise ProcessFailure(event["message"], fault=event["fault"])
                    yield event
        process.wait()
        raise process.failure()


class _Running:
    """A started process; what it writes to standard error is kept for a message."""

    def __init__(self, process: subprocess.Popen[bytes], errors: IO[bytes], confinement: Confinement) -> None:
        assert process.stdout is not None
        self.output = process.stdout
        self.code = 0
        self._process, self._errors, self._confinement = process, errors, confinement
        self._kills_before = confinement.kills()

    def give(self, line: str) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it ended already, which its output tells
            self._process.stdin.write(line.encode())
            self._process.stdin.close()

    def wait(self) -> int:
        """Wait for the end; returns the peak of resident memory in bytes."""
        _, status, usage = os.wait4(self._process.pid, 0)
        self.code = self._process.returncode = os.waitstatus_to_exitcode(status)
        return usage.ru_maxrss * 1024

    def failure(self) -> ProcessFailure:
        """What is known of the end."""
        self._errors.seek(0)
        lines = [line for line in self._errors.read().strip().splitlines() if not is_chatter(line)]
        last = lines[-1].decode(errors="replace") if lines else ""
        if self.code == -signal.SIGKILL and self._confinement.kills() > self._kills_before:
            reason = "the kernel ended it for going over the limit"
        elif self.code < 0:
            reason = f"ended by {signal.Signals(-self.code).name}"
        else:
            reason = f"ended with code {self.code}"
        return ProcessFailure(f"{reason}: {last[:_LONGEST_MESSAGE]}" if last else reason)

    def end(self) -> None:
        """Whatever it still does, with all that it started."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)  # it has a session of its own and is not waited for yet
            self._process.wait()
        self.output.close()
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):
                self._process.stdin.close()
        self._errors.close()


class _started:  # noqa: N801  reads as a word of the `with` line
    """Start a command in a session of its own, so that Ctrl-C reaches the waiting process alone; ended with the block."""

    def __init__(self, command: list[str], confinement: Confinement, *, stdin: int) -> None:
        self._command, self._confinement, self._stdin = command, confinement, stdin
        self._running: _Running | None = None

    def __enter__(self) -> _Running:
        try:
            with held_back():  # an interruption finds either no process or one that is known
                self._running = self._start()
        except BaseException:
            self.__exit__()
            raise
        return self._running

    def __exit__(self, *_: object) -> None:
        if self._running:
            with held_back():
                self._running.end()

    def _start(self) -> _Running:
        errors = tempfile.TemporaryFile()  # noqa: SIM115  # closed by `end`
        try:
            process = subprocess.Popen(
                self._command,
                stdin=self._stdin,
                stdout=subprocess.PIPE,
                stderr=errors,
                bufsize=0,
                start_new_session=True,
                preexec_fn=self._confinement.enter,
            )
        except (OSError, subprocess.SubprocessError) as error:
            errors.close()
            raise ProcessFailure(f"the process could not be started: {error}") from error
        return _Running(process, errors, self._confinement)
