"""Orders, by accession number and its issuer: how urgent each is, and who said so.

Whoever knows the priority of an order, a worklist or an HL7 message, tells it by :func:`set_priority`. It counts for
the jobs of the order's studies that have not begun, and for those that are planned later. The more urgent of rule and
order counts; what a person has set stays.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, or_, select, update

from dicom_node.archive import events
from dicom_node.archive.database import Database, db_later, db_now
from dicom_node.archive.schema import imaging_order, instance, job, study
from dicom_node.domain.job import JobState, Priority
from dicom_node.domain.study import InstanceState

BY_HAND = "by hand"  # how the source of a priority begins that a person has set
PAUSES_S = (15.0, 60.0, 600.0)  # before a worklist that could not be asked is asked again; then no more
_RECENT_S = 7 * 86400.0  # studies that have not changed for longer are not looked up


@dataclass(frozen=True, slots=True)
class StudyOrder:
    """A study whose order is not known yet."""

    study_id: int
    accession_number: str
    path: str  # of one of its images, relative to the data directory


@dataclass(frozen=True, slots=True)
class Order:
    """An order that a worklist is to be asked about."""

    id: int
    accession_number: str
    issuer: str
    patient_ids: frozenset[str]  # of its studies


def unlinked(database: Database, limit: int = 50) -> tuple[StudyOrder, ...]:
    """Studies with an accession number that belong to no order yet, newest first."""
    path = (
        select(instance.c.path)
        .where(instance.c.study_id == study.c.id, instance.c.state == InstanceState.CURRENT)
        .limit(1)
        .scalar_subquery()
    )
    statement = (
        select(study.c.id, study.c.accession_number, path.label("path"))
        .where(study.c.order_id.is_(None), study.c.accession_number.is_not(None), study.c.accession_number != "")
        .where(study.c.changed_at > db_later(-_RECENT_S))
        .order_by(study.c.id.desc())
        .limit(limit)
    )
    with database.read() as connection:
        rows = connection.execute(statement).all()
    return tuple(StudyOrder(row.id, row.accession_number, row.path or "") for row in rows)


def link(database: Database, study_id: int, accession_number: str, issuer: str) -> None:
    """Let a study belong to its order; what is known of the order's priority counts for its jobs from now on."""
    with database.write() as connection:
        order_id = _order(connection, accession_number, issuer)
        values = {"order_id": order_id, "revision": study.c.revision}  # the rules need not look at it again
        connection.execute(update(study).where(study.c.id == study_id).values(**values))
        apply_to(connection, study_id)


def due(database: Database, limit: int = 50) -> tuple[Order, ...]:
    """Orders that worklists are to be asked about now."""
    statement = select(imaging_order).where(imaging_order.c.next_try <= db_now()).order_by(imaging_order.c.id.desc())
    with database.read() as connection:
        rows = connection.execute(statement.limit(limit)).all()
        of_these = select(study.c.order_id, study.c.patient_id).where(study.c.order_id.in_([row.id for row in rows]))
        patients = connection.execute(of_these).all()
    return tuple(
        Order(
            row.id,
            row.accession_number,
            row.issuer,
            frozenset(found.patient_id for found in patients if found.order_id == row.id and found.patient_id),
        )
        for row in rows
    )


def set_priority(
    database: Database, accession_number: str, issuer: str, priority: Priority | None, source: str, note: str = ""
) -> int:
    """Tell how urgent an order is; ``source`` says who told it. None: the source knows no priority of it.

    Returns how many jobs moved forward.
    """
    with database.write() as connection:
        order_id = _order(connection, accession_number, issuer)
        values = {
            "priority": None if priority is None else int(priority),
            "source": source[:64],
            "note": note,
            "told_at": db_now(),
            "next_try": None,
        }
        connection.execute(update(imaging_order).where(imaging_order.c.id == order_id).values(**values))
        studies = select(study.c.id).where(study.c.order_id == order_id).with_for_update()
        return sum(apply_to(connection, study_id) for study_id in connection.execute(studies).scalars().all())


def describe(database: Database, accession_number: str, visit: str, account: str) -> None:
    """Tell of which visit and account an order is; empty: not told."""
    told = {name: value for name, value in (("visit", visit), ("account", account)) if value}
    if not told:
        return
    with database.write() as connection:
        which = imaging_order.c.accession_number == accession_number
        if not connection.execute(update(imaging_order).where(which).values(**told)).rowcount:
            _order(connection, accession_number, "")
            connection.execute(update(imaging_order).where(which).values(**told, source="hl7:"))


