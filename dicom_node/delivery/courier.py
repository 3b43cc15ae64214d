"""The courier: gives every destination that has something due lanes of its own, so that none delays another."""

from __future__ import annotations

import logging
import os
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime

from dicom_node.archive.claims import Claims
from dicom_node.archive.parcels import Parcels
from dicom_node.archive.processes import alive, this_host
from dicom_node.delivery.commit import Committer
from dicom_node.delivery.destination import Destinations
from dicom_node.delivery.lane import LEASE_S, Lane
from dicom_node.delivery.opening import Opening, now, opening
from dicom_node.delivery.verify import Verifier
from dicom_node.errors import DicomNodeError
from dicom_node.settings import Settings

log = logging.getLogger(__name__)

_MOST_DESTINATIONS = 32  # served at the same time
_RENEW_S = LEASE_S / 4
_REST_S = 5.0  # of a destination after a fault of ours
_CLOSE_S = 5.0  # longest wait for lanes to end; what they leave is due at the next start


class Courier:
    """Starts lanes; each runs until nothing is due at its destination, and is started again when something is.

    A destination has as many lanes at the same time as its entry allows ``connections``.
    """

    def __init__(
        self,
        settings: Settings,
        parcels: Parcels,
        destinations: Destinations,
        committer: Committer | None = None,
        clock: Callable[[], datetime] = now,
    ) -> None:
        self._settings = settings
        self._claims = Claims(parcels.database)
        self._destinations = destinations
        self._clock = clock
        self._stop = threading.Event()
        committer = committer or Committer(settings, parcels, Verifier(settings, parcels, destinations))
        self._lane = Lane(settings, parcels, destinations, committer, self._stop, clock)
        self._here, self._pid = this_host(), os.getpid()
        self._name = f"{self._here}:{self._pid}:{secrets.token_hex(4)}"
        self._lanes = 0
        self._running: dict[str, tuple[str, threading.Thread]] = {}  # owner -> destination, thread
        self._renewed = 0.0
        self._begun = False
        self._troubles: dict[str, DicomNodeError] = {}

    def tick(self) -> int:
        """Start a lane for each destination that needs one and may have one more; returns how many were started.

        Raises:
            DicomNodeError: a lane that ended met trouble that is not its peer's; told once.
        """
        if not self._begun:
            self._claims.abandon(self._is_dead)
            self._begun = True
        self._running = {owner: lane for owner, lane in self._running.items() if lane[1].is_alive()}
        self._renew()
        started = self._wanted()
        for destination in started:
            self._lanes += 1
            owner = f"{self._name}/{self._lanes}"
            # A daemon, since a stalled peer must not keep the process from ending.
            thread = threading.Thread(
                target=self._run, args=(destination, owner), name=f"to {destination}", daemon=True
            )
            self._running[owner] = (destination, thread)
            thread.start()
        if self._troubles:
            raise self._troubles.popitem()[1]
        return len(started)

    def settle(self, within_s: float) -> bool:
        """Wait until no lane runs; false when some still do after ``within_s`` seconds."""
        deadline = time.monotonic() + within_s
        threads = [thread for _, thread in self._running.values()]
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in threads)

    def close(self) -> None:
        """End the lanes after the object that each is sending."""
        self._stop.set()
        if not self.settle(_CLOSE_S):
            log.warning("deliveries were cut off; they go on at the next start")
        for destination in self._destinations.values():
            destination.close()

    def _wanted(self) -> list[str]:
        """Destinations that get one lane more."""
        closed: list[str] = []
        stat_only: list[str] = []
        most: dict[str, int] = {}
        for peer in self._settings.peers:
            most[peer.name] = peer.connections
            may = opening(peer, self._clock(), self._settings.node.time_zone)
            if may is not Opening.OPEN:
                (stat_only if may is Opening.STAT else closed).append(peer.name)
        running = Counter(destination for destination, _ in self._running.values())
        waiting = sorted(self._claims.destinations(closed, stat_only))
        new = [name for name in waiting if not running[name]][: max(0, _MOST_DESTINATIONS - len(running))]
        more = [name for name in waiting if 0 < running[name] < most.get(name, 1)]
        return new + more

    def _renew(self) -> None:
        if self._running and time.monotonic() - self._renewed > _RENEW_S:
            self._claims.renew(tuple(self._running), LEASE_S)
            self._renewed = time.monotonic()

    def _is_dead(self, owner: str) -> bool:
        """Whether a lane belongs to a process of this machine that is gone."""
        host, _, rest = owner.rpartition("/")[0].rpartition(":")[0].rpartition(":")
        if host != self._here or not rest.isdigit():
            return False
        if int(rest) == self._pid:
            return not owner.startswith(self._name)  # a process before us had our number, as in a container
        return not alive(f"{host}:{rest}")

    def _run(self, destination: str, owner: str) -> None:
        try:
            self._lane.run(destination, owner)
        except DicomNodeError as error:
            self._troubles[destination] = error
        except Exception as error:
            log.exception("delivery to %s: unforeseen", destination)
            self._troubles[destination] = DicomNodeError(f"delivery to {destination}: {type(error).__name__}: {error}")
            self._stop.wait(_REST_S)
