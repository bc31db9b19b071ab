"""The command line's standard error without the chatter of libraries, which write to file descriptor 2 as they like.

A small process of its own reads what is written there and passes on all but the known lines. Were it a thread, a crash would
take its own reason along, and a library that holds Python's lock while it writes could wait for ever. What this program itself
has to say goes to the true standard error directly.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from signal import SIG_BLOCK, SIG_IGN, SIG_SETMASK, SIGHUP, SIGINT, SIGQUIT, SIGTERM, pthread_sigmask, signal

_STANDARD_ERROR = 2
_PIPE_BYTES = 1 << 16
# Where the system cannot close a range at once, one by one.
_MAX_DESCRIPTORS = 4096
# Libraries write a line in pieces. One that has no end yet is held for so long, and never longer than a pipe's worth.
_UNTIL_SHOWN_S = 2.0
_UNTIL_PASSED_S = 1.0


def leave_chatter_out() -> Callable[[], None]:
    """Begin; what is returned ends it, once everything was passed on, and is to be called before the process ends.

    To be called while there is one thread. Nothing changes where no process can be started.
    """
    opened: list[int] = []
    try:
        opened.append(true_error := os.dup(_STANDARD_ERROR))
        passing, writing = os.pipe()
        opened += (passing, writing)
        ended, ending = os.pipe()
        opened += (ended, ending)
        helper = _start_helper(passing, true_error, ending)
    except OSError:
        for descriptor in opened:
            os.close(descriptor)
        return lambda: None
    for descriptor in (passing, ending):
        os.close(descriptor)
    os.dup2(writing, _STANDARD_ERROR)
    os.close(writing)
    own = sys.stderr
    sys.stderr = open(  # noqa: SIM115  open until the process ends
        true_error, "w", buffering=1, encoding=own.encoding, errors=own.errors, closefd=False
    )

    def end() -> None:
        from select import select

        os.dup2(true_error, _STANDARD_ERROR)
        # A process that we started and that outlives us may go on writing: nobody waits for that one.
        if select([ended], [], [], _UNTIL_PASSED_S)[0]:
            os.waitpid(helper, 0)

    return end


def _start_helper(source: int, target: int, ending: int) -> int:
    """The process number of the helper; an end of file at the other end of ``ending`` tells that it has ended."""
    signals = (SIGINT, SIGTERM, SIGHUP, SIGQUIT)  # meant for the whole group; the helper ends after the last line
    before = pthread_sigmask(SIG_BLOCK, signals)
    try:
        if helper := os.fork():
            return helper
        try:
            for number in signals:
                signal(number, SIG_IGN)
            _keep_only(source, target, ending)
            _pass_on(source, target)
        finally:
            os._exit(0)
    finally:
        pthread_sigmask(SIG_SETMASK, before)


def _keep_only(*descriptors: int) -> None:
    """An open standard output, for one, would keep its reader waiting for more."""
    start = 0
    for descriptor in sorted(descriptors):
        os.closerange(start, descriptor)
        start = descriptor + 1
    os.closerange(start, min(os.sysconf("SC_OPEN_MAX"), _MAX_DESCRIPTORS))


def _pass_on(source: int, target: int) -> None:
    from select import select

    rest = b""
    while True:
        if rest and (len(rest) > _PIPE_BYTES or not select([source], [], [], _UNTIL_SHOWN_S)[0]):
            _write(target, rest)
            rest = b""
        data = os.read(source, _PIPE_BYTES)
        *lines, rest = (rest + data).split(b"\n")
        if not data:  # nobody holds the other end any more
            lines.append(rest)
        ends = b"\n" if data else b""
        _write(target, b"".join(line + ends for line in lines if not _is_chatter(line)))
        if not data:
            return


def _is_chatter(line: bytes) -> bool:
    try:
        from osteo_edge.chatter import is_chatter  # most runs have nothing to look at
    except Exception:  # no memory for it, for one: no line may be lost by that
        return False
    return is_chatter(line)


def _write(target: int, data: bytes) -> None:
    """All of it; or nothing where nobody reads it, so that the program goes on."""
    try:
        while data:
            data = data[os.write(target, data) :]
    except OSError:
        pass
