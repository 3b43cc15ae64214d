"""What people do to jobs by hand."""

from __future__ import annotations

from typing import Any

import pytest
from noop_queue import NoopQueue
from peers import PostgreSQL
from sqlalchemy import update

from dicom_node.archive import events, interventions
from dicom_node.archive.database import db_later
from dicom_node.archive.ledger import Ledger
from dicom_node.archive.processes import Processes
from dicom_node.archive.results import Outcome
from dicom_node.archive.schema import job
from dicom_node.domain.job import JobState, Priority
from dicom_node.errors import Fenced, LedgerError, ModelRaised

LEASE_S = 60.0
NOTHING = Outcome((), (), {}, {}, {})


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.peer)])
def queue(request: pytest.FixtureRequest, tmp_path: Any) -> Any:
    url = "sqlite"
    if request.param == "postgresql":
        server: PostgreSQL = request.getfixturevalue("postgresql")
        url = server.database()
    made = NoopQueue(tmp_path / "queue", database_url=url)
    yield made
    made.stop()


def last_event(queue: NoopQueue) -> tuple[str, Any]:
    event = events.history(queue.database, 1)[-1]
    return event.kind, event.detail


def older(queue: NoopQueue, seconds: float) -> None:
    with queue.database.write() as connection:
        times = dict.fromkeys(("created_at", "run_after", "started_at"), db_later(-seconds))
        connection.execute(update(job).values(**times))


def test_cancelled_job_is_lost_to_its_worker(queue: NoopQueue) -> None:
    job_id = queue.plan()
    claim = queue.ledger.claim(job_id, "box:1", LEASE_S)
    assert claim is not None
    interventions.cancel(queue.database, job_id, "admin")
    assert last_event(queue) == ("job cancelled", {"was": "running"})
    assert not queue.ledger.heartbeat(claim, LEASE_S, "inference")
    with pytest.raises(Fenced):
        queue.ledger.commit(claim, NOTHING)
    assert queue.ledger.claim(job_id, "box:1", LEASE_S) is None
    with pytest.raises(LedgerError, match="is cancelled already"):
        interventions.cancel(queue.database, job_id, "admin")
    queue.ledger.retry(job_id, "admin")
    assert queue.states(job_id) == [JobState.QUEUED]


def test_job_with_a_new_priority_needs_a_new_message(queue: NoopQueue) -> None:
    job_id = queue.plan()
    queue.plan(priority=Priority.URGENT)
    queue.ledger.mark_published(queue.ledger.to_publish(120))
    interventions.prioritise(queue.database, job_id, Priority.STAT, "admin")
    assert [(found.id, found.priority) for found in queue.ledger.to_publish(120)] == [(job_id, Priority.STAT)]
    assert queue.ledger.next_queued() == job_id
    assert last_event(queue) == ("priority", {"priority": "stat", "was": "routine"})
    with pytest.raises(LedgerError, match="no job 99"):
        interventions.prioritise(queue.database, 99, Priority.STAT, "admin")


def test_old_routine_becomes_urgent_and_nothing_becomes_stat(queue: NoopQueue) -> None:
    routine = queue.plan()
    queue.plan(priority=Priority.URGENT)
    queue.ledger.mark_published(queue.ledger.to_publish(120))
    assert queue.ledger.age(60) == 0
    older(queue, 61)
    assert queue.ledger.age(60) == 1
    assert queue.ledger.age(60) == 0
    assert [found.id for found in queue.ledger.to_publish(120)] == [routine]
    aged = queue.ledger.job(routine)
    assert aged is not None
    assert aged.priority == Priority.URGENT


def test_model_at_its_limit_gets_no_more(queue: NoopQueue) -> None:
    ledger = Ledger(queue.database, at_once={"large": 1})
    first, second, small = queue.plan(model="large"), queue.plan(model="large"), queue.plan()
    ledger.mark_published(ledger.to_publish(120)[:2])
    claim = ledger.claim(first, "box:1", LEASE_S)
    assert claim is not None
    assert ledger.claim(second, "box:2", LEASE_S) is None
    assert ledger.next_queued() == small
    assert [found.id for found in ledger.to_publish(120)] == [small]
    ledger.commit(claim, NOTHING)
    assert [found.id for found in ledger.to_publish(120)] == [second, small]
    assert ledger.claim(second, "box:2", LEASE_S) is not None


def test_jobs_of_a_worker_that_is_replaced_are_excused(queue: NoopQueue) -> None:
    job_id, other = queue.plan(), queue.plan()
    claim = queue.ledger.claim(job_id, "box:1", LEASE_S)
    assert claim is not None
    queue.ledger.claim(other, "box:2", LEASE_S)
    assert queue.ledger.is_running(["box:1"])
    assert queue.ledger.release_all(["box:1"], "watchdog") == 1
    assert queue.states(job_id, other) == [JobState.QUEUED, JobState.RUNNING]
    assert not queue.ledger.is_running(["box:1"])
    back = queue.ledger.job(job_id)
    assert back is not None
    assert (back.attempt, back.excused) == (1, 1)
    assert last_event(queue)[0] == "job handed back"
    with pytest.raises(Fenced):
        queue.ledger.commit(claim, NOTHING)


def test_quarantined_job_keeps_traceback_output_and_input(queue: NoopQueue) -> None:
    ledger = Ledger(queue.database, maximum_attempts=2)
    job_id = queue.plan()
    claim = ledger.claim(job_id, "box:1", LEASE_S)
    assert claim is not None
    ledger.fail(claim, ModelRaised("boom"), again=True, traceback="File …", output="last line")
    first = ledger.job(job_id)
    assert first is not None
    assert "input" not in (first.error or {})
    older(queue, 1)
    assert ledger.claim(job_id, "box:1", LEASE_S) is not None
    ledger.expire(["box:1"])
    lost = ledger.job(job_id)
    assert lost is not None
    assert lost.error is not None
    assert (lost.state, lost.error["reason"]) == (JobState.QUARANTINED, "worker-lost")
    assert (lost.error["traceback"], lost.error["output"]) == ("File …", "last line")
    assert lost.error["input"] == [{"role": "image", "series_uid": "1.2.3.4", "paths": []}]


def test_stuck_tells_why(queue: NoopQueue) -> None:
    processes = Processes(queue.database)
    queued, running, silent, fresh = queue.plan(), queue.plan(), queue.plan(), queue.plan()
    queue.ledger.claim(running, "box:1", LEASE_S)
    queue.ledger.claim(silent, "box:2", -1)
    older(queue, 601)
    with queue.database.write() as connection:
        connection.execute(update(job).where(job.c.id == fresh).values(created_at=db_later(-1)))

    def why() -> dict[int, str]:
        return {entry.job.id: entry.why for entry in interventions.stuck(queue.database, 600)}

    assert why() == {
        queued: "no worker is there",
        running: "box:1 is at it: claimed",
        silent: "box:2 is silent: its lease has run out",
    }
    processes.register("box:1", {"device": "cpu", "takes_from": "broker"})
    assert why()[queued] == "2 of its model run; no more may at once"
    processes.seen(["box:1"], idle=False)
    assert why()[queued] == "all 1 workers are busy"
