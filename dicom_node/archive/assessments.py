"""What a reader says of a result: accepted, rejected, or a comment. It stands in the history, and in the findings."""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import select, update

from dicom_node.archive import events
from dicom_node.archive.database import Database
from dicom_node.archive.schema import finding, job, result_set
from dicom_node.domain.parcel import Purpose
from dicom_node.errors import InputError, LedgerError

LONGEST_COMMENT = 2000  # characters
LONGEST_NAME = 64


class Verdict(StrEnum):
    """What is said; the value is the kind of the event."""

    ACCEPT = "result accepted"
    REJECT = "result rejected"
    COMMENT = "result commented"


_STATE = {Verdict.ACCEPT: "confirmed", Verdict.REJECT: "rejected"}


def assess(database: Database, job_id: int, verdict: Verdict, reader: str, comment: str, by: str) -> None:
    """Record what ``reader`` says of the result of a job. Nothing is taken back from anywhere by it.

    Raises:
        LedgerError: the job has no result that counts.
        InputError: a rejection or a comment says nothing, or nobody says it.
    """
    reader, comment = (" ".join(text.replace("\0", "").split()) for text in (reader, comment))
    if not reader:
        raise InputError("whoever assesses a result gives a name", reason="no-reader", remedy="fill in the name")
    if not comment and verdict is not Verdict.ACCEPT:
        raise InputError("a rejection or a comment needs words", reason="no-comment", remedy="say what is wrong")
    if len(comment) > LONGEST_COMMENT or len(reader) > LONGEST_NAME:
        raise InputError(f"a comment has {LONGEST_COMMENT} letters at most, a name {LONGEST_NAME}", reason="too-long")
    with database.write() as connection:
        row = connection.execute(select(job.c.id, job.c.study_id, job.c.site_id).where(job.c.id == job_id)).first()
        counts = select(result_set.c.id).where(
            result_set.c.job_id == job_id, result_set.c.standing == "current", result_set.c.purpose == Purpose.RESULT
        )
        if row is None or connection.execute(counts).first() is None:
            raise LedgerError(
                f"job {job_id} has no result that counts now",
                reason="no-result",
                remedy="it was withdrawn or replaced meanwhile: load the page again",
            )
        if verdict in _STATE:
            changed = update(finding).where(finding.c.job_id == job_id).values(state=_STATE[verdict])
            connection.execute(changed)
        detail = {"reader": reader, **({"comment": comment} if comment else {})}
        events.record(connection, str(verdict), by, detail, site_id=row.site_id, study_id=row.study_id, job_id=job_id)
