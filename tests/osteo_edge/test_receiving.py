"""Pictures sent by dcmtk's storescu to a real port, and answers sent back to a real archive's side."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pydicom
import pytest

from osteo_edge.cli import exit_codes
from osteo_edge.cli.group import run
from osteo_edge.station import receiving
from osteo_edge.station.audit import verify
from osteo_edge.station.outbox import Outbox
from osteo_edge.station.receiving import Peer, Receiver, Sender
from tests import dicoms

pytest.importorskip("pynetdicom", reason="pynetdicom is not installed")

ROOT = Path(__file__).resolve().parents[2]
GREYS = np.random.default_rng(1).integers(0, 255, (70, 50), np.uint8)
STUDY: dict[str, Any] = {"StudyInstanceUID": "../../../etc/passwd", "SeriesInstanceUID": "1.2.3.2", **dicoms.OF_A_KNEE}


class Listening:
    def __init__(self, outbox: Path, **options: Any) -> None:
        plain: dict[str, Any] = {"title": "STATION", "allowed": [Peer("XRAY")], "keep_free_bytes": 0}
        self.receiver = Receiver(Outbox(outbox), **(plain | options))
        self.port = self.receiver.listen("127.0.0.1", 0)

    @property
    def received(self) -> list[Path]:
        return sorted(self.receiver.folder.glob("*.dcm"))

    def __enter__(self) -> Listening:
        return self

    def __exit__(self, *_: object) -> None:
        self.receiver.close()


def send(port: int, file: Path, *, title: str = "XRAY", called: str = "STATION", options: tuple[str, ...] = ()) -> int:
    tool = shutil.which("storescu")
    if tool is None:
        pytest.skip("storescu is not installed (Debian: dcmtk)")
    command = [tool, "-R", *options, "-aet", title, "-aec", called, "127.0.0.1", str(port), file]
    return subprocess.run(command, capture_output=True, check=False, timeout=60).returncode


@pytest.fixture
def knee(tmp_path: Path) -> Path:
    path = tmp_path / "knee.dcm"
    path.write_bytes(dicoms.file(GREYS, **STUDY))
    return path


def test_a_picture_lies_on_the_disk_under_a_number(tmp_path: Path, knee: Path) -> None:
    with Listening(tmp_path / "out") as station:
        assert send(station.port, knee) == 0
        (received,) = station.received
    assert pydicom.dcmread(received).PixelData == pydicom.dcmread(knee).PixelData
    assert len(received.stem) == 16
    assert {path.name for path in tmp_path.iterdir()} == {"knee.dcm", "out"}


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        ({}, {"title": "STRANGER"}),
        ({}, {"called": "SOMEBODY"}),
        ({"allowed": [Peer("XRAY", "10.0.0.5")]}, {}),
        ({"keep_free_bytes": 1 << 60}, {}),
    ],
    ids=["another title", "another's title", "another address", "little room"],
)
def test_who_may_not_send_or_cannot_is_told(tmp_path: Path, knee: Path, options: Any, sent: Any) -> None:
    with Listening(tmp_path / "out", **options) as station:
        assert send(station.port, knee, **sent) != 0
        assert station.received == []
        if sent:
            assert send(station.port, knee) == 0


def test_other_kinds_of_objects_are_not_taken(tmp_path: Path) -> None:
    (tmp_path / "capture.dcm").write_bytes(dicoms.file(GREYS, **STUDY, kind=dicoms.SC))
    with Listening(tmp_path / "out") as station:
        assert send(station.port, tmp_path / "capture.dcm") != 0
        assert station.received == []


def test_a_message_beyond_the_limit_is_cut_off(tmp_path: Path, knee: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    large = tmp_path / "large.dcm"
    large.write_bytes(dicoms.file(np.zeros((2000, 2000), np.uint8), **STUDY))
    monkeypatch.setattr(receiving, "MAX_BYTES", 1 << 20)
    with Listening(tmp_path / "out") as station:
        assert send(station.port, large) != 0
        assert station.received == []
        assert send(station.port, knee) == 0


def test_a_port_that_is_taken_is_a_sentence(tmp_path: Path) -> None:
    with Listening(tmp_path / "out") as station:
        other = Receiver(Outbox(tmp_path / "other"), title="A", allowed=[], keep_free_bytes=0)
        with pytest.raises(receiving.StationError, match=f"port {station.port}: "):
            other.listen("127.0.0.1", station.port)


@pytest.fixture
def archive() -> Iterator[tuple[int, list[bytes]]]:
    """A port that takes answers, and what it took."""
    from pynetdicom import AE, evt

    taken: list[bytes] = []
    entity = AE("PACS")
    for kind in receiving._ANSWERS:
        entity.add_supported_context(kind)

    def store(event: Any) -> int:
        taken.append(event.encoded_dataset())
        return 0

    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    assert server is not None
    yield server.server_address[1], taken
    entity.shutdown()


def test_answers_are_sent_and_moved_aside(tmp_path: Path, archive: tuple[int, list[bytes]]) -> None:
    (tmp_path / "dicom").mkdir()
    capture = dicoms.file(GREYS, **STUDY, kind=dicoms.SC)
    (tmp_path / "dicom/one.sc.dcm").write_bytes(capture)
    warned: list[str] = []
    Sender(tmp_path / "dicom", Peer("PACS", "127.0.0.1", archive[0]), title="STATION", warn=warned.append).send_all()
    assert len(archive[1]) == 1
    assert pydicom.dcmread(tmp_path / "sent/one.sc.dcm").PixelData == GREYS.tobytes()
    assert list((tmp_path / "dicom").iterdir()) == []
    assert warned == []


def test_an_archive_that_is_away_is_told_once_and_waited_for(
    tmp_path: Path, archive: tuple[int, list[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dicom").mkdir()
    (tmp_path / "dicom/one.sc.dcm").write_bytes(dicoms.file(GREYS, **STUDY, kind=dicoms.SC))
    warned: list[str] = []
    monkeypatch.setattr(receiving, "RETRY_SECONDS", 0.0)
    sender = Sender(tmp_path / "dicom", Peer("PACS", "127.0.0.1", 1), title="STATION", warn=warned.append)
    for _ in range(2):
        sender.send_all()
    assert len(warned) == 1
    assert "they wait in" in warned[0]
    sender._peer = Peer("PACS", "127.0.0.1", archive[0])
    sender.send_all()
    assert len(archive[1]) == 1
    assert warned[1:] == ["answers are sent to PACS again"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "Missing option '--allow'"),
        (["--allow", "a title of too many letters"], "1 to 16 letters"),
        (["--allow", "A", "--send-to", "PACS"], "TITLE@HOST:PORT"),
        (["--allow", "A", "--title", ""], "1 to 16 letters"),
    ],
)
def test_misuse_is_a_sentence(tmp_path: Path, arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["receive", *arguments, str(tmp_path / "out")]) == exit_codes.USAGE
    assert told in capsys.readouterr().err


def start(outbox: Path, archive_port: int) -> tuple[subprocess.Popen[str], int]:
    """The command in a process of its own, and the port that it was given."""
    options = ["--allow", "XRAY", "--title", "STATION", "--port", "0", "--keep-free", "0"]
    options += ["--send-to", f"PACS@127.0.0.1:{archive_port}", "--question", "osteoarthritis"]
    command = [sys.executable, "-m", "osteo_edge", "receive", *options, str(outbox)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    assert process.stderr is not None
    line = process.stderr.readline()
    assert " port " in line, line + process.stderr.read()
    return process, int(line.rsplit(maxsplit=1)[1])


@pytest.mark.slow
def test_a_day_with_kills(tmp_path: Path, example: Path, archive: tuple[int, list[bytes]]) -> None:
    """Knees, one that is broken and one that comes twice; a sender that gets no answer sends again, as machines do."""
    pytest.importorskip("highdicom", reason="highdicom is not installed")
    pixels = cv2.imread(str(example), cv2.IMREAD_GRAYSCALE)
    assert pixels is not None
    chance, films = random.Random(3), list[Path]()
    for number in range(6):
        film = tmp_path / f"film-{number}.dcm"
        shown = np.full_like(pixels, 40) if number == 3 else np.maximum(pixels, number)
        film.write_bytes(
            dicoms.file(shown, **{**STUDY, "StudyInstanceUID": f"1.2.3.{number}", "SOPInstanceUID": f"1.2.4.{number}"})
        )
        films.append(film)
    process, port = start(tmp_path / "out", archive[0])
    kills = 0
    for film in [*films, films[0]]:
        while send(port, film) != 0:
            process.wait()
            process, port = start(tmp_path / "out", archive[0])
        if kills < 3:
            time.sleep(chance.uniform(0, 0.5))
            process.kill()
            process.wait()
            kills += 1
            process, port = start(tmp_path / "out", archive[0])
    deadline = time.monotonic() + 120
    waiting = (tmp_path / "out/received", tmp_path / "out/dicom")
    while any(path.suffix == ".dcm" for folder in waiting for path in folder.rglob("*")) or kinds_of(archive[1])[CAPTURE] < 5:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == exit_codes.TERMINATED
    verify(tmp_path / "out/audit.jsonl")
    told = [json.loads(line)["facts"] for line in (tmp_path / "out/audit.jsonl").read_text().splitlines()]
    first = Counter(line["outcome"] for line in told if "duplicate_of" not in line)
    assert first == {"done": 5, "refused": 1}
    assert len({line["arrival"] for line in told}) == len(told) == sum(1 for line in told if "duplicate_of" in line) + 6
    assert len(kinds_of(archive[1])) == 3  # reports, captures, pages
    reports = {str(pydicom.dcmread(BytesIO(data)).StudyInstanceUID) for data in archive[1] if kind_of(data) == REPORT}
    assert reports == {f"1.2.3.{number}" for number in range(6)}


REPORT, CAPTURE = receiving._ANSWERS[:2]


def kind_of(data: bytes) -> str:
    return str(pydicom.dcmread(BytesIO(data), stop_before_pixels=True).SOPClassUID)


def kinds_of(taken: list[bytes]) -> Counter[str]:
    """Kind of object -> how many with numbers of their own; one may come twice."""
    found = {str(one.SOPInstanceUID): str(one.SOPClassUID) for one in map(pydicom.dcmread, map(BytesIO, list(taken)))}
    return Counter(found.values())
