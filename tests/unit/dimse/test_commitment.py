from __future__ import annotations

import queue
import ssl
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from certificates import Authority
from hypothesis import given
from hypothesis import strategies as st
from peers import free_port
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.dimse_messages import N_EVENT_REPORT_RQ
from pynetdicom.dsutils import decode

from dicom_node.dimse.commitment import Channel, Report, _asked, send_report
from dicom_node.domain.commitment import PUSH_MODEL, Reference
from dicom_node.errors import PeerError
from dicom_node.settings import PeerSettings, TlsSettings

CT = "1.2.840.10008.5.1.4.1.1.2"
UIDS = st.lists(st.integers(1, 10**20).map(lambda number: f"1.2.{number}"), unique=True, min_size=1, max_size=30)


def report(count: int = 1, failures: dict[str, int] | None = None) -> Report:
    return Report("1.2.9", [Reference(CT, f"1.2.3.{number}") for number in range(count)], failures or {})


@given(uids=UIDS, data=st.data())
def test_a_report_names_every_object_once(uids: list[str], data: st.DataObject) -> None:
    failures = {uid: 0x0110 for uid in data.draw(st.sets(st.sampled_from(uids)))}
    made = Report("1.2.9", [Reference(CT, uid) for uid in uids], failures)
    told = made.dataset()
    good = [item.ReferencedSOPInstanceUID for item in told.get("ReferencedSOPSequence", [])]
    bad = {item.ReferencedSOPInstanceUID: item.FailureReason for item in told.get("FailedSOPSequence", [])}
    assert (bad, sorted([*good, *bad])) == (failures, sorted(uids))
    assert made.event_type == (2 if failures else 1)
    assert ("ReferencedSOPSequence" in told, "FailedSOPSequence" in told) == (bool(good), bool(bad))


def asked(transaction: str = "1.2.9", *references: tuple[str, str]) -> Dataset:
    made = Dataset()
    made.TransactionUID = transaction
    made.ReferencedSOPSequence = []
    for sop_class, sop_uid in references:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, sop_uid
        made.ReferencedSOPSequence.append(item)
    return made


def test_a_request_is_read_in_an_order_of_its_own_and_without_repetitions() -> None:
    read = _asked(asked("1.2.9", (CT, "1.2.3.2"), (CT, "1.2.3.1"), (CT, "1.2.3.2")))
    assert read == ("1.2.9", (Reference(CT, "1.2.3.1"), Reference(CT, "1.2.3.2")))


@pytest.mark.parametrize(
    "wrong",
    [
        Dataset(),
        asked("1.2.9"),
        asked("", (CT, "1.2.3")),
        asked("1.2." + "9" * 70, (CT, "1.2.3")),
        asked("1.2.9", ("", "1.2.3")),
        asked("1.2.9", (CT, "")),
    ],
)
def test_a_request_that_lacks_something_is_refused(wrong: Dataset) -> None:
    with pytest.raises(ValueError, match="0008,11"):
        _asked(wrong)


class Association:
    """Stands in for an association that a peer opened."""

    def __init__(self, syntax: str = ExplicitVRLittleEndian, largest: int = 16384) -> None:
        self.is_established = True
        self.accepted_contexts = [SimpleNamespace(abstract_syntax=PUSH_MODEL, context_id=3, transfer_syntax=[syntax])]
        self.dimse = SimpleNamespace(maximum_pdu_size=largest)
        self.dul = SimpleNamespace(to_provider_queue=queue.Queue(), send_pdu=self._send)
        self.take_response: Any = None
        self.woken_with = 0

    def _send(self, primitive: Any) -> None:
        self.dul.to_provider_queue.put(primitive)
        self.woken_with = self.dul.to_provider_queue.qsize()


