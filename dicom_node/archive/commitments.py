"""Storage Commitment requests in the ledger: what was asked, what was found, what was told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import Row, and_, insert, or_, select, update

from dicom_node.archive import events
from dicom_node.archive.database import Database, db_later, db_now
from dicom_node.archive.schema import commitment, forwarding, instance, parcel
from dicom_node.domain.commitment import Commitment, CommitmentState, Reference, Relayed, Stored
from dicom_node.domain.parcel import ParcelState
from dicom_node.domain.study import InstanceState
from dicom_node.errors import DicomNodeError

_CHUNK = 500  # values of one IN
_SITE = 1


class Commitments:
    """Reads and writes of Storage Commitment. Threads and processes may share the ledger."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def request(
        self, peer: str, transaction_uid: str, references: Sequence[Reference], association: str, lease_s: float
    ) -> bool:
        """Take in a request, durably; for ``lease_s`` seconds it is reported over ``association`` alone.

        A request that is repeated is verified and reported again. False: another one has the same Transaction UID.
        """
        asked = [[reference.sop_class, reference.sop_uid] for reference in references]
        fresh: dict[str, Any] = {
            "state": CommitmentState.REQUESTED,
            "failures": {},
            "kept_until": None,
            "association": association,
            "association_until": db_later(lease_s),
            "tries": 0,
            "next_try": db_now(),
            "error": None,
            "requested_at": db_now(),
            "verified_at": None,
            "reported_at": None,
        }
        where = (
            commitment.c.site_id == _SITE,
            commitment.c.peer == peer,
            commitment.c.transaction_uid == transaction_uid,
        )
        with self.database.write() as connection:
            known = connection.execute(select(commitment.c.id, commitment.c.instances).where(*where)).first()
            if known is None:
                values = {"site_id": _SITE, "peer": peer, "transaction_uid": transaction_uid, "instances": asked}
                connection.execute(insert(commitment).values(values | fresh))
            elif known.instances != asked:
                return False
            else:
                connection.execute(update(commitment).where(commitment.c.id == known.id).values(fresh))
            detail = {"peer": peer, "transaction": transaction_uid, "objects": len(asked)}
            events.record(connection, "commitment requested", peer, detail)
        return True

    def requested(self, limit: int = 10) -> tuple[Commitment, ...]:
        """Requests to be verified now, oldest first."""
        due = commitment.c.next_try <= db_now()
        return self._read(commitment.c.state == CommitmentState.REQUESTED, due, limit=limit)

    def wait(self, commitment_id: int, pause_s: float) -> None:
        """It cannot be decided yet; look again after the pause."""
        with self.database.write() as connection:
            where = (commitment.c.id == commitment_id, commitment.c.state == CommitmentState.REQUESTED)
            connection.execute(update(commitment).where(*where).values(next_try=db_later(pause_s)))

    def relayed(self, uids: Iterable[str], destination: str) -> dict[str, list[Relayed]]:
        """By SOP Instance UID, all stored objects of these UIDs, with what has become of them at the destination."""
        wanted = sorted(set(uids))
        of_destination = and_(forwarding.c.instance_id == instance.c.id, forwarding.c.destination == destination)
        columns = forwarding.c.destination, parcel.c.state.label("parcel_state"), parcel.c.verify_at
        statement = (
            select(instance, *columns)
            .outerjoin(forwarding, of_destination)
            .outerjoin(parcel, parcel.c.id == forwarding.c.parcel_id)
            .order_by(instance.c.revision)
        )
        found: dict[str, list[Relayed]] = {}
        with self.database.read() as connection:
            for start in range(0, len(wanted), _CHUNK):
                some = instance.c.sop_uid.in_(wanted[start : start + _CHUNK])
                for row in connection.execute(statement.where(instance.c.site_id == _SITE, some)):
                    found.setdefault(row.sop_uid, []).append(_relayed(row))
        return found

    def to_report(self, limit: int = 100) -> tuple[Commitment, ...]:
        """Verified requests to be reported over a new association now."""
        free = or_(commitment.c.association_until.is_(None), commitment.c.association_until < db_now())
        due = (commitment.c.state == CommitmentState.VERIFIED, commitment.c.next_try <= db_now(), free)
        return self._read(*due, limit=limit)

    def to_report_over(self, association: str) -> tuple[Commitment, ...]:
        """Verified requests that came over an association and are to be reported there."""
        return self._read(commitment.c.state == CommitmentState.VERIFIED, commitment.c.association == association)

    def hold(self, association: str, lease_s: float) -> None:
        """The association is still open: leave its requests to it for as long again."""
        self._of_association(association, {"association_until": db_later(lease_s)})

    def release(self, association: str) -> None:
        """Report nothing over the association any more."""
        self._of_association(association, {"association": None, "association_until": None})

    def stored(self, uids: Iterable[str]) -> tuple[Stored, ...]:
        """All stored objects of the SOP Instance UIDs."""
        wanted = sorted(set(uids))
        found: list[Row[Any]] = []
        with self.database.read() as connection:
            for start in range(0, len(wanted), _CHUNK):
                some = instance.c.sop_uid.in_(wanted[start : start + _CHUNK])
                found += connection.execute(select(instance).where(instance.c.site_id == _SITE, some)).all()
        return tuple(map(_stored, found))

    def verified(self, asked: Commitment, failures: Mapping[str, int], keep: Sequence[int], days: int) -> None:
        """Every object was looked at; those of the instance ids ``keep`` may not be deleted for ``days`` days."""
        with self.database.write() as connection:
            now = connection.execute(select(db_now())).scalar_one()
            until = now + timedelta(days=days)
            changed = connection.execute(
                update(commitment)
                .where(commitment.c.id == asked.id, commitment.c.state == CommitmentState.REQUESTED)
                .values(
                    state=CommitmentState.VERIFIED,
                    failures=dict(failures),
                    kept_until=until if keep else None,
                    verified_at=now,
                    next_try=now,
                )
            )
            if changed.rowcount != 1:
                return
            shorter = or_(instance.c.kept_until.is_(None), instance.c.kept_until < until)
            for start in range(0, len(keep), _CHUNK):
                some = instance.c.id.in_(keep[start : start + _CHUNK])
                connection.execute(update(instance).where(some, shorter).values(kept_until=until))
            detail = {
                "peer": asked.peer,
                "transaction": asked.transaction_uid,
                "committed": len(asked.references) - len(failures),
                "refused": len(failures),
                "kept_until": until.isoformat() if keep else "",
            }
            events.record(connection, "commitment verified", "commitment", detail)

    def reported(self, commitment_id: int, status: int) -> None:
        """The peer has answered the report with ``status`` (PS3.7 C)."""
        with self.database.write() as connection:
            row = connection.execute(
                update(commitment)
                .where(commitment.c.id == commitment_id, commitment.c.state == CommitmentState.VERIFIED)
                .values(
                    state=CommitmentState.REPORTED,
                    association=None,
                    association_until=None,
                    error=None,
                    reported_at=db_now(),
                )
                .returning(commitment.c.peer, commitment.c.transaction_uid)
            ).first()
            if row is not None:
                detail = {"peer": row.peer, "transaction": row.transaction_uid, "status": f"0x{status:04X}"}
                events.record(connection, "commitment reported", "commitment", detail)

    def not_reported(self, commitment_id: int, error: DicomNodeError, pause_s: float) -> None:
        """The peer has not answered; report again after the pause, over a new association."""
        told = {"reason": error.reason, "message": error.message, "remedy": error.remedy}
        with self.database.write() as connection:
            row = connection.execute(
                select(commitment.c.peer, commitment.c.transaction_uid, commitment.c.error).where(
                    commitment.c.id == commitment_id
                )
            ).one()
            connection.execute(
                update(commitment)
                .where(commitment.c.id == commitment_id)
                .values(
                    tries=commitment.c.tries + 1,
                    next_try=db_later(pause_s),
                    error=told,
                    association=None,
                    association_until=None,
                )
            )
            if row.error != told:
                detail = {"peer": row.peer, "transaction": row.transaction_uid, **told}
                events.record(connection, "commitment not reported", "commitment", detail)

    def _of_association(self, association: str, values: dict[str, Any]) -> None:
        open_ = commitment.c.state != CommitmentState.REPORTED
        with self.database.write() as connection:
            connection.execute(update(commitment).where(commitment.c.association == association, open_).values(values))

    def _read(self, *where: Any, limit: int = 100) -> tuple[Commitment, ...]:
        with self.database.read() as connection:
            rows = connection.execute(select(commitment).where(*where).order_by(commitment.c.id).limit(limit)).all()
        return tuple(_commitment(row) for row in rows)


def _stored(row: Row[Any]) -> Stored:
    return Stored(row.id, row.sop_class, row.sop_uid, InstanceState(row.state), row.digest, row.path)


def _relayed(row: Row[Any]) -> Relayed:
    state = None if row.parcel_state is None else ParcelState(row.parcel_state)
    return Relayed(_stored(row), row.destination is not None, state, row.verify_at is not None)


def _commitment(row: Row[Any]) -> Commitment:
    return Commitment(
        id=row.id,
        peer=row.peer,
        transaction_uid=row.transaction_uid,
        state=CommitmentState(row.state),
        references=tuple(Reference(sop_class, sop_uid) for sop_class, sop_uid in row.instances),
        failures=dict(row.failures),
        tries=row.tries,
        requested_at=row.requested_at,
    )
