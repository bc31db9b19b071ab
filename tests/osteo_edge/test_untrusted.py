"""Files of strangers: whatever they do to the process that decodes them, the next one is read."""

from __future__ import annotations

import json
import os
import platform
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from osteo_edge import OsteoPredictor, Status
from osteo_edge.cli.main import _run
from osteo_edge.errors import DecoderError, InputError
from osteo_edge.images import reader
from osteo_edge.images.decoder_limits import Limits
from osteo_edge.images.decoder_messages import BrokenMessageError, Picture, Refused, packed, unpacked
from osteo_edge.images.untrusted import UntrustedReader
from osteo_edge.labels import Laterality
from osteo_edge.tags import Tags
from tests import dicoms
from tests.bundles import DENSITY
from tests.pictures import encoded

GREYS = np.random.default_rng(1).integers(0, 255, (70, 50), np.uint8)
PNG = encoded(".png", GREYS)
# Short where it is awaited, and far more than a small picture needs.
BAD = Limits(seconds=1.0, working_bytes=256 << 20)


@pytest.fixture(scope="module")
def untrusted() -> Iterator[UntrustedReader]:
    one = UntrustedReader()
    yield one
    one.close()


@pytest.fixture(scope="module")
def bad() -> Iterator[UntrustedReader]:
    """Whose decoder does what the file says."""
    one = UntrustedReader(BAD, program="tests.osteo_edge.bad_decoder")
    yield one
    one.close()


def the_process(one: UntrustedReader) -> int:
    (number,) = one.processes
    return number


def refused(one: UntrustedReader, data: bytes) -> tuple[str, str]:
    with pytest.raises(InputError) as refusal:
        one.read(data)
    return refusal.value.code, str(refusal.value)


@pytest.mark.parametrize(
    "data",
    [
        PNG,
        encoded(".png", GREYS.astype(np.uint16) * 257),
        encoded(".jpg", GREYS),
        encoded(".tif", GREYS),
        encoded(".png", np.dstack([GREYS, GREYS // 2, GREYS])),
        dicoms.file(GREYS, **dicoms.OF_A_KNEE, PatientAge="067Y", PatientSex="F"),
    ],
    ids=["png", "png16", "jpeg", "tiff", "colour", "dicom"],
)
def test_what_is_read_is_what_is_read_without(untrusted: UntrustedReader, data: bytes) -> None:
    one, other = untrusted.read(data), reader.read(data)
    assert one == other
    assert one.pixels.dtype == other.pixels.dtype
    assert np.array_equal(one.pixels, other.pixels)
    assert not one.pixels.flags.writeable


def test_paths_names_and_arrays(untrusted: UntrustedReader, tmp_path: Path) -> None:
    (tmp_path / "knee.png").write_bytes(PNG)
    assert untrusted.read(tmp_path / "knee.png").source == str(tmp_path / "knee.png")
    assert untrusted.read(PNG, source="mine").source == "mine"
    assert untrusted.read(GREYS) == reader.read(GREYS)
    assert refused(untrusted, b"")[0] == "empty"
    with pytest.raises(InputError) as missing:
        untrusted.read(tmp_path / "none.png")
    assert missing.value.code == "not_found"


def test_refusals_are_those_without_and_keep_the_process(untrusted: UntrustedReader) -> None:
    untrusted.read(PNG)
    before = the_process(untrusted)
    for data in (PNG[:100], b"%PDF-1.4", encoded(".jpg", GREYS)[:-200], b"GIF89a"):
        with pytest.raises(InputError) as other:
            reader.read(data)
        assert refused(untrusted, data) == (other.value.code, str(other.value))
    assert the_process(untrusted) == before


def test_memory_is_taken_account_of_before_it_is_taken(untrusted: UntrustedReader) -> None:
    taken: list[int] = []
    others: list[int] = []
    data = dicoms.file(GREYS, dicoms.DEFLATED)
    untrusted.read(data, take=taken.append)
    reader.read(data, take=others.append)
    assert taken == others != []


@pytest.mark.parametrize(
    ("word", "code", "words"),
    [
        ("crash", "decoder_failed", "broke down"),
        ("hang", "decoder_too_slow", "longer than 1 s"),
        ("exhaust", "decoder_memory", "more memory than 256 MiB"),
        ("fault", "decoder_failed", "KeyError"),
    ],
)
def test_what_a_decoder_does_to_its_process_is_a_refusal_and_the_next_picture_is_read(
    bad: UntrustedReader, word: str, code: str, words: str
) -> None:
    found, message = refused(bad, word.encode())
    assert found == code
    assert words in message
    assert "export the picture again" in message
    assert np.array_equal(bad.read(b"read " + PNG).pixels, GREYS)


def test_what_libraries_print_is_no_answer(bad: UntrustedReader) -> None:
    assert np.array_equal(bad.read(b"chatter " + PNG).pixels, GREYS)


def test_a_process_that_was_killed_while_it_waited_costs_no_picture(untrusted: UntrustedReader) -> None:
    untrusted.read(PNG)
    number = the_process(untrusted)
    os.kill(number, signal.SIGKILL)
    os.waitid(os.P_PID, number, os.WEXITED | os.WNOWAIT)
    assert np.array_equal(untrusted.read(PNG).pixels, GREYS)
    assert the_process(untrusted) != number


def test_a_process_that_is_killed_at_work_costs_its_picture_alone(bad: UntrustedReader) -> None:
    bad.read(b"read " + PNG)
    number = the_process(bad)
    killer = threading.Timer(0.1, os.kill, (number, signal.SIGKILL))
    killer.start()
    assert refused(bad, b"hang")[0] in ("decoder_failed", "decoder_too_slow")
    killer.join()
    assert np.array_equal(bad.read(b"read " + PNG).pixels, GREYS)


@pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64"),
    reason="system calls are filtered on Linux alone",
)
def test_nothing_outside_of_the_process_can_be_reached(bad: UntrustedReader, tmp_path: Path) -> None:
    told = json.loads(bad.read(b"attempt " + str(tmp_path / "new").encode()).pixels.tobytes())
    assert {name: told.pop(name) for name in ("read", "thread")} == {"read": "done", "thread": "done"}
    assert set(told.values()) == {"errno 1"}, told
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"picture": {"height_px": 1}}',
        b'{"picture": {"height_px": -1, "width_px": 5, "bits": 8, "coloured_share": 0.0, "tags": null, "jpeg_quality": null}}',
        b'{"picture": {"height_px": 1, "width_px": 5, "bits": 32, "coloured_share": 0.0, "tags": null, "jpeg_quality": null}}',
        b'{"picture": {"height_px": 1, "width_px": 5, "bits": 8, "coloured_share": NaN, "tags": null, "jpeg_quality": null}}',
        b'{"wanted": {"size": -5}}',
        b'{"wanted": {"size": 1}, "ready": {"is_filtered": true}}',
        b'{"refused": {"kind": "system", "code": "x", "message": "y"}}',
        b'{"refused": {"kind": "unreadable", "code": "no code\\u001b", "message": "y"}}',
        b"\xff" * 40,
    ],
)
def test_messages_that_are_none_are_not_believed(body: bytes) -> None:
    with pytest.raises(BrokenMessageError):
        unpacked(body)


