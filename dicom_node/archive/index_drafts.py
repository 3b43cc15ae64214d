"""Rows of studies, series and patients while one transaction of the index works on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, bindparam, insert, select, update

from dicom_node.archive import events
from dicom_node.archive.agreement import Agreement, study_attributes
from dicom_node.archive.mould import Alike, Shared
from dicom_node.archive.schema import identity, series, study
from dicom_node.domain.study import Header, Origin, Readiness

BY = "indexer"
INCOMPLETE = "incomplete"  # what a study is held for that lacks images
VIEWED = (Origin.ROUTED, Origin.BACKFILL)  # the origins that plan jobs
ARRIVING = "images are still arriving"
_TICK = timedelta(milliseconds=1)
_OF_IDENTITY = ("PatientName", "PatientBirthDate", "PatientSex")

# Built once: most of the time of a short statement goes into building it.
_STUDY = select(study).where(study.c.site_id == bindparam("site"), study.c.study_uid == bindparam("uid"))
_SERIES = select(series).where(series.c.study_id == bindparam("study"), series.c.series_uid == bindparam("uid"))
_IDENTITY = select(identity).where(
    identity.c.site_id == bindparam("site"),
    identity.c.issuer == bindparam("issuer"),
    identity.c.patient_id == bindparam("patient_id"),
)
_SAID = (
    select(series.c.attributes)
    .where(series.c.study_id == bindparam("study"), series.c.instances > 0, series.c.origin.in_(VIEWED))
    .order_by(series.c.id)
)
_CHANGE_SERIES = (
    update(series)
    .where(series.c.id == bindparam("row"))
    .values(
        {
            name: bindparam(name)
            for name in ("state", "readiness", "attributes", "varying", "instances", "last_received")
        }
    )
)
_CHANGE_STUDY = (
    update(study)
    .where(study.c.id == bindparam("row"))
    .values(
        {
            name: bindparam(name)
            for name in (
                *("identity_id", "state", "readiness", "attributes"),
                *("patient_id", "accession_number", "last_received", "changed_at"),
            )
        }
    )
)

Patient = tuple[str, str]  # issuer of the Patient ID, empty where none is told; Patient ID


@dataclass(slots=True)
class StudyDraft:
    """A study's row in memory."""

    id: int
    uid: str
    identity_id: int | None
    state: Readiness
    readiness: dict[str, Any]  # by, reason, at; held_for: kind -> {reason, remedy}; patients
    attributes: dict[str, Any]
    last_received: datetime
    changed_at: datetime
    changed: bool = False
    content: bool = False  # whether what its series say must be gathered anew
    notes: dict[str, int] = field(default_factory=dict)  # kind of event -> objects

    def patients(self) -> set[Patient]:
        """All patients its images name."""
        return {(issuer, patient_id) for issuer, patient_id in self.readiness.get("patients", ())}

    def hold(self, kind: str, reason: str, remedy: str) -> None:
        """Let it wait for a person."""
        held_for = {**self.readiness.get("held_for", {}), kind: {"reason": reason, "remedy": remedy}}
        self._hold(held_for)
        self.state = Readiness.HELD

    def release(self, kind: str) -> bool:
        """What it was held for is no more; True when nothing else holds it."""
        held_for = dict(self.readiness.get("held_for", {}))
        if held_for.pop(kind, None) is None:
            return False
        self._hold(held_for)
        if held_for:
            return False
        self.state = Readiness.OPEN
        self.readiness |= {"reason": ARRIVING, "remedy": ""}
        return True

    def _hold(self, held_for: Mapping[str, Mapping[str, str]]) -> None:
        self.readiness |= {
            "by": BY,
            "held_for": held_for,
            "reason": "; ".join(told["reason"] for told in held_for.values()),
            "remedy": "; ".join(told["remedy"] for told in held_for.values()),
        }
        self.changed = True


@dataclass(slots=True)
class SeriesDraft:
    """A series' row in memory."""

    id: int
    study: StudyDraft
    uid: str
    state: Readiness
    readiness: dict[str, Any]  # by, reason, at; unsettled: its attributes must be gathered anew; patients
    agreement: Agreement
    instances: int
    origin: Origin
    last_received: datetime
    changed: bool = False