def issuers_of(database: Database, accession_number: str) -> tuple[str, ...]:
    """Who issued orders of that number, as far as is known."""
    which = imaging_order.c.accession_number == accession_number
    with database.read() as connection:
        return tuple(connection.execute(select(imaging_order.c.issuer).where(which)).scalars())


def patients_of(database: Database, accession_number: str) -> frozenset[str]:
    """Patient IDs of the studies of that number."""
    which = (study.c.accession_number == accession_number, study.c.patient_id.is_not(None))
    with database.read() as connection:
        return frozenset(connection.execute(select(study.c.patient_id).where(*which)).scalars())


@dataclass(frozen=True, slots=True)
class OfPatient:
    """A study, and what its order says of visit and account; empty: not known."""

    study_id: int
    study_uid: str
    visit: str
    account: str


def of_patients(database: Database, identities: Collection[int]) -> tuple[OfPatient, ...]:
    """Studies of these patients with their visits."""
    columns = (study.c.id, study.c.study_uid, imaging_order.c.visit, imaging_order.c.account)
    joined = study.outerjoin(imaging_order, imaging_order.c.id == study.c.order_id)
    whose = or_(study.c.identity_id.in_(identities) & study.c.moved_to.is_(None), study.c.moved_to.in_(identities))
    statement = select(*columns).select_from(joined).where(whose).order_by(study.c.id)
    with database.read() as connection:
        rows = connection.execute(statement).all()
    return tuple(OfPatient(row.id, row.study_uid, row.visit or "", row.account or "") for row in rows)


def could_not_ask(database: Database, order: Order, note: str) -> None:
    """A worklist could not be asked: it is asked again after a pause, a few times."""
    with database.write() as connection:
        row = connection.execute(select(imaging_order).where(imaging_order.c.id == order.id)).one()
        again = db_later(PAUSES_S[row.tries]) if row.tries < len(PAUSES_S) else None
        values = {"note": note, "tries": row.tries + 1, "next_try": again}
        connection.execute(update(imaging_order).where(imaging_order.c.id == order.id).values(**values))


def apply_to(connection: Connection, study_id: int) -> int:
    """Move the jobs of a study that have not begun forward as its order says; returns how many."""
    of_study = select(study.c.order_id).where(study.c.id == study_id).with_for_update()
    order_id = connection.execute(of_study).scalar()
    if order_id is None:
        return 0
    row = connection.execute(select(imaging_order).where(imaging_order.c.id == order_id)).one()
    if row.priority is None:
        return 0
    source = f"order {row.accession_number} ({row.source})"
    slower = (
        job.c.study_id == study_id,
        job.c.state.in_((JobState.WAITING, JobState.QUEUED)),
        job.c.priority > row.priority,
        ~job.c.priority_source.startswith(BY_HAND),
    )
    values = {"priority": row.priority, "priority_source": source[:128], "published_at": None}
    raised = update(job).where(*slower).values(**values).returning(job.c.id)
    moved = connection.execute(raised).scalars().all()
    for job_id in moved:
        detail = {"priority": Priority(row.priority).name.lower(), "why": source}
        events.record(connection, "priority", row.source, detail, study_id=study_id, job_id=job_id)
    return len(moved)


def _order(connection: Connection, accession_number: str, issuer: str) -> int:
    """The row of an order, which is made when there is none."""
    key = {"site_id": 1, "accession_number": accession_number[:255], "issuer": issuer[:64]}
    where = [imaging_order.c[column] == value for column, value in key.items()]
    found = connection.execute(select(imaging_order.c.id).where(*where)).scalar()
    if found is not None:
        return int(found)
    values = {
        **key,
        "source": "",
        "note": "",
        "tries": 0,
        "next_try": db_now(),
        **_told_without_issuer(connection, key),
    }
    made = connection.execute(insert(imaging_order).values(**values).returning(imaging_order.c.id))
    return int(made.scalar_one())


def _told_without_issuer(connection: Connection, key: dict[str, Any]) -> dict[str, Any]:
    """What HL7 said of an order of that number before images named its issuer, which messages seldom do."""
    where = [imaging_order.c[column] == value for column, value in {**key, "issuer": ""}.items()]
    row = connection.execute(select(imaging_order).where(*where, imaging_order.c.source.startswith("hl7:"))).first()
    if row is None:
        return {}
    return {name: getattr(row, name) for name in ("priority", "source", "told_at", "next_try", "visit", "account")}
