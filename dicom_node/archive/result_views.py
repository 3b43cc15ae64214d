"""A result as other systems are told of it: what was found, of whom, by what, and whether a reader stands behind it.

Looked up by one of its objects, which is what a parcel holds; read anew each time: what is told is what counts now.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, func, or_, select, update

from dicom_node.archive import events
from dicom_node.archive.database import Database, db_later, db_now
from dicom_node.archive.needed import acceptance
from dicom_node.archive.schema import artifact, event, finding, installation, job, parcel, result_set, series, study
from dicom_node.archive.subjects import of_study
from dicom_node.domain.identifiers import result_uid
from dicom_node.domain.parcel import ParcelState, Purpose

_TOLD_FOR_S = 30 * 86400.0  # after it was last told, in which another status is told


class ReportStatus(StrEnum):
    """What a result is to those who read it."""

    PRELIMINARY = "preliminary"  # no reader has accepted it yet
    FINAL = "final"
    WITHDRAWN = "entered-in-error"  # taken back, replaced, or rejected by a reader
    NONE = "cancelled"  # there is no result


@dataclass(frozen=True, slots=True)
class ResultView:
    """One result."""

    job_id: int
    status: ReportStatus
    reader: str  # who has accepted or rejected it
    namespace: uuid.UUID  # of this installation
    job_key: str
    issue: int
    patient_id: str
    issuer: str
    patient_name: str
    birth_date: str  # YYYYMMDD
    sex: str
    study_uid: str
    accession_number: str
    series_uids: tuple[str, ...]
    modality: str
    model: str
    version: str
    digest: str
    made_at: datetime
    trouble: str  # why there is no result
    findings: tuple[Mapping[str, Any], ...]
    notes: tuple[str, ...]
    objects: tuple[tuple[str, str, str], ...]  # SOP Class, SOP Instance and Series Instance UID
    features: Mapping[str, Any] | None

    def uid(self, what: str) -> str:
        """The UID of a part of it: the same each time."""
        return result_uid(self.namespace, self.job_key, f"told {what}", self.issue, "")


def of_object(database: Database, sop_uid: str, default_issuer: str = "") -> ResultView | None:
    """The result that an object is of, or takes back; None: it is of none."""
    with database.read() as connection:
        statement = (
            select(result_set.c.job_id, result_set.c.purpose, result_set.c.standing)
            .join(artifact, artifact.c.result_set_id == result_set.c.id)
            .where(artifact.c.sop_uid == sop_uid)
            .order_by(result_set.c.id.desc())
            .limit(1)
        )
        row = connection.execute(statement).first()
        return None if row is None else _view(connection, row, default_issuer)


def _view(connection: Connection, found: Any, default_issuer: str) -> ResultView:
    row = connection.execute(select(job).where(job.c.id == found.job_id)).one()
    about = connection.execute(select(study).where(study.c.id == row.study_id)).one()
    subject = of_study(connection, row.study_id, default_issuer)
    result = connection.execute(
        select(result_set)
        .where(result_set.c.job_id == row.id, result_set.c.purpose == Purpose.RESULT)
        .order_by(result_set.c.id.desc())
        .limit(1)
    ).first()
    said = acceptance(connection, row.id)
    of_series = [int(chosen["series"]) for chosen in row.inputs.values()]
    modality = connection.execute(select(series.c.modality).where(series.c.id.in_(of_series)).limit(1)).scalar()
    rows = connection.execute(select(finding).where(finding.c.job_id == row.id).order_by(finding.c.id)).all()
    made = [] if result is None else _objects(connection, result.id)
    return ResultView(
        job_id=row.id,
        status=_status(found, said.accepted if said else None),
        reader=said.reader if said else "",
        namespace=uuid.UUID(connection.execute(select(installation.c.uuid)).scalar_one()),
        job_key=row.key,
        issue=row.issue,
        patient_id=subject.patient_id,
        issuer=subject.issuer,
        patient_name=subject.attributes.get("PatientName", ""),
        birth_date=subject.attributes.get("PatientBirthDate", ""),
        sex=subject.attributes.get("PatientSex", ""),
        study_uid=about.study_uid,
        accession_number=about.accession_number or "",
        series_uids=tuple(str(chosen["series_uid"]) for chosen in row.inputs.values()),
        modality=modality or "OT",
        model=row.model,
        version=row.model_version,
        digest=row.model_digest,
        made_at=row.finished_at or row.created_at,
        trouble=str((row.error or {}).get("message", "")),
        findings=tuple({"kind": each.kind, "name": each.name, "state": each.state, **each.content} for each in rows),
        notes=tuple((result.manifest or {}).get("notes", ())) if result is not None else (),
        objects=tuple(made),
        features=row.features,
    )


def _status(found: Any, accepted: bool | None) -> ReportStatus:
    if found.purpose == Purpose.NOTICE:
        return ReportStatus.NONE
    if found.purpose == Purpose.WITHDRAWAL or found.standing in ("withdrawn", "superseded") or accepted is False:
        return ReportStatus.WITHDRAWN
    return ReportStatus.FINAL if accepted else ReportStatus.PRELIMINARY


def _objects(connection: Connection, set_id: int) -> Sequence[tuple[str, str, str]]:
    columns = (artifact.c.sop_class, artifact.c.sop_uid, artifact.c.series_uid)
    rows = connection.execute(select(*columns).where(artifact.c.result_set_id == set_id).order_by(artifact.c.id)).all()
    return [(row.sop_class, row.sop_uid, row.series_uid) for row in rows]


def tell_again(database: Database, destinations: Collection[str], by: str) -> int:
    """Have results sent again to destinations that were told another status than they have now; how many.

    What a destination was told stands in the event of its last sending, so nothing is told twice, and nothing missed,
    whenever this dies.
    """
    if not destinations:
        return 0
    superseded = result_set.c.standing == "superseded"
    arrived = (ParcelState.SENT, ParcelState.PRESENT, ParcelState.COMMITTED)
    assessed = select(event.c.job_id).where(event.c.kind.in_(("result accepted", "result rejected")))
    statement = (
        select(parcel.c.id, parcel.c.study_id, parcel.c.destination, result_set.c.job_id, result_set.c.standing)
        .add_columns(result_set.c.purpose)
        .join(result_set, result_set.c.id == parcel.c.result_set_id)
        .where(parcel.c.destination.in_(destinations), parcel.c.state.in_(arrived))
        .where(result_set.c.purpose == Purpose.RESULT, or_(result_set.c.standing == "current", superseded))
        .where(or_(result_set.c.job_id.in_(assessed), superseded), parcel.c.sent_at > db_later(-_TOLD_FOR_S))
    )
    told = 0
    with database.read() as connection:
        rows = connection.execute(statement).all()
        stale = [row for row in rows if _is_stale(connection, row)]
    for row in stale:
        with database.write() as connection:
            again: dict[str, Any] = {"state": ParcelState.DUE, "taken": [], "next_try": db_now(), "verify_at": None}
            which = (parcel.c.id == row.id, parcel.c.state.in_(arrived))
            if connection.execute(update(parcel).where(*which).values(**again)).rowcount:
                detail = {"destination": row.destination, "how": "its status has changed"}
                events.record(
                    connection, "parcel to be sent again", by, detail, study_id=row.study_id, parcel_id=row.id
                )
                told += 1
    return told


def _is_stale(connection: Connection, row: Any) -> bool:
    said = acceptance(connection, row.job_id)
    last = select(func.max(event.c.id)).where(event.c.parcel_id == row.id, event.c.kind == "parcel sent")
    detail = connection.execute(select(event.c.detail).where(event.c.id == last.scalar_subquery())).scalar() or {}
    return str(detail.get("how", "")) != str(_status(row, said.accepted if said else None))
