"""How many associations are open, in all and with each peer."""

from __future__ import annotations

import threading
from collections import Counter

from dicom_node.dimse.admission import Rejection, full
from dicom_node.dimse.pace import Throttle
from dicom_node.settings import PeerSettings, Settings


class Occupancy:
    """Counts associations that were admitted. For any number of threads."""

    def __init__(self, settings: Settings) -> None:
        self._most = settings.node.maximum_associations
        self._lock = threading.Lock()
        self._open: dict[str, str] = {}  # association → name of its peer, empty for an unknown one
        self._throttles = {peer.name: Throttle.of(peer) for peer in settings.peers}

    def enter(self, association: str, peer: PeerSettings | None) -> Rejection | None:
        """Count an association in, or say why it must wait."""
        name = peer.name if peer else ""
        with self._lock:
            if len(self._open) >= self._most:
                return full(f"{self._most} associations are open", "set node.maximum_associations higher, if it may be")
            most = peer.maximum_associations if peer else None
            if most is not None and Counter(self._open.values())[name] >= most:
                return full(
                    f"{most} associations of {name!r} are open",
                    f"set maximum_associations of peer {name!r} higher, if it may be",
                )
            self._open[association] = name
        return None

    def leave(self, association: str) -> None:
        """Count it out; one that never came in changes nothing."""
        with self._lock:
            self._open.pop(association, None)

    def throttle(self, peer: PeerSettings | None) -> Throttle | None:
        """What slows a peer down, over all its associations."""
        return self._throttles.get(peer.name) if peer else None
