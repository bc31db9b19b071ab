"""The process in which strangers' files are decoded: one picture after the other, until its input ends.

It is started by ``osteo_edge.images.untrusted``, takes bytes of files on standard input and answers with the messages of
``decoder_messages``. What cannot be used is told; what ends this process is noticed by the one that started it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import BinaryIO

import cv2
import numpy as np

from osteo_edge.errors import InputError
from osteo_edge.headroom import keep_freed_memory, shortage
from osteo_edge.images.decoder_limits import Limits, allow_seconds, confine
from osteo_edge.images.decoder_messages import GO_ON, SIZE, Failed, Message, Picture, Ready, Refused, Wanted, packed
from osteo_edge.images.reader import Decoded, decode_pixels
from osteo_edge.records import parse_record

Decode = Callable[[bytes, Callable[[int], None]], Decoded]


def main(decode: Decode = decode_pixels) -> None:
    """Serve with the limits that stand as JSON in the first argument, and end the process."""
    limits = parse_record(Limits, json.loads(sys.argv[1]), where="limits")
    requests, answers = _own_streams()
    sys.dont_write_bytecode = True
    cv2.setNumThreads(0)  # threads' stacks count as address space, and one picture is decoded by one of them anyway
    keep_freed_memory()
    is_filtered = confine(limits)
    _tell(answers, Ready(is_filtered))
    while len(head := requests.read(SIZE.size)) == SIZE.size:
        data = requests.read(*SIZE.unpack(head))
        allow_seconds(limits.seconds)
        if not _answer(data, decode, requests, answers):
            break
    os._exit(0)


def _own_streams() -> tuple[BinaryIO, BinaryIO]:
    """Where requests come from and answers go; whatever a library prints goes nowhere."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb", buffering=0)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(nowhere, descriptor)
    os.close(nowhere)
    return requests, answers


def _answer(data: bytes, decode: Decode, requests: BinaryIO, answers: BinaryIO) -> bool:
    """Whether this process is as good as before."""

    def take(size: int) -> None:
        _tell(answers, Wanted(size))
        if requests.read(len(GO_ON)) != GO_ON:
            os._exit(0)  # whoever asked is gone

    try:
        found = decode(data, take)
    except InputError as error:
        if shortage(error) is None:
            _tell(answers, Refused.by(error))
            return True
        _tell(answers, Failed(type(error).__name__, is_of_memory=True))
        return False
    except Exception as error:
        _tell(answers, Failed(type(error).__name__, is_of_memory=shortage(error) is not None))
        return False
    pixels = np.ascontiguousarray(found.pixels)
    height, width = pixels.shape
    _tell(
        answers,
        Picture(height, width, 8 if pixels.dtype == np.uint8 else 16, found.coloured_share, found.tags, found.jpeg_quality),
    )
    _give(answers, pixels.data.cast("B"))
    return True


def _tell(answers: BinaryIO, message: Message) -> None:
    _give(answers, memoryview(packed(message)))


def _give(answers: BinaryIO, rest: memoryview) -> None:
    while rest:
        rest = rest[answers.write(rest) :]
