from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from listening import Node
from peers import free_port, wait_until
from pynetdicom import AE, evt

from dicom_node.dimse.send import Sender
from dicom_node.domain.sending import REASONS, OutgoingObject, stored
from dicom_node.errors import PeerError
from dicom_node.settings import PeerSettings

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
JPEG_XL = "1.2.840.10008.1.2.4.110"

Serve = Callable[[Callable[[Any], int]], PeerSettings]


def outgoing(
    folder: Path, number: int, data: bytes = b"data set", sop_class: str = CT, syntax: str = EXPLICIT
) -> OutgoingObject:
    path = folder / f"{number}.dcm"
    meta = b"\2\0\1\0OB\0\0\2\0\0\0\0\1"
    path.write_bytes(b"\0" * 128 + b"DICM\2\0\0\0UL\4\0" + len(meta).to_bytes(4, "little") + meta + data)
    return OutgoingObject(path, sop_class, f"1.2.{number}", syntax)


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts a pynetdicom peer that takes CT in Explicit VR only, and answers as the handler says."""
    servers = []

    def start(handler: Callable[[Any], int]) -> PeerSettings:
        ae = AE("PACS")
        ae.add_supported_context(CT, [EXPLICIT])
        port = free_port()
        servers.append(ae.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, handler)]))
        return PeerSettings(name="pacs", ae_title="PACS", host="127.0.0.1", port=port)

    yield start
    for server in servers:
        server.shutdown()


def test_data_sets_arrive_as_they_lie_on_the_disk(node: Node, tmp_path: Path) -> None:
    data = [b"x" * size for size in (1, 2, 1000, 131_066, 131_067, 1_000_001)]
    objects = [outgoing(tmp_path, number, each) for number, each in enumerate(data)]
    outcomes = Sender().send(node.peer, "SCU", objects)
    assert [(each.sop_instance_uid, each.status, each.ok, each.message) for each in outcomes] == [
        (f"1.2.{number}", 0, True, "") for number in range(6)
    ]
    assert [received for _, received in node.memory.objects] == data
    assert [inbound.sop_instance.decode() for inbound, _ in node.memory.objects] == [f"1.2.{n}" for n in range(6)]
    assert len({inbound.association.id for inbound, _ in node.memory.objects}) == 1


def test_each_transfer_syntax_is_kept(node: Node, tmp_path: Path) -> None:
    syntaxes = [EXPLICIT, JPEG_XL, "1.2.840.10008.1.2.2", "1.2.840.113619.5.2"]
    Sender().send(node.peer, "SCU", [outgoing(tmp_path, n, syntax=each) for n, each in enumerate(syntaxes)])
    assert [inbound.transfer_syntax for inbound, _ in node.memory.objects] == syntaxes


def test_more_than_128_contexts_take_several_associations(node: Node, tmp_path: Path) -> None:
    objects = [outgoing(tmp_path, number, sop_class=f"1.2.3.{number}") for number in range(130)]
    outcomes = Sender().send(node.peer, "SCU", objects)
    assert [each.ok for each in outcomes] == [True] * 130
    assert len({inbound.association.id for inbound, _ in node.memory.objects}) == 3  # each needs two contexts


def test_a_context_that_is_refused_hinders_only_its_objects(serve: Serve, tmp_path: Path) -> None:
    peer = serve(lambda event: 0)
    objects = [
        outgoing(tmp_path, 0, syntax=JPEG_XL),
        outgoing(tmp_path, 1, sop_class="1.2.3.4"),
        outgoing(tmp_path, 2),
    ]
    wrong_syntax, wrong_class, fine = Sender().send(peer, "SCU", objects)
    assert (wrong_syntax.ok, wrong_syntax.status) == (wrong_class.ok, wrong_class.status) == (False, None)
    assert "transfer syntax not supported" in wrong_syntax.message
    assert "SOP class not supported" in wrong_class.message
    assert fine.ok


@pytest.mark.parametrize(
    ("status", "reason", "message"),
    [
        (0xB000, "", "0xB000 coercion of data elements"),
        (0xB007, "", "0xB007 data set does not match SOP class"),
        (0x0111, "", "0x0111 an object of this UID is there already"),
        (0xA700, "out-of-resources", "0xA700 out of resources"),
        (0xA9FF, "object-refused", "0xA9FF data set does not match SOP class"),
        (0xC123, "object-refused", "0xC123 cannot understand"),
        (0x0110, "peer-failure", "0x0110 processing failure"),
        (0x0124, "object-refused", "0x0124 not authorized"),
    ],
)
def test_a_status_is_told_in_words(serve: Serve, tmp_path: Path, status: int, reason: str, message: str) -> None:
    (outcome,) = Sender().send(serve(lambda event: status), "SCU", [outgoing(tmp_path, 0)])
    assert (outcome.status, outcome.ok, outcome.reason, outcome.message) == (status, not reason, reason, message)
    assert stored(status) == (not reason)
    assert not reason or reason in REASONS


def test_outcomes_come_one_by_one_and_a_sender_that_is_closed_sends_no_more(node: Node, tmp_path: Path) -> None:
    outcomes = Sender().outcomes(node.peer, "SCU", [outgoing(tmp_path, number) for number in range(3)])
    assert next(outcomes).ok
    assert len(node.memory.objects) == 1
    outcomes.close()
    assert len(node.memory.objects) == 1
    wait_until(lambda: node.memory.ended, "the association to end")
    assert node.memory.ended[0][2]  # aborted


def test_after_a_lost_association_the_rest_is_not_sent(serve: Serve, tmp_path: Path) -> None:
    def abort_at_the_second(event: Any) -> int:
        if event.request.AffectedSOPInstanceUID == "1.2.1":
            event.assoc.abort()
        return 0

    outcomes = Sender(timeout_s=5).send(serve(abort_at_the_second), "SCU", [outgoing(tmp_path, n) for n in range(4)])
    assert [(each.ok, each.status) for each in outcomes] == [(True, 0)] + [(False, None)] * 3
    assert all(each.message.startswith("not sent: PACS at") for each in outcomes[1:])
    assert [each.reason for each in outcomes] == ["", "aborted", "not-sent", "not-sent"]


def test_a_file_that_is_unusable_hinders_only_itself(node: Node, tmp_path: Path) -> None:
    missing = OutgoingObject(tmp_path / "missing", CT, "1.2.8", EXPLICIT)
    text = tmp_path / "text"
    text.write_text("no DICOM")
    objects = [missing, OutgoingObject(text, CT, "1.2.9", EXPLICIT), outgoing(tmp_path, 0, b""), outgoing(tmp_path, 1)]
    outcomes = Sender().send(node.peer, "SCU", objects)
    assert [each.ok for each in outcomes] == [False, False, False, True]
    assert all(each.message.startswith("the file cannot be sent") for each in outcomes[:3])


def test_an_unreachable_peer_is_an_error(tmp_path: Path) -> None:
    peer = PeerSettings(name="pacs", ae_title="PACS", host="127.0.0.1", port=free_port())
    with pytest.raises(PeerError, match="connection refused"):
        Sender().send(peer, "SCU", [outgoing(tmp_path, 0)])


def test_nothing_to_send(node: Node) -> None:
    assert Sender().send(node.peer, "SCU", []) == []
    assert node.memory.ended == []
