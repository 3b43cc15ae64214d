"""``python -m workers run | verify NAME | sandbox``: what the ``dicom-node`` command starts of this package."""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import os
import signal
import sys
import threading
from pathlib import Path

from dicom_node.archive.places import Places, queue_name
from dicom_node.domain.job import Priority
from dicom_node.errors import ConfigurationError, DicomNodeError
from dicom_node.settings import Settings
from workers.configuration import CONFIGURATION_VARIABLE, DEVICE_VARIABLE, log_to, read_settings

log = logging.getLogger(__name__)

POLL_PAUSE_S = 0.5


def main(arguments: list[str] | None = None) -> int:
    """Run one of the commands; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m workers", description=__doc__)
    parser.add_argument("--config", type=Path)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="take jobs from the ledger until stopped")
    run.add_argument("--device", default="auto")
    verify = commands.add_parser("verify", help="load a model and run it on a small volume")
    verify.add_argument("name")
    commands.add_parser("sandbox", help="tell how far models are shut in on this machine")
    given = parser.parse_args(arguments)
    if given.config:
        os.environ[CONFIGURATION_VARIABLE] = str(given.config.resolve())
    try:
        if given.command == "run":
            return _run(read_settings(), given.device)
        if given.command == "verify":
            return _verify(read_settings(), given.name)
        return _sandbox()
    except DicomNodeError as error:
        sys.stderr.write(f"error: {error.message}\n" + (f"{error.remedy}\n" if error.remedy else ""))
        return 2 if isinstance(error, ConfigurationError) else 1


def _run(settings: Settings, device: str) -> int:
    """Become a Celery worker, or, where there is no broker, look into the ledger."""
    os.environ[DEVICE_VARIABLE] = device
    if settings.broker.url == "embedded" and not _embedded_broker_exists(settings):
        return _poll(settings, device)
    queues = ",".join(queue_name(priority) for priority in Priority)
    os.environ["REMAP_SIGTERM"] = "SIGQUIT"  # a stop hands the job back within seconds
    celery = [sys.executable, "-m", "celery", "--quiet", "--app", "workers.app", "worker"]
    pool = ["--pool", "prefork", "--concurrency", "1", "--pool-start-method", "spawn"]  # a fork breaks CUDA
    quiet = ["--without-gossip", "--without-mingle", "--loglevel", "WARNING"]
    os.execv(sys.executable, [*celery, *pool, *quiet, "--queues", queues])  # noqa: S606


def _embedded_broker_exists(settings: Settings) -> bool:
    return Places(settings.node.data_dir).broker.exists()


def _poll(settings: Settings, device: str) -> int:
    """Take jobs straight from the ledger."""
    from workers.run_job import Worker

    log_to(settings)
    log.warning("there is no broker: this worker looks into the ledger every %.1f s", POLL_PAUSE_S)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT):
        signal.signal(number, lambda *_: stop.set())
    worker = Worker.open(settings, device)
    worker.warm()
    try:
        while not stop.is_set():
            job_id = worker.ledger.next_queued()
            if job_id is None:
                stop.wait(POLL_PAUSE_S)
            else:
                worker.run(job_id)
    finally:
        worker.close()
    return 0


def _verify(settings: Settings, name: str) -> int:
    from dicom_node.catalogue import Catalogue
    from workers.inference.verify import verify

    checks = verify(Catalogue.load(settings).get(name))
    for check in checks:
        sys.stdout.write(f"{'ok  ' if check.ok else 'FAIL'}  {check.what}\n")
    return 0 if all(check.ok for check in checks) else 1


def _sandbox() -> int:
    from workers.inference.sandbox import level

    sys.stdout.write(json.dumps(dataclasses.asdict(level())) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
