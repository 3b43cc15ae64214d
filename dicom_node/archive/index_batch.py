"""One transaction of the index: what each of some stored objects counts for."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Connection, select, update

from dicom_node.archive.agreement import Agreement, Relation, agree, relate
from dicom_node.archive.database import among, db_now
from dicom_node.archive.files import ObjectStore
from dicom_node.archive.header import read_header, with_digests
from dicom_node.archive.index_drafts import (
    ARRIVING,
    BY,
    INCOMPLETE,
    Drafts,
    Patient,
    SeriesDraft,
    StudyDraft,
    note_of,
    patient_of,
    several,
)
from dicom_node.archive.instance_rows import Row, insert_rows, rejected_row, row_of
from dicom_node.archive.rejection_notes import Rejections, reach, reach_moved
from dicom_node.archive.rounds import Rounds
from dicom_node.archive.schema import artifact, instance
from dicom_node.domain.rejection import RejectionNote
from dicom_node.domain.study import Header, InstanceState, Origin, Readiness
from dicom_node.errors import DicomNodeError

_TWO_PATIENTS = "two-patients"
_CONFLICT = "conflict"


@dataclass(frozen=True, slots=True)
class Arrival:
    """A stored object whose header was read; its digests may be missing."""

    path: str  # relative to the data directory
    header: Header
    origin: Origin = Origin.ROUTED


@dataclass(frozen=True, slots=True)
class Rejection:
    """A stored object that cannot be used."""

    path: str  # relative to the data directory
    size: int  # bytes
    received_at: datetime
    reason: str  # kebab-case
    message: str
    remedy: str
    study_uid: str = ""  # as far as it could be read
    sop_uid: str = ""


@dataclass(slots=True)
class _Current:
    """The object that counts for a SOP Instance UID, in the index or in this transaction."""

    row: Row
    header: Header | None = None


class Batch:
    """Takes objects in, one after the other, and writes once."""

    def __init__(self, connection: Connection, store: ObjectStore, site_id: int) -> None:
        self._connection = connection
        self._store = store
        self._rounds = Rounds(connection, store, site_id)
        now = connection.execute(select(db_now())).scalar_one()
        self._drafts = Drafts(connection, site_id, now)
        self._paths: set[str] = set()
        self._own: set[str] = set()
        self._current: dict[str, _Current] = {}
        self._revisions: dict[str, int] = {}  # SOP Instance UID -> the last one
        self._conflicts: set[tuple[str, str]] = set()  # SOP Instance UID, digest
        self._new: list[Row] = []
        self._superseded: list[int] = []
        self._rejections = Rejections(connection, site_id)
        self._notes: list[RejectionNote] = []
        self._hidden: dict[int, str] = {}  # row -> reason
        self._moved: dict[str, str] = {}  # SOP Instance UID -> the study it stands in now
        self.brought: dict[str, set[int]] = {}  # association -> series

    def load(self, objects: Sequence[Arrival | Rejection]) -> None:
        """Read what the index knows of the objects."""
        paths = [item.path for item in objects]
        known = select(instance.c.path).where(among(instance.c.path, paths))
        self._paths.update(self._connection.execute(known).scalars())
        uids = {item.header.sop_instance_uid for item in objects if isinstance(item, Arrival)}
        ours = select(artifact.c.sop_uid).where(among(artifact.c.sop_uid, uids))
        self._own.update(self._connection.execute(ours).scalars())
        notes = [item.header.note for item in objects if isinstance(item, Arrival) and item.header.note]
        uids |= {uid for note in notes for uid in note.rejected}
        self._rejections.load(uids)
        uids |= {_name(item) for item in objects if isinstance(item, Rejection)}
        self._load_rows(uids)

    def _load_rows(self, uids: Collection[str]) -> None:
        where = (instance.c.site_id == self._drafts.site_id, among(instance.c.sop_uid, uids))
        for row in self._connection.execute(select(instance).where(*where).order_by(instance.c.revision)).mappings():
            self._revisions[row["sop_uid"]] = row["revision"]
            if row["state"] == InstanceState.CURRENT:
                self._current[row["sop_uid"]] = _Current(dict(row))
            elif row["state"] == InstanceState.CONFLICT:
                self._conflicts.add((row["sop_uid"], row["digest"]))

    def take(self, item: Arrival | Rejection) -> None:
        """Decide what an object counts for. One that the index has already changes nothing."""
        if item.path in self._paths:
            return
        self._paths.add(item.path)
        if isinstance(item, Rejection):
            self._reject(item)
        elif item.header.sop_instance_uid in self._own:
            self._take_own(item)
        elif item.header.sop_instance_uid in self._current:
            self._take_again(item, self._current[item.header.sop_instance_uid])
        else:
            self._count(item)
        if isinstance(item, Arrival) and item.header.note and item.header.sop_instance_uid not in self._own:
            self._obey(item.header, item.header.note)

    def write(self) -> None:
        """Write everything."""
        if self._superseded:
            self._connection.execute(
                update(instance)
                .where(instance.c.id.in_(self._superseded))
                .values(state=InstanceState.SUPERSEDED, reason="a later revision counts")
            )
        for row_id, reason in self._hidden.items():
            hide = update(instance).where(instance.c.id == row_id)
            self._connection.execute(hide.values(state=InstanceState.HIDDEN, reason=reason))
        insert_rows(self._connection, self._new)
        self._drafts.write()
        for note in self._notes:
            reach(self._connection, self._drafts.site_id, note)
        reach_moved(self._connection, self._drafts.site_id, self._moved)

    def settle(self, series_id: int, agreement: Agreement, patients: Sequence[Patient]) -> None:
        """What the current instances of a series say, read anew."""
        draft = self._drafts.series_by_id(series_id)
        draft.agreement = agreement
        draft.readiness = {key: value for key, value in draft.readiness.items() if key != "unsettled"}
        draft.readiness["patients"] = patients
        draft.changed = draft.study.changed = draft.study.content = True
        self._gather_patients(draft.study, draft)

    def _reject(self, item: Rejection) -> None:
        owner = self._drafts.known_study(item.study_uid) if item.study_uid else None
        study_id = owner.id if owner else None
        row = rejected_row(item.path, _name(item), study_id=study_id, size=item.size, received_at=item.received_at)
        self._keep(row, f"{item.reason}: {item.message}")
        detail = {"path": item.path, "reason": item.reason, "message": item.message, "remedy": item.remedy}
        self._drafts.record("instance rejected", detail, owner)

    def _take_own(self, item: Arrival) -> None:
        """A result of ours that came back, coerced by the PACS or not: kept, and nothing else happens."""
        owner = self._drafts.known_study(item.header.study_instance_uid)
        self._row_of(item, owner, None, state=InstanceState.CURRENT, origin=Origin.OWN_RESULT, reason="our own result")
        note_of(owner, "own results came back")

    def _take_again(self, item: Arrival, current: _Current) -> None:
        item = replace(item, header=with_digests(item.header, self._store.absolute(item.path)))
        relation, reason = self._relate(item, current)
        came_back = "" if relation == Relation.CONFLICT else self._rounds.came_back(item.path, item.header)
        owner = self._drafts.known_study(item.header.study_instance_uid)
        series_id = current.row["series_id"]
        if came_back:
            self._row_of(item, owner, series_id, state=InstanceState.SUPERSEDED, reason=came_back)
            note_of(owner, "sent on objects came back")
        elif relation == Relation.REVISION:
            self._supersede(current)
            self._count(item, reason)
            note_of(self._drafts.study(item.header), "revisions received")
            if self._drafts.study(item.header).id != current.row["study_id"]:
                self._moved[item.header.sop_instance_uid] = item.header.study_instance_uid
        elif relation == Relation.CONFLICT:
            self._hold_conflict(item, current, reason)
        else:
            self._row_of(item, owner, series_id, state=InstanceState.SUPERSEDED, reason=reason)
            again = "duplicates received" if relation == Relation.DUPLICATE else "other transfer syntax received"
            note_of(owner, again)

    def _relate(self, item: Arrival, current: _Current) -> tuple[Relation, str]:
        if current.row["digest"] == item.header.digest:
            return Relation.DUPLICATE, "the same object again"
        if current.header is None or not current.header.digest:
            try:
                current.header = read_header(self._store.absolute(current.row["path"]))
            except (DicomNodeError, OSError) as error:
                return Relation.CONFLICT, f"the object stored before cannot be compared ({error})"
        return relate(current.header, item.header)

    def _obey(self, header: Header, note: RejectionNote) -> None:
        """Hide what a rejection note names, and remember it for what is still to come."""
        self._rejections.add(header.sop_instance_uid, note, header.received_at)
        self._notes.append(note)
        for uid in note.rejected:
            current = self._current.get(uid)
            reason = current and self._rejections.why(uid, current.row["received_at"])
            if current and reason:
                if "id" in current.row:
                    self._hidden[current.row["id"]] = reason
                else:
                    current.row |= {"state": InstanceState.HIDDEN, "reason": reason}
                self._step_down(current)
                del self._current[uid]
        detail = {"title": note.title, "instances": len(note.rejected), "meaning": note.title.code.meaning}
        self._drafts.record("rejection note", detail, self._drafts.known_study(header.study_instance_uid))

    def _count(self, item: Arrival, reason: str = "") -> None:
        """An object that counts from now on, unless a rejection note names it."""
        header = item.header
        rejected = self._rejections.why(header.sop_instance_uid, header.received_at)
        if rejected:
            owner = self._drafts.known_study(header.study_instance_uid)
            self._row_of(item, owner, None, state=InstanceState.HIDDEN, reason=rejected)
            note_of(owner, "rejected instances received")
            return
        draft = self._drafts.series(header, item.origin)
        owner = draft.study
        said = draft.agreement
        if draft.instances == 0:
            draft.agreement = agree([header.attributes])
        else:
            draft.agreement = said.joined_by(header.attributes)
        draft.instances += 1
        draft.last_received = max(draft.last_received, header.received_at)
        owner.last_received = max(owner.last_received, header.received_at)
        owner.content = owner.content or draft.agreement is not said
        self._reopen(draft)
        if header.patient_id:
            patient, known = list(patient_of(header)), draft.readiness.get("patients", [])
            if patient not in known:
                draft.readiness["patients"] = [*known, patient]
                self._gather_patients(owner, draft)
        self.brought.setdefault(header.association, set()).add(draft.id)
        row = self._row_of(item, owner, draft.id, state=InstanceState.CURRENT, reason=reason)
        self._current[header.sop_instance_uid] = _Current(row, header)
        if owner.identity_id is None or header.patient_id:
            told = self._drafts.identity(header)
            owner.identity_id = owner.identity_id or told

    def _supersede(self, current: _Current) -> None:
        """Another revision of the object counts from now on."""
        if "id" in current.row:
            self._superseded.append(current.row["id"])
        else:
            current.row |= {"state": InstanceState.SUPERSEDED, "reason": "a later revision counts"}
        self._step_down(current)

    def _step_down(self, current: _Current) -> None:
        """An object no longer counts in its series."""
        if current.row["series_id"] is None:
            return
        draft = self._drafts.series_by_id(current.row["series_id"])
        draft.instances -= 1
        self._reopen(draft)
        if draft.instances:
            draft.readiness["unsettled"] = True
        else:
            draft.agreement = Agreement()
            draft.readiness["patients"] = []
            self._gather_patients(draft.study, draft)

    def _hold_conflict(self, item: Arrival, current: _Current, reason: str) -> None:
        uid = item.header.sop_instance_uid
        self._row_of(item, None, current.row["series_id"], state=InstanceState.CONFLICT, reason=reason).update(
            study_id=current.row["study_id"]
        )
        if (uid, item.header.digest) in self._conflicts:
            return
        self._conflicts.add((uid, item.header.digest))
        owners = {draft.uid: draft for draft in (self._drafts.series_by_id(current.row["series_id"]).study,)}
        owners.setdefault(item.header.study_instance_uid, self._drafts.study(item.header))
        remedy = (
            "find out at the sender which of the two is right; then close the study to go on with the one that was "
            "here first, or have the right one sent under a SOP Instance UID of its own"
        )
        told = f"two different objects have the SOP Instance UID {uid}: {reason}"
        for owner in owners.values():
            owner.hold(_CONFLICT, told, remedy)
            self._drafts.record("study held", {"reason": told, "remedy": remedy, "path": item.path}, owner)

    def _reopen(self, draft: SeriesDraft) -> None:
        """The series and its study change, and count as arriving again."""
        draft.changed = draft.study.changed = True
        if draft.state != Readiness.OPEN:
            self._drafts.record("series reopened", {"series_uid": draft.uid}, draft.study, draft.id)
            draft.state = Readiness.OPEN
            draft.readiness |= {**self._arriving(), "remedy": ""}
        if draft.study.release(INCOMPLETE):
            self._drafts.record("study released", {"reason": "more of it came"}, draft.study)
        if draft.study.state == Readiness.READY:
            self._drafts.record("study reopened", {}, draft.study)
            draft.study.state = Readiness.OPEN
            draft.study.readiness |= self._arriving()

    def _arriving(self) -> dict[str, str]:
        return {"by": BY, "reason": ARRIVING, "at": self._drafts.now.isoformat()}

    def _gather_patients(self, owner: StudyDraft, changed: SeriesDraft) -> None:
        """Hold a study whose images name two patients; release it when they no longer do."""
        before = owner.patients()
        patients = self._drafts.patients(owner)
        owner.readiness["patients"] = sorted(patients)
        owner.changed = True
        told = several(patients)
        if told and patients - before:
            reason = f"two patients in one study: {told}"
            remedy = "correct the Patient ID at the sender and send the study again, or close it if both are one person"
            owner.hold(_TWO_PATIENTS, reason, remedy)
            detail = {"reason": reason, "remedy": remedy, "series_uid": changed.uid}
            self._drafts.record("study held", detail, owner, changed.id)
        elif not told:
            if owner.release(_TWO_PATIENTS):
                self._drafts.record("study released", {"reason": "all its images name one patient"}, owner)
            if patients:
                owner.identity_id = self._drafts.identity_of(patients)

    def _row_of(
        self,
        item: Arrival,
        owner: StudyDraft | None,
        series_id: int | None,
        *,
        state: InstanceState,
        reason: str,
        origin: Origin | None = None,
    ) -> Row:
        study_id = owner.id if owner else None
        row = row_of(
            item.header, item.path, study_id=study_id, series_id=series_id, state=state, origin=origin or item.origin
        )
        return self._keep(row, reason)

    def _keep(self, row: Row, reason: str) -> Row:
        uid = row["sop_uid"]
        row["revision"] = self._revisions[uid] = self._revisions.get(uid, 0) + 1
        row["site_id"], row["reason"] = self._drafts.site_id, reason
        self._new.append(row)
        return row


def _name(item: Rejection) -> str:
    """The SOP Instance UID of an object that cannot be used, or what stands for one."""
    return item.sop_uid or item.path[-255:]
