"""Every queued job has a message; no running one a dead owner."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime

from dicom_node.archive.ledger import QueuedJob
from dicom_node.archive.processes import Process, this_host
from dicom_node.domain.fitness import Abilities, Needs
from dicom_node.domain.job import Priority
from dicom_node.errors import BrokerError
from dicom_node.jobs.reconcile import (
    REPUBLISH_AFTER_S,
    REPUBLISH_TO_IDLE_AFTER_S,
    TIME_LIMIT_MARGIN_S,
    Reconciler,
)


class MemoryLedger:
    """What the reconciler sees of the ledger."""

    def __init__(self, owners: tuple[str, ...] = ()) -> None:
        self.owners = owners
        self.queued = {1: QueuedJob(1, "lungs", Priority.ROUTINE), 2: QueuedJob(2, "other", Priority.STAT)}
        self.published: list[int] = []
        self.expired: list[str] = []

    def running_owners(self) -> tuple[str, ...]:
        return self.owners

    def expire(self, owners: list[str]) -> int:
        self.expired = list(owners)
        return len(owners)

    def to_publish(self, after_s: float, idle: tuple[Abilities, ...], idle_after_s: float) -> list[QueuedJob]:
        self.asked = (after_s, idle, idle_after_s)
        return [job for job in self.queued.values() if job.id not in self.published]

    def mark_published(self, sent: list[QueuedJob]) -> None:
        self.published += [job.id for job in sent]

    def unpublish(self) -> int:
        self.published.clear()
        return 2

    def age(self, after_s: float) -> int:
        self.aged_after_s = after_s
        return 0


class MemoryProcesses:
    """Workers, idle or not."""

    def __init__(self) -> None:
        self.are_idle: tuple[Abilities, ...] = ()
        self.workers: tuple[Process, ...] = ()
        self.forgotten: list[str] = []

    def idle(self) -> tuple[Abilities, ...]:
        return self.are_idle

    def all(self) -> tuple[Process, ...]:
        return self.workers

    def forget(self, dead: list[str]) -> int:
        self.forgotten += dead
        return len(dead)


class MemoryPublisher:
    """A broker that remembers, and can be away or lose everything."""

    def __init__(self) -> None:
        self.sent: list[tuple[int, Priority, float]] = []
        self.heard_by: list[Abilities | None] = []
        self.away = False
        self.fresh = False
        self.takes = 1000

    def publish(self, job_id: int, priority: Priority, time_limit_s: float, abilities: Abilities | None = None) -> None:
        if len(self.sent) >= self.takes:
            raise BrokerError("away")
        self.sent.append((job_id, priority, time_limit_s))
        self.heard_by.append(abilities)

    def lost_its_data(self) -> bool:
        if self.away:
            raise BrokerError("away")
        fresh, self.fresh = self.fresh, False
        return fresh


def made(ledger: MemoryLedger, publisher: MemoryPublisher, processes: MemoryProcesses | None = None) -> Reconciler:
    return Reconciler(ledger, processes or MemoryProcesses(), publisher, [100.0, 7200.0])  # type: ignore[arg-type]


def test_each_queued_job_is_published_once_with_a_limit_beyond_that_of_any_job() -> None:
    ledger, publisher = MemoryLedger(), MemoryPublisher()
    reconciler = made(ledger, publisher)
    reconciler.tick()
    reconciler.tick()
    assert sorted(job for job, _, _ in publisher.sent) == [1, 2]
    assert (1, Priority.ROUTINE, 7200.0 + TIME_LIMIT_MARGIN_S) in publisher.sent


def test_a_job_with_needs_is_rung_for_each_kind_of_worker_that_may_run_it() -> None:
    ledger, publisher, processes = MemoryLedger(), MemoryPublisher(), MemoryProcesses()
    ledger.queued = {1: QueuedJob(1, "lungs", Priority.ROUTINE, Needs(16000, frozenset({"gpu"})))}
    reconciler = made(ledger, publisher, processes)
    reconciler.tick()
    assert (publisher.sent, ledger.published) == ([], [])  # it waits for one

    now = datetime.now(UTC)
    small, large, larger = (Abilities(memory_mb, frozenset({"gpu"})) for memory_mb in (8000, 16000, 24000))
    processes.workers = tuple(
        Process(f"box:{number}", "worker", now, now, True, now, "cuda:0", "broker", {}, present, has)
        for number, (has, present) in enumerate([(small, True), (large, True), (large, True), (larger, False)])
    )
    reconciler.tick()
    assert publisher.heard_by == [large]
    assert ledger.published == [1]


def test_messages_are_taken_for_lost_sooner_by_workers_that_are_idle() -> None:
    ledger, processes = MemoryLedger(), MemoryProcesses()
    processes.are_idle = (Abilities(None, frozenset({"cpu"})),)
    made(ledger, MemoryPublisher(), processes).tick()
    assert ledger.asked == (REPUBLISH_AFTER_S, processes.are_idle, REPUBLISH_TO_IDLE_AFTER_S)


def test_broker_that_lost_its_data_gets_all_messages_again() -> None:
    ledger, publisher = MemoryLedger(), MemoryPublisher()
    reconciler = made(ledger, publisher)
    reconciler.tick()
    publisher.fresh = True
    reconciler.tick()
    assert len(publisher.sent) == 4


def test_what_was_sent_before_the_broker_failed_is_noted() -> None:
    ledger, publisher = MemoryLedger(), MemoryPublisher()
    publisher.takes = 1
    made(ledger, publisher).tick()
    assert ledger.published == [1]
    publisher.takes = 9
    made(ledger, publisher).tick()
    assert [job for job, _, _ in publisher.sent] == [1, 2]


def test_broker_that_is_away_stops_nothing() -> None:
    ledger, publisher = MemoryLedger(), MemoryPublisher()
    publisher.away = True
    reconciler = made(ledger, publisher)
    reconciler.tick()
    assert publisher.sent == []
    publisher.away = False
    reconciler.tick()
    assert len(publisher.sent) == 2


def test_only_dead_processes_of_this_machine_lose_their_jobs() -> None:
    here = this_host()
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    owners = (f"{here}:{os.getpid()}", f"{here}:{dead.pid}", f"another-machine:{dead.pid}")
    ledger = MemoryLedger(owners)
    made(ledger, MemoryPublisher()).tick()
    assert ledger.expired == [f"{here}:{dead.pid}"]


def test_killed_process_nobody_waited_for_counts_as_dead() -> None:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    owner = f"{this_host()}:{process.pid}"
    ledger = MemoryLedger((owner,))
    made(ledger, MemoryPublisher()).tick()
    assert ledger.expired == [owner]
    process.wait()
