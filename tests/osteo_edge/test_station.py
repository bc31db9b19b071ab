"""Pictures that come in by a folder: each gets one outcome, whatever ends the program or fills the disk."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from osteo_edge import storage
from osteo_edge.errors import EngineUnavailableError, InferenceError, StationError
from osteo_edge.integrity import sha256_hex
from osteo_edge.station import audit, inbox, journal, outbox, worker
from osteo_edge.station.inbox import TAKEN, Arrival
from osteo_edge.station.watching import PATIENCE, Pace
from osteo_edge.station.worker import MOST_ATTEMPTS
from tests.station import Quick, Station, outcomes, require_one_outcome_each

ROOT = Path(__file__).resolve().parents[2]


class Cut(BaseException):
    """The power."""


@pytest.fixture
def in_memory(tmp_path: Path) -> Iterator[Path]:
    """A folder where flushing takes no time, if there is such a place."""
    place = Path("/dev/shm")
    if not os.access(place, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=place) as folder:
        yield Path(folder)


def bring(folder: Path, *pictures: bytes) -> list[bytes]:
    (folder / "in").mkdir(exist_ok=True)
    for number, picture in enumerate(pictures):
        (folder / "in" / f"Doe^Jane {number}.png").write_bytes(picture)
    return list(pictures)


def test_each_picture_goes_to_its_folder_with_an_answer(tmp_path: Path) -> None:
    brought = bring(tmp_path, b"one", b"two", b"bad")
    with Station(tmp_path) as station:
        station.watch.run()
    require_one_outcome_each(tmp_path, brought)
    assert sorted(outcome.kind for outcome in station.told) == ["done", "done", "refused"]
    (refused,) = (tmp_path / "out/refused").iterdir()
    answer = json.loads((tmp_path / f"out/answers/{refused.stem}.json").read_text())
    assert (answer["status"], answer["source"]) == ("rejected", refused.name)
    assert answer["findings"][0]["code"] == "damaged"


def test_no_name_is_kept_unless_asked_for(tmp_path: Path) -> None:
    bring(tmp_path, b"one")
    with Station(tmp_path) as station:
        station.watch.run()
    written = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert not [path for path in written if "Doe" in path.name or b"Doe" in path.read_bytes()]
    bring(tmp_path, b"two")
    with Station(tmp_path, keeps_names=True) as station:
        station.watch.run()
    assert station.told[0].stem.startswith("Doe^Jane 0-")
    assert b"Doe" not in (tmp_path / "out/audit.jsonl").read_bytes()


def test_the_same_bytes_are_told_as_a_duplicate_and_not_asked_again(tmp_path: Path) -> None:
    brought = bring(tmp_path, b"one", b"one", b"bad", b"bad")
    with Station(tmp_path) as station:
        station.watch.run()
    require_one_outcome_each(tmp_path, brought)
    assert len([source for source in station.predictor.asked if source.startswith(sha256_hex(b"one")[:12])]) == 1
    firsts = {outcome.first for outcome in station.told}
    assert firsts == {None, *(outcome.stem for outcome in station.told if outcome.first is None)}
    again = next(outcome for outcome in station.told if outcome.first)
    told = json.loads((tmp_path / f"out/answers/{again.stem}.json").read_text())
    assert (told["outcome"], told["first"]) == ("duplicate", again.first)


def test_other_bundles_are_asked_again(tmp_path: Path) -> None:
    bring(tmp_path, b"one")
    with Station(tmp_path) as station:
        station.watch.run()
    bring(tmp_path, b"one")
    other = Quick()
    other.models = (worker.replace(other.models[0], digest="1" * 64),)
    with Station(tmp_path, other) as station:
        station.watch.run()
    assert station.told[0].first is None


def test_only_what_stands_still_is_taken(tmp_path: Path) -> None:
    with Station(tmp_path, pace=Pace(5.0, 1.0, 0)) as station:
        copy = station.inbox / "knee.png"
        for number in range(4):  # a slow copy: three seconds between two pieces
            with copy.open("ab") as file:
                file.write(b"piece")
            os.utime(copy, ns=(number, number))
            station.watch.turn()
            station.now += 3
        assert station.told == []
        for name in ("empty.png", "x.png.part", ".hidden.png", "Thumbs.db", "desktop.ini", "~$report.doc", ".DS_Store"):
            (station.inbox / name).write_bytes(b"" if name == "empty.png" else b"x")
        (station.inbox / "link.png").symlink_to(copy)
        os.mkfifo(station.inbox / "pipe.png")
        station.now += 3
        station.watch.turn()
        assert [outcome.kind for outcome in station.told] == ["done"]
        station.now += 40
        station.watch.turn()
        assert len(station.told) == 1  # nine files, of which the empty one may still be written to
        os.rename(station.inbox / "x.png.part", station.inbox / "x.png")
        station.now += 20
        station.watch.turn()
        station.now += 6
        station.watch.turn()
        assert len(station.told) == 3
        left = sorted(path.name for path in station.inbox.iterdir())
        assert left == [".DS_Store", ".hidden.png", TAKEN, "Thumbs.db", "desktop.ini", "link.png", "pipe.png", "~$report.doc"]


def test_what_cannot_be_read_is_looked_at_again_before_it_is_refused(tmp_path: Path) -> None:
    """A copy that stood still over a lame network, and went on after it was taken."""
    with Station(tmp_path, pace=Pace(5.0, 1.0, 0)) as station:
        bring(tmp_path, b"bad, half of it")
        for _ in range(3):
            station.watch.turn()
            station.now += 5
        (taken,) = (station.inbox / TAKEN).iterdir()
        taken.write_bytes(b"whole now")
        station.watch.turn()
        assert station.told == []
        station.now += 5 * PATIENCE
        station.watch.turn()
        assert [outcome.kind for outcome in station.told] == ["done"]
    require_one_outcome_each(tmp_path, [b"whole now"])


def test_a_picture_that_is_written_to_while_it_is_read_is_read_again(tmp_path: Path) -> None:
    with Station(tmp_path) as station:
        path = station.inbox / TAKEN / f"{'a' * 16}.png"
        path.write_bytes(b"one")
        predict = station.predictor.predict

        def and_write(image: bytes, **options: Any) -> Any:
            path.write_bytes(b"one and more")
            return predict(image, **options)

        station.predictor.predict = and_write
        arrival = Arrival("a" * 16, path, "", ".png")
        assert station.worker.take(arrival) is None
        station.predictor.predict = predict
        assert station.worker.take(arrival) is not None
    require_one_outcome_each(tmp_path, [b"one and more"])


def test_folders_inside_are_entered_when_asked(tmp_path: Path) -> None:
    (tmp_path / "in/ward/bed").mkdir(parents=True)
    (tmp_path / "in/ward/bed/knee.png").write_bytes(b"one")
    with Station(tmp_path) as station:
        station.watch.run()
        assert station.told == []
    with Station(tmp_path, recursive=True) as station:
        station.watch.run()
    require_one_outcome_each(tmp_path, [b"one"])


def test_what_fails_here_is_told_as_failed_and_a_repeat_is_asked_again(tmp_path: Path) -> None:
    brought = bring(tmp_path, b"ill one")
    with Station(tmp_path, Quick(raised=InferenceError("the engine failed"))) as station:
        station.watch.run()
    assert station.told[0].kind == "failed"
    told = json.loads(next((tmp_path / "out/answers").iterdir()).read_text())
    assert (told["outcome"], told["message"]) == ("failed", "the engine failed")
    brought += bring(tmp_path, b"ill one")
    with Station(tmp_path) as station:
        station.watch.run()
    assert (station.told[0].kind, station.told[0].first) == ("done", None)
    require_one_outcome_each(tmp_path, brought)


def test_an_engine_that_is_missing_ends_the_watch_and_the_picture_waits(tmp_path: Path) -> None:
    brought = bring(tmp_path, b"ill one")
    for _ in range(MOST_ATTEMPTS + 2):
        with (
            Station(tmp_path, Quick(raised=EngineUnavailableError("no engine"))) as station,
            pytest.raises(EngineUnavailableError),
        ):
            station.watch.run()
    with Station(tmp_path) as station:
        station.watch.run()
    require_one_outcome_each(tmp_path, brought)
    assert station.told[0].kind == "done"


def test_only_one_process_works_on_an_outbox(tmp_path: Path) -> None:
    with Station(tmp_path), pytest.raises(StationError, match="another osteo-edge works there"):
        Station(tmp_path)


def test_a_journal_that_is_none_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/journal.sqlite").write_bytes(b"no journal at all" * 100)
    with pytest.raises(StationError, match=r"journal\.sqlite cannot be used: file is not a database"):
        Station(tmp_path)


def test_with_little_room_pictures_wait_and_are_taken_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    brought = bring(tmp_path, b"one", b"two")
    with Station(tmp_path, pace=Pace(0.0, 1.0, 100 << 20)) as station:
        monkeypatch.setattr(outbox.Outbox, "free_bytes", lambda _: 99 << 20)
        for _ in range(3):
            station.watch.turn()
        assert outcomes(station.outbox) == {}
        assert len(list(station.inbox.glob("*.png"))) == 2
        assert len(station.warned) == 1
        assert "99 MiB left and is to keep 100; pictures wait in" in station.warned[0]
        monkeypatch.setattr(outbox.Outbox, "free_bytes", lambda _: 100 << 20)
        station.watch.turn()
        assert station.warned[1:] == ["that is over; pictures are taken again"]
    require_one_outcome_each(tmp_path, brought)


STEPS = (
    (inbox, "move_file"),
    (outbox, "move_file"),
    (outbox, "write_file"),
    (audit, "appending"),
    (journal.Journal, "begin"),
    (journal.Journal, "decide"),
    (journal.Journal, "settle"),
    (worker.Worker, "_answer"),
)


class Faults:
    """Before or after the step of a number something is raised."""

    def __init__(self, at: int, raised: Callable[[], BaseException]) -> None:
        self.at, self.raised, self.count = at, raised, 0

    def around(self, step: Callable[..., Any]) -> Callable[..., Any]:
        def with_faults(*given: Any, **named: Any) -> Any:
            self.pass_by()
            done = step(*given, **named)
            self.pass_by()
            return done

        return with_faults

    def pass_by(self) -> None:
        self.count += 1
        if self.count == self.at:
            raise self.raised()


@pytest.mark.parametrize(
    "raised", [Cut, lambda: OSError(errno.ENOSPC, "No space left on device")], ids=["power cut", "full disk"]
)
def test_whatever_step_the_power_fails_or_the_disk_is_full_at(in_memory: Path, raised: Any) -> None:
    """Before and after every step of a run, one after the other: the next run makes everything whole."""
    at, is_reached = 0, True
    while is_reached:
        at += 1
        folder = in_memory / str(at)
        folder.mkdir()
        brought = bring(folder, b"one", b"one")
        faults = Faults(at, raised)
        with pytest.MonkeyPatch.context() as patched:
            for owner, name in STEPS:
                patched.setattr(owner, name, faults.around(getattr(owner, name)))
            with Station(folder) as station, suppress(Cut, OSError, StationError):
                station.watch.run()
        is_reached = faults.count >= at
        with Station(folder) as station:
            station.watch.run()
        require_one_outcome_each(folder, brought)
    assert at > 2 * len(STEPS)


def test_a_full_disk_is_told_once_and_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    brought = bring(tmp_path, b"one")
    left = [3]

    def until_there_is_room(path: Path, data: bytes) -> None:
        if left[0] > 0:
            left[0] -= 1
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        storage.write_file(path, data)

    def wait(seconds: float) -> None:
        if station.told:
            raise Cut

    monkeypatch.setattr(outbox, "write_file", until_there_is_room)
    with Station(tmp_path, pace=Pace(0.0, 0.0, 0), wait=wait) as station, pytest.raises(Cut):
        station.watch.run()
    assert [told for told in station.warned if "No space left on device" in told] == station.warned[:1]
    require_one_outcome_each(tmp_path, brought)


def test_a_picture_that_ends_the_program_is_not_tried_for_ever(tmp_path: Path) -> None:
    brought = bring(tmp_path, b"one")
    for _ in range(MOST_ATTEMPTS):
        with Station(tmp_path) as station:
            (arrival,) = station.watch._inbox.left_over() or [take_only(station)]
            station.journal.begin(arrival.identity)
    with Station(tmp_path) as station:
        station.watch.run()
    assert [outcome.kind for outcome in station.told] == ["failed"]
    require_one_outcome_each(tmp_path, brought)


def take_only(station: Station) -> Arrival:
    station.watch._inbox.look(0)
    (arrival,) = station.watch._inbox.take_still(0, 0, lambda _: True)
    return arrival


CHILD = """
import sys
from pathlib import Path
from tests.station import AT_ONCE, Quick, Station
with Station(Path(sys.argv[1]), Quick(seconds=0.004), wait=lambda _: None) as station:
    station.watch.run()
"""


def test_killed_at_random_moments_each_picture_has_one_outcome(in_memory: Path) -> None:
    """Processes of their own, ended by SIGKILL; pictures come while nobody runs, duplicates and broken ones among them."""
    chance = random.Random(5)
    brought: list[bytes] = []
    kills, number = 0, 0
    while kills < 12 and number < 40:
        number += 1
        new = [b"%d" % number, b"bad %d" % number, b"again"]
        for place, picture in enumerate(new):
            (in_memory / "in").mkdir(exist_ok=True)
            (in_memory / "in" / f"{number}-{place}.png").write_bytes(picture)
        brought += new
        child = subprocess.Popen([sys.executable, "-c", CHILD, str(in_memory)], cwd=ROOT, stderr=subprocess.PIPE)
        deadline = time.monotonic() + 60
        while not any((in_memory / "in" / TAKEN).glob("*")) and child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(chance.uniform(0, 0.05))
        child.send_signal(signal.SIGKILL)
        assert child.wait() in (0, -signal.SIGKILL), child.communicate()[1]
        kills += child.returncode == -signal.SIGKILL
    assert kills >= 6
    with Station(in_memory) as station:
        station.watch.run()
    require_one_outcome_each(in_memory, brought)
