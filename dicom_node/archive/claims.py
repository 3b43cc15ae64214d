"""Which lane serves which parcel: no two send the same one, in one node or in several on the same ledger."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_, select, update

from dicom_node.archive.database import Database, come, db_later, db_now
from dicom_node.archive.schema import job, parcel, result_set
from dicom_node.domain.job import Priority
from dicom_node.domain.parcel import ParcelState

FREE = or_(parcel.c.claimed_until.is_(None), parcel.c.claimed_until < db_now())
TO_SEND = and_(parcel.c.state == ParcelState.DUE, come(parcel.c.next_try), FREE)
TO_VERIFY = and_(parcel.c.state.in_((ParcelState.SENT, ParcelState.PRESENT)), come(parcel.c.verify_at), FREE)
priority: ColumnElement[int] = func.coalesce(job.c.priority, int(Priority.ROUTINE))


class Claims:
    """Leases on parcels, each by the name of a lane."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def destinations(self, closed: Collection[str] = (), stat_only: Collection[str] = ()) -> frozenset[str]:
        """Destinations to which something is to be sent now, or where something is to be looked for.

        Nothing is to be sent to those that are ``closed`` now, and to ``stat_only`` ones stat alone.
        """
        send = TO_SEND
        if closed or stat_only:
            send = and_(TO_SEND, parcel.c.destination.not_in(closed), _unless(stat_only))
        with self.database.read() as connection:
            statement = select(parcel.c.destination).select_from(_WITH_JOBS).where(or_(send, TO_VERIFY)).distinct()
            return frozenset(connection.execute(statement).scalars())

    def waiting(self, destination: str) -> int:
        """How many parcels are to be sent there now."""
        with self.database.read() as connection:
            statement = select(func.count()).where(parcel.c.destination == destination, TO_SEND)
            return int(connection.execute(statement).scalar_one())

    def to_send(
        self, destination: str, owner: str, lease_s: float, limit: int, *, stat_only: bool = False
    ) -> list[int]:
        """Claim parcels that are to be sent now: stat first, then the oldest; their numbers, in this order."""
        return self._claim(
            owner,
            lease_s,
            limit,
            parcel.c.destination == destination,
            TO_SEND,
            _unless({destination} if stat_only else ()),
        )

    def to_verify(self, destination: str, owner: str, lease_s: float, limit: int) -> list[int]:
        """Claim sent parcels that are to be looked for in the peer now, oldest first; their numbers."""
        return self._claim(owner, lease_s, limit, parcel.c.destination == destination, TO_VERIFY)

    def renew(self, owners: Collection[str], lease_s: float) -> None:
        """These lanes are still at work."""
        self._set(parcel.c.claimed_by.in_(owners), claimed_until=db_later(lease_s))

    def release(self, owner: str) -> None:
        """Give back what a lane has claimed."""
        self._set(parcel.c.claimed_by == owner, claimed_by=None, claimed_until=None)

    def abandon(self, is_dead: Callable[[str], bool]) -> int:
        """Give back what lanes have claimed that are dead, as at a start after a crash; how many lanes."""
        with self.database.read() as connection:
            statement = select(parcel.c.claimed_by).where(parcel.c.claimed_by.is_not(None)).distinct()
            dead = [owner for owner in connection.execute(statement).scalars() if is_dead(owner)]
        for owner in dead:
            self.release(owner)
        return len(dead)

    def _claim(self, owner: str, lease_s: float, limit: int, *where: ColumnElement[bool]) -> list[int]:
        statement = (
            select(parcel.c.id)
            .select_from(_WITH_JOBS)
            .where(*where)
            .order_by(priority, parcel.c.id)
            .limit(limit)
            .with_for_update(of=parcel, skip_locked=True)
        )
        with self.database.write() as connection:
            found = [int(number) for number in connection.execute(statement).scalars()]
            claimed = {"claimed_by": owner, "claimed_until": db_later(lease_s)}
            connection.execute(update(parcel).where(parcel.c.id.in_(found)).values(**claimed))
        return found

    def _set(self, where: ColumnElement[bool], **values: Any) -> None:
        with self.database.write() as connection:
            connection.execute(update(parcel).where(where).values(**values))


_WITH_JOBS = parcel.outerjoin(result_set, result_set.c.id == parcel.c.result_set_id).outerjoin(
    job, job.c.id == result_set.c.job_id
)


def _unless(stat_only: Collection[str]) -> ColumnElement[bool]:
    return or_(parcel.c.destination.not_in(stat_only), priority == int(Priority.STAT))
