"""What peers say they have of the studies they sent us: questions, and answers, in the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, func, insert, select, update

from dicom_node.archive.database import Database, db_later, db_now
from dicom_node.archive.schema import artifact, census, job, result_set, series, study

OF_STUDY = ""  # in place of a Series Instance UID
# Pauses before a peer that has more than we is asked again, since it may have been corrected; then no more.
PAUSES_S = (30.0, 120.0, 600.0)


@dataclass(frozen=True, slots=True)
class Count:
    """What a peer says of a series or study."""

    peer: str
    images: int | None  # None: it told no number
    note: str  # why it told none
    wanted_at: datetime
    asked_at: datetime | None  # None: it was not asked yet


@dataclass(frozen=True, slots=True)
class Question:
    """A study that a peer is to be asked about, for one or several of its series."""

    study_id: int
    study_uid: str
    peer: str


def want(database: Database, study_id: int, series_uid: str, peer: str, since: datetime) -> Count:
    """What the peer has said of it since the last image came; when that is nothing, it will be asked."""
    where = census.c.study_id == study_id, census.c.series_uid == series_uid
    with database.read() as connection:
        row = connection.execute(select(census).where(*where)).first()
    if row is not None and row.peer == peer and row.last_image >= since:
        return Count(row.peer, row.images, row.note, row.wanted_at, row.asked_at)
    anew = {"peer": peer, "last_image": since, "images": None, "note": "", "asked_at": None, "tries": 0}
    values = {**anew, "wanted_at": db_now(), "next_try": db_now()}
    with database.write() as connection:
        if connection.execute(update(census).where(*where).values(**values)).rowcount == 0:
            connection.execute(insert(census).values(site_id=1, study_id=study_id, series_uid=series_uid, **values))
        wanted_at = connection.execute(select(census.c.wanted_at).where(*where)).scalar_one()
    return Count(peer, None, "", wanted_at, None)


def due(database: Database, limit: int = 100) -> tuple[Question, ...]:
    """Studies that peers are to be asked about now."""
    columns = (census.c.study_id, study.c.study_uid, census.c.peer)
    statement = (
        select(*columns, func.min(census.c.next_try).label("first"))
        .join(study, study.c.id == census.c.study_id)
        .where(census.c.next_try <= db_now())
        .group_by(*columns)
        .order_by("first")
        .limit(limit)
    )
    with database.read() as connection:
        rows = connection.execute(statement).all()
    return tuple(Question(row.study_id, row.study_uid, row.peer) for row in rows)


def told(database: Database, question: Question, whole: int | None, each: Mapping[str, int | None]) -> None:
    """Note an answer: instances of the study, and of each series. One that is more than we have is asked for again.

    Our own results, which the peer may have by now, are taken off its number for the study.
    """
    with database.write() as connection:
        ours = select(artifact.c.series_uid).select_from(artifact.join(result_set).join(job))
        ours = ours.where(job.c.study_id == question.study_id)
        own = set(connection.execute(ours).scalars())
        others = None if whole is None else whole - sum(number or 0 for uid, number in each.items() if uid in own)
        stored = select(series.c.series_uid, series.c.instances).where(series.c.study_id == question.study_id)
        here = {str(row.series_uid): int(row.instances) for row in connection.execute(stored)}
        here[OF_STUDY] = sum(here.values())
        for row in connection.execute(select(census).where(*_open(question))).all():
            images = others if row.series_uid == OF_STUDY else each.get(row.series_uid)
            more = images is not None and images > here.get(row.series_uid, 0) and row.tries < len(PAUSES_S)
            values = {
                "images": images,
                "note": "" if images is not None else f"{question.peer} does not tell how many images it has",
                "asked_at": db_now(),
                "tries": row.tries + 1,
                "next_try": db_later(PAUSES_S[row.tries]) if more else None,
            }
            connection.execute(update(census).where(census.c.id == row.id).values(**values))


def untold(database: Database, question: Question, note: str) -> None:
    """Note that the peer could not be asked; it is not asked again before another image comes."""
    values = {"note": note, "asked_at": db_now(), "tries": census.c.tries + 1, "next_try": None}
    with database.write() as connection:
        connection.execute(update(census).where(*_open(question)).values(**values))


def _open(question: Question) -> tuple[ColumnElement[bool], ...]:
    return (
        census.c.study_id == question.study_id,
        census.c.peer == question.peer,
        census.c.next_try <= db_now(),
    )
