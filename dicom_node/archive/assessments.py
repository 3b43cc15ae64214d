"""What a reader says of a result: accepted, rejected, corrected, or a comment.

It stands in the history, in the findings, and in an SR of its own, which goes to everybody who gets the result.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, func, select, update

from dicom_node.archive import documents, events
from dicom_node.archive.database import Database, db_now
from dicom_node.archive.own_objects import Desk, identity, keep, occasion
from dicom_node.archive.results import insert_set
from dicom_node.archive.schema import finding, job, parcel, result_set
from dicom_node.domain.finding import Code
from dicom_node.domain.parcel import Artifact, ParcelState, Purpose
from dicom_node.errors import HeaderError, InputError, LedgerError

LONGEST_COMMENT = 2000  # characters
LONGEST_NAME = 64


class Verdict(StrEnum):
    """What is said; the value is the kind of the event."""

    ACCEPT = "result accepted"
    REJECT = "result rejected"
    CORRECT = "result corrected"
    COMMENT = "result commented"


# What was corrected does not stand as it was found.
_STATE = {Verdict.ACCEPT: "confirmed", Verdict.REJECT: "rejected", Verdict.CORRECT: "rejected"}
CODES = {
    Verdict.ACCEPT: Code("ACCEPTED", "99DCMNODE", "Accepted"),
    Verdict.REJECT: Code("REJECTED", "99DCMNODE", "Rejected"),
    Verdict.CORRECT: Code("CORRECTED", "99DCMNODE", "Accepted with the corrections of the comment"),
    Verdict.COMMENT: Code("COMMENTED", "99DCMNODE", "Neither accepted nor rejected"),
}


def assess(database: Database, desk: Desk, job_id: int, said: tuple[Verdict, str, str], by: str) -> None:
    """Record what is ``said`` of the result of a job: verdict, name of the reader, comment; and tell its holders.

    Nothing is taken back from anywhere by it. Where no object can be written, since the files of the study are gone,
    the word counts all the same, and the history says so.

    Raises:
        LedgerError: the job has no result that counts.
        InputError: a rejection, a correction or a comment says nothing, or nobody says it.
        OSError: the disk is full or fails.
    """
    verdict, reader, comment = said[0], *(" ".join(text.replace("\0", "").split()) for text in said[1:])
    _check(verdict, reader, comment)
    with database.read() as connection:
        row = _assessed(connection, job_id)
        destinations = _destinations(connection, job_id)
        count = _count(connection, job_id)
        now = connection.execute(select(db_now())).scalar_one()
        profile = f"assessment-{count + 1}"
        made: Artifact | None = None
        trouble = ""
        try:
            about = occasion(connection, desk, row)
            called = identity(about, profile, f"AI RESULT {CODES[verdict].value}: {row.model}", now, desk.zone)
            document = documents.assessment(
                about.inherited, about.results, about.author, called, (CODES[verdict], reader, comment)
            )
            made = keep(desk, row, "assessment", document, about.inherited.character_set)
        except HeaderError as error:
            trouble = error.message
    with database.write() as connection:
        _assessed(connection, job_id)
        if _count(connection, job_id) != count:
            raise LedgerError(
                f"somebody else assessed the result of job {job_id} just now",
                reason="assessed-meanwhile",
                remedy="see what was said, and send it again",
            )
        if verdict in _STATE:
            changed = update(finding).where(finding.c.job_id == job_id).values(state=_STATE[verdict])
            connection.execute(changed)
        if made is not None:
            insert_set(connection, row, [made], destinations, {}, profile=profile, purpose=Purpose.ASSESSMENT)
        detail = {"reader": reader, "comment": comment, "object": made.sop_uid if made else "", "no object": trouble}
        kept = {key: value for key, value in detail.items() if value}
        events.record(connection, str(verdict), by, kept, site_id=row.site_id, study_id=row.study_id, job_id=job_id)


def _check(verdict: Verdict, reader: str, comment: str) -> None:
    if not reader:
        raise InputError("whoever assesses a result gives a name", reason="no-reader", remedy="fill in the name")
    if not comment and verdict is not Verdict.ACCEPT:
        raise InputError(
            "a rejection, a correction or a comment needs words", reason="no-comment", remedy="say what is wrong"
        )
    if len(comment) > LONGEST_COMMENT or len(reader) > LONGEST_NAME:
        raise InputError(f"a comment has {LONGEST_COMMENT} letters at most, a name {LONGEST_NAME}", reason="too-long")


def _assessed(connection: Connection, job_id: int) -> Any:
    """The row of a job whose result counts."""
    row = connection.execute(select(job).where(job.c.id == job_id)).first()
    counts = select(result_set.c.id).where(
        result_set.c.job_id == job_id, result_set.c.standing == "current", result_set.c.purpose == Purpose.RESULT
    )
    if row is None or connection.execute(counts).first() is None:
        raise LedgerError(
            f"job {job_id} has no result that counts now",
            reason="no-result",
            remedy="it was withdrawn or replaced meanwhile: load the page again",
        )
    return row


def _count(connection: Connection, job_id: int) -> int:
    """How many assessments of the job's result have an object."""
    those = (result_set.c.job_id == job_id, result_set.c.purpose == Purpose.ASSESSMENT)
    return int(connection.execute(select(func.count()).select_from(result_set).where(*those)).scalar_one())


def _destinations(connection: Connection, job_id: int) -> list[str]:
    """Whoever has the result, or is to get it; not those it is held from."""
    statement = (
        select(parcel.c.destination)
        .join(result_set, result_set.c.id == parcel.c.result_set_id)
        .where(result_set.c.job_id == job_id, result_set.c.purpose == Purpose.RESULT)
        .where(parcel.c.state.not_in((ParcelState.HELD, ParcelState.CANCELLED)))
        .order_by(parcel.c.id)
    )
    return list(dict.fromkeys(connection.execute(statement).scalars()))
