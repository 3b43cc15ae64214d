"""Which studies the rules have yet to look at, and what they made of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import or_, select, update

from dicom_node.archive.database import Database, db_now
from dicom_node.archive.schema import instance, study
from dicom_node.domain.study import InstanceState, Readiness


@dataclass(frozen=True, slots=True)
class Undecided:
    """A study that changed since the rules last looked."""

    study_id: int
    changed_at: datetime


def undecided(database: Database, limit: int = 100) -> tuple[Undecided, ...]:
    """Studies the rules have to look at, longest waiting first. Studies held for a person are left out."""
    unseen = or_(study.c.decided_at.is_(None), study.c.decided_at < study.c.changed_at)
    statement = (
        select(study.c.id, study.c.changed_at)
        .where(unseen, study.c.state != Readiness.HELD)
        .order_by(study.c.changed_at)
        .limit(limit)
    )
    with database.read() as connection:
        rows = connection.execute(statement).all()
    return tuple(Undecided(row.id, row.changed_at) for row in rows)


def decided(database: Database, seen: Undecided, outcome: str) -> None:
    """Note what the rules made of a study. A change that came meanwhile stays to be looked at."""
    with database.write() as connection:
        connection.execute(
            update(study).where(study.c.id == seen.study_id).values(decided_at=seen.changed_at, outcome=outcome)
        )


def look_again(database: Database, study_id: int) -> None:
    """Have the rules look at a study again."""
    with database.write() as connection:
        connection.execute(update(study).where(study.c.id == study_id).values(changed_at=db_now()))


def selection(database: Database, series_id: int) -> tuple[tuple[int, str], ...]:
    """Row id and digest of each current image of a series, by id."""
    statement = (
        select(instance.c.id, instance.c.digest)
        .where(instance.c.series_id == series_id, instance.c.state == InstanceState.CURRENT)
        .order_by(instance.c.id)
    )
    with database.read() as connection:
        rows = connection.execute(statement).all()
    return tuple((int(row.id), str(row.digest)) for row in rows)
