"""The reconciler: makes sure that every queued job has a message and no running one a dead owner.

Harmless when doubled: every step is one conditional write.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable

from dicom_node.archive.ledger import Ledger, QueuedJob
from dicom_node.archive.processes import Processes, alive
from dicom_node.domain.fitness import Abilities
from dicom_node.errors import BrokerError
from dicom_node.jobs.publish import Publisher

log = logging.getLogger(__name__)

# A message lost by the broker without a trace (Redis takes it off the queue before a worker records it) is sent
# again after this long; a doubled message finds the job taken and is dropped. While every worker is busy none is
# missed: whoever hears any message takes what is next by the ledger. Sent often, they would pile up in the broker.
REPUBLISH_AFTER_S = 600.0
# While a worker has nothing to do although jobs wait that it may run, their messages are likely lost.
REPUBLISH_TO_IDLE_AFTER_S = 10.0
HOUSEKEEPING_EVERY_S = 10.0
SHORTEST_LIMIT_S = 3600.0  # a job may be of a model that no rule names any more
# Celery's limit lies beyond the worker's own, which ends only the model's process.
TIME_LIMIT_MARGIN_S = 300.0


class Reconciler:
    """One pass expires leases and rings for what is queued. ``routine_wait_s``: routine jobs then become urgent."""

    def __init__(
        self,
        ledger: Ledger,
        processes: Processes,
        publisher: Publisher,
        time_limits_s: Iterable[float],
        routine_wait_s: float = 3600.0,
    ) -> None:
        self._ledger = ledger
        self._processes = processes
        self._publisher = publisher
        # One for all messages: a worker that hears one takes a more urgent job, of whatever model, if one waits.
        self._limit_s = max((SHORTEST_LIMIT_S, *time_limits_s)) + TIME_LIMIT_MARGIN_S
        self._routine_wait_s = routine_wait_s
        self._housekeeping_at: float | None = None
        self._unreachable = False

    def tick(self) -> None:
        """Expire, then publish. Without a broker the workers look into the ledger themselves."""
        self._ledger.expire(_dead(self._ledger.running_owners()))
        self._keep_house()
        try:
            if self._publisher.lost_its_data():
                self._ledger.unpublish()
            self._publish()
        except BrokerError as error:
            if not self._unreachable:
                log.warning("%s", error)
            self._unreachable = True
        else:
            self._unreachable = False

    def _keep_house(self) -> None:
        now = time.monotonic()
        if self._housekeeping_at is None or now - self._housekeeping_at > HOUSEKEEPING_EVERY_S:
            self._housekeeping_at = now
            self._ledger.age(self._routine_wait_s)
            self._processes.forget(_dead(tuple(process.name for process in self._processes.all())))

    def _publish(self) -> None:
        idle = self._processes.idle()
        sent: list[QueuedJob] = []
        try:
            for job in self._ledger.to_publish(REPUBLISH_AFTER_S, idle, REPUBLISH_TO_IDLE_AFTER_S):
                for abilities in (able := self._who_may(job)):
                    self._publisher.publish(job.id, job.priority, self._limit_s, abilities)
                if able:
                    sent.append(job)
        finally:
            self._ledger.mark_published(sent)

    def _who_may(self, job: QueuedJob) -> tuple[Abilities | None, ...]:
        """Whom a job is rung for: everybody, or each kind of worker that has what it needs. The first one takes it."""
        if not job.needs.any:
            return (None,)
        present = (process for process in self._processes.all() if process.kind == "worker" and process.present)
        return tuple({found.abilities for found in present if not found.abilities.lack(job.needs)})


def _dead(owners: tuple[str, ...]) -> list[str]:
    """Owners (host:pid) that we can see, and whose process is gone."""
    return [owner for owner in owners if not alive(owner)]
