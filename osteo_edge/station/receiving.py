"""Pictures that machines send by DICOM's C-STORE, and what is sent back (PS3.4, annex B; PS3.7, 9.1.1).

A sender is told of success once the picture lies on the disk under a number of its own; no name and no path is made of anything
that a sender says. From there on it goes the way of a watched folder's pictures.
"""

from __future__ import annotations

import secrets
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from osteo_edge.errors import StationError
from osteo_edge.images.dicom import SYNTAXES
from osteo_edge.station.outbox import Outbox
from osteo_edge.station.watching import RETRY_SECONDS
from osteo_edge.station.worker import MAX_BYTES
from osteo_edge.storage import move_file, write_file

if TYPE_CHECKING:
    from pynetdicom.ae import ApplicationEntity

INSTALL: Final = 'pip install "osteo-edge[receive]"'
RECEIVED: Final = "received"
SENT: Final = "sent"
# Computed Radiography, Digital X-Ray for presentation; and what answers are.
PICTURES: Final = ("1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.5.1.4.1.1.1.1")
_ANSWERS: Final = (
    "1.2.840.10008.5.1.4.1.1.88.33",
    "1.2.840.10008.5.1.4.1.1.7",
    "1.2.840.10008.5.1.4.1.1.104.1",
)
_ECHO: Final = "1.2.840.10008.1.1"
_EXPLICIT: Final = "1.2.840.10008.1.2.1"
_MOST_ASSOCIATIONS: Final = 4
_IDLE_SECONDS: Final = 30.0
# Of what a message holds besides the file.
_SLACK_BYTES: Final = 1 << 20
# PS3.4, B.2.3, and PS3.7, annex C.
_DONE, _NO_ROOM, _NOT_ALLOWED, _FAILED = 0x0000, 0xA700, 0x0124, 0xC000


@dataclass(frozen=True)
class Peer:
    """Another program by its title, and by its address where that matters.

    Attributes:
        address: empty for any.
    """

    title: str
    address: str = ""
    port: int = 0


class Receiver:
    """Takes pictures from the programs that are allowed, on threads of its own."""

    def __init__(self, outbox: Outbox, *, title: str, allowed: Sequence[Peer], keep_free_bytes: int) -> None:
        """Nothing is listened to before ``listen``.

        Raises:
            StationError: pynetdicom is not installed, or the folder cannot be made.
        """
        self._outbox, self._allowed, self._keep_free_bytes = outbox, allowed, keep_free_bytes
        self.folder = _made(outbox.folder / RECEIVED)
        self._coming: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
        self._entity = entity = _entity(title)
        entity.maximum_associations = _MOST_ASSOCIATIONS
        entity.network_timeout = entity.dimse_timeout = entity.acse_timeout = _IDLE_SECONDS
        entity.require_called_aet, entity.require_calling_aet = True, [peer.title for peer in allowed]
        for kind in PICTURES:
            entity.add_supported_context(kind, list(SYNTAXES))
        entity.add_supported_context(_ECHO)

    def listen(self, address: str, port: int) -> int:
        """Begin; returns the port, which the system chooses for 0.

        Raises:
            StationError: the address or port cannot be had.
        """
        from pynetdicom import evt

        handlers: list[Any] = [(evt.EVT_C_STORE, self._store), (evt.EVT_C_ECHO, self._echo), (evt.EVT_PDU_RECV, self._count)]
        try:
            server = self._entity.start_server((address, port), block=False, evt_handlers=handlers)
        except OSError as error:
            raise StationError(f"pictures cannot be received at {address} port {port}: {error.strerror}") from error
        assert server is not None
        return int(server.server_address[1])

    def close(self) -> None:
        """Take nothing more."""
        self._entity.shutdown()

    def _echo(self, event: Any) -> int:
        return _DONE if self._is_allowed(event) else _NOT_ALLOWED

    def _is_allowed(self, event: Any) -> bool:
        sender = Peer(event.assoc.requestor.ae_title.strip(), event.assoc.requestor.address)
        return any(peer.title == sender.title and peer.address in ("", sender.address) for peer in self._allowed)

    def _count(self, event: Any) -> None:
        """A message beyond the limit ends its association before it fills the memory."""
        came = self._coming.get(event.assoc, 0) + getattr(event.pdu, "pdu_length", 0)
        self._coming[event.assoc] = came
        if came > MAX_BYTES + _SLACK_BYTES:
            threading.Thread(target=event.assoc.abort, daemon=True).start()  # which waits for the thread that this runs on

    def _store(self, event: Any) -> int:
        self._coming[event.assoc] = 0
        if not self._is_allowed(event):
            return _NOT_ALLOWED
        try:
            if self._outbox.free_bytes() < self._keep_free_bytes:
                return _NO_ROOM
            write_file(self.folder / f"{secrets.token_hex(8)}.dcm", event.encoded_dataset())
        except (StationError, OSError):
            return _NO_ROOM
        except Exception:  # what a stranger's message makes of the library; it has the status, and nothing was taken
            return _FAILED
        return _DONE


