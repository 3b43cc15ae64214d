"""How many associations are open, in all and with each peer, over all acceptors."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

from dicom_node.dimse.admission import Rejection, full
from dicom_node.dimse.pace import Throttle
from dicom_node.settings import PeerSettings, Settings


class Places:
    """So many as there are; processes share those of one ``file``. Not for several threads.

    A place is the lock on one byte of the file: the system lets go of those of a process that dies, however it dies.
    """

    def __init__(self, most: int, file: Path | None = None) -> None:
        self._most = most
        self._taken: set[int] = set()
        # kept open: closing any descriptor of the file would let go of all our locks
        self._descriptor = None if file is None else os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def take(self) -> int | None:
        """The number of a place that was free, or None."""
        for number in range(self._most):
            if number not in self._taken and self._lock(number):
                self._taken.add(number)
                return number
        return None

    def give(self, number: int) -> None:
        """Leave a place."""
        self._taken.discard(number)
        if self._descriptor is not None:
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, number)

    def _lock(self, number: int) -> bool:
        if self._descriptor is None:
            return True
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
        except (BlockingIOError, PermissionError):
            return False
        return True


class Occupancy:
    """Counts associations that were admitted. For any number of threads."""

    def __init__(self, settings: Settings, folder: Path | None = None) -> None:
        """``folder``: where the acceptors of one node count together; None where there is only one."""
        if folder is not None:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._most = settings.node.maximum_associations
        self._lock = threading.Lock()
        self._all = Places(self._most, folder and folder / "all")
        self._of_peer = {
            peer.name: Places(peer.maximum_associations, folder and folder / f"peer-{peer.name.encode().hex()}")
            for peer in settings.peers
            if peer.maximum_associations is not None
        }
        self._open: dict[str, list[tuple[Places, int]]] = {}  # what each association holds
        self._throttles = {peer.name: Throttle.of(peer) for peer in settings.peers}

    def enter(self, association: str, peer: PeerSettings | None) -> Rejection | None:
        """Count an association in, or say why it must wait."""
        with self._lock:
            held: list[tuple[Places, int]] = []
            own = self._of_peer.get(peer.name) if peer else None
            for places in (self._all, own):
                if places is None:
                    continue
                number = places.take()
                if number is None:
                    _leave(held)
                    return self._no_room(peer if places is own else None)
                held.append((places, number))
            self._open[association] = held
        return None

    def leave(self, association: str) -> None:
        """Count it out; one that never came in changes nothing."""
        with self._lock:
            _leave(self._open.pop(association, []))

    def throttle(self, peer: PeerSettings | None) -> Throttle | None:
        """What slows a peer down, over all its associations with this acceptor."""
        return self._throttles.get(peer.name) if peer else None

    def _no_room(self, peer: PeerSettings | None) -> Rejection:
        if peer is None:
            return full(f"{self._most} associations are open", "set node.maximum_associations higher, if it may be")
        return full(
            f"{peer.maximum_associations} associations of {peer.name!r} are open",
            f"set maximum_associations of peer {peer.name!r} higher, if it may be",
        )


def _leave(held: list[tuple[Places, int]]) -> None:
    for places, number in held:
        places.give(number)
