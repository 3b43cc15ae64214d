"""Notices that a worker has stopped taking jobs, and ends it so that it is started again.

A Celery worker can live on and never take a message again, for instance when the broker restarts while a task ends
and its acknowledgement meets the closed connection. The watchdog is a thread of Celery's main process. It looks at
the ledger, not at Celery: a worker that is idle while a job waits, for longer than ``worker.stalled_seconds``, is of
no use, whatever the reason. It ends with ``REPLACE``, which the supervisor (or the container's) answers with a new
start; that start looks into the ledger itself when no broker answers. Halfway to that it sends itself the message, in
case only that is missing: the broker lost it, or the node's reconciler is away.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from celery import bootsteps
from celery.worker import state
from kombu import Connection
from kombu.exceptions import OperationalError

from dicom_node.archive.database import Database
from dicom_node.archive.ledger import Ledger
from dicom_node.archive.places import broker_url, queue_name
from dicom_node.archive.processes import Processes, this_host
from dicom_node.domain.job import Priority
from dicom_node.errors import LedgerError
from dicom_node.settings import Settings
from workers.configuration import abilities, device, log_to, read_settings

log = logging.getLogger(__name__)

REPLACE = 75  # exit status (EX_TEMPFAIL): start it again
LOOK_EVERY_S = 1.0
# Without a broker nothing comes by message: the ledger is looked into sooner.
WITHOUT_BROKER_S = 5.0
_TELL_EVERY_S = 5.0


def broker_answers(settings: Settings) -> bool:
    """Whether the broker can be reached now; waits two seconds at most."""
    quick = {"socket_connect_timeout": 2, "socket_timeout": 2}
    with Connection(broker_url(settings), transport_options=quick) as connection:
        try:
            connection.connect()
        except (*connection.connection_errors, OSError):
            return False
        return True


class Watchdog:
    """Judges one worker. ``owners``: the names under which its processes own jobs."""

    def __init__(
        self,
        ledger: Ledger,
        owners: Callable[[], Sequence[str]],
        stalled_s: float,
        broker: Callable[[], bool],
        ring: Callable[[int], object],
        taken: Callable[[], int],
    ) -> None:
        """``ring``: sends the message of a job. ``taken``: how many messages this worker has taken so far."""
        self._ledger = ledger
        self._processes = Processes(ledger.database)
        self._owners = owners
        self._stalled_s = stalled_s
        self._broker = broker
        self._ring = ring
        self._rang = False
        self._taken = taken
        self._taken_before = 0
        self._waits_since: float | None = None
        self._told: tuple[bool, float] | None = None

    def stalled(self, now_s: float) -> str:
        """Why this worker should be replaced; empty when it should not. ``now_s``: a steady clock."""
        owners = self._owners()
        # Jobs shorter than the time between two looks are never seen to run.
        taken = self._taken()
        busy, self._taken_before = self._ledger.is_running(owners) or taken != self._taken_before, taken
        self._tell(owners, not busy, now_s)
        # A worker that is still loading has no row yet; Celery itself ends one that never gets ready.
        job_id = None if busy else self._ledger.next_queued()
        if job_id is None or not self._processes.registered(owners):
            self._waits_since, self._rang = None, False
            return ""
        if self._waits_since is None:
            self._waits_since = now_s
        waited_s = now_s - self._waits_since
        if waited_s >= self._stalled_s:
            return f"a job has waited for {waited_s:.0f} s while this worker had nothing to do"
        if waited_s >= WITHOUT_BROKER_S and not self._broker():
            return f"a job has waited for {waited_s:.0f} s, and the broker does not answer"
        if waited_s >= self._stalled_s / 2 and not self._rang:
            self._rang = True
            self._ring(job_id)
        return ""

    def _tell(self, owners: Sequence[str], idle: bool, now_s: float) -> None:
        if self._told is None or self._told[0] != idle or now_s - self._told[1] >= _TELL_EVERY_S:
            self._processes.seen(owners, idle=idle)
            self._told = (idle, now_s)


class WatchdogStep(bootsteps.StartStopStep):  # type: ignore[misc]
    """The watchdog as a part of Celery's main process, from when its pool is there."""

    requires = frozenset({"celery.worker.components:Pool"})

    def __init__(self, worker: Any, **options: Any) -> None:
        super().__init__(worker, **options)
        self._stop = threading.Event()

    def start(self, worker: Any) -> None:
        """Begin to watch."""
        settings = read_settings()
        log_to(settings, "watchdog")
        threading.Thread(target=self._watch, args=(settings, worker), name="watchdog", daemon=True).start()

    def stop(self, worker: Any) -> None:
        """The worker ends in order: jobs may wait."""
        self._stop.set()
        _end_children(worker)

    terminate = stop

    def _watch(self, settings: Settings, worker: Any) -> None:
        database = Database(settings.database.url, settings.node.data_dir)
        has = abilities(settings, device())
        ledger = Ledger(database, settings.worker.maximum_attempts, settings.worker.at_once, has)

        def owners() -> list[str]:
            return [f"{this_host()}:{pid}" for pid in _children(worker)]

        def ring(job_id: int) -> None:
            queue = queue_name(Priority.STAT, has)  # it is the next one by the ledger, whatever its priority
            try:
                worker.app.send_task("workers.run", args=(job_id,), queue=queue, retry=False, ignore_result=True)
            except OperationalError as error:
                log.warning("the broker does not take a message: %s", error)

        limit_s = settings.worker.stalled_seconds
        dog = Watchdog(ledger, owners, limit_s, lambda: broker_answers(settings), ring, state.total_count.total)
        while not self._stop.wait(LOOK_EVERY_S):
            try:
                why = dog.stalled(time.monotonic())
                if why and not self._stop.is_set():
                    log.error("%s: this worker is replaced", why)
                    _replace(worker, ledger, owners())
            except LedgerError as error:
                log.warning("the watchdog cannot look into the ledger: %s", error.message)


def _replace(worker: Any, ledger: Ledger, owners: Sequence[str]) -> None:
    """End this process at once. A job that came in the last moment is handed back, and costs no attempt."""
    for pid in _children(worker):
        os.kill(pid, signal.SIGKILL)
    try:
        ledger.release_all(owners, "watchdog")
    finally:
        os._exit(REPLACE)


def _end_children(worker: Any) -> None:
    """Have the pool's process hand back its job, and end."""
    for pid in _children(worker):
        os.kill(pid, signal.SIGTERM)


def _children(worker: Any) -> list[int]:
    """Process ids of the pool."""
    pool = getattr(worker.pool, "_pool", None)
    return [process.pid for process in list(getattr(pool, "_pool", None) or ()) if process.pid and process.is_alive()]
