"""The one Celery task: run a job of the ledger."""

from __future__ import annotations

import logging
import time
from functools import cache

from celery.signals import worker_process_init, worker_process_shutdown

from dicom_node.archive.processes import Processes
from dicom_node.errors import LedgerError
from workers.app import app
from workers.configuration import abilities, device, log_to, read_settings
from workers.run_job import Worker
from workers.stopping import stop_on_signals

log = logging.getLogger(__name__)


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
    while not _registered(worker):  # Celery ends a child that takes too long, and starts another
        time.sleep(1.0)
    worker.warm()


def _registered(worker: Worker) -> bool:
    """Without its row no watchdog would look after this worker."""
    try:
        told = {"device": device(), "takes_from": "broker", **abilities(worker.settings, device()).as_detail()}
        Processes(worker.ledger.database).register(worker.name, told)
    except LedgerError as error:
        log.warning("%s", error.message)
        return False
    return True


@worker_process_shutdown.connect  # type: ignore[untyped-decorator]
def _close(**_: object) -> None:
    if this_worker.cache_info().currsize:
        this_worker().close()
