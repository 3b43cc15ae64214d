"""Storage Commitment that we ask of peers, in the ledger: before it is asked, and when the answer comes.

asked -> answered (by an acceptor, or over the association of the question) -> settled (by the courier)
  |-> unsent: the peer could not be reached; should it have got the question after all, its answer counts
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import func, insert, select, update

from dicom_node.archive import events
from dicom_node.archive.database import Database, db_later, db_now
from dicom_node.archive.schema import commitment_request as request
from dicom_node.archive.schema import parcel
from dicom_node.domain.commitment_answer import Answer
from dicom_node.domain.parcel import ParcelState

_SITE = 1
_OPEN = (ParcelState.SENT, ParcelState.PRESENT)


class CommitmentRequests:
    """Reads and writes of what we ask. Threads and processes may share the ledger."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def ask(self, parcel_id: int, study_id: int, peer: str, transaction_uid: str, wait_s: float) -> None:
        """A peer is about to be asked for a parcel, which then waits ``wait_s`` seconds for its answer."""
        with self.database.write() as connection:
            waiting = {"verify_at": db_later(wait_s), "verification": "asked for commitment; no answer yet"}
            connection.execute(
                update(parcel).where(parcel.c.id == parcel_id, parcel.c.state == ParcelState.SENT).values(**waiting)
            )
            values = {"parcel_id": parcel_id, "peer": peer, "transaction_uid": transaction_uid, "state": "asked"}
            times = {"asked_at": db_now(), "until": db_later(wait_s)}
            connection.execute(insert(request).values(site_id=_SITE, committed=[], failures={}, **values, **times))
            detail = {"destination": peer, "transaction": transaction_uid}
            events.record(connection, "commitment asked", "courier", detail, study_id=study_id, parcel_id=parcel_id)

    def answered(self, peers: Collection[str], answer: Answer) -> bool:
        """Keep an answer of one of the peers, and have the courier look at it. False: none of them was asked this."""
        with self.database.write() as connection:
            row = connection.execute(
                select(request.c.id, request.c.parcel_id, request.c.peer, request.c.state)
                .where(request.c.transaction_uid == answer.transaction_uid, request.c.peer.in_(peers))
                .with_for_update()
            ).first()
            if row is None:
                return False
            if row.state in ("asked", "unsent"):
                told = {"committed": sorted(answer.committed), "failures": dict(answer.failures)}
                connection.execute(
                    update(request).where(request.c.id == row.id).values(state="answered", answered_at=db_now(), **told)
                )
                connection.execute(
                    update(parcel)
                    .where(parcel.c.id == row.parcel_id, parcel.c.state.in_(_OPEN))
                    .values(verify_at=db_now())
                )
                detail = {
                    "destination": row.peer,
                    "transaction": answer.transaction_uid,
                    "committed": len(answer.committed),
                    "failed": len(answer.failures),
                }
                events.record(connection, "commitment answered", row.peer, detail, parcel_id=row.parcel_id)
        return True

    def answer(self, parcel_id: int, since: datetime | None) -> Answer | None:
        """The newest answer for a parcel that is not settled yet, to a question asked after it was sent last."""
        statement = (
            select(request)
            .where(request.c.parcel_id == parcel_id, request.c.state == "answered", request.c.asked_at >= since)
            .order_by(request.c.id.desc())
        )
        with self.database.read() as connection:
            row = connection.execute(statement).first()
        return None if row is None else Answer(row.transaction_uid, frozenset(row.committed), dict(row.failures))

    def wait_on(self, parcel_id: int, since: datetime | None) -> bool:
        """Whether an answer may still come in time to a question asked after it was sent last; if so, wait for it."""
        statement = select(request.c.until).where(
            request.c.parcel_id == parcel_id,
            request.c.state == "asked",
            request.c.asked_at >= since,
            request.c.until > db_now(),
        )
        with self.database.write() as connection:
            until = connection.execute(statement.with_for_update()).scalar()
            if until is not None:
                connection.execute(update(parcel).where(parcel.c.id == parcel_id).values(verify_at=until))
        return until is not None

    def asks(self, parcel_id: int, since: datetime | None) -> int:
        """How many questions have reached the peer since the parcel was sent last."""
        statement = select(func.count()).where(
            request.c.parcel_id == parcel_id, request.c.state != "unsent", request.c.asked_at >= since
        )
        with self.database.read() as connection:
            return int(connection.execute(statement).scalar_one())

    def unanswered(self, transaction_uids: Collection[str]) -> int:
        """How many of these have no answer yet."""
        statement = select(request.c.id).where(
            request.c.transaction_uid.in_(transaction_uids), request.c.state == "asked"
        )
        with self.database.read() as connection:
            return len(connection.execute(statement).all())

    def unsent(self, transaction_uid: str) -> None:
        """The association was lost before the peer had taken the question."""
        asked = (request.c.transaction_uid == transaction_uid, request.c.state == "asked")
        with self.database.write() as connection:
            connection.execute(update(request).where(*asked).values(state="unsent"))

    def settle(self, transaction_uid: str) -> None:
        """What follows of it was done; or it was never asked, since the peer did not take the question."""
        with self.database.write() as connection:
            connection.execute(
                update(request).where(request.c.transaction_uid == transaction_uid).values(state="settled")
            )
