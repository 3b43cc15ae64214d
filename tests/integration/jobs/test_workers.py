"""Real workers, a real broker: whatever happens to either, jobs go on."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

import psutil
import pytest
from noop_queue import NoopQueue
from peers import wait_until

from dicom_node.archive import events, interventions
from dicom_node.domain.job import JobState, Priority
from workers.watchdog import REPLACE

pytestmark = pytest.mark.peer

NewQueue = Callable[..., NoopQueue]


def running(queue: NoopQueue, job_id: int) -> None:
    wait_until(lambda: queue.states(job_id) == [JobState.RUNNING], f"job {job_id} to run, see {queue.folder}")


def kinds(queue: NoopQueue, job_id: int) -> list[str]:
    return [event.kind for event in events.history(queue.database, 1) if event.job_id == job_id]


def order_of_starts(queue: NoopQueue) -> list[int | None]:
    return [event.job_id for event in events.history(queue.database, 1) if event.kind == "job started"]


def test_worker_that_stopped_taking_messages_is_replaced(new_queue: NewQueue) -> None:
    """A broker that restarts within half a second, while a job's acknowledgement is under way, leaves a worker deaf."""
    queue = new_queue()
    queue.start_broker()
    queue.start("reconciler", "worker 1")
    queue.await_workers()
    jobs = [queue.plan(1.0) for _ in range(3)]
    running(queue, jobs[0])
    time.sleep(0.8)
    queue.kill("broker")
    time.sleep(0.5)
    queue.start_broker()

    statuses = queue.await_done(seconds=90)

    assert set(statuses) <= {REPLACE}
    assert queue.results() == (3, 3)


def test_worker_goes_on_without_a_broker_and_returns_to_it(new_queue: NewQueue) -> None:
    queue = new_queue()
    queue.start("reconciler", "worker 1")
    queue.plan(), queue.plan()

    queue.await_done()

    assert [worker.takes_from for worker in queue.workers()] == ["ledger"]
    queue.start_broker()
    back = lambda: "broker" in [worker.takes_from for worker in queue.workers() if worker.present]  # noqa: E731
    wait_until(back, "the worker to take from the broker", seconds=60)
    queue.plan()
    assert queue.await_done() == []
    queue.kill("broker")  # and it is lost again: the idle worker notices by the job that waits
    queue.plan()
    assert queue.await_done(seconds=90) == [REPLACE]


def test_jobs_are_done_without_a_reconciler_too(new_queue: NewQueue) -> None:
    queue = new_queue(stalled_seconds=8.0)
    queue.start_broker()
    queue.start("worker 1")
    queue.await_workers()
    queue.plan(), queue.plan()

    assert queue.await_done() == []


@pytest.mark.parametrize("broker", [True, False])
def test_stopped_worker_hands_its_job_back(new_queue: NewQueue, *, broker: bool) -> None:
    queue = new_queue()
    if broker:
        queue.start_broker()
    queue.start("reconciler", "worker 1")
    queue.await_workers()
    job_id = queue.plan(25.0)
    running(queue, job_id)

    stopped = queue.processes.pop("worker 1")
    stopped.terminate()
    stopped.wait(15)

    back = queue.ledger.job(job_id)
    assert back is not None
    assert (back.state, back.attempt, back.excused) == (JobState.QUEUED, 1, 1)
    assert kinds(queue, job_id)[-1] == "job handed back"
    queue.start("worker 2")
    running(queue, job_id)


def test_worker_frozen_beyond_its_lease_commits_nothing(new_queue: NewQueue) -> None:
    queue = new_queue(lease_seconds=3.0, stalled_seconds=60.0)  # the watchdog is not to end the frozen one
    queue.start_broker()
    queue.start("reconciler", "worker 1")
    queue.await_workers()
    job_id = queue.plan(1.5, deaf=True)  # so that the frozen attempt comes to its commit
    running(queue, job_id)
    frozen = queue.child("worker 1")
    frozen.send_signal(signal.SIGSTOP)
    try:
        queue.start("worker 2")
        wait_until(lambda: queue.states(job_id) == [JobState.DONE], "another worker to do it", seconds=60)
    finally:
        frozen.send_signal(signal.SIGCONT)
    log = queue.settings.node.data_dir / "logs" / "worker-cpu.jsonl"
    wait_until(lambda: log.exists() and "no longer attempt 1" in log.read_text(), "the frozen worker to wake up")

    done = queue.ledger.job(job_id)
    assert done is not None
    assert (done.attempt, kinds(queue, job_id).count("job done")) == (2, 1)
    assert queue.results() == (1, 1)