def received(association: Association) -> N_EVENT_REPORT_RQ:
    message = N_EVENT_REPORT_RQ()
    whole = False
    while not whole:
        whole = bool(message.decode_msg(association.dul.to_provider_queue.get_nowait()))
    return message


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
@pytest.mark.parametrize("largest", [1024, 16384])
def test_a_report_over_an_open_association_is_queued_in_one_piece(syntax: str, largest: int) -> None:
    association = Association(syntax, largest)
    Channel(association).report(report(500))
    assert association.woken_with > (500 * 40) // largest
    message = received(association)
    assert (message.command_set.EventTypeID, message.command_set.AffectedSOPClassUID) == (1, PUSH_MODEL)
    told = decode(message.data_set, syntax == ImplicitVRLittleEndian, True)
    assert told.TransactionUID == "1.2.9"
    assert len(told.ReferencedSOPSequence) == 500
    assert association.dul.to_provider_queue.empty()


def test_answers_find_their_transactions() -> None:
    association = Association()
    channel = Channel(association)
    first, second = report(), Report("1.2.10", report().references, {})
    channel.report(first)
    channel.report(second)
    numbers = [received(association).command_set.MessageID for _ in range(2)]
    assert numbers[0] != numbers[1]
    assert channel.answer("1.2.9") is None
    association.take_response(SimpleNamespace(MessageIDBeingRespondedTo=numbers[1], Status=0x0110))
    association.take_response(SimpleNamespace(MessageIDBeingRespondedTo=999, Status=0x0000))
    assert (channel.answer("1.2.9"), channel.answer("1.2.10")) == (None, 0x0110)


def test_nothing_is_sent_over_an_association_that_has_ended() -> None:
    association = Association()
    association.is_established = False
    with pytest.raises(PeerError, match="has ended"):
        Channel(association).report(report())


class Peer:
    """A listener for reports, over TLS or not."""

    def __init__(self, status: int = 0x0000, context: ssl.SSLContext | None = None, abstract: str = PUSH_MODEL) -> None:
        self.taken: list[Dataset] = []
        self.status = status
        ae = AE("CT")
        ae.add_supported_context(abstract, scu_role=False, scp_role=True)
        handlers = [(evt.EVT_N_EVENT_REPORT, self._take)]
        self.port = free_port()
        address = ("127.0.0.1", self.port)
        self.server = ae.start_server(address, block=False, evt_handlers=handlers, ssl_context=context)

    def settings(self, **more: Any) -> PeerSettings:
        return PeerSettings(name="ct", ae_title="CT", host="127.0.0.1", port=self.port, **more)

    def _take(self, event: Any) -> tuple[int, None]:
        self.taken.append(event.event_information)
        return self.status, None


@pytest.fixture
def peers() -> Iterator[list[Peer]]:
    started: list[Peer] = []
    yield started
    for one in started:
        one.server.shutdown()


def test_the_status_of_a_peer_is_given_back(peers: list[Peer]) -> None:
    peers.append(Peer(0x0110))
    assert send_report(peers[0].settings(), "DICOMNODE", report(3)) == 0x0110
    assert len(peers[0].taken[0].ReferencedSOPSequence) == 3


def test_a_peer_that_is_away_or_takes_no_reports_is_told(peers: list[Peer]) -> None:
    peers.append(Peer(abstract="1.2.840.10008.1.1"))
    with pytest.raises(PeerError) as caught:
        send_report(peers[0].settings(), "DICOMNODE", report())
    assert caught.value.reason == "context-refused"
    away = PeerSettings(name="ct", ae_title="CT", host="127.0.0.1", port=free_port())
    with pytest.raises(PeerError) as caught:
        send_report(away, "DICOMNODE", report())
    assert caught.value.reason == "unreachable"


def test_reports_go_over_tls_to_the_certificate_that_is_known(tmp_path: Path, peers: list[Peer]) -> None:
    authority = Authority.make(tmp_path / "authority")
    theirs = authority.sign("ct")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(theirs.file, theirs.key)
    peers.append(Peer(context=context))
    tls = TlsSettings(ca=authority.own.file)
    for certificate in ("", f"sha256:{theirs.fingerprint()}"):
        known = peers[0].settings(tls=True, receive=False, certificate=certificate)
        assert send_report(known, "DICOMNODE", report(), tls=tls) == 0x0000
    other = peers[0].settings(tls=True, receive=False, certificate="CN=mr")
    with pytest.raises(PeerError, match="another certificate"):
        send_report(other, "DICOMNODE", report(), tls=tls)
    assert len(peers[0].taken) == 2
