"""Parts of a station for tests: a predictor that answers at once, and folders around it."""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from osteo_edge.answered import ModelIdentity
from osteo_edge.cli.inputs import PICTURE_ENDINGS
from osteo_edge.errors import InputError, UnreadableImageError
from osteo_edge.findings import Finding
from osteo_edge.integrity import sha256_hex
from osteo_edge.labels import Status
from osteo_edge.prediction import Prediction
from osteo_edge.records import FrozenMapping
from osteo_edge.station.audit import AuditLog
from osteo_edge.station.inbox import Inbox
from osteo_edge.station.journal import Journal, Outcome
from osteo_edge.station.outbox import AUDIT, Outbox
from osteo_edge.station.watching import Pace, Watch
from osteo_edge.station.worker import Worker
from tests.answers import a_prediction, an_answer

AT_ONCE = Pace(0.0, 0.0, 0, is_once=True)
TIMINGS = FrozenMapping({"read": 1.0})


class Quick:
    """Answers as the bytes say: ``bad`` cannot be read, ``ill`` ends in an error that was raised."""

    def __init__(self, seconds: float = 0.0, raised: BaseException | None = None) -> None:
        self.seconds, self.raised, self.asked = seconds, raised, list[str]()
        self.models = (ModelIdentity("b", "1", "0" * 64, "onnxruntime", "fp32", 1),)

    def predict(self, image: bytes | str, *, source: str, explain: bool) -> Prediction:
        assert isinstance(image, bytes)
        self.asked.append(source)
        time.sleep(self.seconds)
        if image.startswith(b"bad"):
            raise UnreadableImageError("damaged", code="damaged")
        if image.startswith(b"ill") and self.raised:
            raise self.raised
        return a_prediction(an_answer(), source=source, digest=sha256_hex(image), timings_ms=TIMINGS)

    def reject(self, source: str, error: InputError) -> Prediction:
        answer = replace(an_answer(), status=Status.REJECTED, findings=(Finding(error.code, str(error)),), label_set=())
        return a_prediction(answer, source=source, digest=None, timings_ms=TIMINGS)


class Station:
    """INBOX and OUTBOX in a folder, and what works between them until it is closed."""

    def __init__(self, folder: Path, predictor: Any = None, pace: Pace = AT_ONCE, **options: Any) -> None:
        self.inbox, self.outbox = folder / "in", folder / "out"
        self.inbox.mkdir(exist_ok=True)
        self.predictor = predictor or Quick()
        self.told: list[Outcome] = []
        self.warned: list[str] = []
        self.now = 0.0
        products = options.pop("products", ())
        inbox = Inbox(
            self.inbox,
            endings=PICTURE_ENDINGS,
            recursive=options.pop("recursive", False),
            keeps_names=options.pop("keeps_names", False),
        )
        outbox = Outbox(self.outbox)
        self.journal = Journal(outbox.journal)
        self.worker = Worker(self.predictor, outbox, self.journal, AuditLog(self.outbox / AUDIT), products)
        clock = {"now": lambda: self.now, "wait": options.pop("wait", self.pass_time)}
        self.watch = Watch(inbox, outbox, self.worker, pace, tell=self.told.append, warn=self.warned.append, **clock)

    def pass_time(self, seconds: float) -> None:
        self.now += max(seconds, 1.0)

    def close(self) -> None:
        self.journal.close()

    def __enter__(self) -> Station:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def outcomes(outbox: Path) -> Counter[bytes]:
    """Bytes of a picture -> how many of it lie in folders of outcomes."""
    kinds = ("done", "refused", "failed")
    return Counter(path.read_bytes() for kind in kinds for path in (outbox / kind).iterdir())


def require_one_outcome_each(station_folder: Path, brought: list[bytes]) -> None:
    """Each picture that was brought lies in one folder, has one answer beside it and one line in the audit log."""
    from osteo_edge.station.audit import verify

    inbox, outbox = station_folder / "in", station_folder / "out"
    assert [path for path in inbox.rglob("*") if path.is_file()] == []
    assert outcomes(outbox) == Counter(brought)
    stems = sorted(path.stem for kind in ("done", "refused", "failed") for path in (outbox / kind).iterdir())
    assert sorted(path.stem for path in (outbox / "answers").iterdir()) == stems
    assert verify(outbox / AUDIT).lines >= len(brought)
    lines = [json.loads(line) for line in (outbox / AUDIT).read_bytes().splitlines()]
    arrivals = [line["facts"]["arrival"] for line in lines if line["event"] == "answered"]
    assert sorted(arrivals) == sorted(stem.rpartition("-")[2] for stem in stems)
    assert len(arrivals) == len(brought)
