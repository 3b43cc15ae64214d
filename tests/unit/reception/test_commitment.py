from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from peers import wait_until

from dicom_node.archive.commitments import Commitments
from dicom_node.archive.schema import commitment, instance
from dicom_node.dimse.commitment import Report
from dicom_node.dimse.inbound import InboundAssociation
from dicom_node.domain.commitment import Reference
from dicom_node.errors import LedgerError, PeerError
from dicom_node.reception import commitment as reception
from dicom_node.reception.commitment import CommitmentDesk, Reporter, Verifier
from dicom_node.reception.indexer import Indexer
from dicom_node.settings import DeliverySettings, NodeSettings, PeerSettings, Settings

CT = "1.2.840.10008.5.1.4.1.1.2"
ASKED = (Reference(CT, "1.2.3.1.1.1"),)
WHO = InboundAssociation("association-1", "CT", "DICOMNODE", "10.0.0.7")


def peer(name: str = "ct", **more: Any) -> PeerSettings:
    given = {"commitment": "archive", "commitment_days": 30, **more}
    return PeerSettings(name=name, ae_title=name.upper(), host="127.0.0.1", port=104, **given)


def settings(archive: Any, *peers: PeerSettings) -> Settings:
    pauses = DeliverySettings(first_pause_seconds=1.0, longest_pause_seconds=8.0)
    return Settings(node=NodeSettings(data_dir=archive.data_dir), peers=peers or (peer(),), delivery=pauses)


class Channel:
    """Stands in for an association that is open."""

    def __init__(self) -> None:
        self.open = True
        self.reports: list[Report] = []
        self.answers: dict[str, int] = {}

    def report(self, report: Report) -> None:
        self.reports.append(report)

    def answer(self, transaction_uid: str) -> int | None:
        return self.answers.get(transaction_uid)


class NoHints:
    def wait(self, timeout_s: float) -> list[dict[str, Any]]:
        return []


@pytest.fixture
def ledger(archive: Any) -> Commitments:
    return Commitments(archive.database)


@pytest.fixture
def verifier(archive: Any, ledger: Commitments) -> Verifier:
    return Verifier(settings(archive), ledger, archive.index, archive.store)


@pytest.fixture
def channel(monkeypatch: pytest.MonkeyPatch) -> Iterator[Channel]:
    monkeypatch.setattr(reception, "SETTLE_S", 0.05)
    made = Channel()
    yield made
    made.open = False


def state(archive: Any) -> str:
    return str(archive.rows(commitment)[0].state)


def test_only_peers_whose_settings_say_so_may_ask(archive: Any) -> None:
    off = peer("mr", commitment="off", commitment_days=None)
    desk = CommitmentDesk(settings(archive, peer(), off), lambda: Commitments(archive.database))
    assert [desk.admits(title) for title in ("CT", " CT ", "MR", "OTHER")] == [True, True, False, False]


def test_a_request_is_in_the_ledger_before_it_is_answered(archive: Any, ledger: Commitments, channel: Any) -> None:
    desk = CommitmentDesk(settings(archive), lambda: ledger)
    assert desk.request(WHO, "1.2.9", ASKED, channel) == 0x0000
    assert [asked.references for asked in ledger.requested()] == [ASKED]
    assert desk.request(WHO, "1.2.9", (Reference(CT, "1.2.3.1.1.9"),), channel) == 0x0115


def test_a_request_that_cannot_be_kept_is_refused(archive: Any, channel: Any) -> None:
    def broken() -> Commitments:
        raise LedgerError("no ledger", reason="database")

    assert CommitmentDesk(settings(archive), broken).request(WHO, "1.2.9", ASKED, channel) == 0x0110


def test_the_desk_reports_over_the_open_association(
    archive: Any, ledger: Commitments, verifier: Verifier, channel: Channel
) -> None:
    archive.add(archive.image(1))
    desk = CommitmentDesk(settings(archive), lambda: ledger)
    desk.request(WHO, "1.2.9", ASKED, channel)  # type: ignore[arg-type]
    verifier.tick()
    wait_until(lambda: channel.reports, "the report")
    assert (channel.reports[0].event_type, channel.reports[0].transaction_uid) == (1, "1.2.9")
    assert ledger.to_report() == ()
    channel.answers["1.2.9"] = 0x0000
    wait_until(lambda: state(archive) == "reported", "its answer")
    assert len(channel.reports) == 1


def test_an_association_that_ends_leaves_its_reports_to_others(
    archive: Any, ledger: Commitments, verifier: Verifier, channel: Channel
) -> None:
    archive.add(archive.image(1))
    desk = CommitmentDesk(settings(archive), lambda: ledger)
    desk.request(WHO, "1.2.9", ASKED, channel)  # type: ignore[arg-type]
    channel.open = False
    verifier.tick()
    wait_until(ledger.to_report, "the report to be free")
    assert channel.reports == []


