"""Workers whose jobs compute nothing, and a reconciler without a node: ``python noop_worker.py worker | reconciler``.

The worker is that of ``python -m workers run``; only what a job does is replaced, by its parameters:
``seconds`` it takes, ``limit_s`` of its stage, ``deaf`` to the loss of its lease.
"""

from __future__ import annotations

import sys
import time

from dicom_node.archive.database import Database
from dicom_node.archive.ledger import Ledger
from dicom_node.archive.processes import Processes
from dicom_node.archive.results import Outcome
from dicom_node.domain.job import Claim, Job
from dicom_node.domain.parcel import Artifact
from dicom_node.errors import Fenced
from dicom_node.jobs.publish import Publisher
from dicom_node.jobs.reconcile import Reconciler
from workers.__main__ import run
from workers.configuration import read_settings
from workers.heartbeat import Heartbeat, Stopwatch
from workers.run_job import Worker

SEG = "1.2.840.10008.5.1.4.1.1.66.4"
NOTHING = Outcome((), (), {}, {}, {})


def work(worker: Worker, job: Job, claim: Claim, beat: Heartbeat) -> Outcome:
    """Take time, and hand in one object; ``timings`` tells when it began."""
    began = time.time()
    with Stopwatch().stage("infer", beat, job.parameters.get("limit_s", 60.0)):
        until = time.monotonic() + job.parameters["seconds"]
        while time.monotonic() < until:
            if beat.lost and not job.parameters.get("deaf"):
                raise Fenced("cancelled", reason="cancelled")
            time.sleep(0.005)
    # One UID for every attempt: a second commit would meet the first one's row.
    made = Artifact("seg", f"2.25.{job.id}", SEG, "2.25.9", "1.2.840.10008.1.2.1", "0" * 64, f"r/{claim.attempt}", 1)
    return Outcome((), (made,), {}, {"began": began}, {})


def reconcile() -> int:
    """Tick until killed."""
    settings = read_settings()
    database = Database(settings.database.url, settings.node.data_dir)
    ledger = Ledger(database, settings.worker.maximum_attempts, settings.worker.at_once)
    reconciler = Reconciler(ledger, Processes(database), Publisher(settings), ())
    while True:
        reconciler.tick()
        time.sleep(0.2)


Worker._compute = work  # type: ignore[method-assign, assignment]
Worker._outcome = lambda self, job, claim, computed, beat: computed  # type: ignore[method-assign, assignment]
Worker.warm = lambda self: None  # type: ignore[method-assign]

if __name__ == "__main__":
    sys.exit(run(read_settings(), "cpu", "noop_app") if sys.argv[1] == "worker" else reconcile())
