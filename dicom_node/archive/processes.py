"""The processes that take jobs: when each was last seen, and whether it has work.

A row is named as its process owns jobs, ``host:pid``, so a job's owner leads to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, insert, or_, select, update

from dicom_node.archive.database import Database, db_later, db_now
from dicom_node.archive.schema import process

# A process says that it lives every few seconds; one that has been silent for so long is not counted on.
SEEN_WITHIN_S = 30.0
FORGOTTEN_AFTER_S = 600.0


@dataclass(frozen=True, slots=True)
class Process:
    """A worker as it last told of itself."""

    name: str  # host:pid
    kind: str  # worker
    started_at: datetime
    seen_at: datetime
    idle: bool
    since: datetime  # it has been idle, or busy
    device: str
    takes_from: str  # broker or ledger
    present: bool  # seen within SEEN_WITHIN_S


class Processes:
    """Reads and writes of the table of processes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def register(self, name: str, *, device: str, takes_from: str, kind: str = "worker") -> None:
        """A process is ready for work."""
        host, _, pid = name.rpartition(":")
        times = {"started_at": db_now(), "seen_at": db_now(), "since": db_now()}
        detail = {"device": device, "takes_from": takes_from}
        with self._database.write() as connection:
            connection.execute(delete(process).where(process.c.name == name))
            values = {"name": name, "kind": kind, "host": host, "pid": int(pid), "idle": True, "detail": detail}
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

    def idle(self) -> bool:
        """Whether a worker that lives has nothing to do."""
        present = process.c.seen_at > db_later(-SEEN_WITHIN_S)
        statement = select(func.count()).where(process.c.kind == "worker", process.c.idle, present)
        with self._database.read() as connection:
            return bool(connection.execute(statement).scalar_one())

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
        present=bool(row.present),
    )
