"""Which encodings a destination did not take, so that it is not sent the next results in them only to refuse them too.

What is remembered is that it knows a SOP class or transfer syntax not, never that it refused one object. It is tried
again after some days, since it may have been brought up to date, and when a person says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, insert, select, update

from dicom_node.archive.database import Database, db_later, db_now
from dicom_node.archive.schema import encoding_refusal
from dicom_node.domain.profile import Profile


@dataclass(frozen=True, slots=True)
class EncodingRefusal:
    """An encoding that a destination did not take."""

    destination: str
    profile: Profile
    at: datetime  # the last time
    why: str

    def until(self, days: float) -> datetime:
        """When it is tried again."""
        return self.at + timedelta(days=days)


def remember(connection: Connection, destination: str, profile: Profile, why: str) -> None:
    """A destination does not take an encoding, as of now."""
    key = (encoding_refusal.c.destination == destination, encoding_refusal.c.profile == profile)
    told = {"at": db_now(), "why": why}
    if connection.execute(update(encoding_refusal).where(*key).values(**told)).rowcount == 0:
        values = {"destination": destination, "profile": str(profile), **told}
        connection.execute(insert(encoding_refusal).values(**values))


def forget(database: Database, destination: str, profile: Profile | None = None) -> int:
    """It takes this encoding after all, or may be tried with all of them; how many were remembered."""
    where = [encoding_refusal.c.destination == destination]
    if profile is not None:
        where.append(encoding_refusal.c.profile == profile)
    with database.read() as connection:
        if connection.execute(select(encoding_refusal.c.profile).where(*where)).first() is None:
            return 0
    with database.write() as connection:
        return connection.execute(delete(encoding_refusal).where(*where)).rowcount


def lately(database: Database, days: float) -> Mapping[str, frozenset[Profile]]:
    """What each destination has refused within so many days."""
    found: dict[str, frozenset[Profile]] = {}
    statement = select(encoding_refusal).where(encoding_refusal.c.at > db_later(-86400 * days))
    with database.read() as connection:
        for row in connection.execute(statement):
            found[row.destination] = found.get(row.destination, frozenset()) | {Profile(row.profile)}
    return found


def all_of(database: Database) -> tuple[EncodingRefusal, ...]:
    """Everything that is remembered, by destination."""
    statement = select(encoding_refusal).order_by(encoding_refusal.c.destination, encoding_refusal.c.profile)
    with database.read() as connection:
        rows = connection.execute(statement).all()
    return tuple(EncodingRefusal(row.destination, Profile(row.profile), row.at, row.why) for row in rows)
