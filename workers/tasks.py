"""The one Celery task: run a job of the ledger."""

from __future__ import annotations

from functools import cache

from celery.signals import worker_process_init, worker_process_shutdown

from dicom_node.archive.processes import Processes
from workers.app import app
from workers.configuration import device, log_to, read_settings
from workers.run_job import Worker, stop_on_signals


@cache
def this_worker() -> Worker:
    """The worker of this process, with its warm models."""
    settings = read_settings()
    log_to(settings)
    return Worker.open(settings, device())


@app.task(name="workers.run")  # type: ignore[untyped-decorator]
def run(job_id: int) -> str:
    """Run one job; returns how it ended."""
    return this_worker().run(job_id)


@worker_process_init.connect  # type: ignore[untyped-decorator]
def _warm(**_: object) -> None:
    stop_on_signals()
    worker = this_worker()
    Processes(worker.ledger.database).register(worker.name, device=device(), takes_from="broker")
    worker.warm()


@worker_process_shutdown.connect  # type: ignore[untyped-decorator]
def _close(**_: object) -> None:
    if this_worker.cache_info().currsize:
        this_worker().close()
