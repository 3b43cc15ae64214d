"""The courier: gives every destination that has something due a lane of its own, so that none delays another."""

from __future__ import annotations

import logging
import threading
import time

from dicom_node.archive.parcels import Parcels
from dicom_node.delivery.lane import Lane, Sends
from dicom_node.delivery.verify import Holds, Verifier
from dicom_node.errors import DicomNodeError
from dicom_node.settings import Settings

log = logging.getLogger(__name__)

_MOST_LANES = 32  # destinations served at the same time
_REST_S = 5.0  # of a destination after a fault of ours
_CLOSE_S = 5.0  # longest wait for lanes to end; what they leave is due at the next start


class Courier:
    """Starts lanes; each runs until nothing is due at its destination, and is started again when something is."""

    def __init__(self, settings: Settings, parcels: Parcels, send: Sends, holds: Holds) -> None:
        self._parcels = parcels
        self._stop = threading.Event()
        self._lane = Lane(settings, parcels, send, Verifier(settings, parcels, holds), self._stop)
        self._running: dict[str, threading.Thread] = {}
        self._troubles: dict[str, DicomNodeError] = {}

    def tick(self) -> int:
        """Start a lane for each destination that needs one and has none; returns how many were started.

        Raises:
            DicomNodeError: a lane that ended met trouble that is not its peer's; told once.
        """
        self._running = {name: thread for name, thread in self._running.items() if thread.is_alive()}
        waiting = sorted(self._parcels.destinations() - self._running.keys())
        started = waiting[: max(0, _MOST_LANES - len(self._running))]
        for destination in started:
            # A daemon, since a stalled peer must not keep the process from ending.
            thread = threading.Thread(target=self._run, args=(destination,), name=f"to {destination}", daemon=True)
            self._running[destination] = thread
            thread.start()
        if self._troubles:
            raise self._troubles.popitem()[1]
        return len(started)

    def settle(self, within_s: float) -> bool:
        """Wait until no lane runs; false when some still do after ``within_s`` seconds."""
        deadline = time.monotonic() + within_s
        for thread in tuple(self._running.values()):
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._running.values())

    def close(self) -> None:
        """End the lanes after the object that each is sending."""
        self._stop.set()
        if not self.settle(_CLOSE_S):
            log.warning("deliveries were cut off; they go on at the next start")

    def _run(self, destination: str) -> None:
        try:
            self._lane.run(destination)
        except DicomNodeError as error:
            self._troubles[destination] = error
        except Exception as error:
            log.exception("delivery to %s: unforeseen", destination)
            self._troubles[destination] = DicomNodeError(f"delivery to {destination}: {type(error).__name__}: {error}")
            self._stop.wait(_REST_S)
