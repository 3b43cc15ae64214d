"""Wake-up calls from the acceptor to the node, as datagrams on a unix socket.

They are hints: one may be lost, and nobody may be listening. What is true stands in the files, and whoever waits
for hints also looks there from time to time.
"""

from __future__ import annotations

import json
import logging
import select
import socket
import time
from pathlib import Path
from typing import Any

_LARGEST = 4096  # bytes of a datagram
_MOST = 1000  # datagrams taken at once
_PAUSE_S = 0.25

LOGGER = logging.getLogger(__name__)


class Hints:
    """Sends hints; never blocks and never fails. For any number of threads."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._next_stored = 0.0  # monotonic time

    def stored(self) -> None:
        """An object has become durable. Told at most every ``_PAUSE_S``: the queue of a socket holds few datagrams."""
        now = time.monotonic()
        if now >= self._next_stored:
            self._next_stored = now + _PAUSE_S
            self._send({"kind": "stored"})

    def association_ended(
        self, association: str, *, calling_ae: str, called_ae: str, peer: str, objects: int, aborted: bool
    ) -> None:
        """An association is over; ``objects`` of it are durable."""
        self._send(
            {
                "kind": "association-ended",
                "association": association,
                "calling_ae": calling_ae,
                "called_ae": called_ae,
                "peer": peer,
                "objects": objects,
                "aborted": aborted,
            }
        )

    def close(self) -> None:
        """Send no more."""
        self._socket.close()

    def _send(self, hint: dict[str, Any]) -> None:
        try:
            self._socket.sendto(json.dumps(hint).encode("utf-8"), self._path)
        except OSError as error:
            LOGGER.debug("hint not delivered: %s", error)


class HintListener:
    """Receives hints. One per path."""

    def __init__(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind(str(path))

    def wait(self, timeout_s: float) -> list[dict[str, Any]]:
        """Hints in the order they came, ``stored`` at most once; empty after ``timeout_s`` seconds without any."""
        ready, _, _ = select.select([self._socket], [], [], timeout_s)
        hints: list[dict[str, Any]] = []
        if not ready:
            return hints
        for _ in range(_MOST):
            try:
                data = self._socket.recv(_LARGEST)
            except BlockingIOError:
                break
            hint = _decode(data)
            if hint is not None and (hint["kind"] != "stored" or hint not in hints):
                hints.append(hint)
        return hints

    def close(self) -> None:
        """Listen no more."""
        self._socket.close()
        self._path.unlink(missing_ok=True)


def _decode(data: bytes) -> dict[str, Any] | None:
    try:
        hint = json.loads(data)
    except ValueError:
        hint = None
    if not isinstance(hint, dict) or not isinstance(hint.get("kind"), str):
        LOGGER.warning("ignored a hint of %d bytes that is none of ours", len(data))
        return None
    return hint
