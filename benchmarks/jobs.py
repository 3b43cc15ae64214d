"""The queue of jobs: from planned to started, jobs per second, and what a killed worker costs.

Workers and broker are real; what a job does takes no time (``tests/noop_worker.py``).
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from threading import Barrier

import psutil
from noop_queue import NoopQueue
from noop_worker import NOTHING
from peers import PostgreSQL, postgresql_programs
from sqlalchemy import insert, select

from benchmarks.table import Row, median, report, version_of
from dicom_node.archive.database import Database
from dicom_node.archive.ledger import Ledger
from dicom_node.archive.schema import event, job
from dicom_node.domain.job import JobState, Priority
from dicom_node.jobs.publish import Publisher

START_GOAL_S = 0.020
RATE_GOALS = {"sqlite": 100.0, "postgresql": 200.0}
CHILD_GOAL_S = 5.0
STARTS = 40
JOBS = int(os.environ.get("BENCH_JOBS", "10000"))
LEASE_S = 10.0


def main() -> int:
    """Measure all, print the table."""
    with tempfile.TemporaryDirectory(prefix="pg-") as folder:
        server = PostgreSQL(Path(folder))
        server.start()
        try:
            rates = {url.partition("+")[0]: _rate(url) for url in ("sqlite", server.database())}
        finally:
            server.stop()
    starts, child_s, worker_s = _with_workers()
    rows = [
        Row("message sent to job started, p50", "s", starts, goal=START_GOAL_S),
        *(
            Row(f"no-op jobs through the ledger, {name}", "/s", rate, goal=RATE_GOALS[name], better="more")
            for name, rate in rates.items()
        ),
        Row("killed child of a worker, to started again", "s", child_s, goal=CHILD_GOAL_S),
        Row("killed worker, to started again by another", "s", worker_s, goal=CHILD_GOAL_S),
    ]
    notes = [
        f"{STARTS} jobs one after the other; {JOBS} jobs claimed and committed by two processes",
        "the reconciler looks every 0.2 s for what was planned: on average 0.1 s before the message is sent",
        f"leases of {LEASE_S:g} s: a whole machine that is gone costs its lease and the reconciler's look",
    ]
    postgres = version_of(str(postgresql_programs() / "postgres"), "--version")
    return report("jobs", rows, {"postgresql": postgres}, notes=notes)


def _rate(url: str) -> float:
    """Jobs per second that two processes claim and commit."""
    with tempfile.TemporaryDirectory() as folder:
        queue = NoopQueue(Path(folder) / "queue", database_url=url)
        queue.plan()
        with queue.database.write() as connection:
            template = dict(connection.execute(select(job)).one()._mapping)
            del template["id"]
            rows = [{**template, "key": f"{number:064d}", "rule": f"r{number}"} for number in range(JOBS - 1)]
            connection.execute(insert(job), rows)
        context = multiprocessing.get_context("spawn")
        data_dir, ready = queue.settings.node.data_dir, context.Barrier(3)
        workers = [context.Process(target=_drain, args=(url, data_dir, part, ready)) for part in range(2)]
        for worker in workers:
            worker.start()
        ready.wait(120)
        began = time.perf_counter()
        for worker in workers:
            worker.join()
        took = time.perf_counter() - began
        if queue.ledger.counts() != {"done": JOBS}:
            raise SystemExit(f"not every job was done: {queue.ledger.counts()}")
        queue.stop()
    return JOBS / took


def _drain(url: str, data_dir: Path, part: int, ready: Barrier) -> None:
    """Claim, read and commit every second job, as a worker does with the messages it gets."""
    ledger = Ledger(Database(url, data_dir))
    ledger.counts()
    ready.wait()
    for job_id in range(1 + part, JOBS + 1, 2):
        claim = ledger.claim(job_id, f"bench:{part}", 60.0)
        if claim is None or ledger.job(job_id) is None:
            raise SystemExit(f"job {job_id} could not be claimed")
        ledger.commit(claim, NOTHING)


def _with_workers() -> tuple[float, float, float]:
    """Seconds from message to start; from the kill of a child, and of a worker, to the next start of its job."""
    with tempfile.TemporaryDirectory() as folder:
        queue = NoopQueue(Path(folder) / "queue", lease_seconds=LEASE_S, stalled_seconds=30.0)
        try:
            queue.start_broker()
            queue.start("worker 1")
            queue.await_workers()
            publisher = Publisher(queue.settings)
            starts = [_start(queue, publisher) for _ in range(STARTS + 1)][1:]
            publisher.close()
            queue.start("reconciler")
            child_s = _after_kill(queue, lambda: queue.child("worker 1").kill())
            queue.start("worker 2")
            queue.await_workers(2)
            worker_s = _after_kill(queue, lambda: _kill_owner(queue))
        finally:
            queue.stop()
    return median(starts), child_s, worker_s


def _start(queue: NoopQueue, publisher: Publisher) -> float:
    """Seconds from before the message is sent to when a worker has claimed the job, read it and begun with it."""
    job_id = queue.plan()
    sent = time.time()
    publisher.publish(job_id, Priority.ROUTINE, 60.0)
    _await(lambda: queue.states(job_id) == [JobState.DONE])
    done = queue.ledger.job(job_id)
    return float(done.timings["began"]) - sent if done else float("inf")


def _after_kill(queue: NoopQueue, kill: Callable[[], object]) -> float:
    job_id = queue.plan(4.0)
    _await(lambda: queue.states(job_id) == [JobState.RUNNING])
    began = time.monotonic()
    kill()
    _await(lambda: _attempts(queue, job_id) == 2)
    took = time.monotonic() - began
    _await(lambda: queue.states(job_id) == [JobState.DONE])
    return took


def _kill_owner(queue: NoopQueue) -> None:
    owners = {name for name in ("worker 1", "worker 2") if _owns(queue, name)}
    queue.kill(owners.pop())


def _owns(queue: NoopQueue, name: str) -> bool:
    (found,) = queue.ledger.jobs(states=(JobState.RUNNING,))
    below = psutil.Process(queue.processes[name].pid).children()
    return str(found.owner).rpartition(":")[2] in {str(process.pid) for process in below}


def _attempts(queue: NoopQueue, job_id: int) -> int:
    with queue.database.read() as connection:
        starts = select(event.c.id).where(event.c.job_id == job_id, event.c.kind == "job started")
        return len(connection.execute(starts).all())


def _await(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit("waited 60 s in vain")
        time.sleep(0.005)


if __name__ == "__main__":
    sys.exit(main())
