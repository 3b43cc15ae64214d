"""The queue of jobs: from planned to started, jobs per second, the order, and what a killed worker or host costs.

Workers and broker are real; what a job does takes no time (``tests/noop_worker.py``).
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil
from noop_queue import NoopQueue
from peers import PostgreSQL, postgresql_programs
from sqlalchemy import func, select

from benchmarks import job_rates
from benchmarks.table import Row, median, report, version_of
from dicom_node.archive.schema import event
from dicom_node.domain.job import JobState, Priority
from dicom_node.jobs.publish import Publisher

START_GOAL_S = 0.020
RECOVERY_GOAL_S = 5.0
STARTS = 40
STATS = 40
JOBS = int(os.environ.get("BENCH_JOBS", "10000"))
LEASE_S = 10.0
PATIENCE_S = 300.0


@dataclass(frozen=True, slots=True)
class Recovery:
    """Seconds until a job is started again whose worker was lost."""

    child_s: float
    worker_s: float
    host_s: float


def main() -> int:
    """Measure all, print the table."""
    with tempfile.TemporaryDirectory(prefix="pg-") as folder:
        server = PostgreSQL(Path(folder), durable=True)
        server.start()
        try:
            rates = {url.partition("+")[0]: job_rates.measure(url, JOBS) for url in ("sqlite", server.database())}
        finally:
            server.stop()
    starts, recovery, next_share = _with_workers()
    rows = [
        Row("message sent to job started, p50", "s", starts, goal=START_GOAL_S),
        *(row for name, rate in rates.items() for row in rate.rows(name)),
        Row("stat jobs that started next", "share", next_share, goal=1.0, better="more"),
        Row("killed child of a worker, to started again", "s", recovery.child_s, goal=RECOVERY_GOAL_S),
        Row("killed worker, to started again by another", "s", recovery.worker_s, goal=RECOVERY_GOAL_S),
        Row("lost host, to started again by another", "s", recovery.host_s, goal=LEASE_S + RECOVERY_GOAL_S),
    ]
    notes = [
        f"{STARTS} jobs one after the other; {JOBS} jobs queued at once, each on a study of its own, with one result",
        "the reconciler looks every 0.2 s for what was planned: on average 0.1 s before the message is sent",
        f"a lost host: all of a worker's processes are frozen, so that only their lease of {LEASE_S:g} s tells",
        f"{STATS} stat jobs, each planned while two workers are busy and routine jobs wait in the broker",
    ]
    postgres = version_of(str(postgresql_programs() / "postgres"), "--version")
    return report("jobs", rows, {"postgresql": postgres}, notes=notes)


def _with_workers() -> tuple[float, Recovery, float]:
    """Seconds from message to start; what lost workers cost; the share of stat jobs that started next."""
    with tempfile.TemporaryDirectory() as folder:
        queue = NoopQueue(Path(folder) / "queue", lease_seconds=LEASE_S, stalled_seconds=30.0)
        try:
            queue.start_broker()
            queue.start("worker 1")
            queue.await_workers(seconds=PATIENCE_S)
            publisher = Publisher(queue.settings)
            starts = [_start(queue, publisher) for _ in range(STARTS + 1)][1:]
            publisher.close()
            queue.start("reconciler")
            child_s = _after_loss(queue, lambda: queue.child("worker 1").kill())
            queue.start("worker 2")
            queue.await_workers(2, seconds=PATIENCE_S)
            next_share = _next_share(queue)
            worker_s = _after_loss(queue, lambda: queue.kill(_owner(queue)))
            queue.start("worker 1" if "worker 1" not in queue.processes else "worker 2")
            queue.await_workers(2, seconds=PATIENCE_S)
            frozen: list[psutil.Process] = []
            host_s = _after_loss(queue, lambda: frozen.extend(_freeze(queue)))
            for process in frozen:
                process.kill()
        finally:
            queue.stop()
    return median(starts), Recovery(child_s, worker_s, host_s), next_share


def _next_share(queue: NoopQueue) -> float:
    """Of stat jobs that are planned at any moment of a busy queue: how many are the next to start."""
    routine = [queue.plan(0.02) for _ in range(STATS * 8)]
    stats = []
    before = _starts(queue)
    for number in range(STATS):
        _await(partial(_have_started, queue, before + 4 * number))
        stats.append(queue.plan(0.0, Priority.STAT))
    _await(lambda: set(queue.states(*routine, *stats)) == {JobState.DONE})
    return sum(_was_next(queue, job_id) for job_id in stats) / len(stats)


def _was_next(queue: NoopQueue, job_id: int) -> bool:
    planned = select(event.c.id).where(event.c.job_id == job_id, event.c.kind == "job planned").scalar_subquery()
    first = select(event.c.job_id).where(event.c.kind == "job started", event.c.id > planned).order_by(event.c.id)
    with queue.database.read() as connection:
        return bool(connection.execute(first.limit(1)).scalar() == job_id)


def _have_started(queue: NoopQueue, count: int) -> bool:
    return _starts(queue) >= count


def _starts(queue: NoopQueue) -> int:
    with queue.database.read() as connection:
        found = connection.execute(select(func.count()).where(event.c.kind == "job started")).scalar_one()
    return int(found)


def _start(queue: NoopQueue, publisher: Publisher) -> float:
    """Seconds from before the message is sent to when a worker has claimed the job, read it and begun with it."""
    job_id = queue.plan()
    sent = time.time()
    publisher.publish(job_id, Priority.ROUTINE, 60.0)
    _await(lambda: queue.states(job_id) == [JobState.DONE])
    done = queue.ledger.job(job_id)
    return float(done.timings["began"]) - sent if done else float("inf")


def _after_loss(queue: NoopQueue, lose: Callable[[], object]) -> float:
    job_id = queue.plan(LEASE_S)
    _await(lambda: queue.states(job_id) == [JobState.RUNNING])
    time.sleep(LEASE_S / 4)  # as any job: its lease was renewed, or soon will be
    began = time.monotonic()
    lose()
    _await(lambda: _attempts(queue, job_id) == 2)
    took = time.monotonic() - began
    _await(lambda: queue.states(job_id) == [JobState.DONE])
    return took


def _owner(queue: NoopQueue) -> str:
    """Name of the worker that runs the one job."""
    (found,) = queue.ledger.jobs(states=(JobState.RUNNING,))
    pid = str(found.owner).rpartition(":")[2]
    running = (name for name in queue.processes if name.startswith("worker"))
    return next(name for name in running if pid in {str(each.pid) for each in _below(queue, name)})


def _below(queue: NoopQueue, name: str) -> list[psutil.Process]:
    return psutil.Process(queue.processes[name].pid).children(recursive=True)


def _freeze(queue: NoopQueue) -> list[psutil.Process]:
    """Stop every process of the worker that runs the job: to the others its machine is gone."""
    name = _owner(queue)
    all_of_it = [psutil.Process(queue.processes[name].pid), *_below(queue, name)]
    for process in all_of_it:
        process.send_signal(signal.SIGSTOP)
    return all_of_it


def _attempts(queue: NoopQueue, job_id: int) -> int:
    with queue.database.read() as connection:
        starts = select(event.c.id).where(event.c.job_id == job_id, event.c.kind == "job started")
        return len(connection.execute(starts).all())


def _await(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"waited {PATIENCE_S:g} s in vain")
        time.sleep(0.005)


if __name__ == "__main__":
    sys.exit(main())
