"""Reports of Storage Commitment that come to our acceptor."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dicom_node.archive.commitment_requests import CommitmentRequests
from dicom_node.archive.database import Database
from dicom_node.dimse.commitment import INVALID_ARGUMENT, PROCESSING_FAILURE, SUCCESS
from dicom_node.domain.commitment_answer import Answer
from dicom_node.errors import LedgerError
from dicom_node.reception.reports import ReportDesk
from dicom_node.settings import PeerSettings, Settings

ANSWER = Answer("2.25.7", frozenset({"1.2"}), {})


def peer(name: str, ae_title: str, verify: str = "commitment") -> PeerSettings:
    return PeerSettings(name=name, ae_title=ae_title, host="127.0.0.1", port=104, verify=verify)  # type: ignore[arg-type]


SETTINGS = Settings(peers=(peer("pacs", "PACS"), peer("shadow", "PACS"), peer("other", "OTHER", "find")))


def desk(database: Database, asked: list[str]) -> ReportDesk:
    def connect() -> CommitmentRequests:
        asked.append("opened")
        return CommitmentRequests(database)

    return ReportDesk(SETTINGS, connect)


def test_only_who_is_asked_may_report(database: Database) -> None:
    opened: list[str] = []
    reports = desk(database, opened)
    assert reports.admits("PACS ")
    assert not reports.admits("OTHER")
    assert not reports.admits("STRANGER")
    assert opened == []  # the ledger may not be there yet


def test_a_report_is_kept_for_whoever_of_that_title_was_asked(database: Database) -> None:
    opened: list[str] = []
    reports = desk(database, opened)
    assert reports.report("PACS", ANSWER) == INVALID_ARGUMENT  # nobody was asked that
    writer: Callable[..., None] = CommitmentRequests(database).ask
    parcel_id = _parcel(database)
    writer(parcel_id, 1, "shadow", "2.25.7", 3600)
    assert reports.report("PACS", ANSWER) == SUCCESS
    assert CommitmentRequests(database).unanswered(["2.25.7"]) == 0
    assert opened == ["opened"]


def test_a_ledger_that_does_not_work_is_told_as_a_failure() -> None:
    def broken() -> CommitmentRequests:
        raise LedgerError("away", reason="database")

    assert ReportDesk(SETTINGS, broken).report("PACS", ANSWER) == PROCESSING_FAILURE


def test_an_unknown_title_reports_nothing(database: Database) -> None:
    with pytest.raises(KeyError):
        desk(database, []).report("STRANGER", ANSWER)  # it was not admitted


def _parcel(database: Database) -> int:
    from stories import Writer

    with database.write() as connection:
        writer = Writer(connection)
        study = writer.study(1)
        return writer.parcel(study, writer.result(writer.job(study, 1, "done")), "sent", destination="shadow")
