"""The command line's entry: signals, standard streams and environment are set before anything else is loaded."""

from __future__ import annotations

import io
import os
import signal
import sys

TYPE_CHECKING = False  # type checkers know better; the import would make the time longer in which nobody takes Ctrl-C
if TYPE_CHECKING:
    from types import FrameType
    from typing import NoReturn

_UNTIL_IMPORTED_S = 0.005
_BLAS_THREADS = ("OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "OMP_NUM_THREADS")


def main() -> NoReturn:
    """Run the command line and end the process with a code of ``exit_codes``."""
    _take_interruptions()
    _open_closed_streams()
    _take_any_letter()
    _prepare_libraries()
    from osteo_edge.cli.standard_error import leave_chatter_out

    end = leave_chatter_out()
    code = _flushed(_run_interruptibly(sys.argv[1:]))
    end()
    # Taking numpy, OpenCV and the engine apart again would cost a tenth of a cold prediction and free nothing
    # that the system does not free at once.
    os._exit(code)


def _take_interruptions() -> None:
    """Ctrl-C ends the process at once, but within a command; ignored, as by a shell in the background, it stays ignored."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _leave)


def _leave(number: int = signal.SIGINT, frame: FrameType | None = None) -> NoReturn:
    try:
        os.write(sys.stderr.fileno(), b"osteo-edge: interrupted\n")
    finally:
        os._exit(128 + signal.SIGINT)


def _unwind(number: int, frame: FrameType | None) -> None:
    """Let the command end what must be done whole; a second interruption ends it at once.

    An import is finished first: many a library takes an exception there for a fault of its own.
    """
    if _is_importing(frame):
        signal.signal(signal.SIGALRM, _unwind)
        if _set_timer(_UNTIL_IMPORTED_S):
            return
    signal.signal(signal.SIGINT, _leave)
    raise KeyboardInterrupt


def _set_timer(seconds: float) -> bool:
    """Whether it is set; some filters of system calls refuse timers."""
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds)
    except OSError:
        return False
    return True


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None and frame.f_globals.get("__name__") != "importlib._bootstrap":
        frame = frame.f_back
    return frame is not None


def _run_interruptibly(arguments: list[str]) -> int:
    is_taken = signal.getsignal(signal.SIGINT) is _leave
    try:
        if is_taken:
            signal.signal(signal.SIGINT, _unwind)
        code = _run(arguments)
        if is_taken:
            _set_timer(0)  # one that was waiting for an import comes too late
            signal.signal(signal.SIGINT, _leave)
        return code
    except KeyboardInterrupt:  # while something else was being told
        _leave()


def _open_closed_streams() -> None:
    """A file that is opened later would otherwise become standard error, and libraries write there."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115


def _take_any_letter() -> None:
    """What a terminal's encoding lacks is written as an escape, not answered with a fault."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _prepare_libraries() -> None:
    """Read by the libraries when they are loaded."""
    # OpenCV logs refused files on standard error, whose reason is in our answer, and what it does on standard output, whoever
    # asked for that: among answers for machines nobody could read it.
    os.environ["OPENCV_LOG_LEVEL"] = "SILENT"
    # It allocates up to a gigapixel for a header that we may have read otherwise than it does. A limit of the user's
    # would refuse what we read, or take what we do not.
    os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"] = str(50_000_000)
    for side in ("WIDTH", "HEIGHT"):
        os.environ.pop(f"OPENCV_IO_MAX_IMAGE_{side}", None)
    # Its matrices here are small, and starting its threads takes longer than they save.
    if not any(name in os.environ for name in _BLAS_THREADS):
        os.environ["OPENBLAS_NUM_THREADS"] = "1"


def _run(arguments: list[str]) -> int:
    from osteo_edge.cli.group import run

    return run(arguments)


def _flushed(code: int) -> int:
    try:
        for stream in filter(None, (sys.stdout, sys.stderr)):
            stream.flush()
    except OSError:  # a full disk, or a reader that went away
        from osteo_edge.cli import exit_codes

        return exit_codes.OUTPUT
    return code
