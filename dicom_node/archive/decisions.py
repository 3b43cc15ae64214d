"""Which studies the rules have yet to look at, and what they made of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import case, func, or_, select, update

from dicom_node.archive.database import Database, db_now
from dicom_node.archive.schema import instance, series, study
from dicom_node.domain.study import InstanceState, Readiness

RULE_WAITS = "the rule waits for"  # in the outcome of a study that is looked at again by itself
WILL_TELL = "a missing result is told"  # likewise


@dataclass(frozen=True, slots=True)
class Undecided:
    """A study that changed since the rules last looked."""

    study_id: int
    revision: int  # of the study's row
    open_since: datetime | None = None  # when its last image came; None: it is whole
    whole_series: int = 0


def undecided(database: Database, limit: int = 100) -> tuple[Undecided, ...]:
    """Studies the rules have to look at, longest waiting first. Studies held for a person are left out."""
    # Counted, not searched by state: SQLite would go through all series that are ready.
    ready = func.coalesce(func.sum(case((series.c.state == Readiness.READY, 1), else_=0)), 0)
    whole = select(ready).where(series.c.study_id == study.c.id).correlate(study).scalar_subquery()
    statement = (
        select(study.c.id, study.c.revision, study.c.state, study.c.last_received, whole.label("whole"))
        .where(study.c.decided_revision < study.c.revision, study.c.state != Readiness.HELD)
        .order_by(study.c.changed_at)
        .limit(limit)
    )
    with database.read() as connection:
        rows = connection.execute(statement).all()
    return tuple(
        Undecided(row.id, row.revision, row.last_received if row.state == Readiness.OPEN else None, row.whole)
        for row in rows
    )


def decided(database: Database, seen: Undecided, outcome: str, owed: int = 0) -> None:
    """Note what the rules made of a study. A change that came meanwhile stays to be looked at.

    ``owed``: objects that a rule sends on now, and for which nothing was put down; there should be none.
    """
    with database.write() as connection:
        connection.execute(
            update(study)
            .where(study.c.id == seen.study_id)
            .values(decided_revision=seen.revision, outcome=outcome, owed=owed, revision=study.c.revision)
        )


def look_again(database: Database, study_id: int) -> None:
    """Have the rules look at a study again."""
    with database.write() as connection:
        connection.execute(update(study).where(study.c.id == study_id).values(changed_at=db_now()))


def look_again_at_waiting(database: Database) -> int:
    """Have the rules look again at the studies for which one of them waits; how many there are."""
    with database.read() as connection:
        again = or_(study.c.outcome.contains(RULE_WAITS), study.c.outcome.contains(WILL_TELL))
        waiting = select(study.c.id).where(again)
        found = connection.execute(waiting).scalars().all()
    for study_id in found:
        look_again(database, study_id)
    return len(found)


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


def rejected(database: Database, study_id: int) -> frozenset[int]:
    """Row ids of the images of a study that a rejection note names; whatever used them no longer stands."""
    statement = (
        select(instance.c.id)
        .join(series, series.c.id == instance.c.series_id)
        .where(series.c.study_id == study_id, instance.c.state == InstanceState.HIDDEN)
    )
    with database.read() as connection:
        return frozenset(connection.execute(statement).scalars())
