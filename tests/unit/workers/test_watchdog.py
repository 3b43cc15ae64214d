"""An idle worker for which jobs wait is judged to be stuck; no other one is."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from workers.watchdog import WITHOUT_BROKER_S, Watchdog

LIMIT_S = 30.0


@dataclass
class MemoryLedger:
    """What the watchdog sees of the ledger."""

    database: None = None
    running: bool = False
    queued: int | None = 7
    rang: list[int] = field(default_factory=list)
    taken: int = 0

    def is_running(self, owners: list[str]) -> bool:
        return self.running

    def next_queued(self) -> int | None:
        return self.queued


@dataclass
class MemoryProcesses:
    """The table of processes, with one worker."""

    ready: bool = True
    told: list[bool] = field(default_factory=list)

    def seen(self, names: list[str], *, idle: bool) -> int:
        self.told.append(idle)
        return 1

    def registered(self, names: list[str]) -> bool:
        return self.ready


@pytest.fixture
def ledger() -> MemoryLedger:
    return MemoryLedger()


def watchdog(ledger: MemoryLedger, processes: MemoryProcesses | None = None, *, broker: bool = True) -> Watchdog:
    dog = Watchdog(ledger, lambda: ["box:1"], LIMIT_S, lambda: broker, ledger.rang.append, lambda: ledger.taken)  # type: ignore[arg-type]
    dog._processes = processes or MemoryProcesses()  # type: ignore[assignment]
    return dog


def test_idle_worker_for_which_a_job_waits_too_long_is_stuck(ledger: MemoryLedger) -> None:
    dog = watchdog(ledger)
    assert dog.stalled(100.0) == ""
    assert dog.stalled(100.0 + LIMIT_S - 1) == ""
    assert "30 s" in dog.stalled(100.0 + LIMIT_S)


@pytest.mark.parametrize("change", [{"running": True}, {"queued": None}, {"taken": 1}])
def test_work_or_an_empty_queue_begins_the_count_anew(ledger: MemoryLedger, change: dict[str, object]) -> None:
    dog = watchdog(ledger)
    dog.stalled(0.0)
    before = {name: getattr(ledger, name) for name in change if name != "taken"}  # that only grows
    for name, value in change.items():
        setattr(ledger, name, value)
    assert dog.stalled(LIMIT_S - 1) == ""
    for name, value in before.items():
        setattr(ledger, name, value)
    assert dog.stalled(LIMIT_S) == ""
    assert dog.stalled(2 * LIMIT_S) != ""


def test_halfway_it_sends_the_message_itself_once(ledger: MemoryLedger) -> None:
    dog = watchdog(ledger)
    for second in (0, 14, 15, 16, 29):
        assert dog.stalled(float(second)) == ""
        assert ledger.rang == ([7] if second >= 15 else [])
    ledger.running = True
    dog.stalled(30.0)
    ledger.running = False
    dog.stalled(31.0)
    dog.stalled(46.0)
    assert ledger.rang == [7, 7]


def test_worker_that_still_loads_is_not_judged(ledger: MemoryLedger) -> None:
    dog = watchdog(ledger, MemoryProcesses(ready=False))
    dog.stalled(0.0)
    assert dog.stalled(10 * LIMIT_S) == ""


def test_without_a_broker_it_is_replaced_sooner(ledger: MemoryLedger) -> None:
    dog = watchdog(ledger, broker=False)
    dog.stalled(0.0)
    assert dog.stalled(WITHOUT_BROKER_S - 1) == ""
    assert "broker" in dog.stalled(WITHOUT_BROKER_S)


def test_it_tells_that_the_worker_lives_and_at_once_when_it_has_work(ledger: MemoryLedger) -> None:
    processes = MemoryProcesses()
    dog = watchdog(ledger, processes)
    for second in range(7):
        ledger.running = second == 2
        dog.stalled(float(second))
    assert processes.told == [True, False, True]


def test_a_worker_whose_jobs_are_short_is_not_told_to_be_idle(ledger: MemoryLedger) -> None:
    processes = MemoryProcesses()
    dog = watchdog(ledger, processes)
    for second in range(1, 12):
        ledger.taken = 20 * second  # none of them runs at the moment of the look
        dog.stalled(float(second))
    assert set(processes.told) == {False}