def test_stage_that_does_not_get_on_ends_its_process_and_counts(new_queue: NewQueue) -> None:
    queue = new_queue(lease_seconds=4.0, more="maximum_attempts = 1")
    queue.start_broker()
    queue.start("reconciler", "worker 1")
    queue.await_workers()
    stuck = queue.plan(120.0, limit_s=1.0, deaf=True)

    wait_until(lambda: queue.states(stuck) == [JobState.QUARANTINED], "the job to be given up", seconds=60)

    told = queue.ledger.job(stuck)
    assert told is not None
    assert told.error is not None
    assert told.error["reason"] == "no-progress"
    assert "time.sleep" in told.error["traceback"]
    after = queue.plan()
    wait_until(lambda: queue.states(after) == [JobState.DONE], "the next job to be done", seconds=60)


def test_stat_goes_before_urgent_before_routine(new_queue: NewQueue) -> None:
    queue = new_queue()
    queue.start_broker()
    queue.start("reconciler", "worker 1")
    queue.await_workers()
    first = queue.plan(3.0)
    running(queue, first)
    routine = [queue.plan(0.05) for _ in range(4)]
    urgent = [queue.plan(0.05, Priority.URGENT) for _ in range(3)]
    stat = [queue.plan(0.05, Priority.STAT) for _ in range(2)]
    raised = routine.pop()
    interventions.prioritise(queue.database, raised, Priority.STAT, "admin")

    queue.await_done()

    started = order_of_starts(queue)
    assert started[0] == first
    assert set(started[1:4]) == {*stat, raised}
    assert started[4:] == [*urgent, *routine]


def test_no_more_jobs_of_a_model_run_than_may(new_queue: NewQueue) -> None:
    queue = new_queue(more="at_once = { large = 1 }")
    queue.start_broker()
    queue.start("reconciler", "worker 1", "worker 2")
    queue.await_workers(2)
    large = [queue.plan(0.5, model="large") for _ in range(3)]
    small = [queue.plan(0.5) for _ in range(3)]
    most = 0

    def done() -> bool:
        nonlocal most
        most = max(most, queue.states(*large).count(JobState.RUNNING))
        return set(queue.states(*large, *small)) == {JobState.DONE}

    wait_until(done, "all jobs to be done")
    assert most == 1
    assert queue.results() == (6, 6)


def test_cancelled_job_ends_although_it_runs(new_queue: NewQueue) -> None:
    queue = new_queue(lease_seconds=2.0)
    queue.start_broker()
    queue.start("reconciler", "worker 1")
    queue.await_workers()
    cancelled = queue.plan(120.0)
    running(queue, cancelled)

    interventions.cancel(queue.database, cancelled, "admin")

    after = queue.plan()
    wait_until(lambda: queue.states(after) == [JobState.DONE], "the next job to be done")
    assert queue.states(cancelled) == [JobState.CANCELLED]
    assert queue.results() == (1, 1)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_two_reconcilers_at_once_do_no_harm(new_queue: NewQueue, request: pytest.FixtureRequest, kind: str) -> None:
    """Both expire, publish and age: each job is run once, a killed one is taken back once."""
    url = "sqlite" if kind == "sqlite" else request.getfixturevalue("postgresql").database()
    queue = new_queue(database_url=url, lease_seconds=3.0)
    queue.start_broker()
    queue.start("reconciler", "reconciler 2", "worker 1", "worker 2")
    queue.await_workers(2, seconds=180)
    jobs = [queue.plan(0.2) for _ in range(12)]
    lost = queue.plan(2.0)
    running(queue, lost)
    owner = next(found.owner for found in queue.ledger.jobs() if found.id == lost)
    pid = int(str(owner).rpartition(":")[2])
    psutil.Process(pid).kill()

    queue.await_done(seconds=180)

    assert queue.results() == (13, 13)
    assert kinds(queue, lost).count("worker lost") == 1
    assert kinds(queue, lost).count("job started") == 2
    assert all(kinds(queue, job_id).count("job started") == 1 for job_id in jobs)


def test_a_job_that_kills_its_workers_is_quarantined_with_what_they_wrote(new_queue: NewQueue) -> None:
    queue = new_queue(lease_seconds=3.0, more="maximum_attempts = 2")
    queue.start_broker()
    queue.start("reconciler", "worker 1")
    queue.await_workers(seconds=180)
    poison = queue.plan(120.0)
    for attempt in (1, 2):
        wait_until(
            lambda attempt=attempt: kinds(queue, poison).count("job started") == attempt, "the job to run", seconds=180
        )
        queue.child("worker 1").kill()
    wait_until(lambda: queue.states(poison) == [JobState.QUARANTINED], "the job to be given up", seconds=180)
    told = queue.ledger.job(poison)
    assert told is not None
    assert told.error is not None
    assert told.error["reason"] == "worker-lost"
    assert f"job {poison}, attempt 2: noop begins" in told.error["output"]
