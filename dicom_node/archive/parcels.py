"""Parcels in the ledger: what is to be sent, and what became of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, func, select, update

from dicom_node.archive import events
from dicom_node.archive.claims import TO_SEND
from dicom_node.archive.database import Database, db_later, db_now
from dicom_node.archive.forwarding import leave_out_superseded
from dicom_node.archive.results import artifact_of
from dicom_node.archive.schema import artifact, instance, job, parcel, result_set, series, study
from dicom_node.domain.parcel import Artifact, Parcel, ParcelState, Purpose
from dicom_node.errors import DicomNodeError, LedgerError

_UNSENT = (ParcelState.DUE, ParcelState.REFUSED, ParcelState.HELD)
_ARRIVED = (ParcelState.SENT, ParcelState.PRESENT)  # it may still turn out to be committed to, or not to be there
_OF_SET = ("job_id", "purpose", "manifest", "profile")
_AFRESH: dict[str, Any] = {
    "state": ParcelState.DUE,
    "next_try": db_now(),
    "taken": [],
    "left_out": [],
    "refusals": 0,
    "losses": 0,
    "checks": 0,
    "verify_at": None,
    "verification": "",
    "error": None,
}


class Parcels:
    """Reads and writes of delivery."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def due(self, destination: str | None = None, limit: int = 100) -> tuple[Parcel, ...]:
        """Parcels that are to be sent now and that no lane has claimed, oldest first."""
        return self._read(_of(destination, _parcels().where(TO_SEND).limit(limit)))

    def claimed(self, numbers: Sequence[int]) -> tuple[Parcel, ...]:
        """Parcels by their numbers, in this order."""
        found = {record.id: record for record in self._read(_parcels().where(parcel.c.id.in_(numbers)))}
        return tuple(found[number] for number in numbers if number in found)

    def all(
        self, *, study_id: int | None = None, states: Sequence[ParcelState] = (), limit: int = 1000
    ) -> tuple[Parcel, ...]:
        """Parcels, oldest first."""
        statement = _parcels().limit(limit)
        if study_id is not None:
            statement = statement.where(parcel.c.study_id == study_id)
        if states:
            statement = statement.where(parcel.c.state.in_(states))
        return self._read(statement)

    def took(self, parcel_id: int, sop_uids: Iterable[str]) -> None:
        """The peer has stored these objects of it, whatever becomes of the others."""
        with self.database.write() as connection:
            taken = connection.execute(select(parcel.c.taken).where(parcel.c.id == parcel_id)).scalar_one()
            connection.execute(update(parcel).where(parcel.c.id == parcel_id).values(taken=sorted({*taken, *sop_uids})))

    def sent(
        self, parcel_id: int, by: str = "courier", verify_after_s: float | None = None, notes: Sequence[str] = ()
    ) -> None:
        """Every object was answered with Success; None: it is not looked for. ``notes``: what is to be told of how."""
        values = {
            "state": ParcelState.SENT,
            "tries": parcel.c.tries + 1,
            "error": None,
            "refusals": 0,
            "sent_at": db_now(),
            "checks": 0,
            "verify_at": None if verify_after_s is None else db_later(verify_after_s),
            "verification": "not looked for" if verify_after_s is None else "",
        }
        self._change(
            parcel_id, ParcelState.DUE, values, "parcel sent", by, {"how": "; ".join(notes)} if notes else None
        )

    def failed(
        self,
        parcel_id: int,
        error: DicomNodeError,
        pause_s: float,
        by: str = "courier",
        *,
        sop_uid: str = "",
        refusal: bool = False,
    ) -> None:
        """It could not be sent; try again after the pause. Only a new reason makes a new event.

        ``sop_uid`` is the object it failed on, ``refusal`` whether the peer refused that as it is.
        """
        told = _told(error, sop_uid)
        values = {
            "tries": parcel.c.tries + 1,
            "next_try": db_later(pause_s),
            "refusals": parcel.c.refusals + 1 if refusal else 0,
            "error": told,
        }
        with self.database.write() as connection:
            before = connection.execute(select(parcel.c.error).where(parcel.c.id == parcel_id)).scalar_one()
            row = _update(connection, parcel_id, ParcelState.DUE, values)
            if row is not None and _shown(before or {}) != _shown(told):
                _record(connection, row, "parcel not sent", by, _shown(told))

    def refused(self, parcel_id: int, error: DicomNodeError, by: str = "courier", *, sop_uid: str = "") -> None:
        """The peer will not take it as it is, or does not keep it: a person must act."""
        told = _told(error, sop_uid)
        values = {"state": ParcelState.REFUSED, "tries": parcel.c.tries + 1, "error": told, "verify_at": None}
        self._change(parcel_id, (ParcelState.DUE, *_ARRIVED), values, "parcel refused", by, _shown(told))

    def present(self, parcel_id: int, words: str, by: str = "courier") -> None:
        """Every object was found in the peer."""
        values = {"state": ParcelState.PRESENT, "verify_at": None, "verification": words, "losses": 0}
        self._change(parcel_id, ParcelState.SENT, values, "parcel present", by)

    def committed(self, parcel_id: int, words: str, by: str = "courier") -> None:
        """The peer has taken responsibility for every object."""
        values = {"state": ParcelState.COMMITTED, "verify_at": None, "verification": words, "losses": 0}
        self._change(parcel_id, _ARRIVED, values, "parcel committed", by)

    def stays_present(self, parcel_id: int, words: str) -> None:
        """What came later does not change that it was found in the peer."""
        with self.database.write() as connection:
            _update(connection, parcel_id, ParcelState.PRESENT, {"verify_at": None, "verification": words})

    def look_again(self, parcel_id: int, words: str, pause_s: float) -> None:
        """It could not be told yet whether the peer has it; ask again after the pause."""
        values = {"checks": parcel.c.checks + 1, "verify_at": db_later(pause_s), "verification": words}
        with self.database.write() as connection:
            _update(connection, parcel_id, ParcelState.SENT, values)

    def unverifiable(self, parcel_id: int, words: str, by: str = "courier") -> None:
        """It was sent, and the peer cannot tell whether it has it."""
        values = {"verify_at": None, "verification": words}
        self._change(parcel_id, ParcelState.SENT, values, "parcel cannot be verified", by, {"message": words})

    def lost(self, parcel_id: int, sop_uids: Iterable[str], error: DicomNodeError, by: str = "courier") -> None:
        """The peer does not show these objects, although it took them: they are sent again."""
        told = _told(error)
        gone = set(sop_uids)
        with self.database.write() as connection:
            taken = connection.execute(select(parcel.c.taken).where(parcel.c.id == parcel_id)).scalar_one()
            values = {
                "state": ParcelState.DUE,
                "taken": sorted(set(taken) - gone),
                "next_try": db_now(),
                "verify_at": None,
                "checks": 0,
                "losses": parcel.c.losses + 1,
                "verification": "",
                "error": told,
            }
            row = _update(connection, parcel_id, _ARRIVED, values)
            if row is not None:
                leave_out_superseded(connection, parcel_id)
                _record(connection, row, "parcel lost", by, _shown(told))

    def retry(self, parcel_id: int, by: str) -> None:
        """Send it again, now: what the peer has not taken, or all of it when it has arrived before.

        Raises:
            LedgerError: there is no such parcel, or a newer result has replaced it.
        """
        with self.database.write() as connection:
            row = self._still_wanted(connection, parcel_id)
            kept = ("taken", "verification") if row.state in _UNSENT else ()
            values = {name: value for name, value in _AFRESH.items() if name not in kept}
            _update(connection, parcel_id, tuple(ParcelState), values)
            _record(connection, row, "parcel to be sent again", by)

    def resend(self, study_id: int, by: str, destinations: Sequence[str] = ()) -> list[int]:
        """Send all that is current of a study again, whole and now; ids of its parcels. No destination means all."""
        with self.database.write() as connection:
            statement = (
                select(parcel.c.id)
                .outerjoin(result_set, result_set.c.id == parcel.c.result_set_id)
                .where(parcel.c.study_id == study_id, func.coalesce(result_set.c.standing, "current") == "current")
                .where(parcel.c.state != ParcelState.CANCELLED)
                .order_by(parcel.c.id)
            )
            if destinations:
                statement = statement.where(parcel.c.destination.in_(destinations))
            ids = [int(number) for number in connection.execute(statement).scalars()]
            found = [number for number in ids if leave_out_superseded(connection, number)]
            for number in found:
                row = _update(connection, number, tuple(ParcelState), _AFRESH)
                _record(connection, row, "parcel to be sent again", by)
        return found

    def wait_until(self, parcel_id: int, at: datetime) -> None:
        """It is not to go before ``at`` (aware)."""
        with self.database.write() as connection:
            _update(connection, parcel_id, ParcelState.DUE, {"next_try": at})

    def hold(self, parcel_id: int, by: str, why: str = "") -> None:
        """Keep it back until a person releases it.

        Raises:
            LedgerError: there is no such parcel, or it has been sent.
        """
        told = {"reason": "held", "message": why or f"held back by {by}", "remedy": "dicom-node parcels release"}
        with self.database.write() as connection:
            values = {"state": ParcelState.HELD, "error": told}
            row = _update(connection, parcel_id, (ParcelState.DUE, ParcelState.REFUSED), values)
            if row is None:
                state = _one(connection, parcel_id).state
                raise LedgerError(f"parcel {parcel_id} is {state}; only what is due can be held", reason="not-due")
            _record(connection, row, "parcel held", by, _shown(told))

    def release(self, parcel_id: int, by: str) -> None:
        """Send a parcel that was held back.

        Raises:
            LedgerError: there is no such parcel, it is not held, or a newer result has replaced it.
        """
        with self.database.write() as connection:
            row = self._still_wanted(connection, parcel_id)
            if row.state != ParcelState.HELD:
                raise LedgerError(f"parcel {parcel_id} is not held but {row.state}", reason="not-held")
            values: dict[str, Any] = {"state": ParcelState.DUE, "next_try": db_now(), "error": None}
            if difference := (row.error or {}).get("difference"):
                values["cleared"] = difference
            _update(connection, parcel_id, ParcelState.HELD, values)
            _record(connection, row, "parcel released", by)

    def counts(self) -> dict[str, int]:
        """Number of parcels by state."""
        with self.database.read() as connection:
            rows = connection.execute(select(parcel.c.state, func.count()).group_by(parcel.c.state)).all()
        return {str(state): int(count) for state, count in rows}

    def _change(
        self,
        parcel_id: int,
        states: ParcelState | tuple[ParcelState, ...],
        values: dict[str, Any],
        kind: str,
        by: str,
        detail: dict[str, Any] | None = None,
    ) -> None:
        with self.database.write() as connection:
            row = _update(connection, parcel_id, states, values)
            if row is not None:
                _record(connection, row, kind, by, detail)

    def _still_wanted(self, connection: Connection, parcel_id: int) -> Any:
        row = _one(connection, parcel_id)
        if row.state == ParcelState.CANCELLED:
            why = str((row.error or {}).get("message", "")) or "it is not to be sent any more"
            raise LedgerError(f"parcel {parcel_id} is cancelled: {why}", reason="cancelled")
        standing = row.standing or "current"
        if not leave_out_superseded(connection, parcel_id):
            standing = "superseded"
        if standing != "current":
            raise LedgerError(
                f"the objects of parcel {parcel_id} are {standing}: they are not to be sent any more",
                reason="not-current",
                remedy="retry the parcel of the newer ones; see: dicom-node parcels list",
            )
        return row

    def _read(self, statement: Select[Any]) -> tuple[Parcel, ...]:
        with self.database.read() as connection:
            rows = connection.execute(statement).all()
            made = _results(connection, {row.result_set_id for row in rows if row.result_set_id is not None})
            routed = _received(connection, {number for row in rows for number in row.instances or ()})
        return tuple(
            _parcel(
                row,
                tuple(routed[number] for number in row.instances if number in routed)
                if row.result_set_id is None
                else tuple(each for each in made[row.result_set_id] if each.sop_uid not in row.left_out),
            )
            for row in rows
        )


