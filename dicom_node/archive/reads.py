"""Who read what of whose record and genome, when, and what for: told in the history, with no value.

A job that is given features tells it by its event ``features gathered``; whoever else reads tells it here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select

from dicom_node.archive import events
from dicom_node.archive.database import Database
from dicom_node.archive.features import merged
from dicom_node.archive.schema import event, study

READ, GATHERED, FORGOTTEN = "record read", "features gathered", "record forgotten"


@dataclass(frozen=True, slots=True)
class Read:
    """One reading."""

    at: datetime
    by: str
    kind: str
    purpose: str  # what for: the command, or the job
    names: tuple[str, ...]  # features that were read


def record(
    database: Database, identity_id: int, by: str, purpose: str, names: Collection[str], kind: str = READ
) -> None:
    """Tell a reading of a patient's record."""
    detail = {"identity": identity_id, "purpose": purpose, "names": sorted(names)}
    with database.write() as connection:
        events.record(connection, kind, by, detail)


def of_patient(database: Database, identity_id: int) -> tuple[Read, ...]:
    """Readings of a patient's record, and of all who were merged into them, oldest first."""
    with database.read() as connection:
        mine = merged(connection, identity_id)
        studies = select(study.c.id).where(study.c.identity_id.in_(mine) | study.c.moved_to.in_(mine))
        theirs = (event.c.kind == GATHERED) & event.c.study_id.in_(studies)
        direct = event.c.kind.in_((READ, FORGOTTEN))
        rows = connection.execute(select(event).where(theirs | direct).order_by(event.c.id)).all()
    return tuple(
        _read(row.at, row.by, row.kind, row.job_id, row.detail)
        for row in rows
        if row.kind == GATHERED or row.detail.get("identity") in mine
    )


def _read(at: datetime, by: str, kind: str, job_id: int | None, detail: Mapping[str, Any]) -> Read:
    purpose = str(detail.get("purpose") or f"job {job_id}")
    return Read(at, by, kind, purpose, tuple(detail.get("names") or ()))