def test_no_answer_over_the_association_leaves_it_to_others(
    archive: Any, ledger: Commitments, verifier: Verifier, channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reception, "ANSWER_S", 0.05)
    archive.add(archive.image(1))
    desk = CommitmentDesk(settings(archive), lambda: ledger)
    desk.request(WHO, "1.2.9", ASKED, channel)  # type: ignore[arg-type]
    verifier.tick()
    wait_until(ledger.to_report, "the report to be free")
    assert archive.rows(commitment)[0].error["reason"] == "no-answer"


def test_an_object_right_behind_which_a_request_came_is_waited_for(
    archive: Any, ledger: Commitments, verifier: Verifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reception, "TICK_S", 0.05)
    monkeypatch.setattr(reception, "_LOOK_S", 0.01)
    archive.put(archive.image(1))
    ledger.request("ct", "1.2.9", ASKED, "a", 0.0)
    assert verifier.tick()
    assert state(archive) == "requested"
    Indexer(archive.index, archive.store, NoHints()).tick()
    wait_until(lambda: not verifier.tick(), "the verdict")
    assert archive.rows(commitment)[0].failures == {}
    assert archive.rows(instance)[0].kept_until is not None


def test_an_object_that_never_gets_into_the_index_holds_nobody_up_for_ever(
    archive: Any, ledger: Commitments, verifier: Verifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reception, "CATCH_UP_S", 0.05)
    archive.add(archive.image(1))
    archive.put(archive.image(2))
    ledger.request("ct", "1.2.9", (*ASKED, Reference(CT, "1.2.3.1.1.2")), "a", 0.0)
    wait_until(lambda: not verifier.tick(), "the verdict")
    assert archive.rows(commitment)[0].failures == {"1.2.3.1.1.2": 0x0112}


def test_both_revisions_are_kept(archive: Any, ledger: Commitments, verifier: Verifier) -> None:
    archive.add(archive.image(1))
    archive.add(archive.image(1, PatientName="Doe^Janet"))
    ledger.request("ct", "1.2.9", ASKED, "a", 0.0)
    verifier.tick()
    assert archive.rows(commitment)[0].failures == {}
    assert [row.kept_until is not None for row in archive.rows(instance)] == [True, True]

    (archive.data_dir / archive.rows(instance)[0].path).unlink()
    ledger.request("ct", "1.2.10", ASKED, "a", 0.0)
    verifier.tick()
    assert archive.rows(commitment)[1].failures == {"1.2.3.1.1.1": 0x0110}


def test_a_peer_that_may_no_longer_ask_is_refused(archive: Any, ledger: Commitments) -> None:
    archive.add(archive.image(1))
    ledger.request("ct", "1.2.9", ASKED, "a", 0.0)
    off = peer(commitment="off", commitment_days=None)
    Verifier(settings(archive, off), ledger, archive.index, archive.store).tick()
    assert archive.rows(commitment)[0].failures == {"1.2.3.1.1.1": 0x0110}
    assert archive.rows(instance)[0].kept_until is None


def test_a_peer_that_is_away_is_tried_once_a_pass_and_does_not_hold_up_others(
    archive: Any, ledger: Commitments
) -> None:
    tried: list[str] = []

    def send(peer: PeerSettings, calling_ae: str, report: Report) -> int:
        tried.append(peer.name)
        if peer.name == "ct":
            raise PeerError("ct is away", reason="unreachable")
        return 0x0000

    for name, transaction in (("ct", "1.1"), ("ct", "1.2"), ("mr", "1.3"), ("gone", "1.4")):
        ledger.request(name, transaction, ASKED, "a", 0.0)
        ledger.verified(ledger.requested()[0], {}, [], 30)
    reporter = Reporter(settings(archive, peer(), peer("mr")), ledger, send)
    assert reporter.tick() == 1
    assert tried == ["ct", "mr"]
    assert [row.state for row in archive.rows(commitment)] == ["verified", "verified", "reported", "verified"]
    told = [row.error and row.error["reason"] for row in archive.rows(commitment)]
    assert told == ["unreachable", "unreachable", None, "unknown-peer"]
    assert reporter.tick() == 0
    assert tried == ["ct", "mr"]


@pytest.mark.parametrize(("status", "after"), [(0x0000, "reported"), (0x0112, "reported"), (0x0110, "verified")])
def test_any_answer_but_trouble_ends_the_matter(archive: Any, ledger: Commitments, status: int, after: str) -> None:
    ledger.request("ct", "1.1", ASKED, "a", 0.0)
    ledger.verified(ledger.requested()[0], {}, [], 30)
    Reporter(settings(archive), ledger, lambda peer, calling_ae, report: status).tick()
    assert state(archive) == after
