"""The processes of a ledger, workers and nodes: when each was last seen, and whether it has work.

A row is named as its process owns jobs, ``host:pid``, so a job's owner leads to it.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, insert, or_, select, update

from dicom_node.archive.database import Database, db_later, db_now
from dicom_node.archive.schema import process
from dicom_node.domain.fitness import NO_ABILITIES, Abilities

# A process says that it lives every few seconds; one that has been silent for so long is not counted on.
SEEN_WITHIN_S = 30.0
FORGOTTEN_AFTER_S = 600.0
_FIRST_NAMESPACE = 0xEFFFFFFC  # inode of the process ids that a machine boots with (Linux)


@dataclass(frozen=True, slots=True)
class Process:
    """A worker as it last told of itself."""

    name: str  # host:pid
    kind: str  # worker, node
    started_at: datetime
    seen_at: datetime
    idle: bool
    since: datetime  # it has been idle, or busy
    device: str
    takes_from: str  # broker or ledger
    detail: Mapping[str, Any]  # what it says of itself
    present: bool  # seen within SEEN_WITHIN_S
    abilities: Abilities = NO_ABILITIES


class Processes:
    """Reads and writes of the table of processes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def register(self, name: str, detail: Mapping[str, Any], kind: str = "worker") -> None:
        """A process is ready for work; ``detail`` of a worker: its device, what it takes jobs from, its abilities."""
        host, _, pid = name.rpartition(":")
        times = {"started_at": db_now(), "seen_at": db_now(), "since": db_now()}
        with self._database.write() as connection:
            connection.execute(delete(process).where(process.c.name == name))
            values = {"name": name, "kind": kind, "host": host, "pid": int(pid), "idle": True, "detail": dict(detail)}
            connection.execute(insert(process).values(**values, **times))

    def seen(self, names: Sequence[str], *, idle: bool) -> int:
        """These processes live; returns how many of them are registered."""
        with self._database.write() as connection:
            known = process.c.name.in_(names)
            connection.execute(update(process).where(known, process.c.idle != idle).values(idle=idle, since=db_now()))
            return int(connection.execute(update(process).where(known).values(seen_at=db_now())).rowcount)

    def registered(self, names: Sequence[str]) -> bool:
        """Whether one of these processes was ever ready for work."""
        with self._database.read() as connection:
            return bool(connection.execute(select(func.count()).where(process.c.name.in_(names))).scalar_one())

    def idle(self) -> tuple[Abilities, ...]:
        """What the workers can that live and have nothing to do, each kind of them once."""
        present = process.c.seen_at > db_later(-SEEN_WITHIN_S)
        statement = select(process.c.detail).where(process.c.kind == "worker", process.c.idle, present)
        with self._database.read() as connection:
            found = {Abilities.from_detail(detail) for detail in connection.execute(statement).scalars()}
        return tuple(found)

    def all(self) -> tuple[Process, ...]:
        """Every process that was not forgotten, by name."""
        present = (process.c.seen_at > db_later(-SEEN_WITHIN_S)).label("present")
        with self._database.read() as connection:
            rows = connection.execute(select(process, present).order_by(process.c.name)).all()
        return tuple(_process(row) for row in rows)

    def forget(self, dead: Sequence[str] = ()) -> int:
        """Drop the rows of processes that are known to be dead, or have been silent for long."""
        with self._database.read() as connection:
            silent = process.c.seen_at < db_later(-FORGOTTEN_AFTER_S)
            lost = connection.execute(select(process.c.name).where(or_(silent, process.c.name.in_(dead)))).scalars()
            names = list(lost)
        if names:
            with self._database.write() as connection:
                connection.execute(delete(process).where(process.c.name.in_(names)))
        return len(names)


def this_host() -> str:
    """The host part of a process name: within it a process id means one process.

    Containers may share the name of their machine and still number their processes each for itself.
    """
    try:
        namespace = os.stat("/proc/self/ns/pid").st_ino  # noqa: PTH116
    except OSError:
        namespace = _FIRST_NAMESPACE
    return socket.gethostname() + ("" if namespace == _FIRST_NAMESPACE else f"/{namespace}")


def this_process() -> str:
    """The name of this process."""
    return f"{this_host()}:{os.getpid()}"


def alive(name: str) -> bool:
    """Whether a process may live; only of one that we can see it is known that it does not."""
    host, _, pid = name.rpartition(":")
    return host != this_host() or _alive(int(pid))


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not _zombie(pid)


def _zombie(pid: int) -> bool:
    """A killed process that nobody has waited for yet still takes signals (Linux)."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:  # noqa: PTH123
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return False


def _process(row: Any) -> Process:
    return Process(
        name=row.name,
        kind=row.kind,
        started_at=row.started_at,
        seen_at=row.seen_at,
        idle=row.idle,
        since=row.since,
        device=row.detail.get("device", ""),
        takes_from=row.detail.get("takes_from", ""),
        detail=row.detail,
        present=bool(row.present),
        abilities=Abilities.from_detail(row.detail),
    )
