"""What the ``dicom-node`` command starts of this package: ``python -m workers COMMAND``."""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dicom_node.archive.places import queue_name
from dicom_node.domain.fitness import Abilities
from dicom_node.domain.job import Priority
from dicom_node.errors import ConfigurationError, DicomNodeError, LedgerError
from dicom_node.settings import Settings
from workers.configuration import (
    CONFIGURATION_VARIABLE,
    DEVICE_VARIABLE,
    LABELS_VARIABLE,
    abilities,
    log_to,
    read_settings,
)

if TYPE_CHECKING:
    from dicom_node.archive.processes import Processes
    from workers.run_job import Worker

log = logging.getLogger(__name__)

POLL_PAUSE_S = 0.5
BROKER_WITHIN_S = 3.0  # one that starts beside this worker
LOOK_FOR_BROKER_EVERY_S = 5.0


def main(arguments: list[str] | None = None) -> int:
    """Run one of the commands; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m workers", description=__doc__)
    parser.add_argument("--config", type=Path)
    commands = parser.add_subparsers(dest="command", required=True)
    taking = commands.add_parser("run", help="take jobs from the ledger until stopped")
    taking.add_argument("--device", default="auto")
    taking.add_argument("--labels", default="")
    verify = commands.add_parser("verify", help="load a model and run it on a small volume")
    verify.add_argument("name")
    _add_evaluation(commands)
    commands.add_parser("sandbox", help="tell how far models are shut in on this machine")
    given = parser.parse_args(arguments)
    if given.config:
        os.environ[CONFIGURATION_VARIABLE] = str(given.config.resolve())
    try:
        if given.command == "run":
            os.environ[LABELS_VARIABLE] = given.labels
            return run(read_settings(), given.device)
        if given.command == "verify":
            return _verify(read_settings(), given.name)
        if given.command == "evaluate":
            return _evaluate(read_settings(), given)
        if given.command == "train":
            return _train(read_settings(), given)
        if given.command == "optimise":
            return _optimise(read_settings(), given)
        return _sandbox()
    except DicomNodeError as error:
        sys.stderr.write(f"error: {error.message}\n" + (f"{error.remedy}\n" if error.remedy else ""))
        return 2 if isinstance(error, ConfigurationError) else 1


def run(settings: Settings, device: str, application: str = "workers.app") -> int:
    """Become a Celery worker, or, as long as no broker answers, look into the ledger."""
    os.environ[DEVICE_VARIABLE] = device
    _refuse_newer_ledger(settings)
    if _broker_within(settings, BROKER_WITHIN_S):
        os.execv(sys.executable, celery_command(application, abilities(settings, device)))  # noqa: S606
    return _poll(settings, device, application)


def _refuse_newer_ledger(settings: Settings) -> None:
    from dicom_node.archive.database import Database
    from dicom_node.archive.migrate import refuse_newer

    database = Database(settings.database.url, settings.node.data_dir)
    try:
        refuse_newer(database)
    except LedgerError as error:
        log.warning("%s", error.message)  # it is waited for
    finally:
        database.close()


def celery_command(application: str, has: Abilities) -> list[str]:
    """The command line of Celery's worker."""
    os.environ["REMAP_SIGTERM"] = "SIGQUIT"  # a stop hands the job back within seconds
    celery = [sys.executable, "-m", "celery", "--quiet", "--app", application, "worker"]
    pool = ["--pool", "prefork", "--concurrency", "1", "--pool-start-method", "spawn"]  # a fork breaks CUDA
    quiet = ["--without-gossip", "--without-mingle", "--loglevel", "WARNING"]
    queues = ",".join(queue_name(priority, group) for priority in Priority for group in (None, has))
    return [*celery, *pool, *quiet, "--queues", queues]


def _broker_within(settings: Settings, seconds: float) -> bool:
    from workers.watchdog import broker_answers

    deadline = time.monotonic() + seconds
    while not broker_answers(settings):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def _poll(settings: Settings, device: str, application: str) -> int:
    """Take jobs straight from the ledger, until a broker answers."""
    from dicom_node.archive.processes import Processes
    from workers.run_job import Worker
    from workers.stopping import stop_on_signals

    log_to(settings)
    log.warning("no broker answers: this worker looks into the ledger every %.1f s", POLL_PAUSE_S)
    stop_on_signals()
    worker = Worker.open(settings, device)
    processes = Processes(worker.ledger.database)
    try:
        told = {"device": device, "takes_from": "ledger", **abilities(settings, device).as_detail()}
        processes.register(worker.name, told)
        worker.warm()
        _take_from_ledger(settings, worker, processes)
    finally:
        worker.close()
    log.warning("the broker answers: this worker waits for its messages")
    os.execv(sys.executable, celery_command(application, abilities(settings, device)))  # noqa: S606