def test_messages_come_back_as_they_went() -> None:
    said = {"body_part": "knee", "laterality": Laterality.RIGHT, "pixel_spacing_mm": (0.143, 0.143), "age_years": 67.0}
    tags = Tags("CR", "JPEG Lossless", "window", **said)  # type: ignore[arg-type]
    for message in (Picture(3, 4, 16, 0.25, tags, 75), Refused("unsupported", "multi_frame", "several pictures")):
        assert unpacked(packed(message)[4:]) == message


def test_a_process_that_does_not_start_is_told() -> None:
    one = UntrustedReader(program="tests.osteo_edge.no_such_module")
    with pytest.raises(DecoderError, match="did not start"):
        one.read(PNG)


def test_threads_read_side_by_side(untrusted: UntrustedReader) -> None:
    found: list[bool] = []

    def read() -> None:
        found.extend(np.array_equal(untrusted.read(PNG).pixels, GREYS) for _ in range(5))

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 10


def test_a_predictor_of_untrusted_files_answers_the_same(example: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(PNG[:90])
    with OsteoPredictor(DENSITY, threads=1) as one, OsteoPredictor(DENSITY, threads=1, untrusted=True) as other:
        assert list(one.predict_many([example, example])) == list(other.predict_many([example, example]))
        assert other._untrusted is not None
        number = the_process(other._untrusted)
        (rejected,) = other.predict_many([tmp_path / "bad.png"])
    assert (rejected.status, rejected.findings[0].code) == (Status.REJECTED, "truncated")
    assert _is_gone(number)


def test_the_command_line_decodes_elsewhere(
    example: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def not_here(*_: object) -> None:
        pytest.fail("decoded in this process")

    (tmp_path / "bad.png").write_bytes(PNG[:90])
    monkeypatch.setattr(reader, "decode_pixels", not_here)
    asked = ["--untrusted", "--format", "jsonl", "--bundle", DENSITY]
    assert _run(["predict", *asked, str(example), str(tmp_path / "bad.png")]) == 3
    told = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [len(one["joints"]) for one in told] == [1, 0]
    assert told[1]["findings"][0]["code"] == "truncated"


def _is_gone(number: int) -> bool:
    for _ in range(100):
        try:
            os.kill(number, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.01)
    return False