def _parcels() -> Select[Any]:
    return (
        select(parcel, study.c.study_uid, *(result_set.c[name] for name in _OF_SET), job.c.model)
        .join(study, study.c.id == parcel.c.study_id)
        .outerjoin(result_set, result_set.c.id == parcel.c.result_set_id)
        .outerjoin(job, job.c.id == result_set.c.job_id)
        .order_by(parcel.c.id)
    )


def _of(destination: str | None, statement: Select[Any]) -> Select[Any]:
    return statement if destination is None else statement.where(parcel.c.destination == destination)


def _one(connection: Connection, parcel_id: int) -> Any:
    row = connection.execute(
        select(
            parcel.c.id, parcel.c.study_id, parcel.c.destination, parcel.c.state, parcel.c.error, result_set.c.standing
        )
        .outerjoin(result_set, result_set.c.id == parcel.c.result_set_id)
        .where(parcel.c.id == parcel_id)
    ).first()
    if row is None:
        raise LedgerError(f"there is no parcel {parcel_id}", reason="no-such-parcel")
    return row


def _update(
    connection: Connection, parcel_id: int, states: ParcelState | tuple[ParcelState, ...], values: dict[str, Any]
) -> Any:
    """The parcel, or None when it was in none of the states and nothing was changed."""
    allowed = (states,) if isinstance(states, ParcelState) else states
    return connection.execute(
        update(parcel)
        .where(parcel.c.id == parcel_id, parcel.c.state.in_(allowed))
        .values(**values)
        .returning(parcel.c.id, parcel.c.study_id, parcel.c.destination)
    ).first()


