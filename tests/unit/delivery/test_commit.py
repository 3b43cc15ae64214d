"""What follows from an answer about Storage Commitment, and from none; with real associations: integration/delivery."""

from __future__ import annotations

import pytest
from deliveries import Bench
from sqlalchemy import update

from dicom_node.archive.commitment_requests import CommitmentRequests
from dicom_node.archive.database import db_later
from dicom_node.archive.schema import commitment_request
from dicom_node.delivery.commit import MOST_ASKS
from dicom_node.domain.commitment_answer import Answer
from dicom_node.domain.parcel import ParcelState

PEER = 0  # its place in the settings


def sent(bench: Bench) -> int:
    number = bench.add()
    found = bench.parcel(number)
    bench.parcels.took(number, [made.sop_uid for made in found.artifacts])
    bench.parcels.sent(number, verify_after_s=0)
    bench.peer.held |= {made.sop_uid for made in found.artifacts}
    return number


def asked(bench: Bench, number: int, transaction: str = "2.25.1") -> None:
    CommitmentRequests(bench.database).ask(number, bench.parcel(number).study_id, "pacs", transaction, 3600)


def answer(bench: Bench, number: int, failed: int = 0, reason: int = 0x0112) -> None:
    uids = [made.sop_uid for made in bench.parcel(number).artifacts]
    told = Answer("2.25.1", frozenset(uids[failed:]), dict.fromkeys(uids[:failed], reason))
    assert CommitmentRequests(bench.database).answered(["pacs"], told)


def verify(bench: Bench, number: int) -> None:
    bench.committer.verify([bench.parcel(number)], bench.settings.peers[PEER])


def test_success_for_every_object_is_a_commitment(bench: Bench) -> None:
    number = sent(bench)
    asked(bench, number)
    answer(bench, number)
    verify(bench, number)
    assert bench.parcel(number).state == ParcelState.COMMITTED
    assert "parcel committed" in bench.told(number)


@pytest.mark.parametrize(
    ("reason", "state"),
    [
        (0x0112, ParcelState.DUE),  # it has not got the object: it gets it again
        (0x0119, ParcelState.REFUSED),  # class and instance contradict each other: a person must look
        (0x0122, ParcelState.PRESENT),  # it does not commit to this class: it is looked into
    ],
)
def test_an_object_that_failed_decides_by_its_reason(bench: Bench, reason: int, state: ParcelState) -> None:
    number = sent(bench)
    asked(bench, number)
    answer(bench, number, failed=1, reason=reason)
    verify(bench, number)
    assert bench.parcel(number).state == state


def test_while_an_answer_may_come_nobody_is_asked_again(bench: Bench) -> None:
    number = sent(bench)
    asked(bench, number)
    verify(bench, number)
    assert bench.parcel(number).state == ParcelState.SENT
    assert CommitmentRequests(bench.database).asks(number, bench.parcel(number).sent_at) == 1


def test_a_peer_that_never_answers_is_looked_into(bench: Bench) -> None:
    number = sent(bench)
    for turn in range(MOST_ASKS):
        asked(bench, number, f"2.25.{turn + 1}")
    with bench.database.write() as connection:
        connection.execute(update(commitment_request).values(until=db_later(-1)))
    verify(bench, number)
    found = bench.parcel(number)
    assert found.state == ParcelState.PRESENT
    assert "asked 3 times for commitment in vain" in found.verification


def test_a_peer_that_cannot_be_reached_is_asked_later(bench: Bench) -> None:
    number = sent(bench)
    verify(bench, number)  # nobody listens at its port
    found = bench.parcel(number)
    assert found.state == ParcelState.SENT
    assert found.verification.startswith("not asked yet: ")