class Sender:
    """Sends the objects of answers, and moves what has arrived aside."""

    def __init__(self, folder: Path, peer: Peer, *, title: str, warn: Callable[[str], None]) -> None:
        """
        Args:
            folder: of the objects.
            warn: is told once when they cannot be sent, and when they can again.

        Raises:
            StationError: pynetdicom is not installed, or the folder for sent ones cannot be made.
        """
        self._folder, self._peer, self._warn = folder, peer, warn
        self._sent = _made(folder.parent / SENT)
        self._entity = _entity(title)
        self._entity.connection_timeout = self._entity.acse_timeout = 10.0
        self._entity.dimse_timeout = self._entity.network_timeout = _IDLE_SECONDS
        for kind in _ANSWERS:
            self._entity.add_requested_context(kind, _EXPLICIT)
        self._next, self._is_waiting = 0.0, False

    def send_all(self) -> None:
        """Send what waits; after a failure not again for a while."""
        waiting = sorted(self._folder.glob("*.dcm"))
        if not waiting or time.monotonic() < self._next:
            return
        reason = self._send(waiting)
        self._next = time.monotonic() + (RETRY_SECONDS if reason else 0.0)
        if bool(reason) != self._is_waiting:
            self._is_waiting = bool(reason)
            self._warn(reason or f"answers are sent to {self._peer.title} again")

    def _send(self, files: Sequence[Path]) -> str:
        """Why not all were sent; empty where they were."""
        where = f"{self._peer.title} at {self._peer.address} port {self._peer.port}"
        association = self._entity.associate(self._peer.address, self._peer.port, ae_title=self._peer.title)
        if not association.is_established:
            return f"answers cannot be sent: {where} does not answer or does not take them; they wait in {self._folder}"
        try:
            for file in files:
                if not _is_taken(_stored(association, file)):
                    return f"an answer was not taken by {where}; it waits in {self._folder}"
                move_file(file, self._sent / file.name)
        except (OSError, ValueError, RuntimeError, AttributeError) as error:
            return f"answers cannot be sent to {where} ({type(error).__name__}); they wait in {self._folder}"
        finally:
            association.release()
        return ""


def _stored(association: Any, file: Path) -> Any:
    """The status that the archive gives; pydicom's warnings, which quote what they warn of, do not pass."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return association.send_c_store(file)


def _is_taken(status: Any) -> bool:
    """Also where the archive changed something or warns (PS3.4, B.2.3)."""
    code = getattr(status, "Status", None)
    return code is not None and (code == _DONE or code >> 12 == 0xB)


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise StationError(f"the folder {folder} cannot be made: {error.strerror}") from error
    return folder


def _entity(title: str) -> ApplicationEntity:
    try:
        from pynetdicom.ae import ApplicationEntity
    except ImportError as error:
        raise StationError(f"receiving and sending DICOM need pynetdicom, which is not installed: {INSTALL}") from error
    return ApplicationEntity(title)
