"""A ledger full of jobs that compute nothing, and the processes that work on it: broker, reconciler, workers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from peers import end, wait_until
from sqlalchemy import func, insert, select, update

from dicom_node.archive.database import Database, db_now
from dicom_node.archive.ledger import Ledger
from dicom_node.archive.migrate import migrate
from dicom_node.archive.places import Places
from dicom_node.archive.processes import Process, Processes
from dicom_node.archive.schema import artifact, job, study
from dicom_node.domain.job import JobState, NewJob, Priority, SelectedSeries, job_key
from dicom_node.jobs.broker import embedded_command
from dicom_node.settings import Settings, load

HERE = Path(__file__).parent


@dataclass
class NoopQueue:
    """One data directory with its ledger, and processes by name; started again, each has the same settings."""

    folder: Path
    database_url: str = "sqlite"
    lease_seconds: float = 60.0
    stalled_seconds: float = 5.0
    more: str = ""  # further keys of [worker]
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    planned: int = 0

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._file.write_text(
            f'[node]\ndata_dir = "data"\n[database]\nurl = "{self.database_url}"\n[worker]\n'
            f"lease_seconds = {self.lease_seconds}\nstalled_seconds = {self.stalled_seconds}\n{self.more}\n"
        )
        self.settings: Settings = load(self._file, {}).settings
        self.database = Database(self.database_url, self.settings.node.data_dir)
        migrate(self.database)
        worker = self.settings.worker
        self.ledger = Ledger(self.database, worker.maximum_attempts, worker.at_once)
        with self.database.write() as connection:
            connection.execute(insert(study).values(_study()))

    @property
    def _file(self) -> Path:
        return self.folder / "dicom-node.toml"

    @property
    def socket(self) -> Path:
        """Where the broker listens."""
        return Places(self.settings.node.data_dir).broker

    def plan(self, seconds: float = 0.0, priority: Priority = Priority.ROUTINE, **parameters: Any) -> int:
        """Add a job that takes so long; its id."""
        self.planned += 1
        chosen = SelectedSeries("image", 1, "1.2.3.4", (1,), (str(self.planned),))
        job_id = self.ledger.plan(
            NewJob(
                study_id=1,
                key=job_key("1.2.3", [chosen], "d", {}),
                rule=f"rule {self.planned}",  # two jobs of one rule on one study would supersede each other
                model=parameters.pop("model", "noop"),
                model_version="1",
                model_digest="d",
                inputs=(chosen,),
                parameters={"seconds": seconds, **parameters},
                destinations=("pacs",),
                withheld={},
                explanation={},
                priority=priority,
            )
        )
        assert job_id is not None
        return job_id

    def start(self, *names: str) -> None:
        """Start processes: broker, and reconcilers and workers by names that begin so."""
        for name in names:
            command = embedded_command(self.settings) if name == "broker" else self._command(name)
            assert command is not None
            environment = {**os.environ, "DICOM_NODE_CONFIG": str(self._file), "PYTHONPATH": f"{HERE}:{HERE.parent}"}
            with (self.folder / f"{name}.log").open("ab") as log:
                self.processes[name] = subprocess.Popen(
                    command, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL
                )

    def start_broker(self) -> None:
        """Start the broker and wait until it listens."""
        self.start("broker")
        wait_until(self.socket.exists, "the broker to listen")

    def _command(self, name: str) -> list[str]:
        role = name.partition(" ")[0]
        return [sys.executable, str(HERE / "noop_worker.py"), role]

    def kill(self, name: str) -> None:
        """SIGKILL a process, and wait for it."""
        process = self.processes.pop(name)
        process.kill()
        process.wait()
        if name == "broker":
            self.socket.unlink(missing_ok=True)

    def keep_alive(self) -> list[int]:
        """Start again every worker that has ended, as the supervisor does; the exit statuses of those."""
        ended = {name: process.poll() for name, process in self.processes.items() if name.startswith("worker")}
        self.start(*(name for name, status in ended.items() if status is not None))
        return [status for status in ended.values() if status is not None]

    def stop(self) -> None:
        """End every process."""
        for name in sorted(self.processes, key=lambda name: name == "broker"):
            end(self.processes[name])
        self.database.close()

    def child(self, name: str) -> psutil.Process:
        """The pool's process of a worker: the one that owns jobs."""
        owners = {process.name.rpartition(":")[2] for process in self.workers()}
        below = psutil.Process(self.processes[name].pid).children()
        return next(process for process in below if str(process.pid) in owners)

    def workers(self) -> tuple[Process, ...]:
        """Workers that were ready for work lately."""
        return Processes(self.database).all()

    def await_workers(self, count: int = 1, *, seconds: float = 60) -> None:
        """Wait until so many workers are ready."""
        wait_until(
            lambda: sum(w.present for w in self.workers()) >= count,
            f"{count} workers, see {self.folder}",
            seconds=seconds,
        )

    def due(self, job_id: int) -> None:
        """End the pause before the next attempt of a job."""
        with self.database.write() as connection:
            connection.execute(update(job).where(job.c.id == job_id).values(run_after=db_now()))

    def states(self, *job_ids: int) -> list[JobState]:
        """States of jobs."""
        return [found.state for job_id in job_ids if (found := self.ledger.job(job_id))]

    def await_done(self, *, seconds: float = 60) -> list[int]:
        """Keep workers alive until every job is done; the exit statuses of those that were started again."""
        statuses: list[int] = []

        def done() -> bool:
            statuses.extend(self.keep_alive())
            return self.ledger.counts() == {"done": self.planned}

        wait_until(done, f"{self.planned} jobs to be done, see {self.folder}", seconds=seconds)
        return statuses

    def results(self) -> tuple[int, int]:
        """Number of result objects, and of different ones among them."""
        with self.database.read() as connection:
            counts = select(func.count(), func.count(artifact.c.sop_uid.distinct()))
            objects, different = connection.execute(counts.select_from(artifact)).one()
        return int(objects), int(different)

    def logs(self, names: Sequence[str] = ()) -> str:
        """What processes wrote."""
        wanted = names or sorted(self.processes)
        return "\n".join((self.folder / f"{name}.log").read_text(errors="replace")[-4000:] for name in wanted)


def _study() -> dict[str, Any]:
    values: dict[str, Any] = {"site_id": 1, "study_uid": "1.2.3", "state": "ready", "readiness": {}, "outcome": ""}
    return {**values, "attributes": {}, **dict.fromkeys(("first_received", "last_received", "changed_at"), db_now())}
