"""Questions for Storage Commitment, and their answers, whoever receives them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update
from stories import Writer

from dicom_node.archive.commitment_requests import CommitmentRequests
from dicom_node.archive.database import Database, db_now
from dicom_node.archive.schema import commitment_request, parcel
from dicom_node.domain.commitment_answer import Answer

BEFORE = datetime.now(UTC) - timedelta(days=1)
LATER = datetime.now(UTC) + timedelta(days=1)
ANSWER = Answer("2.25.7", frozenset({"1.2"}), {"1.3": 0x0112})


@pytest.fixture
def sent(database: Database) -> int:
    """A sent parcel."""
    with database.write() as connection:
        writer = Writer(connection)
        study = writer.study(1)
        number = writer.parcel(study, writer.result(writer.job(study, 1, "done")), "sent", destination="pacs")
        connection.execute(update(parcel).values(verify_at=db_now()))
    return number


def rows(database: Database, table: Any) -> list[Any]:
    with database.read() as connection:
        return list(connection.execute(select(table)).all())


def test_a_question_waits_and_its_answer_ends_the_wait(database: Database, sent: int) -> None:
    requests = CommitmentRequests(database)
    requests.ask(sent, 1, "pacs", "2.25.7", 3600)
    assert rows(database, parcel)[0].verify_at > datetime.now(UTC) + timedelta(minutes=50)
    assert requests.unanswered(["2.25.7"]) == 1
    assert requests.answer(sent, BEFORE) is None
    assert requests.answered(["other", "pacs"], ANSWER)
    assert rows(database, parcel)[0].verify_at < datetime.now(UTC) + timedelta(minutes=1)
    assert requests.answer(sent, BEFORE) == ANSWER
    assert requests.answer(sent, LATER) is None  # it was sent again since: the answer is about what was there before
    requests.settle("2.25.7")
    assert requests.answer(sent, BEFORE) is None
    assert requests.asks(sent, BEFORE) == 1
    assert requests.asks(sent, LATER) == 0


def test_the_first_answer_counts_and_no_strangers(database: Database, sent: int) -> None:
    requests = CommitmentRequests(database)
    requests.ask(sent, 1, "pacs", "2.25.7", 3600)
    assert not requests.answered(["other"], ANSWER)
    assert not requests.answered(["pacs"], Answer("2.25.8", frozenset(), {}))
    assert not requests.answered([], ANSWER)
    assert requests.answered(["pacs"], ANSWER)
    assert requests.answered(["pacs"], Answer("2.25.7", frozenset({"1.2", "1.3"}), {}))
    assert requests.answer(sent, BEFORE) == ANSWER


def test_it_is_waited_for_as_long_as_it_may_come(database: Database, sent: int) -> None:
    requests = CommitmentRequests(database)
    assert not requests.wait_on(sent, BEFORE)
    requests.ask(sent, 1, "pacs", "2.25.7", 3600)
    with database.write() as connection:
        connection.execute(update(parcel).values(verify_at=db_now()))
    assert requests.wait_on(sent, BEFORE)
    assert rows(database, parcel)[0].verify_at == rows(database, commitment_request)[0].until
    with database.write() as connection:
        connection.execute(update(commitment_request).values(until=db_now()))
    assert not requests.wait_on(sent, BEFORE)


def test_one_that_did_not_get_there_is_no_question_unless_it_is_answered(database: Database, sent: int) -> None:
    requests = CommitmentRequests(database)
    requests.ask(sent, 1, "pacs", "2.25.7", 3600)
    requests.unsent("2.25.7")
    assert requests.asks(sent, BEFORE) == 0
    assert not requests.wait_on(sent, BEFORE)
    assert requests.answered(["pacs"], ANSWER)
    assert requests.answer(sent, BEFORE) == ANSWER