class Drafts:
    """Reads rows once, lets them be changed in memory, writes each once."""

    def __init__(self, connection: Connection, site_id: int, now: datetime) -> None:
        self.connection = connection
        self.site_id = site_id
        self.now = now  # by the database's clock
        self._studies: dict[str, StudyDraft] = {}
        self._series: dict[tuple[str, str], SeriesDraft] = {}
        self._identities: dict[Patient, tuple[int, dict[str, Any]]] = {}  # with what is told of them
        self._heard: tuple[Shared | None, int] = (None, 0)  # what images told that came last, and their patient

    def study(self, header: Header) -> StudyDraft:
        """The object's study, created when it is new."""
        found = self.known_study(header.study_instance_uid)
        if found is None:
            found = self._new_study(header)
        return found

    def known_study(self, uid: str) -> StudyDraft | None:
        """The study of that UID, if there is one."""
        if uid not in self._studies:
            row = self.connection.execute(_STUDY, {"site": self.site_id, "uid": uid}).first()
            if row is None:
                return None
            self._keep_study(row)
        return self._studies[uid]

    def series(self, header: Header, origin: Origin) -> SeriesDraft:
        """The object's series, created when it is new."""
        key = (header.study_instance_uid, header.series_instance_uid)
        if key not in self._series:
            owner = self.study(header)
            named = {"study": owner.id, "uid": header.series_instance_uid}
            row = self.connection.execute(_SERIES, named).first()
            if row is None:
                return self._new_series(owner, header, origin)
            self._keep_series(owner, row)
        return self._series[key]

    def series_by_id(self, series_id: int) -> SeriesDraft:
        """A series that exists."""
        for draft in self._series.values():
            if draft.id == series_id:
                return draft
        row = self.connection.execute(select(series).where(series.c.id == series_id)).one()
        owner = self.connection.execute(select(study).where(study.c.id == row.study_id)).one()
        known = self._studies.get(owner.study_uid) or self._keep_study(owner)
        return self._keep_series(known, row)

    def identity(self, header: Header) -> int | None:
        """The row of the object's patient; None where it names none. What is told last counts."""
        if not header.patient_id:
            return None
        attributes = header.attributes
        if isinstance(attributes, Alike) and attributes.shared is self._heard[0]:
            return self._heard[1]
        key = (header.issuer, header.patient_id)
        told = {keyword: attributes[keyword] for keyword in _OF_IDENTITY if keyword in attributes}
        known = self._identities.get(key)
        if known is None or not told.items() <= known[1].items():
            self._identities[key] = known = self._tell_identity(key, told)
        alike = isinstance(attributes, Alike) and attributes.shared.own.keys().isdisjoint(_OF_IDENTITY)
        self._heard = (attributes.shared if isinstance(attributes, Alike) and alike else None, known[0])
        return known[0]

    def identity_of(self, patients: set[Patient]) -> int | None:
        """The row of the patient whom all of ``patients`` name."""
        issuers = {issuer for issuer, _ in patients} - {""}
        (patient_id,) = {patient_id for _, patient_id in patients}
        issuer = issuers.pop() if issuers else ""
        where = (identity.c.site_id == self.site_id, identity.c.issuer == issuer[:64])
        found = select(identity.c.id).where(*where, identity.c.patient_id == patient_id[:255])
        return self.connection.execute(found).scalar()

    def patients(self, owner: StudyDraft) -> set[Patient]:
        """All patients that the series of a study name, those in memory as they are there."""
        rows = self.connection.execute(select(series.c.id, series.c.readiness).where(series.c.study_id == owner.id))
        told = {row.id: row.readiness for row in rows}
        told |= {draft.id: draft.readiness for draft in self._series.values() if draft.study is owner}
        named = [patient for readiness in told.values() for patient in readiness.get("patients", ())]
        return {(issuer, patient_id) for issuer, patient_id in named}

    def write(self) -> None:
        """Write what changed."""
        changed = [_series_values(draft) for draft in self._series.values() if draft.changed]
        if changed:
            self.connection.execute(_CHANGE_SERIES, changed)
        owners = [owner for owner in self._studies.values() if owner.changed]
        for owner in owners:
            if owner.content:
                owner.attributes = self._content(owner)
        if owners:
            self.connection.execute(_CHANGE_STUDY, [_study_values(owner, self.now) for owner in owners])
        for owner in self._studies.values():
            for kind, count in owner.notes.items():
                self.record(kind, {"count": count}, owner)

    def record(
        self, kind: str, detail: Mapping[str, Any], owner: StudyDraft | None, series_id: int | None = None
    ) -> None:
        """Add an event."""
        study_id = owner.id if owner else None
        events.record(self.connection, kind, BY, detail, site_id=self.site_id, study_id=study_id, series_id=series_id)

    def _new_study(self, header: Header) -> StudyDraft:
        values = {
            "site_id": self.site_id,
            "study_uid": header.study_instance_uid,
            "identity_id": self.identity(header),
            "state": Readiness.OPEN,
            "readiness": {"by": BY, "reason": ARRIVING, "at": self.now.isoformat()},
            "outcome": "",
            "attributes": {},
            "first_received": header.received_at,
            "last_received": header.received_at,
            "changed_at": self.now,
        }
        draft = self._keep_study(self.connection.execute(insert(study).values(values).returning(study)).one())
        detail = {"study_uid": draft.uid, "modality": header.modality, "peer": header.peer, "from": header.calling_ae}
        self.record("study arrived", detail, draft)
        return draft

    def _new_series(self, owner: StudyDraft, header: Header, origin: Origin) -> SeriesDraft:
        values = {
            "site_id": self.site_id,
            "study_id": owner.id,
            "series_uid": header.series_instance_uid,
            "modality": header.modality[:16],
            "state": Readiness.OPEN,
            "readiness": {"by": BY, "reason": ARRIVING, "at": self.now.isoformat()},
            "attributes": {},
            "varying": [],
            "instances": 0,
            "origin": origin,
            "peer": header.peer[:64],
            "calling_ae": header.calling_ae[:16],
            "called_ae": header.called_ae[:16],
            "first_received": header.received_at,
            "last_received": header.received_at,
        }
        row = self.connection.execute(insert(series).values(values).returning(series)).one()
        detail = {"series_uid": row.series_uid, "modality": row.modality}
        self.record("series arrived", detail, owner, row.id)
        return self._keep_series(owner, row)

    def _keep_study(self, row: Row[Any]) -> StudyDraft:
        draft = StudyDraft(
            row.id,
            row.study_uid,
            row.identity_id,
            Readiness(row.state),
            dict(row.readiness),
            row.attributes,
            row.last_received,
            row.changed_at,
        )
        return self._studies.setdefault(draft.uid, draft)

    def _keep_series(self, owner: StudyDraft, row: Row[Any]) -> SeriesDraft:
        draft = SeriesDraft(
            row.id,
            owner,
            row.series_uid,
            Readiness(row.state),
            dict(row.readiness),
            Agreement(row.attributes, frozenset(row.varying)),
            row.instances,
            Origin(row.origin),
            row.last_received,
        )
        return self._series.setdefault((owner.uid, draft.uid), draft)

    def _tell_identity(self, key: Patient, told: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        issuer, patient_id = key[0][:64], key[1][:255]
        named = {"site": self.site_id, "issuer": issuer, "patient_id": patient_id}
        row = self.connection.execute(_IDENTITY, named).first()
        if row is None:
            values = {"site_id": self.site_id, "issuer": issuer, "patient_id": patient_id, "revision": 1}
            values |= {"attributes": told, "source": "dicom", "changed_at": self.now}
            created = self.connection.execute(insert(identity).values(values).returning(identity.c.id))
            return int(created.scalar_one()), told
        # What an authority has told counts before what images say.
        merged = {**row.attributes, **told} if row.source == "dicom" else {**told, **row.attributes}
        if merged != row.attributes:
            change = update(identity).where(identity.c.id == row.id)
            self.connection.execute(change.values(attributes=merged, revision=row.revision + 1, changed_at=self.now))
        return int(row.id), merged

    def _content(self, draft: StudyDraft) -> dict[str, Any]:
        """What the series of a study say together."""
        return study_attributes(self.connection.execute(_SAID, {"study": draft.id}).scalars().all())


def _series_values(draft: SeriesDraft) -> dict[str, Any]:
    return {
        "row": draft.id,
        "state": draft.state,
        "readiness": draft.readiness,
        "attributes": dict(draft.agreement.attributes),
        "varying": sorted(draft.agreement.varying),
        "instances": draft.instances,
        "last_received": draft.last_received,
    }


def _study_values(draft: StudyDraft, now: datetime) -> dict[str, Any]:
    return {
        "row": draft.id,
        "identity_id": draft.identity_id,
        "state": draft.state,
        "readiness": draft.readiness,
        "attributes": draft.attributes,
        "patient_id": _sought(draft.attributes, "PatientID"),
        "accession_number": _sought(draft.attributes, "AccessionNumber"),
        "last_received": draft.last_received,
        "changed_at": later(draft.changed_at, now),
    }


def later(changed_at: datetime, now: datetime) -> datetime:
    """A time of change that differs from the last one even within a tick of the database's clock."""
    return max(now, changed_at + _TICK)


def _sought(attributes: Mapping[str, Any], keyword: str) -> str | None:
    """An attribute as a study is found by it; None where it has several values, or none."""
    value = attributes.get(keyword)
    return value[:255] if isinstance(value, str) and value else None


def several(patients: Sequence[Patient] | set[Patient]) -> str:
    """The patients in words when there are two or more; a Patient ID without issuer may be any issuer's."""
    told: dict[str, set[str]] = {}
    for issuer, patient_id in patients:
        told.setdefault(patient_id, set()).add(issuer)
    persons = [
        f"{patient_id} ({issuer})" if issuer else patient_id
        for patient_id, issuers in sorted(told.items())
        for issuer in (sorted(issuers - {""}) or [""])
    ]
    return " and ".join(persons) if len(persons) > 1 else ""


def note_of(owner: StudyDraft | None, kind: str) -> None:
    """Count one more object for an event of that kind."""
    if owner is not None:
        owner.notes[kind] = owner.notes.get(kind, 0) + 1


def patient_of(header: Header) -> Patient:
    """Whom an object names."""
    return header.issuer, header.patient_id
