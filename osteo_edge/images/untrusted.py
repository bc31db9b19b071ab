"""Files of strangers, decoded in a process of their own.

A decoder that crashes, hangs or takes too much memory ends with its process, and the picture is refused like any other that is
damaged. The process serves one picture after the other and is started again where it ended, so that most pictures cost a
transfer of their bytes there and of their greys back. What comes back is not trusted either (``decoder_messages``).
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Lock
from typing import TYPE_CHECKING, Final

import numpy as np

from osteo_edge.errors import DecoderError, InputError, UnreadableImageError
from osteo_edge.headroom import out_of_memory_told
from osteo_edge.images import reader
from osteo_edge.images.decoder_limits import Limits
from osteo_edge.images.decoder_messages import (
    GO_ON,
    LENGTH,
    MAX_FRAME_BYTES,
    SIZE,
    BrokenMessageError,
    Failed,
    Message,
    Picture,
    Ready,
    Refused,
    Wanted,
    unpacked,
)
from osteo_edge.images.reader import Decoded, take_no_account
from osteo_edge.integrity import sha256_hex
from osteo_edge.radiograph import Radiograph
from osteo_edge.records import to_plain

if TYPE_CHECKING:
    from osteo_edge.images.reader import ImageSource

DECODER_FAILED: Final = "decoder_failed"
DECODER_TOO_SLOW: Final = "decoder_too_slow"
DECODER_MEMORY: Final = "decoder_memory"

# The search path is handed over, so that it is the same osteo-edge, and no file of the current folder is imported (-P).
_START: Final = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[2]); from importlib import import_module; "
    "import_module(sys.argv[3]).main()"
)
# Read by the libraries when they are loaded; see the command line's entry for the reasons.
_ENVIRONMENT: Final = {
    "OPENCV_LOG_LEVEL": "SILENT",
    "OPENCV_IO_MAX_IMAGE_PIXELS": "50000000",
    "OPENBLAS_NUM_THREADS": "1",
}
_START_SECONDS: Final = 120.0
# A deflated DICOM file takes memory three times.
_MOST_WANTED: Final = 8
_PIPE_BYTES: Final = 1 << 20


class _Ended(Exception):  # noqa: N818  it is caught by the picture that it belongs to
    """The process is gone."""


class _TooSlow(Exception):  # noqa: N818  as above
    """The time is over."""


class UntrustedReader:
    """Reads as ``reader.read`` does, but decodes in processes of its own; several threads may read at the same time."""

    def __init__(self, limits: Limits | None = None, *, program: str = "osteo_edge.images.decoder_process") -> None:
        """Start the first process, which loads what it needs meanwhile.

        Args:
            limits: of one picture.
            program: the module whose ``main`` the processes run.

        Raises:
            DecoderError: no process can be started here.
        """
        self._limits, self._program = limits or Limits(), program
        self._lock = Lock()
        self._owner = os.getpid()
        self._idle = [self._started()]
        self._is_closed = False

    def read(
        self, image: ImageSource, *, source: str | None = None, take: Callable[[int], None] = take_no_account
    ) -> Radiograph:
        """Read one radiograph; an array holds its pixels already and is taken as it is.

        Args: as ``reader.read``.

        Raises:
            UnreadableImageError: also where decoding ended its process, was given up after the time that a picture has, or took
                more memory than it may.
            InputError, TypeError: as ``reader.read``.
            DecoderError: no process can be started.
        """
        name = source or reader.name_of(image)
        if isinstance(image, np.ndarray):
            return reader.from_array(image, name, take)
        data = reader.bytes_of(image, take)
        with self._one() as process:
            decoded, digest = process.decode(data, take)
        return decoded.named(name, digest)

    @property
    def processes(self) -> tuple[int, ...]:
        """Their numbers, of those that wait."""
        with self._lock:
            return tuple(process.number for process in self._idle)

    def close(self) -> None:
        """End the processes; one that is decoding ends after its picture."""
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
        for process in idle:
            process.end()

    @contextmanager
    def _one(self) -> Iterator[_Process]:
        """A process that waits; it waits again afterwards, unless it failed."""
        process = self._taken()
        try:
            yield process
        except InputError:
            self._give_back(process)
            raise
        except BaseException:
            process.end()
            raise
        self._give_back(process)

    def _taken(self) -> _Process:
        if self._owner != os.getpid():  # a fork: these, and perhaps the lock, belong to the other process
            self._owner, self._lock, self._idle = os.getpid(), Lock(), []
        with self._lock:
            while self._idle:
                process = self._idle.pop()
                if process.is_alive:
                    return process
                process.end()
        return self._started()

    def _give_back(self, process: _Process) -> None:
        with self._lock:
            if process.is_alive and not self._is_closed:
                self._idle.append(process)
                return
        process.end()

    def _started(self) -> _Process:
        if getattr(sys, "frozen", False):  # sys.executable is the frozen program itself
            raise DecoderError("a program that was frozen cannot start a process to decode untrusted pictures in")
        with out_of_memory_told():
            return _Process(self._limits, self._program)


class _Process:
    """One decoding process. It was not waited for to be ready yet."""

    def __init__(self, limits: Limits, program: str) -> None:
        self._limits = limits
        command = [sys.executable, "-P", "-c", _START, json.dumps(to_plain(limits)), json.dumps(sys.path), program]
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                env=os.environ | _ENVIRONMENT,
                start_new_session=True,  # Ctrl-C reaches the waiting process alone
            )
        except OSError as error:
            raise DecoderError(f"no process can be started to decode untrusted pictures in: {error.strerror}") from error
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._to, self._from = self._process.stdin.fileno(), self._process.stdout.fileno()
        for descriptor in (self._to, self._from):
            os.set_blocking(descriptor, False)
            _widen(descriptor)
        self._is_ready = self._is_over = False

    @property
    def is_alive(self) -> bool:
        return not self._is_over and self._process.poll() is None

    @property
    def number(self) -> int:
        """Of the process."""
        return self._process.pid

    def decode(self, data: bytes, take: Callable[[int], None]) -> tuple[Decoded, str]:
        """The picture in a file, and the file's SHA-256.

        Raises:
            InputError: it cannot be used; where it ended the process, it is over.
            DecoderError: the process did not start.
        """
        self._wait_until_ready()
        try:
            return self._decode(data, take)
        except _TooSlow:
            self.end()
            raise self._slow() from None
        except (_Ended, BrokenMessageError) as error:
            self.end()
            if self._process.returncode == -signal.SIGXCPU:
                raise self._slow() from None
            raise UnreadableImageError(
                f"its decoder broke down on it, as damage or ill will make it do; {_AGAIN}", code=DECODER_FAILED
            ) from error

    def _decode(self, data: bytes, take: Callable[[int], None]) -> tuple[Decoded, str]:
        deadline = self._deadline()
        self._give(SIZE.pack(len(data)), deadline)
        self._give(data, deadline)
        digest, wanted = "", 0
        for _ in range(_MOST_WANTED):
            message = self._hear(deadline)
            if not isinstance(message, Wanted):
                break
            take(message.size)  # may wait, which is none of the decoder's time
            wanted += message.size
            deadline = self._deadline()
            self._give(GO_ON, deadline)
            digest = digest or sha256_hex(data)
        if isinstance(message, Refused):
            raise message.as_error()
        if isinstance(message, Failed):
            raise self._failed(message)
        if not isinstance(message, Picture) or message.size > wanted:
            raise BrokenMessageError("no picture")
        reader.require_pixels(message.pixels)
        pixels = np.empty((message.height_px, message.width_px), f"u{message.bits // 8}")
        self._fill(pixels.data.cast("B"), deadline)
        return Decoded(pixels, message.coloured_share, message.tags, message.jpeg_quality), digest

    def _failed(self, message: Failed) -> InputError:
        self.end()
        if message.is_of_memory:
            most = self._limits.working_bytes >> 20
            return UnreadableImageError(f"decoding it takes more memory than {most} MiB; {_AGAIN}", code=DECODER_MEMORY)
        return UnreadableImageError(f"it cannot be decoded ({message.fault}); {_AGAIN}", code=DECODER_FAILED)

    def _slow(self) -> InputError:
        return UnreadableImageError(
            f"decoding it takes longer than {self._limits.seconds:g} s; {_AGAIN}", code=DECODER_TOO_SLOW
        )

    def _deadline(self) -> float:
        return time.monotonic() + self._limits.seconds

    def _wait_until_ready(self) -> None:
        if self._is_ready:
            return
        try:
            is_ready = isinstance(self._hear(time.monotonic() + _START_SECONDS), Ready)
        except (_Ended, _TooSlow, BrokenMessageError):
            is_ready = False
        if not is_ready:
            self.end()
            raise DecoderError(
                f"the process in which untrusted pictures are decoded did not start (it ended with {self._process.returncode})"
            )
        self._is_ready = True

    def _hear(self, deadline: float) -> Message:
        head = bytearray(LENGTH.size)
        self._fill(memoryview(head), deadline)
        (length,) = LENGTH.unpack(head)
        if length > MAX_FRAME_BYTES:
            raise BrokenMessageError("a frame that is too long")
        body = bytearray(length)
        self._fill(memoryview(body), deadline)
        return unpacked(bytes(body))

    def _fill(self, rest: memoryview, deadline: float) -> None:
        while rest:
            _wait(self._from, select.POLLIN, deadline)
            count = os.readv(self._from, [rest])
            if not count:
                raise _Ended
            rest = rest[count:]

    def _give(self, data: bytes, deadline: float) -> None:
        rest = memoryview(data)
        while rest:
            _wait(self._to, select.POLLOUT, deadline)
            try:
                rest = rest[os.write(self._to, rest[:_PIPE_BYTES]) :]
            except BrokenPipeError as error:
                raise _Ended from error

    def end(self) -> None:
        """Whatever it still does; once."""
        if self._is_over:
            return
        self._is_over = True
        self._process.kill()  # nothing if it ended and was waited for
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(BrokenPipeError):
                    stream.close()


_AGAIN: Final = "export the picture again, as a grey PNG"


def _widen(descriptor: int) -> None:
    """A pipe holds 64 KiB, and each filling of it is a change of process."""
    if sys.platform == "linux":
        import fcntl

        with suppress(OSError):  # of all pipes of one user the system has a limit
            fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


def _wait(descriptor: int, event: int, deadline: float) -> None:
    poll = select.poll()
    poll.register(descriptor, event)
    if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        raise _TooSlow
