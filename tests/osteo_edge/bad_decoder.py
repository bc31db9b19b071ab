"""A decoding process that does to itself what the file says, as a decoder may that meets a file made to do harm."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from osteo_edge.images import decoder_process
from osteo_edge.images.reader import Decoded, decode_pixels


def _outcome(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except OSError as error:
        return f"errno {error.errno}"
    return "done"


def _attempts(target: str) -> dict[str, str]:
    def thread() -> None:
        one = threading.Thread(target=time.sleep, args=(0,))
        one.start()
        one.join()

    return {
        "socket": _outcome(socket.socket),
        "program": _outcome(lambda: subprocess.run(["true"], check=True)),
        "fork": _outcome(os.fork),
        "write": _outcome(lambda: Path(target).write_bytes(b"x")),
        "remove": _outcome(lambda: os.unlink(__file__)),
        "rename": _outcome(lambda: os.rename(__file__, f"{__file__}.old")),
        "signal": _outcome(lambda: os.kill(os.getppid(), signal.SIGTERM)),
        "read": _outcome(lambda: Path(__file__).read_bytes()),
        "thread": _outcome(thread),
    }


def _decode(data: bytes, take: Callable[[int], None]) -> Decoded:
    word, _, rest = data.partition(b" ")
    if word == b"crash":
        ctypes.string_at(0)
    elif word == b"hang":
        time.sleep(3600)
    elif word == b"exhaust":
        np.empty(512 << 20, np.uint8)
    elif word == b"fault":
        raise KeyError("nobody foresaw this")
    elif word == b"chatter":
        os.write(1, b"a library's own words")
    elif word == b"attempt":
        take(1 << 16)
        told = json.dumps(_attempts(rest.decode())).encode()
        return Decoded(np.frombuffer(told, np.uint8).reshape(1, -1).copy())
    return decode_pixels(rest, take)


def main() -> None:
    decoder_process.main(_decode)