def _take_from_ledger(settings: Settings, worker: Worker, processes: Processes) -> None:
    """Run job after job; returns when a broker answers. Trouble with the ledger is told, and it is tried again."""
    looked = told = time.monotonic()
    while True:
        try:
            job_id = worker.ledger.next_queued()
            if job_id is not None:
                processes.seen([worker.name], idle=False)
                worker.run(job_id)
            elif (now := time.monotonic()) - told > LOOK_FOR_BROKER_EVERY_S:
                told = now
                processes.seen([worker.name], idle=True)
        except LedgerError as error:
            log.warning("%s", error.message)
            job_id = None
        if time.monotonic() - looked > LOOK_FOR_BROKER_EVERY_S:
            looked = time.monotonic()
            if _broker_within(settings, 0):
                return
        if job_id is None:
            time.sleep(POLL_PAUSE_S)


def _verify(settings: Settings, name: str) -> int:
    from dicom_node.catalogue import Catalogue
    from workers.fusion.risk import FUSION, equations_of
    from workers.inference.verify import verify

    contract = Catalogue.load(settings).get(name)
    if contract.task == FUSION:
        vectors = len(equations_of(contract).vectors)
        sys.stdout.write(f"ok    equations: {vectors} published example(s) come out\n")
        return 0
    checks = verify(contract)
    for check in checks:
        sys.stdout.write(f"{'ok  ' if check.ok else 'FAIL'}  {check.what}\n")
    return 0 if all(check.ok for check in checks) else 1


def _add_evaluation(commands: Any) -> None:
    evaluating = commands.add_parser("evaluate", help="compare a model with cases whose truth is known")
    training = commands.add_parser("train", help="train a model by the configuration of its bundle")
    for parser in (evaluating, training):
        parser.add_argument("name")
        parser.add_argument("folder", type=Path)
    evaluating.add_argument("--part", default="")
    evaluating.add_argument("--plots", type=Path)
    evaluating.add_argument("--calibrate", action="store_true")
    evaluating.add_argument("--device", default="auto")
    training.add_argument("--out", type=Path, required=True)
    for option in ("--epochs", "--patience", "--seed"):
        training.add_argument(option, type=int)
    training.add_argument("--anew", action="store_true")
    training.add_argument("--tensorboard", action="store_true")
    training.add_argument("--mlflow", default="")
    training.add_argument("--site", type=Path, action="append", default=[])
    training.add_argument("--rounds", type=int, default=10)
    for option in ("--clip", "--noise", "--delta"):
        training.add_argument(option, type=float)
    optimising = commands.add_parser("optimise", help="measure what makes a model faster here")
    optimising.add_argument("name")
    optimising.add_argument("folder", type=Path, nargs="?")
    optimising.add_argument("--within", type=float)
    optimising.add_argument("--device", default="auto")
    optimising.add_argument("--forget", action="store_true")


def _evaluate(settings: Settings, given: argparse.Namespace) -> int:
    from dicom_node.catalogue import Catalogue
    from workers.evaluation.run import evaluate

    contract = Catalogue.load(settings).get(given.name)
    told = evaluate(contract, given.folder, part=given.part, device=given.device, calibrate=given.calibrate, told=_tell)
    if given.plots:
        from workers.evaluation.charts import draw

        told["plots"] = [str(file) for file in draw(told, given.plots)]
    sys.stdout.write(json.dumps(told) + "\n")
    return 0


def _train(settings: Settings, given: argparse.Namespace) -> int:
    from dicom_node.catalogue import Catalogue
    from workers.evaluation.training import Wish, train

    if given.site:
        return _train_federated(settings, given)
    wish = Wish(given.epochs, given.patience, given.seed, given.anew, given.tensorboard, given.mlflow)
    return 1 if train(Catalogue.load(settings).get(given.name), given.folder, given.out, wish, _tell) else 0


def _train_federated(settings: Settings, given: argparse.Namespace) -> int:
    from dicom_node.catalogue import Catalogue
    from workers.evaluation.federated import Plan, train
    from workers.evaluation.privacy import Privacy

    if given.tensorboard or given.mlflow or given.patience:
        raise ConfigurationError(
            "--tensorboard, --mlflow and --patience are for a training at one site, not for --site"
        )
    privacy = None
    if given.noise is not None:
        privacy = Privacy(given.clip or 1.0, given.noise, given.delta or 1e-5)
    plan = Plan(given.rounds, given.epochs or 1, given.seed, given.anew, privacy)
    told = train(Catalogue.load(settings).get(given.name), [given.folder, *given.site], given.out, plan, _tell)
    sys.stdout.write(json.dumps(told) + "\n")
    return 0


def _optimise(settings: Settings, given: argparse.Namespace) -> int:
    from dicom_node.catalogue import Catalogue
    from workers.evaluation.optimise import WITHIN, optimise
    from workers.inference.chosen import kept

    contract = Catalogue.load(settings).get(given.name)
    choices = kept(settings.node.data_dir, given.device)
    if given.forget:
        told: dict[str, Any] = {"model": contract.name, "forgotten": choices.forget(contract.digest)}
    else:
        within = WITHIN if given.within is None else given.within
        told = optimise(contract, given.folder, choices, within=within, device=given.device, told=_tell)
    sys.stdout.write(json.dumps(told) + "\n")
    return 0


def _tell(line: str) -> None:
    sys.stderr.write(line + "\n")


def _sandbox() -> int:
    from dicom_node.sandbox import level

    sys.stdout.write(json.dumps(dataclasses.asdict(level())) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
