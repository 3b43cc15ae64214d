"""A lease is renewed as long as the job gets on, and no longer."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from dicom_node.domain.job import Claim, JobState
from dicom_node.errors import DicomNodeError, Fenced, LedgerError
from workers.heartbeat import Heartbeat

CLAIM = Claim(7, 1, "box:1")
LEASE_S = 0.08  # a beat every 20 ms


class MemoryLedger:
    """What a heartbeat sees of the ledger."""

    def __init__(self) -> None:
        self.beats: list[str] = []
        self.ours = True
        self.away = False
        self.failed: list[tuple[DicomNodeError, dict[str, Any]]] = []
        self.beaten = threading.Condition()

    def heartbeat(self, claim: Claim, lease_s: float, progress: str) -> bool:
        with self.beaten:
            self.beats.append(progress)
            self.beaten.notify_all()
        if self.away:
            raise LedgerError("away")
        return self.ours

    def fail(self, claim: Claim, error: DicomNodeError, **detail: Any) -> JobState:
        self.failed.append((error, detail))
        if not self.ours:
            raise Fenced("not ours")
        return JobState.QUEUED

    def await_beats(self, count: int) -> None:
        with self.beaten:
            assert self.beaten.wait_for(lambda: len(self.beats) >= count, timeout=10)


@pytest.fixture
def ledger() -> MemoryLedger:
    return MemoryLedger()


def beating(ledger: MemoryLedger, hung: threading.Event) -> Heartbeat:
    return Heartbeat(ledger, CLAIM, LEASE_S, hung.set)  # type: ignore[arg-type]


def test_each_beat_tells_the_progress(ledger: MemoryLedger) -> None:
    with beating(ledger, threading.Event()) as beat:
        beat.stage("load")
        ledger.await_beats(1)
        beat.progress("inference")
        ledger.await_beats(len(ledger.beats) + 2)
    assert ledger.beats[0] in ("claimed", "load")
    assert ledger.beats[-1] == "inference"
    assert not beat.lost


def test_trouble_of_the_ledger_does_not_end_the_attempt(ledger: MemoryLedger) -> None:
    ledger.away = True
    with beating(ledger, threading.Event()) as beat:
        ledger.await_beats(3)
        assert not beat.lost


def test_lease_that_is_gone_is_told(ledger: MemoryLedger) -> None:
    ledger.ours = False
    hung = threading.Event()
    with beating(ledger, hung) as beat:
        ledger.await_beats(1)
    assert beat.lost
    assert not hung.is_set()


def test_stage_that_does_not_get_on_fails_with_its_stack(ledger: MemoryLedger) -> None:
    hung = threading.Event()
    with beating(ledger, hung) as beat:
        beat.stage("load", 0.05)
        assert hung.wait(10)
    assert beat.lost
    ((error, detail),) = ledger.failed
    assert (error.reason, detail["again"]) == ("no-progress", True)
    assert "'load' did not get on for 0.05 s" in error.message
    assert "test_heartbeat.py" in detail["traceback"]


def test_steps_within_a_stage_begin_its_limit_anew(ledger: MemoryLedger) -> None:
    hung = threading.Event()
    with beating(ledger, hung) as beat:
        beat.stage("infer", 1.0)
        for step in range(30):
            beat.progress(f"window {step}")
            assert not hung.wait(0.05)
    assert ledger.failed == []
