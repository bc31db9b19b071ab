"""What libraries write to standard error for their own developers, line by line.

None of it can be switched off where it is written, and all that it tells of a picture or model is in our answers and errors.
"""

from __future__ import annotations

import re

_LINES = (
    # LiteRT, when its first interpreter is made (tensorflow/lite/minimal_logging.h).
    rb"INFO: Created TensorFlow Lite XNNPACK delegate for CPU\.",
    rb"INFO: Initialized TensorFlow Lite runtime\.",
    # libpng's defaults for warnings and errors (pngerror.c).
    rb"libpng (?:warning|error): .*",
    # libjpeg's warnings, all of jerror.h.
    rb"Corrupt JPEG data: .*",
    rb"Premature end of JPEG file",
    rb"Warning: unknown JFIF revision number .*",
    rb"Inconsistent progression sequence for component .*",
    rb"Unknown Adobe color transform code .*",
    rb"Invalid SOS parameters for sequential JPEG",
    rb"Application transferred too many scanlines",
    # ONNX Runtime, where a container hides the devices or forbids threads to be bound to processors; its default logger
    # exists before any of our settings. Coloured on some builds.
    rb"(?:\x1b\[[\d;]*m)?[-\d]+ [\d:.]+ \[[WE]:onnxruntime:Default, device_discovery\.cc:\d+ .*",
    rb"(?:\x1b\[[\d;]*m)?[-\d]+ [\d:.]+ \[[WE]:onnxruntime:Default, env\.cc:\d+ .*pthread_setaffinity_np failed.*",
    # The library by which both engines ask for the processor's features, where /sys or /proc are hidden.
    rb"(?:Error|Warning) in cpuinfo: .*",
    # LiteRT's counting of processors, where a filter of system calls refuses that.
    rb"sched_getaffinity: .*",
)
_CHATTER = re.compile(rb"(?:" + rb"|".join(_LINES) + rb")\r?\n?")


def is_chatter(line: bytes) -> bool:
    """Whether the whole line, with or without its end, is one of those that are known to say nothing to people."""
    return _CHATTER.fullmatch(line) is not None
