"""The first moments of the command line: Ctrl-C at any time, what the environment says, what is closed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from osteo_edge.cli import main

ROOT = Path(__file__).resolve().parents[2]
# From the first line of ours that Python lets take a signal: what comes before is the interpreter's own start.
_PROGRAM = """
import os, sys
from osteo_edge.cli import main
main._take_interruptions()
os.write(int(sys.argv.pop(1)), b".")
main.main()
"""


def started(*arguments: str | Path) -> subprocess.Popen[str]:
    """A command that has just come to take signals."""
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, str(writing), *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        pass_fds=[writing],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    os.close(writing)
    assert os.read(reading, 1) == b"."
    os.close(reading)
    return process


@pytest.mark.parametrize("command", [("predict",), ("bundles", "list"), ("--help",)])
def test_ctrl_c_at_any_time_gives_no_traceback(command: tuple[str, ...], example: Path) -> None:
    arguments = (*command, example) if command == ("predict",) else command
    endings = set()
    for delay_ms in range(0, 300 if command == ("predict",) else 100, 29):
        process = started(*arguments)
        time.sleep(delay_ms / 1000)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
        endings.add((process.returncode, said.strip()))
    # The others are over soon after their imports, which are not interrupted.
    assert (130, "osteo-edge: interrupted") in endings or command != ("predict",)
    assert endings <= {(130, "osteo-edge: interrupted"), (0, ""), (4, "")}


def test_an_ignored_ctrl_c_stays_ignored(example: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "osteo_edge", "predict", str(example)],
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for _ in range(40):
        process.send_signal(signal.SIGINT)
        time.sleep(0.01)
    said = process.communicate(timeout=60)
    assert (process.returncode in (0, 4), said[1]) == (True, "")


def settings(environment: dict[str, str]) -> list[str]:
    """What OpenBLAS and OpenCV find in the environment of the command line."""
    code = (
        "import os; from osteo_edge.cli import main; main._prepare_libraries()\n"
        "for name in ('OPENBLAS_NUM_THREADS', 'OPENCV_IO_MAX_IMAGE_PIXELS', 'OPENCV_IO_MAX_IMAGE_WIDTH'):\n"
        "    print(os.environ.get(name))"
    )
    known = {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]}
    return subprocess.run(
        [sys.executable, "-c", code], env=known | environment, capture_output=True, text=True, check=True
    ).stdout.splitlines()


def test_openblas_gets_one_thread_unless_the_user_says_otherwise() -> None:
    assert settings({})[0] == "1"
    assert settings({"OPENBLAS_NUM_THREADS": "3"})[0] == "3"
    assert settings({"OMP_NUM_THREADS": "2"})[0] == "None"


def test_openblas_really_has_one_thread(example: Path) -> None:
    code = f"import sys; sys.argv[1:] = ['predict', {str(example)!r}, '--threads', '1']\n"
    code += "import os; os._exit = lambda code: print(len(os.listdir('/proc/self/task')), flush=True) or sys.exit()\n"
    code += "from osteo_edge.cli.main import main; main()"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    counts = [
        int(subprocess.run([sys.executable, "-c", code], env=environment | more, capture_output=True, text=True, check=False)
            .stdout.splitlines()[-1])
        for more in ({}, {"OPENBLAS_NUM_THREADS": "3"})
    ]  # fmt: skip
    assert counts[1] == counts[0] + 2


@pytest.mark.parametrize("value", ["100", "9000000000", "nonsense"])
def test_opencv_s_limits_of_the_environment_change_no_answer(value: str, example: Path) -> None:
    limits = {f"OPENCV_IO_MAX_IMAGE_{variable}": value for variable in ("PIXELS", "WIDTH", "HEIGHT")}
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | limits
    command = [sys.executable, "-m", "osteo_edge", "predict", str(example)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode in (0, 4)
    assert done.stderr == ""


def test_opencv_s_log_does_not_come_between_the_answers(example: Path) -> None:
    """From INFO on OpenCV writes to standard output; of V it writes most."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OPENCV_LOG_LEVEL": "V"}
    command = [sys.executable, "-m", "osteo_edge", "predict", "--format", "json", str(example)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert json.loads(done.stdout)["status"] in ("reported", "referred")


@pytest.mark.parametrize("error", [PermissionError(1, "no"), OSError(38, "no")])
def test_a_system_without_timers_gives_the_same_exit_code(error: OSError, monkeypatch: pytest.MonkeyPatch) -> None:
    """As some filters of system calls leave it."""

    def refuse(*_: float) -> None:
        raise error

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(signal, "setitimer", refuse)
    monkeypatch.setattr(main, "_run", lambda arguments: 4)
    signal.signal(signal.SIGINT, main._leave)
    try:
        assert main._run_interruptibly([]) == 4
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("variable", ["PIXELS", "WIDTH", "HEIGHT"])
def test_a_host_s_own_limits_of_opencv_are_named(variable: str, example: Path) -> None:
    """Within another program OpenCV reads its environment before this package could change it."""
    code = (
        "from osteo_edge import OsteoPredictor\n"
        f"print(OsteoPredictor(threads=1).predict({str(example)!r}).findings[0])\n"
        "import cv2, numpy; from osteo_edge.images.reader import decode\n"
        "clear = cv2.imencode('.png', numpy.full((200, 200, 4), 255, numpy.uint8))[1].tobytes()\n"
        "try: decode(clear, source='clear')\n"
        "except Exception as error: print(repr(error))"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT), f"OPENCV_IO_MAX_IMAGE_{variable}": "100"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    finding, refusal = done.stdout.splitlines()
    assert "too_many_pixels" in finding
    assert refusal.startswith("ImageTooLargeError")
    for told in (finding, refusal):
        assert f"OPENCV_IO_MAX_IMAGE_{variable} is set in the environment" in told
