"""How far servers of the record were followed, kept between passes and processes: each goes on where one ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import delete, insert, select, update

from dicom_node.archive.database import Database, db_now
from dicom_node.archive.schema import feature, identity, patient_record, record_sync

_SITE = 1
Numbers = tuple[tuple[str, str], ...]  # (issuer, number)


def state_of(database: Database, server: str, kind: str) -> dict[str, Any]:
    """What was kept last; empty where nothing was."""
    which = (record_sync.c.site_id == _SITE, record_sync.c.server == server, record_sync.c.kind == kind)
    with database.read() as connection:
        return dict(connection.execute(select(record_sync.c.state).where(*which)).scalar() or {})


def keep_state(database: Database, server: str, kind: str, state: Mapping[str, Any]) -> None:
    """Keep how far it came."""
    key = {"site_id": _SITE, "server": server, "kind": kind}
    with database.write() as connection:
        values = {"state": dict(state), "changed_at": db_now()}
        changed = connection.execute(update(record_sync).filter_by(**key).values(**values))
        if not changed.rowcount:
            connection.execute(insert(record_sync).values(**key, **values))


def people_of(database: Database, server: str) -> dict[str, Numbers]:
    """Patients that a server has told of and that count: what it calls them -> their numbers."""
    chosen = select(patient_record.c.reference, identity.c.issuer, identity.c.patient_id).join(
        identity, identity.c.id == patient_record.c.identity_id
    )
    which = (patient_record.c.source == server, patient_record.c.standing == "current")
    found: dict[str, Numbers] = {}
    with database.read() as connection:
        for row in connection.execute(chosen.where(*which).order_by(patient_record.c.id)):
            found[row.reference] = (*found.get(row.reference, ()), (row.issuer, row.patient_id))
    return found


def told_by(database: Database, server: str, reference: str) -> dict[str, str]:
    """Resources that count of a patient of a server: ``Type/id`` -> source as features name it."""
    people = select(patient_record.c.identity_id).where(
        patient_record.c.source == server, patient_record.c.reference == reference
    )
    begin = f"fhir:{server}/"
    which = (
        feature.c.identity_id.in_(people),
        feature.c.current.is_(True),
        feature.c.source.startswith(begin, autoescape=True),
    )
    with database.read() as connection:
        sources = connection.execute(select(feature.c.source).where(*which).distinct()).scalars().all()
    return {source.removeprefix(begin): source for source in sources}


def take_back(database: Database, server: str, references: Mapping[str, str]) -> int:
    """Let resources that a server lost count no more; ``Type/id`` -> why. Returns how many features that were."""
    count = 0
    with database.write() as connection:
        for reference, why in references.items():
            which = (feature.c.source == f"fhir:{server}/{reference}", feature.c.current.is_(True))
            count += connection.execute(update(feature).where(*which).values(current=False, gone=why)).rowcount
            if reference.startswith("Patient/"):
                person = (patient_record.c.source == server, patient_record.c.reference == reference)
                values = {"standing": "deleted", "changed_at": db_now()}
                connection.execute(update(patient_record).where(*person).values(**values))
    return count


def forget(database: Database, server: str, kind: str) -> None:
    """Begin anew the next time."""
    which = (record_sync.c.site_id == _SITE, record_sync.c.server == server, record_sync.c.kind == kind)
    with database.write() as connection:
        connection.execute(delete(record_sync).where(*which))
