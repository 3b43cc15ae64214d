"""What authorities tell of patients, orders and studies: merges, unlinks, moves and updates, each taken once.

An event changes who and what results must name from then on (:mod:`~dicom_node.archive.truth`). Jobs under way yield
results that are written anew before they are sent; the corrector sees to those that are here already.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Connection, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from dicom_node.archive import events, open_items
from dicom_node.archive.database import Database, db_now
from dicom_node.archive.reissues import DOUBTED
from dicom_node.archive.schema import identity, identity_event, job, parcel, result_set, series, study
from dicom_node.archive.truth import Truth, series_of
from dicom_node.domain.identifiers import is_valid_uid
from dicom_node.domain.job import UNFINISHED, JobState
from dicom_node.domain.parcel import ParcelState, Purpose
from dicom_node.errors import LedgerError

_SITE = 1
_PERSON = ("PatientName", "PatientBirthDate", "PatientSex")
_OF_STUDY = ("AccessionNumber", "StudyInstanceUID")
_LONGEST = {"AccessionNumber": 16, "PatientID": 64, "IssuerOfPatientID": 64, "StudyInstanceUID": 64}
_LONGEST_CHAIN = 16  # of merges


class Kind(StrEnum):
    """What happened."""

    MERGE = "merge"  # a patient is another one: HL7 A40
    UNLINK = "unlink"  # and is not any more: A37
    MOVE = "move"  # studies, or series of one, belong to another patient, order or study: A43, A45, a split
    UPDATE = "update"  # a patient is described otherwise: A08; or studies have another accession number


@dataclass(frozen=True, slots=True)
class Patient:
    """Who is meant. Without an issuer: as images have it that name none."""

    patient_id: str
    issuer: str = ""


@dataclass(frozen=True, slots=True)
class IdentityEvent:
    """One event, as its source tells it."""

    id: str  # of that source; the same one again changes nothing
    source: str  # hl7:ADT1, by hand, …
    at: datetime  # when it happened, aware
    kind: Kind
    patient: Patient | None = None  # merge, unlink: the one that goes, or comes back; update: whom
    into: Patient | None = None  # merge: the one that stays; move: whose the studies are now
    study_uid: str = ""  # move, update: which study …
    accession_number: str = ""  # … or the studies of which order
    series_uids: tuple[str, ...] = ()  # move: only these of the study
    values: Mapping[str, str] = field(default_factory=dict)  # keyword -> value: what is so from now on

    def content(self) -> dict[str, Any]:
        """What it says, to be compared with what the same event said before."""
        people = {
            name: [who.issuer, who.patient_id]
            for name in ("patient", "into")
            if (who := getattr(self, name)) is not None
        }
        which = {"study_uid": self.study_uid, "accession_number": self.accession_number}
        return {
            "kind": str(self.kind),
            **people,
            **which,
            "series": list(self.series_uids),
            "values": dict(self.values),
        }


def take(database: Database, event: IdentityEvent, by: str) -> tuple[int, ...] | None:
    """Take an event in; row ids of the studies it concerns. None: it was taken before.

    Raises:
        LedgerError: it is incomplete, names what is not here or no identifier, would close a circle of merges, is older
            than what is known, or the same event said something else before.
    """
    _check(event)
    try:
        with database.write() as connection:
            if _was_taken(connection, event):
                return None
            _check_order(connection, event)
            studies = _apply(connection, event)
            connection.execute(
                insert(identity_event).values(
                    site_id=_SITE,
                    source=event.source,
                    event_id=event.id,
                    kind=event.kind,
                    at=event.at,
                    received_at=db_now(),
                    content=event.content(),
                    studies=list(studies),
                    reached=False,
                )
            )
            for study_id in studies:
                detail = {"event": event.id, "source": event.source, "kind": str(event.kind)}
                events.record(connection, "identity corrected", by, detail, study_id=study_id)
                _reach_jobs(connection, study_id)
                _ask_again(connection, study_id)
    except IntegrityError as error:
        raise LedgerError(
            f"event {event.id} of {event.source} is being taken by another process",
            reason="busy",
            remedy="send it again",
        ) from error
    return studies


@dataclass(frozen=True, slots=True)
class Open:
    """An event whose results are still to be seen to."""

    id: int
    event_id: str
    source: str
    studies: tuple[int, ...]


def unreached(database: Database, limit: int = 20) -> tuple[Open, ...]:
    """Events whose results do not all follow them yet, the oldest first."""
    statement = select(identity_event).where(identity_event.c.reached.is_(False)).order_by(identity_event.c.id)
    with database.read() as connection:
        rows = connection.execute(statement.limit(limit)).all()
    return tuple(Open(row.id, row.event_id, row.source, tuple(row.studies)) for row in rows)


def reached(database: Database, event_row: int) -> None:
    """All results follow an event."""
    with database.write() as connection:
        connection.execute(update(identity_event).where(identity_event.c.id == event_row).values(reached=True))


def _check(event: IdentityEvent) -> None:
    """Refuse what cannot be taken, whatever the ledger holds."""
    if event.at.tzinfo is None:
        raise ValueError("the time of an event must be aware")
    told = "an event needs"
    needs = {
        "an id and a source": bool(event.id.strip() and event.source.strip()),
        "the patient": event.kind is Kind.MOVE or event.patient is not None or bool(_selects(event)),
        "the patient that stays": event.kind is not Kind.MERGE or event.into is not None,
        "a study or an accession number": event.kind is not Kind.MOVE or bool(_selects(event)),
        "what is so from now on": event.kind not in (Kind.MOVE, Kind.UPDATE) or bool(event.values or event.into),
        "one study for its series": not event.series_uids or bool(event.study_uid),
    }
    for what, there in needs.items():
        if not there:
            raise LedgerError(f"{told} {what}", reason="incomplete-event")
    if len(event.id) > 128 or len(event.source) > 64:
        raise LedgerError("the id of an event has 128 characters at most, its source 64", reason="wrong-value")
    for patient in (event.patient, event.into):
        if patient is not None:
            _check_value("PatientID", patient.patient_id)
            _check_value("IssuerOfPatientID", patient.issuer, may_be_empty=True)
    allowed = _PERSON if event.patient else (*_OF_STUDY, *(_PERSON if event.into else ()))
    for keyword, value in event.values.items():
        if keyword not in allowed:
            raise LedgerError(
                f"{keyword} cannot be corrected by {event.kind}; these can: {', '.join(allowed)}", reason="wrong-value"
            )
        _check_value(keyword, value)


def _check_value(keyword: str, value: str, *, may_be_empty: bool = False) -> None:
    longest = _LONGEST.get(keyword, 324)
    odd = len(value) > longest or "\\" in value or not value.isprintable() or value != value.strip()
    if keyword == "StudyInstanceUID":
        odd = odd or not is_valid_uid(value)
    if odd or (not value and not may_be_empty):
        raise LedgerError(f"{value!r} is no {keyword}", reason="wrong-value")


def _selects(event: IdentityEvent) -> str:
    return event.study_uid or event.accession_number


def _was_taken(connection: Connection, event: IdentityEvent) -> bool:
    where = (identity_event.c.event_id == event.id, identity_event.c.source == event.source)
    content = connection.execute(select(identity_event.c.content).where(*where)).scalar()
    if content is not None and content != event.content():
        raise LedgerError(
            f"event {event.id} of {event.source} was taken before and said something else",
            reason="event-differs",
            remedy="give each event an id of its own",
        )
    return content is not None


def _apply(connection: Connection, event: IdentityEvent) -> tuple[int, ...]:
    if event.kind is Kind.MERGE:
        return _merge(connection, event)
    if event.kind is Kind.UNLINK:
        return _unlink(connection, event)
    if event.kind is Kind.UPDATE and event.patient is not None:
        row = _identity(connection, event.patient, event, known=True)
        _tell(connection, row, event)
        return _studies_of(connection, _chain_to(connection, row.id))
    return _move(connection, event)


def _merge(connection: Connection, event: IdentityEvent) -> tuple[int, ...]:
    assert event.patient is not None and event.into is not None  # noqa: S101  checked before
    old, new = _identity(connection, event.patient, event), _identity(connection, event.into, event)
    if old.id == new.id or old.id in _chain_from(connection, new):
        raise LedgerError("a patient cannot be merged into itself, nor in a circle", reason="circle")
    values: dict[str, Any] = {"replaced_by": new.id, "revision": identity.c.revision + 1}
    connection.execute(update(identity).where(identity.c.id == old.id).values(**values))
    _tell(connection, new, event)
    return _studies_of(connection, _chain_to(connection, old.id))


def _unlink(connection: Connection, event: IdentityEvent) -> tuple[int, ...]:
    assert event.patient is not None  # noqa: S101  checked before
    row = _identity(connection, event.patient, event, known=True)
    values: dict[str, Any] = {"replaced_by": None, "revision": identity.c.revision + 1}
    connection.execute(update(identity).where(identity.c.id == row.id).values(**values))
    return _studies_of(connection, _chain_to(connection, row.id))


def _move(connection: Connection, event: IdentityEvent) -> tuple[int, ...]:
    """Studies, or series of one, belong elsewhere from now on; also where they only have another accession number."""
    if event.study_uid:
        chosen = study.c.study_uid == event.study_uid
    else:
        chosen = study.c.accession_number == event.accession_number
    rows = connection.execute(select(study.c.id, study.c.corrections).where(chosen).order_by(study.c.id)).all()
    if not rows:
        raise LedgerError(
            f"there is no study {_selects(event)!r}", reason="no-such-study", remedy="see: dicom-node studies list"
        )
    values = {keyword: value for keyword, value in event.values.items() if keyword in _OF_STUDY}
    to = _moved_to(connection, event)
    for row in rows:
        moved = {"moved_to": to} if to is not None else {}
        if event.series_uids:
            _move_series(connection, row.id, event.series_uids, values, moved)
        else:
            changed = {"corrections": {**row.corrections, **values}, **moved, "revision": study.c.revision}
            connection.execute(update(study).where(study.c.id == row.id).values(**changed))
    return tuple(int(row.id) for row in rows)


def _move_series(
    connection: Connection, study_id: int, uids: Iterable[str], values: Mapping[str, str], moved: Mapping[str, int]
) -> None:
    for uid in uids:
        where = (series.c.study_id == study_id, series.c.series_uid == uid)
        row = connection.execute(select(series.c.id, series.c.corrections).where(*where)).first()
        if row is None:
            raise LedgerError(f"the study has no series {uid!r}", reason="no-such-series")
        changed = {"corrections": {**row.corrections, **values}, **moved}
        connection.execute(update(series).where(series.c.id == row.id).values(**changed))


def _moved_to(connection: Connection, event: IdentityEvent) -> int | None:
    """Row of the patient that studies are moved to; None: they keep theirs."""
    if event.into is None:
        return None
    row = _identity(connection, event.into, event)
    _tell(connection, row, event)
    name = {**row.attributes, **event.values}.get("PatientName")
    if not name:
        raise LedgerError(
            "a study cannot be moved to a patient whose name is not known",
            reason="incomplete-event",
            remedy="tell PatientName with it, or its results would bear the name of the other patient",
        )
    return int(row.id)


def _identity(connection: Connection, who: Patient, event: IdentityEvent, *, known: bool = False) -> Any:
    """The row of a patient; made when there is none, unless it has to be known."""
    where = (identity.c.site_id == _SITE, identity.c.issuer == who.issuer, identity.c.patient_id == who.patient_id)
    row = connection.execute(select(identity).where(*where).with_for_update()).first()
    if row is not None:
        return row
    if known:
        raise LedgerError(f"no patient {who.patient_id!r} is known", reason="no-such-patient")
    values: dict[str, Any] = {
        "site_id": _SITE,
        "issuer": who.issuer,
        "patient_id": who.patient_id,
        "attributes": {},
        "revision": 1,
    }
    values |= {"source": event.source, "changed_at": event.at}
    return connection.execute(insert(identity).values(values).returning(identity)).one()


def _tell(connection: Connection, row: Any, event: IdentityEvent) -> None:
    """What an authority says of a patient counts before what images say."""
    told = {keyword: value for keyword, value in event.values.items() if keyword in _PERSON}
    if not told:
        return
    values = {"attributes": {**row.attributes, **told}, "source": event.source, "changed_at": event.at}
    values["revision"] = identity.c.revision + 1
    connection.execute(update(identity).where(identity.c.id == row.id).values(**values))


def _check_order(connection: Connection, event: IdentityEvent) -> None:
    """Refuse what is older than what was told of the same patient, or the same study, since."""
    mine = _matters(event.content())
    newer = select(identity_event).where(identity_event.c.at > event.at).order_by(identity_event.c.id)
    for row in connection.execute(newer).all():
        if mine & _matters(row.content):
            raise LedgerError(
                f"event {event.id} of {event.source} is older than event {row.event_id} of {row.source}",
                reason="out-of-order",
                remedy="if it is right nevertheless, tell it as a new event with a time of its own",
            )


def _matters(content: Mapping[str, Any]) -> set[tuple[str, ...]]:
    """What an event decides: whom a patient is merged into, how one is described, where a study or series is."""
    kind, values = content["kind"], content["values"]
    found: set[tuple[str, ...]] = set()
    if kind in (Kind.MERGE, Kind.UNLINK):
        found.add(("merged", *content["patient"]))
    described = content.get("into") or content.get("patient")
    if described and any(keyword in _PERSON for keyword in values):
        found.add(("described", *described))
    if which := content["study_uid"] or content["accession_number"]:
        found |= {("study", which, series_uid) for series_uid in content["series"] or ("",)}
    return found


def _chain_from(connection: Connection, row: Any) -> list[int]:
    """A patient, and those it is merged into, one into the other."""
    found = [int(row.id)]
    while row.replaced_by is not None and row.replaced_by not in found and len(found) < _LONGEST_CHAIN:
        row = connection.execute(select(identity).where(identity.c.id == row.replaced_by)).one()
        found.append(int(row.id))
    return found


def _chain_to(connection: Connection, identity_id: int) -> list[int]:
    """A patient, and all that are merged into it, one into the other."""
    found, fresh = [identity_id], [identity_id]
    while fresh:
        merged = select(identity.c.id).where(identity.c.replaced_by.in_(fresh), identity.c.id.not_in(found))
        fresh = [int(number) for number in connection.execute(merged).scalars()]
        found += fresh
    return found


def _studies_of(connection: Connection, identities: list[int]) -> tuple[int, ...]:
    """Studies of these patients: by their images, or since they, or series of them, were moved to one."""
    moved = select(series.c.study_id).where(series.c.moved_to.in_(identities))
    which: ColumnElement[bool] = or_(
        study.c.identity_id.in_(identities), study.c.moved_to.in_(identities), study.c.id.in_(moved)
    )
    return tuple(int(n) for n in connection.execute(select(study.c.id).where(which).order_by(study.c.id)).scalars())


def _reach_jobs(connection: Connection, study_id: int) -> None:
    """Cancel jobs whose images do not belong together any more; have their results, if any, taken back."""
    for row in connection.execute(select(job).where(job.c.study_id == study_id).order_by(job.c.id)).all():
        if not Truth.of(connection, study_id, series_of(row.inputs)).divided:
            continue
        why = "its images were moved into several studies, or to several patients"
        if row.state in UNFINISHED:
            values = {"state": JobState.CANCELLED, "finished_at": db_now(), "lease_until": None, "progress": why[:64]}
            connection.execute(update(job).where(job.c.id == row.id).values(**values))
            detail = {"was": row.state, "reason": why}
            events.record(connection, "job cancelled", "corrector", detail, study_id=study_id, job_id=row.id)
        elif _has_result(connection, row.id):
            key = f"{open_items.WITHDRAW}:{row.id}:divided"
            open_items.open_(connection, key, open_items.WITHDRAW, study_id, row.id, why, "")


def _has_result(connection: Connection, job_id: int) -> bool:
    where = (result_set.c.job_id == job_id, result_set.c.standing == "current", result_set.c.purpose == Purpose.RESULT)
    return connection.execute(select(result_set.c.id).where(*where).limit(1)).first() is not None


def _ask_again(connection: Connection, study_id: int) -> None:
    """Parcels that the node held since a record did not fit are looked at again."""
    where = (parcel.c.study_id == study_id, parcel.c.state == ParcelState.HELD)
    for row in connection.execute(select(parcel.c.id, parcel.c.error).where(*where)).all():
        if (row.error or {}).get("reason") in DOUBTED:
            values = {"state": ParcelState.DUE, "next_try": db_now(), "error": None, "doubts": 0}
            connection.execute(update(parcel).where(parcel.c.id == row.id).values(**values))
