"""Which lines of libraries say nothing to people."""

from __future__ import annotations

import pytest

from osteo_edge.chatter import is_chatter


@pytest.mark.parametrize(
    "line",
    [
        b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.",
        b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n",
        b"libpng warning: iCCP: known incorrect sRGB profile",
        b"libpng error: Read Error",
        b"Corrupt JPEG data: 12 extraneous bytes before marker 0xd9",
        b"Premature end of JPEG file\n",
        b"2026-01-02 03:04:05.678 [W:onnxruntime:Default, device_discovery.cc:164 DiscoverDevicesForPlatform] GPU device "
        b'discovery failed: device_discovery.cc:89 ReadFileContents Failed to open file: "/sys/class/drm/card0/device/vendor"',
        b"\x1b[0;93m2026-01-02 03:04:05.678 [W:onnxruntime:Default, device_discovery.cc:164 Discover] failed\x1b[m",
        b"2026-01-02 03:04:05.678 [E:onnxruntime:Default, env.cc:226 ThreadMain] pthread_setaffinity_np failed for thread: 1",
        b"sched_getaffinity: Operation not permitted",
        b"sched_getaffinity: Function not implemented\n",
        b"Error in cpuinfo: failed to parse the list of possible processors in /sys/devices/system/cpu/possible",
    ],
)
def test_known_lines(line: bytes) -> None:
    assert is_chatter(line)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU. And more",
        b"INFO: an application's own line",
        b"osteo-edge: libpng warning: not at its start",
        b"terminate called after throwing an instance of 'std::bad_alloc'",
        b"2026-01-02 03:04:05.678 [E:onnxruntime:Default, sequential_executor.cc:514] Non-zero status code",
        b"libpng warning: one\nof two lines",
        b"Segmentation fault",
        b"Corrupt JPEG data",
    ],
)
def test_all_others_are_none(line: bytes) -> None:
    assert not is_chatter(line)
