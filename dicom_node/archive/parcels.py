"""Parcels in the ledger: what is to be sent, and what became of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Select, func, select, update

from dicom_node.archive import events
from dicom_node.archive.database import Database, db_later, db_now
from dicom_node.archive.results import artifact_of
from dicom_node.archive.schema import artifact, job, parcel, result_set, study
from dicom_node.domain.parcel import Artifact, Parcel, ParcelState
from dicom_node.errors import DicomNodeError, LedgerError


class Parcels:
    """Reads and writes of delivery."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def due(self, limit: int = 100) -> tuple[Parcel, ...]:
        """Parcels that are to be sent now, oldest first."""
        return self._read(
            _parcels().where(parcel.c.state == ParcelState.DUE, parcel.c.next_try <= db_now()).limit(limit)
        )

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

    def sent(self, parcel_id: int, by: str = "courier") -> None:
        """Every object was answered with Success."""
        values = {"state": ParcelState.SENT, "tries": parcel.c.tries + 1, "error": None}
        with self.database.write() as connection:
            changed = connection.execute(
                update(parcel)
                .where(parcel.c.id == parcel_id, parcel.c.state == ParcelState.DUE)
                .values(**values, sent_at=db_now())
                .returning(parcel.c.study_id, parcel.c.destination)
            ).first()
            if changed is not None:
                detail = {"destination": changed.destination}
                events.record(connection, "parcel sent", by, detail, study_id=changed.study_id, parcel_id=parcel_id)

    def failed(self, parcel_id: int, error: DicomNodeError, pause_s: float, by: str = "courier") -> None:
        """It could not be sent; try again after the pause. Only a new reason makes a new event."""
        told = {"reason": error.reason, "message": error.message, "remedy": error.remedy}
        with self.database.write() as connection:
            row = connection.execute(
                select(parcel.c.study_id, parcel.c.destination, parcel.c.error).where(parcel.c.id == parcel_id)
            ).one()
            connection.execute(
                update(parcel)
                .where(parcel.c.id == parcel_id, parcel.c.state == ParcelState.DUE)
                .values(tries=parcel.c.tries + 1, next_try=db_later(pause_s), error=told)
            )
            if row.error != told:
                detail = {"destination": row.destination, **told}
                events.record(connection, "parcel not sent", by, detail, study_id=row.study_id, parcel_id=parcel_id)

    def retry(self, parcel_id: int, by: str) -> None:
        """Send it again, now.

        Raises:
            LedgerError: there is no such parcel.
        """
        with self.database.write() as connection:
            row = connection.execute(
                update(parcel)
                .where(parcel.c.id == parcel_id)
                .values(state=ParcelState.DUE, next_try=db_now())
                .returning(parcel.c.study_id)
            ).first()
            if row is None:
                raise LedgerError(f"there is no parcel {parcel_id}", reason="no-such-parcel")
            events.record(connection, "parcel to be sent again", by, study_id=row.study_id, parcel_id=parcel_id)

    def counts(self) -> dict[str, int]:
        """Number of parcels by state."""
        with self.database.read() as connection:
            rows = connection.execute(select(parcel.c.state, func.count()).group_by(parcel.c.state)).all()
        return {str(state): int(count) for state, count in rows}

    def _read(self, statement: Select[Any]) -> tuple[Parcel, ...]:
        with self.database.read() as connection:
            rows = connection.execute(statement).all()
            sets = {row.result_set_id for row in rows}
            found = connection.execute(
                select(artifact).where(artifact.c.result_set_id.in_(sets)).order_by(artifact.c.id)
            ).all()
        artifacts: dict[int, list[Artifact]] = defaultdict(list)
        for row in found:
            artifacts[row.result_set_id].append(artifact_of(row))
        return tuple(_parcel(row, tuple(artifacts[row.result_set_id])) for row in rows)


def _parcels() -> Select[Any]:
    return (
        select(parcel, study.c.study_uid, result_set.c.job_id, job.c.model)
        .join(study, study.c.id == parcel.c.study_id)
        .join(result_set, result_set.c.id == parcel.c.result_set_id)
        .join(job, job.c.id == result_set.c.job_id)
        .order_by(parcel.c.id)
    )


def _parcel(row: Any, artifacts: tuple[Artifact, ...]) -> Parcel:
    return Parcel(
        id=row.id,
        study_id=row.study_id,
        study_uid=row.study_uid,
        job_id=row.job_id,
        model=row.model,
        destination=row.destination,
        state=ParcelState(row.state),
        tries=row.tries,
        next_try=row.next_try,
        error=row.error,
        created_at=row.created_at,
        sent_at=row.sent_at,
        artifacts=artifacts,
    )
