"""What reaches the command line's standard error: all but the known lines of libraries, whatever ends the process."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GREETING = b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n"
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}


def write_and(then: str) -> subprocess.CompletedProcess[bytes]:
    """A program that has the chatter left out, writes to file descriptor 2 as libraries do, and goes on by ``then``."""
    code = f"""
import os, subprocess, sys, time
from osteo_edge.cli.standard_error import leave_chatter_out
end = leave_chatter_out()
def say(text):
    os.write(2, text)
{then}
"""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=ENVIRONMENT, capture_output=True, timeout=60, check=False)


def test_other_lines_pass_in_their_order_and_known_ones_do_not() -> None:
    pieces = [
        b"one\nIN",
        b"FO: Created TensorFlow Lite XNNPACK delegate",
        b" for CPU.",
        b"\ntwo\nlibpng error: Read",
        b" Error\n",
    ]
    saying = "; ".join(f"say({piece!r})" for piece in [*pieces, b"\xff\xfe\n", b"three"])
    done = write_and(f"{saying}; end(); os._exit(5)")
    assert (done.returncode, done.stderr) == (5, b"one\ntwo\n\xff\xfe\nthree")


def test_the_program_s_own_lines_go_by_directly() -> None:
    done = write_and(
        "print('own', file=sys.stderr); assert not os.path.samestat(os.fstat(2), os.fstat(sys.stderr.fileno())); end()"
    )
    assert done.stderr == b"own\n"


def test_much_is_passed_whole() -> None:
    done = write_and("for number in range(20000): say(b'%d\\n' % number + b'libpng warning: x\\n')\nend()")
    assert done.stderr == b"".join(b"%d\n" % number for number in range(20000))


@pytest.mark.parametrize(
    ("end", "number"),
    [("os.abort()", signal.SIGABRT), ("os.kill(os.getpid(), 9)", signal.SIGKILL), ("os.kill(os.getpid(), 11)", signal.SIGSEGV)],
)
def test_a_crash_keeps_its_last_words(end: str, number: int) -> None:
    done = write_and(f"say({GREETING!r}); say(b'terminate called'); say(b' without an active exception'); {end}")
    assert (done.returncode, done.stderr) == (-number, b"terminate called without an active exception")


def test_a_line_without_end_is_not_held_for_long() -> None:
    """The program waits until what it wrote has arrived."""
    process = subprocess.Popen(
        [sys.executable, "-c", "import sys, os; from osteo_edge.cli.standard_error import leave_chatter_out\n"
         "end = leave_chatter_out(); os.write(2, b'Continue?'); sys.stdin.read(); end()"],
        env=ENVIRONMENT, stdin=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stderr is not None
    assert process.stderr.read(9) == b"Continue?"
    process.stdin.close()
    assert process.wait(60) == 0
    process.stderr.close()


def test_a_started_process_writes_the_same_way() -> None:
    done = write_and("subprocess.run(['sh', '-c', 'echo libpng warning: x >&2; echo child >&2'], check=True); end()")
    assert done.stderr == b"child\n"


def test_a_process_that_is_left_behind_is_not_waited_for_and_still_heard() -> None:
    done = write_and("subprocess.Popen(['sh', '-c', 'sleep 2; echo late >&2']); end(); os._exit(0)")
    assert done.stderr == b"late\n"  # it is the end of file that was waited for here


def test_where_no_process_can_be_started_nothing_changes() -> None:
    done = write_and("")
    assert done.returncode == 0
    code = "import os\ndef refuse(): raise OSError(11, 'refused')\nos.fork = refuse\n"
    code += "from osteo_edge.cli.standard_error import leave_chatter_out\nend = leave_chatter_out()\n"
    code += f"os.write(2, {GREETING!r}); end()\nassert len(os.listdir('/proc/self/fd')) == 4"
    refused = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, check=True)
    assert refused.stderr == GREETING


@pytest.fixture
def warned_of(tmp_path: Path, example: Path) -> Path:
    """The example with chunks of which libpng warns."""
    data = example.read_bytes()
    chunks = b"".join(
        _chunk(kind, content) for kind, content in ((b"gAMA", bytes(4)), (b"iCCP", b"x\0\0junk"), (b"pHYs", b"1"))
    )
    path = tmp_path / "warned.png"
    path.write_bytes(data[:33] + chunks + data[33:])
    return path


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def predict(*arguments: str | Path, closed: str = "") -> subprocess.CompletedProcess[bytes]:
    command = ["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-m", "osteo_edge", "predict", *map(str, arguments)]
    return subprocess.run(command, env=ENVIRONMENT, capture_output=True, timeout=120, check=False)


@pytest.mark.parametrize("engine", ["onnxruntime", "litert"])
def test_no_line_of_a_library_leaks(engine: str, warned_of: Path) -> None:
    import cv2

    assert cv2.imread(str(warned_of)) is not None
    done = predict("--engine", engine, warned_of)
    assert (done.returncode in (0, 4), done.stderr) == (True, b"")
    assert done.stdout


def test_the_warnings_are_real(warned_of: Path, capfd: pytest.CaptureFixture[str]) -> None:
    import cv2

    assert cv2.imread(str(warned_of)) is not None
    assert "libpng warning" in capfd.readouterr().err


def test_closed_standard_error_keeps_no_answer_back(example: Path) -> None:
    done = predict(example, "missing.png", "--format", "csv", closed="2>&-")
    assert (done.returncode, done.stderr) == (3, b"")
    assert len(done.stdout.splitlines()) == 3


def test_all_closed_but_the_answer(example: Path) -> None:
    done = predict(example, "-", "--engine", "litert", "--format", "csv", closed="2>&- 0>&-")
    assert (done.returncode, done.stderr) == (3, b"")
    assert len(done.stdout.splitlines()) == 3


def test_closed_standard_output_is_said(example: Path) -> None:
    done = predict(example, closed=">&-")
    assert (done.returncode, done.stdout) == (7, b"")
    assert done.stderr == b"osteo-edge: standard output is closed, so no answer could be printed\n"
