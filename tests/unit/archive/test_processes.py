"""Workers tell that they live; silent and dead ones are forgotten."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from types import SimpleNamespace

import pytest
from sqlalchemy import update

from dicom_node.archive.database import Database, db_later
from dicom_node.archive.processes import FORGOTTEN_AFTER_S, SEEN_WITHIN_S, Processes, alive, this_host, this_process
from dicom_node.archive.schema import process


@pytest.fixture
def processes(database: Database) -> Processes:
    registered = Processes(database)
    registered.register("box:1", {"device": "cpu", "takes_from": "broker"})
    return registered


def silent(database: Database, seconds: float) -> None:
    with database.write() as connection:
        connection.execute(update(process).values(seen_at=db_later(-seconds)))


def test_a_new_worker_is_idle_and_present(processes: Processes) -> None:
    (worker,) = processes.all()
    assert (worker.name, worker.device, worker.takes_from) == ("box:1", "cpu", "broker")
    assert worker.idle
    assert worker.present
    assert processes.idle()


def test_since_is_when_it_last_began_or_ended_work(processes: Processes) -> None:
    processes.seen(["box:1"], idle=False)
    busy = processes.all()[0]
    assert not busy.idle
    processes.seen(["box:1"], idle=False)
    again = processes.all()[0]
    assert again.since == busy.since
    assert again.seen_at >= busy.seen_at
    assert not processes.idle()


def test_only_registered_processes_are_seen(processes: Processes) -> None:
    assert processes.seen(["box:2"], idle=True) == 0
    assert processes.registered(["box:2", "box:1"])
    assert not processes.registered(["box:2"])


def test_a_silent_worker_is_not_counted_on(processes: Processes, database: Database) -> None:
    silent(database, SEEN_WITHIN_S + 1)
    assert not processes.idle()
    assert not processes.all()[0].present
    assert processes.forget() == 0
    silent(database, FORGOTTEN_AFTER_S + 1)
    assert processes.forget() == 1
    assert processes.all() == ()


def test_a_dead_worker_is_forgotten(processes: Processes) -> None:
    assert processes.forget(["box:1", "box:2"]) == 1


def test_a_process_is_named_by_its_machine_and_id() -> None:
    assert this_process() == f"{this_host()}:{os.getpid()}"
    assert alive(this_process())
    assert alive("another-machine:1")


def test_containers_that_share_a_name_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container process 1 is another one: one of ours must not count as dead there."""
    monkeypatch.setattr("dicom_node.archive.processes.os.stat", lambda place: SimpleNamespace(st_ino=4026532000))
    assert this_host() == f"{socket.gethostname()}/4026532000"
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    assert alive(f"{socket.gethostname()}:{dead.pid}")
    assert not alive(f"{this_host()}:{dead.pid}")
