"""How many jobs a second go through ledger, broker and two workers, and what bounds them on the same machine."""

from __future__ import annotations

import multiprocessing
import sqlite3
import tempfile
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Barrier
from typing import Any

import psutil
import redis
from noop_queue import NoopQueue
from noop_worker import NOTHING
from peers import wait_until
from sqlalchemy import insert, select

from benchmarks.table import Row
from dicom_node.archive.database import Database
from dicom_node.archive.ledger import Ledger
from dicom_node.archive.places import queue_name
from dicom_node.archive.schema import job, study
from dicom_node.domain.job import JobState, Priority
from dicom_node.jobs.publish import Publisher

GOALS = {"sqlite": 100.0, "postgresql": 200.0}
WORKERS = ("worker 1", "worker 2")
COMMITS_PER_JOB = 2  # the claim and the result: each is durable before it counts
PATIENCE_S = 3600.0
LOOK_EVERY_S = 0.25  # looks cost the ledger something too


@dataclass(frozen=True, slots=True)
class Rate:
    """Of one database."""

    through_workers: float  # jobs per second, from planned to done
    cpu_ms: float  # per job, of workers, reconciler and broker; not of a database server
    through_ledger: float  # claimed and committed, without broker and Celery
    bare_commits: float  # durable commits of one row per second
    tasks: float  # Celery tasks per second that do nothing, by the same workers

    def rows(self, name: str) -> list[Row]:
        """For the table."""
        bound = self.bare_commits / COMMITS_PER_JOB
        return [
            Row(
                f"no-op jobs through two workers, {name}",
                "/s",
                self.through_workers,
                self.tasks,
                "Celery tasks that do nothing",
                goal=GOALS[name],
                better="more",
            ),
            Row(f"CPU of a no-op job, our processes, {name}", "ms", self.cpu_ms),
            Row(
                f"no-op jobs through the ledger alone, {name}",
                "/s",
                self.through_ledger,
                bound,
                "half the bare durable commits",
                better="more",
            ),
        ]


def measure(url: str, jobs: int) -> Rate:
    """Rates on the database of this URL."""
    with tempfile.TemporaryDirectory() as folder:
        queue = NoopQueue(Path(folder) / "queue", database_url=url, stalled_seconds=60.0)
        try:
            bare = _bare_commits(queue)
            template = _template(queue)
            alone = _through_ledger(queue, url, template, jobs)
            queue.start_broker()
            queue.start("reconciler", *WORKERS)
            queue.await_workers(2, seconds=PATIENCE_S)
            tasks = _tasks(queue, jobs)
            rate, cpu_ms = _through_workers(queue, template, jobs)
        finally:
            queue.stop()
    return Rate(rate, cpu_ms, alone, bare, tasks)


def _template(queue: NoopQueue) -> dict[str, Any]:
    """A queued job that others are copied from."""
    job_id = queue.plan()
    with queue.database.read() as connection:
        template = dict(connection.execute(select(job).where(job.c.id == job_id)).one()._mapping)
    claim = queue.ledger.claim(job_id, "bench:0", 60.0)
    assert claim is not None
    queue.ledger.commit(claim, NOTHING)
    del template["id"]
    return template


def _plan(queue: NoopQueue, template: Mapping[str, Any], count: int) -> list[int]:
    """Queue as many jobs at once, each on a study of its own; their numbers."""
    with queue.database.write() as connection:
        known = dict(connection.execute(select(study).limit(1)).one()._mapping)
        del known["id"]
        studies = [{**known, "study_uid": f"2.25.{uuid.uuid4().int}"} for _ in range(count)]
        study_ids = list(connection.execute(insert(study).returning(study.c.id), studies).scalars())
        rows = [{**template, "study_id": each, "key": f"{each:064d}"} for each in study_ids]
        return list(connection.execute(insert(job).returning(job.c.id), rows).scalars())


def _through_workers(queue: NoopQueue, template: Mapping[str, Any], count: int) -> tuple[float, float]:
    done = queue.ledger.counts()[JobState.DONE]
    cpu_before = _cpu_s(queue)
    _plan(queue, template, count)
    began = time.perf_counter()
    while queue.ledger.counts() != {"done": done + count}:
        if time.perf_counter() - began > PATIENCE_S:
            raise SystemExit(f"not every job was done: {queue.ledger.counts()}")
        time.sleep(LOOK_EVERY_S)
    took = time.perf_counter() - began
    return count / took, (_cpu_s(queue) - cpu_before) / count * 1000


def _cpu_s(queue: NoopQueue) -> float:
    found = [psutil.Process(process.pid) for process in queue.processes.values()]
    found += [child for process in found for child in process.children(recursive=True)]
    return float(sum(sum(process.cpu_times()[:2]) for process in found))


def _tasks(queue: NoopQueue, count: int) -> float:
    """Tasks of the same workers that touch no ledger."""
    publisher, broker = Publisher(queue.settings), redis.Redis(unix_socket_path=str(queue.socket))
    name = queue_name(Priority.ROUTINE, None)

    def empty() -> bool:
        return not broker.llen(name) and not broker.hlen("unacked")

    began = time.perf_counter()
    for _ in range(count):
        publisher.send("noop.nothing", (), name, 60.0)
    wait_until(empty, "all tasks to be done", seconds=PATIENCE_S)
    took = time.perf_counter() - began
    publisher.close()
    broker.close()
    return count / took


def _through_ledger(queue: NoopQueue, url: str, template: Mapping[str, Any], count: int) -> float:
    """Jobs per second that two processes claim and commit."""
    job_ids = _plan(queue, template, count)
    context = multiprocessing.get_context("spawn")
    data_dir, ready = queue.settings.node.data_dir, context.Barrier(3)
    parts = [context.Process(target=_drain, args=(url, data_dir, job_ids[part::2], ready)) for part in range(2)]
    for part in parts:
        part.start()
    ready.wait(120)
    began = time.perf_counter()
    for part in parts:
        part.join()
    took = time.perf_counter() - began
    if queue.ledger.counts() != {"done": count + 1}:
        raise SystemExit(f"not every job was done: {queue.ledger.counts()}")
    return count / took


def _drain(url: str, data_dir: Path, job_ids: list[int], ready: Barrier) -> None:
    """Take and commit jobs, as a worker does with the messages it gets."""
    ledger = Ledger(Database(url, data_dir))
    ledger.counts()
    ready.wait()
    for job_id in job_ids:
        taken = ledger.take(job_id, f"bench:{job_ids[0]}", 60.0)
        if taken is None:
            raise SystemExit(f"job {job_id} could not be claimed")
        ledger.commit(taken[0], NOTHING)


def _bare_commits(queue: NoopQueue, count: int = 500) -> float:
    """Durable commits of one small row per second, one after the other, by the driver alone."""
    if queue.database.engine.dialect.name == "sqlite":
        bare: Any = sqlite3.connect(queue.folder / "bare.sqlite", isolation_level=None)
        bare.execute("PRAGMA journal_mode=WAL")
        bare.execute("PRAGMA synchronous=FULL")
    else:
        bare = queue.database.engine.raw_connection()
        bare.driver_connection.autocommit = True
    cursor = bare.cursor()
    cursor.execute("CREATE TABLE bare (text VARCHAR(255))")
    began = time.perf_counter()
    for _ in range(count):
        cursor.execute("INSERT INTO bare VALUES ('one small row')")
    took = time.perf_counter() - began
    bare.close()
    return count / took
