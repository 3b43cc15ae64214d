from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update

from dicom_node.archive.commitments import Commitments
from dicom_node.archive.database import Database
from dicom_node.archive.forwarding import Order, forward
from dicom_node.archive.schema import commitment, instance, parcel
from dicom_node.domain.commitment import CommitmentState, Reference
from dicom_node.domain.parcel import ParcelState
from dicom_node.errors import PeerError

CT = "1.2.840.10008.5.1.4.1.1.2"
ASKED = (Reference(CT, "1.2.3.1.1.1"), Reference(CT, "1.2.3.1.1.2"))
AWAY = PeerError("ct is away", reason="unreachable", remedy="wait")


@pytest.fixture
def commitments(database: Database) -> Commitments:
    return Commitments(database)


def request(commitments: Commitments, transaction: str = "1.2.9", association: str = "a", lease_s: float = 0.0) -> bool:
    return commitments.request("ct", transaction, ASKED, association, lease_s)


def test_a_request_goes_its_way(commitments: Commitments) -> None:
    assert request(commitments)
    (asked,) = commitments.requested()
    assert (asked.peer, asked.transaction_uid, asked.references) == ("ct", "1.2.9", ASKED)
    assert commitments.to_report() == ()

    commitments.verified(asked, {"1.2.3.1.1.2": 0x112}, [], 30)
    assert commitments.requested() == ()
    (due,) = commitments.to_report()
    assert (due.state, due.failures) == (CommitmentState.VERIFIED, {"1.2.3.1.1.2": 0x112})

    commitments.reported(due.id, 0x0000)
    assert commitments.requested() == commitments.to_report() == ()


def test_an_open_association_has_the_report_to_itself(commitments: Commitments) -> None:
    request(commitments, "1.2.9.1", "a", lease_s=60.0)
    request(commitments, "1.2.9.2", "b", lease_s=60.0)
    for asked in commitments.requested():
        commitments.verified(asked, {}, [], 30)
    assert commitments.to_report() == ()
    assert [due.transaction_uid for due in commitments.to_report_over("a")] == ["1.2.9.1"]
    commitments.release("a")
    assert commitments.to_report_over("a") == ()
    assert [due.transaction_uid for due in commitments.to_report()] == ["1.2.9.1"]


def test_a_lease_that_nobody_renews_ends(commitments: Commitments) -> None:
    request(commitments, lease_s=-1.0)
    commitments.verified(commitments.requested()[0], {}, [], 30)
    assert len(commitments.to_report()) == 1
    commitments.hold("a", 60.0)
    assert commitments.to_report() == ()


def test_a_report_without_an_answer_is_due_again_after_a_pause(commitments: Commitments) -> None:
    request(commitments, lease_s=60.0)
    asked = commitments.requested()[0]
    commitments.verified(asked, {}, [], 30)
    commitments.not_reported(asked.id, AWAY, 60.0)
    assert commitments.to_report() == ()
    commitments.not_reported(asked.id, AWAY, -1.0)
    (due,) = commitments.to_report()
    assert due.tries == 2


def test_a_repeated_request_starts_anew_and_another_of_its_name_is_refused(commitments: Commitments) -> None:
    request(commitments)
    asked = commitments.requested()[0]
    commitments.verified(asked, {}, [], 30)
    commitments.reported(asked.id, 0x0000)
    assert request(commitments)
    assert [again.id for again in commitments.requested()] == [asked.id]
    assert not commitments.request("ct", "1.2.9", ASKED[:1], "a", 0.0)
    assert commitments.request("mr", "1.2.9", ASKED[:1], "a", 0.0)


def test_a_verdict_counts_once(commitments: Commitments) -> None:
    request(commitments)
    asked = commitments.requested()[0]
    commitments.verified(asked, {}, [], 30)
    commitments.verified(asked, {"1.2.3.1.1.1": 0x110}, [], 30)
    assert commitments.to_report()[0].failures == {}


def test_what_was_promised_longer_is_kept_longer(archive: Any) -> None:
    archive.add(archive.image(1), archive.image(2))
    commitments = Commitments(archive.database)
    first, second = (row.id for row in archive.rows(instance))
    for days, keep in ((30, [first]), (10, [first, second])):
        request(commitments, f"1.2.9.{days}")
        commitments.verified(commitments.requested()[0], {}, keep, days)
    now = datetime.now(UTC)
    kept = [row.kept_until - now for row in archive.rows(instance)]
    assert [round(left / timedelta(days=1)) for left in kept] == [30, 10]
    assert all(row.kept_until is not None for row in archive.rows(commitment))


def test_a_promise_of_nothing_has_no_end(archive: Any) -> None:
    commitments = Commitments(archive.database)
    request(commitments)
    commitments.verified(commitments.requested()[0], {"1.2.3.1.1.1": 0x112, "1.2.3.1.1.2": 0x112}, [], 30)
    assert archive.rows(commitment)[0].kept_until is None


def test_stored_objects_are_found_by_name_however_many(archive: Any) -> None:
    archive.add(*(archive.image(number) for number in range(1, 4)))
    commitments = Commitments(archive.database)
    found = commitments.stored(["1.2.3.1.1.1", "1.2.3.1.1.3", *(f"1.9.{number}" for number in range(2000))])
    assert [one.sop_uid for one in found] == ["1.2.3.1.1.1", "1.2.3.1.1.3"]


def test_the_history_tells_each_step_and_the_same_trouble_once(archive: Any) -> None:
    commitments = Commitments(archive.database)
    request(commitments)
    asked = commitments.requested()[0]
    commitments.verified(asked, {}, [], 30)
    for _ in range(3):
        commitments.not_reported(asked.id, AWAY, 0.0)
    commitments.reported(asked.id, 0x0000)
    for kind in ("requested", "verified", "not reported", "reported"):
        assert len(archive.events(f"commitment {kind}")) == 1, kind


def test_a_request_that_waits_is_left_alone_for_a_while(commitments: Commitments) -> None:
    request(commitments)
    (asked,) = commitments.requested()
    commitments.wait(asked.id, 60.0)
    assert commitments.requested() == ()
    commitments.wait(asked.id, -1.0)
    assert commitments.requested() == (asked,)


def test_what_became_of_objects_at_the_archive(archive: Any) -> None:
    archive.add(archive.image(1), archive.image(2), archive.image(3))
    forward(archive.database, Order(1, "on", "pacs", "PACS", None))
    with archive.database.write() as connection:
        connection.execute(update(parcel).values(state="committed"))
    archive.add(archive.image(2, PatientName="Doe^Janet"))
    found = Commitments(archive.database).relayed(["1.2.3.1.1.1", "1.2.3.1.1.2", "1.2.3"], "pacs")
    told = {uid: [(one.stored.state, one.planned, one.parcel) for one in ones] for uid, ones in found.items()}
    committed = ParcelState.COMMITTED
    assert told == {
        "1.2.3.1.1.1": [("current", True, committed)],
        "1.2.3.1.1.2": [("superseded", True, committed), ("current", False, None)],
    }
    elsewhere = Commitments(archive.database).relayed(["1.2.3.1.1.1"], "other")
    assert [one.planned for one in elsewhere["1.2.3.1.1.1"]] == [False]