def _record(connection: Connection, row: Any, kind: str, by: str, detail: dict[str, Any] | None = None) -> None:
    told = {"destination": row.destination, **(detail or {})}
    events.record(connection, kind, by, told, study_id=row.study_id, parcel_id=row.id)


def _told(error: DicomNodeError, sop_uid: str = "") -> dict[str, str]:
    told = {"reason": error.reason, "message": error.message, "remedy": error.remedy}
    return {**told, "object": sop_uid} if sop_uid else told


def _shown(told: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in told.items() if key != "object"}


def _results(connection: Connection, sets: set[int]) -> dict[int, list[Artifact]]:
    """Result objects by result set."""
    statement = select(artifact).where(artifact.c.result_set_id.in_(sets)).order_by(artifact.c.id)
    made: dict[int, list[Artifact]] = defaultdict(list)
    for row in connection.execute(statement).all():
        made[row.result_set_id].append(artifact_of(row))
    return made


def _received(connection: Connection, ids: set[int]) -> dict[int, Artifact]:
    """Received objects by their row id."""
    found: dict[int, Artifact] = {}
    wanted = sorted(ids)
    for start in range(0, len(wanted), 500):
        statement = (
            select(instance, series.c.series_uid, series.c.modality)
            .join(series, series.c.id == instance.c.series_id)
            .where(instance.c.id.in_(wanted[start : start + 500]))
        )
        for row in connection.execute(statement).all():
            found[row.id] = Artifact(
                (row.modality or "object").lower(),
                row.sop_uid,
                row.sop_class,
                row.series_uid,
                row.transfer_syntax,
                row.digest,
                row.path,
                row.size,
            )
    return found


def _parcel(row: Any, artifacts: tuple[Artifact, ...]) -> Parcel:
    return Parcel(
        id=row.id,
        study_id=row.study_id,
        study_uid=(row.manifest or {}).get("study_uid") or row.study_uid,
        job_id=row.job_id,
        model=row.model or "",
        rule=row.rule or "",
        destination=row.destination,
        state=ParcelState(row.state),
        tries=row.tries,
        next_try=row.next_try,
        error=row.error,
        created_at=row.created_at,
        sent_at=row.sent_at,
        artifacts=artifacts,
        taken=frozenset(row.taken),
        refusals=row.refusals,
        checks=row.checks,
        losses=row.losses,
        verification=row.verification,
        purpose=None if row.purpose is None else Purpose(row.purpose),
        cleared=row.cleared,
        record=row.record,
        profile=row.profile or "",
    )
