"""Rejection notes as they arrive (IHE IOCM): what they name is hidden, and what was made of it is stopped.

The order of arrival does not matter: what a note names is remembered, whether it is here or not.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from sqlalchemy import Connection, insert, select, update

from dicom_node.archive import events, open_items
from dicom_node.archive.database import among, db_now
from dicom_node.archive.schema import artifact, instance, job, parcel, rejection, result_set, study
from dicom_node.archive.withdrawals import holders
from dicom_node.domain.job import UNFINISHED, JobState
from dicom_node.domain.parcel import ParcelState, Purpose
from dicom_node.domain.rejection import RejectionNote, Title

log = logging.getLogger(__name__)

KEY_OBJECTS = "1.2.840.10008.5.1.4.1.1.88.59"
LARGEST_NOTE = 16 << 20  # bytes of a file; one that rejects 50,000 instances has 8 MB
MOST_REJECTED = 100_000
_BY = "indexer"
_WITHOUT_RESULT = (*UNFINISHED, JobState.FAILED, JobState.QUARANTINED)
_UNSENT = (ParcelState.DUE, ParcelState.REFUSED, ParcelState.HELD)
# What pydicom raises at damaged sequences.
_DAMAGE = (
    *(InvalidDicomError, ValueError, KeyError, TypeError, AttributeError, NotImplementedError),
    *(struct.error, EOFError, RecursionError, OSError, AssertionError),
)


def read_note(path: Path) -> RejectionNote | None:
    """What a Key Object Selection rejects; None where its title rejects nothing, or it cannot be read."""
    try:
        if path.stat().st_size > LARGEST_NOTE:
            log.warning("%s: a Key Object Selection of more than %d MB is not read", path, LARGEST_NOTE >> 20)
            return None
        tags = ["ConceptNameCodeSequence", "CurrentRequestedProcedureEvidenceSequence"]
        dataset = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=tags)
        title = _title(dataset)
        return None if title is None else RejectionNote(title, _rejected(dataset))
    except _DAMAGE as error:
        log.warning("%s: a Key Object Selection cannot be read: %s: %s", path, type(error).__name__, error)
        return None


class Rejections:
    """The rejections that concern some instances, in memory while one transaction of the index works on them."""

    def __init__(self, connection: Connection, site_id: int) -> None:
        self._connection = connection
        self._site_id = site_id
        self._known: dict[str, list[tuple[Title, datetime]]] = {}  # SOP Instance UID -> title, arrival of the note

    def load(self, sop_uids: Collection[str]) -> None:
        """Read what is known of these instances."""
        where = (rejection.c.site_id == self._site_id, among(rejection.c.sop_uid, sop_uids))
        for row in self._connection.execute(select(rejection).where(*where)).all():
            self._known.setdefault(row.sop_uid, []).append((Title(row.title), row.received_at))

    def add(self, note_sop_uid: str, note: RejectionNote, received_at: datetime) -> None:
        """Remember what a note names; a note that came before changes nothing."""
        where = (rejection.c.note_sop_uid == note_sop_uid, rejection.c.site_id == self._site_id)
        known = set(self._connection.execute(select(rejection.c.sop_uid).where(*where)).scalars())
        fresh = [uid for uid in note.rejected if uid not in known]
        common = {"site_id": self._site_id, "note_sop_uid": note_sop_uid, "title": note.title}
        rows = [{**common, "sop_uid": uid, "received_at": received_at} for uid in fresh]
        if rows:
            self._connection.execute(insert(rejection), rows)
        for uid in fresh:
            self._known.setdefault(uid, []).append((note.title, received_at))

    def why(self, sop_uid: str, received_at: datetime) -> str:
        """Why an instance that was received then does not count; empty when it does."""
        for title, noted_at in self._known.get(sop_uid, ()):
            if title.hides(received_at, noted_at):
                return f"{title.code.meaning} (rejection note {title}, DCM)"
        return ""


def reach(connection: Connection, site_id: int, note: RejectionNote) -> None:
    """Stop what was made of the instances that a note names: jobs, parcels, results."""
    used: dict[int, set[int]] = {}  # study -> rows of the instances
    for start in range(0, len(note.rejected), 500):
        named = note.rejected[start : start + 500]
        where = (instance.c.site_id == site_id, instance.c.sop_uid.in_(named), instance.c.study_id.is_not(None))
        for row in connection.execute(select(instance.c.id, instance.c.study_id).where(*where)).all():
            used.setdefault(row.study_id, set()).add(row.id)
        _reach_results(connection, named, note.title)
    for study_id, ids in used.items():
        for row in connection.execute(select(job).where(job.c.study_id == study_id).order_by(job.c.id)).all():
            if ids & inputs_of(row.inputs):
                _stop(connection, row, f"its images were rejected: {note.title.code.meaning}", note.title)


def reach_moved(connection: Connection, site_id: int, moved: Mapping[str, str]) -> None:
    """Stop what was made of instances that were sent again in another study: SOP Instance UID -> that study."""
    used: dict[int, dict[int, str]] = {}  # study -> row of the instance -> where it is now
    uids = sorted(moved)
    for start in range(0, len(uids), 500):
        named = uids[start : start + 500]
        statement = (
            select(instance.c.id, instance.c.sop_uid, instance.c.study_id, study.c.study_uid)
            .join(study, study.c.id == instance.c.study_id)
            .where(instance.c.site_id == site_id, instance.c.sop_uid.in_(named))
        )
        for row in connection.execute(statement).all():
            if row.study_uid != moved[row.sop_uid]:
                used.setdefault(row.study_id, {})[row.id] = moved[row.sop_uid]
    for study_id, rows in used.items():
        for row in connection.execute(select(job).where(job.c.study_id == study_id).order_by(job.c.id)).all():
            if places := {rows[number] for number in rows.keys() & inputs_of(row.inputs)}:
                why = f"its images were sent again and stand in study {', '.join(sorted(places))}"
                _stop(connection, row, why, Title.WRONG_WORKLIST_ENTRY)


def inputs_of(inputs: Any) -> set[int]:
    """Row ids of the instances that a job (its column ``inputs``) reads."""
    return {number for selected in inputs.values() for number in selected["instances"]}


def rejected_among(connection: Connection, ids: Iterable[int]) -> bool:
    """Whether a rejection note names one of these instances."""
    wanted = sorted(ids)
    for start in range(0, len(wanted), 500):
        where = (instance.c.id.in_(wanted[start : start + 500]), instance.c.state == "hidden")
        if connection.execute(select(instance.c.id).where(*where).limit(1)).first() is not None:
            return True
    return False


def _stop(connection: Connection, row: Any, why: str, title: Title) -> None:
    if row.state in _WITHOUT_RESULT:
        values = {"state": JobState.CANCELLED, "finished_at": db_now(), "lease_until": None, "progress": why[:64]}
        connection.execute(update(job).where(job.c.id == row.id).values(**values))
        detail = {"was": row.state, "reason": why}
        events.record(connection, "job cancelled", _BY, detail, study_id=row.study_id, job_id=row.id)
        return
    current = (
        result_set.c.job_id == row.id,
        result_set.c.purpose == Purpose.RESULT,
        result_set.c.standing == "current",
    )
    sets = list(connection.execute(select(result_set.c.id).where(*current)).scalars())
    if not sets:
        return
    error = {"reason": "images-rejected", "message": why, "remedy": ""}
    unsent = (parcel.c.result_set_id.in_(sets), parcel.c.state.in_(_UNSENT))
    connection.execute(update(parcel).where(*unsent).values(state=ParcelState.CANCELLED, error=error))
    if title is not Title.RETENTION_EXPIRED:
        _open_withdrawal(connection, row, title, why)


def _open_withdrawal(connection: Connection, row: Any, title: Title, why: str) -> None:
    """Have the node take a result back that nobody has or that may harm; leave any other to a person."""
    by_itself = title.means_wrong or not holders(connection, row.id)
    kind = open_items.WITHDRAW if by_itself else "images-rejected"
    remedy = f'look at it, then: dicom-node results withdraw {row.id} --reason "{title.code.meaning}"'
    key = f"{kind}:{row.id}:{title}"
    open_items.open_(connection, key, kind, row.study_id, row.id, why, "" if by_itself else remedy)


def _reach_results(connection: Connection, sop_uids: Collection[str], title: Title) -> None:
    """Results of ours that somebody else rejected: a person decides who else must know."""
    statement = (
        select(job.c.id, job.c.study_id)
        .join(result_set, result_set.c.job_id == job.c.id)
        .join(artifact, artifact.c.result_set_id == result_set.c.id)
        .where(artifact.c.sop_uid.in_(sop_uids), result_set.c.purpose == Purpose.RESULT)
        .where(result_set.c.standing == "current")
        .distinct()
    )
    for row in connection.execute(statement).all():
        reason = f"a rejection note names results of ours: {title.code.meaning}"
        remedy = f'take them back everywhere: dicom-node results withdraw {row.id} --reason "rejected"'
        key = f"result-rejected:{row.id}"
        open_items.open_(connection, key, "result-rejected", row.study_id, row.id, reason, remedy)


def _title(dataset: Dataset) -> Title | None:
    for item in dataset.get("ConceptNameCodeSequence") or ():
        if str(item.get("CodingSchemeDesignator", "")).strip() == "DCM":
            value = str(item.get("CodeValue", "")).strip()
            return Title(value) if value in tuple(Title) else None
    return None


def _rejected(dataset: Dataset) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for examined in dataset.get("CurrentRequestedProcedureEvidenceSequence") or ():
        for series in examined.get("ReferencedSeriesSequence") or ():
            for item in series.get("ReferencedSOPSequence") or ():
                uid = str(item.get("ReferencedSOPInstanceUID", "")).strip()
                if uid and len(uid) <= 64:
                    found[uid] = None
                if len(found) > MOST_REJECTED:
                    raise ValueError(f"it names more than {MOST_REJECTED} instances")
    return tuple(found)
