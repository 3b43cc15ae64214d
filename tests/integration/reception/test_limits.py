"""What a peer may not do, each with raw bytes, and that the others are served all the while."""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from listening import Memory, Node
from peers import free_port, wait_until

from dicom_node.dimse import command
from dicom_node.dimse.acceptor import Acceptor
from dicom_node.dimse.associate import Association, Proposal, echo
from dicom_node.dimse.command import Command
from dicom_node.errors import PeerError
from dicom_node.settings import NodeSettings, PeerSettings, Settings

CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
CT_PROPOSAL, MR_PROPOSAL = (Proposal(each, ("1.2.840.10008.1.2.1",)) for each in (CT, MR))
ABORT_BY_PROVIDER = bytes.fromhex("0700000000040000")
StartNode = Callable[..., Node]


@pytest.fixture
def start() -> Iterator[StartNode]:
    """Starts nodes that admit everybody; takes keys of [node], and peers."""
    started: list[Node] = []

    def node(*peers: PeerSettings, **keys: object) -> Node:
        port = free_port()
        own = NodeSettings.model_validate({"host": "127.0.0.1", "port": port, "unknown_peers": "accept", **keys})
        memory = Memory()
        acceptor = Acceptor(Settings(node=own, peers=peers), memory)
        acceptor.start()
        us = PeerSettings(name="node", ae_title="DICOMNODE", host="127.0.0.1", port=port)
        started.append(Node(acceptor, memory, us))
        return started[-1]

    yield node
    for each in started:
        each.acceptor.stop()


def known(ae_title: str, **keys: object) -> PeerSettings:
    base = {"name": ae_title.lower(), "ae_title": ae_title, "host": "127.0.0.1", "port": 104}
    return PeerSettings.model_validate({**base, **keys})


def raw(node: Node) -> socket.socket:
    connection = socket.create_connection((node.peer.host, node.peer.port))
    connection.settimeout(20)
    return connection


def rest(connection: socket.socket) -> bytes:
    """What still comes until the other side closes."""
    data = b""
    while True:
        try:
            part = connection.recv(65536)
        except ConnectionResetError:
            return data
        if not part:
            return data
        data += part


def begin(association: Association, number: int = 1, sop_class: str = CT) -> socket.socket:
    """Send a C-STORE request, without its data."""
    connection = association._socket
    asked = command.request(command.C_STORE_RQ, sop_class, number, sop_instance=f"1.2.{number}", has_data_set=True)
    connection.sendall(command.pdu(1, 3, asked))
    association._message_id = number
    return connection


def send(association: Association, data: bytes, number: int) -> Command:
    connection = begin(association, number)
    for at in range(0, len(data), 10_000):
        part = data[at : at + 10_000]
        connection.sendall(command.pdu(1, 2 if at + len(part) == len(data) else 0, part))
    return association.response()[0]


@pytest.mark.parametrize(
    "said", [b"", b"\x01", bytes.fromhex("010000000100") + b"\0" * 10], ids=["nothing", "a byte", "half a request"]
)
def test_whoever_asks_for_no_association_is_disconnected(start: StartNode, said: bytes) -> None:
    node = start(association_seconds=1.0, maximum_associations=1)
    silent = raw(node)
    silent.sendall(said)
    assert echo(node.peer, "SCU") > 0  # it holds no place
    assert rest(silent) == b""
    wait_until(lambda: not node.acceptor.associations(), "its end")


def test_a_request_that_dribbles_is_cut_off(start: StartNode) -> None:
    node = start(association_seconds=1.0)
    connection = raw(node)
    connection.sendall(bytes.fromhex("0100000000cd"))
    with pytest.raises(OSError):
        while True:
            connection.sendall(b"\0")
            time.sleep(0.2)
    assert echo(node.peer, "SCU") > 0


def test_a_request_of_gigabytes_is_not_waited_for(start: StartNode) -> None:
    node = start()
    connection = raw(node)
    connection.sendall(bytes.fromhex("0100ffffffff"))
    assert rest(connection)[:6] == bytes.fromhex("070000000004")


def test_a_silent_association_is_aborted(start: StartNode) -> None:
    node = start(idle_seconds=0.5)
    association = Association(node.peer, "SCU", [CT_PROPOSAL])
    assert rest(association._socket)[:8] == ABORT_BY_PROVIDER
    wait_until(lambda: node.memory.ended, "its end")
    assert node.memory.ended[0][1:] == (0, True)


def test_a_pdu_that_is_not_whole_in_time_is_aborted(start: StartNode) -> None:
    node = start(pdu_seconds=1.0)
    association = Association(node.peer, "SCU", [CT_PROPOSAL])
    connection = begin(association)
    connection.sendall(command.pdu(1, 2, b"x" * 1000)[:-900])
    for _ in range(3):
        connection.sendall(b"x")
        time.sleep(0.2)
    assert rest(connection)[:8] == ABORT_BY_PROVIDER
    wait_until(lambda: node.memory.ended, "its end")
    assert (node.memory.discarded, node.memory.objects) == (1, [])


def test_an_object_that_comes_too_slowly_is_aborted(start: StartNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dicom_node.dimse.pace.SLOW_WINDOW_S", 1.0)
    node = start(slowest_bytes_per_second=1000)
    association = Association(node.peer, "SCU", [CT_PROPOSAL])
    connection = begin(association)
    with pytest.raises(OSError):
        while True:  # each PDU is whole
            connection.sendall(command.pdu(1, 0, b"x" * 10))
            time.sleep(0.2)
    wait_until(lambda: node.memory.ended, "its end")
    assert (node.memory.discarded, node.memory.objects) == (1, [])


def test_a_slow_disk_is_not_the_peers_fault(start: StartNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dicom_node.dimse.pace.SLOW_WINDOW_S", 0.5)
    node = start(slowest_bytes_per_second=1000, pdu_seconds=0.5, idle_seconds=0.5)
    node.memory.before_commit = lambda: time.sleep(1.5)
    with Association(node.peer, "SCU", [CT_PROPOSAL]) as association:
        assert send(association, b"data", 1).number(0x0900) == 0


def test_a_pdu_larger_than_agreed_upon_is_aborted(start: StartNode) -> None:
    node = start(maximum_pdu_size=16384)
    association = Association(node.peer, "SCU", [CT_PROPOSAL])
    assert association._fragment == 16384 - 6
    connection = begin(association)
    connection.sendall(struct.pack(">BBL", 4, 0, 16385) + b"\0" * 100)
    assert rest(connection)[:8] == ABORT_BY_PROVIDER


def test_an_object_that_is_too_large_is_read_to_its_end_and_refused(start: StartNode) -> None:
    node = start(maximum_object_bytes=100_000)
    with Association(node.peer, "SCU", [CT_PROPOSAL]) as association:
        sizes = (100_000, 100_001, 900_000, 10)
        answers = [send(association, os.urandom(size), number) for number, size in enumerate(sizes, start=1)]
    assert [answer.number(0x0900) for answer in answers] == [0, 0xA700, 0xA700, 0]
    assert answers[1].elements[0x0902].strip() == b"it has more than 100000 bytes"
    assert [len(data) for _, data in node.memory.objects] == [100_000, 10]
    assert node.memory.discarded == 2


def test_only_allowed_classes_are_accepted(start: StartNode) -> None:
    node = start(known("MRONLY", sop_classes=[MR]))
    with Association(node.peer, "MRONLY", [CT_PROPOSAL, MR_PROPOSAL]) as association:
        assert association.agreed(CT_PROPOSAL) is None
        assert association.refused(CT_PROPOSAL) == "SOP class not supported"
        assert association.agreed(MR_PROPOSAL) is not None
    assert echo(node.peer, "MRONLY") > 0
    with Association(node.peer, "MRONLY", [MR_PROPOSAL]) as association:
        begin(association, sop_class=CT).sendall(command.pdu(1, 2, b"data"))
        assert association.response()[0].number(0x0900) == 0x0122
    assert node.memory.begun == 0


def test_a_peer_has_its_own_maximum_of_associations(start: StartNode) -> None:
    node = start(known("CT", maximum_associations=1), maximum_associations=3)
    first = Association(node.peer, "CT", [CT_PROPOSAL])
    with pytest.raises(PeerError, match=r"rejected transient.*local limit exceeded"):
        Association(node.peer, "CT", [CT_PROPOSAL])
    others = [Association(node.peer, "SCU", [CT_PROPOSAL]) for _ in range(2)]
    with pytest.raises(PeerError, match=r"rejected transient.*local limit exceeded"):
        Association(node.peer, "SCU", [CT_PROPOSAL])
    for association in (first, *others):
        association.release()
    wait_until(lambda: len(node.memory.ended) == 3, "their ends")
    wait_until(lambda: not node.acceptor.associations(), "their places")
    Association(node.peer, "CT", [CT_PROPOSAL]).release()


def test_other_addresses_are_not_recognized(start: StartNode) -> None:
    node = start(known("CT", addresses=["10.0.0.0/8"]), known("MR", addresses=["127.0.0.0/8"]))
    assert echo(node.peer, "MR") > 0
    with pytest.raises(PeerError, match="calling ae title not recognised"):
        echo(node.peer, "CT")


def test_a_full_disk_lets_nobody_in_until_there_is_room(start: StartNode) -> None:
    node = start()
    open_before = Association(node.peer, "SCU", [CT_PROPOSAL])
    node.memory.why_full = "7 MB of the disk are free, at least 500 must be"
    with pytest.raises(PeerError, match=r"rejected transient.*local limit exceeded"):
        echo(node.peer, "SCU")
    assert send(open_before, b"data", 1).number(0x0900) == 0
    open_before.release()
    node.memory.why_full = ""
    assert echo(node.peer, "SCU") > 0


@pytest.mark.parametrize(
    ("keys", "shortest_s"), [({"objects_per_second": 10.0}, 0.9), ({"bytes_per_second": 100_000}, 0.9)]
)
def test_a_peer_that_is_too_fast_is_slowed_down_and_loses_nothing(
    start: StartNode, keys: dict[str, object], shortest_s: float
) -> None:
    node = start(known("FAST", **keys), slowest_bytes_per_second=1_000_000)
    started = time.monotonic()
    with (
        Association(node.peer, "FAST", [CT_PROPOSAL]) as first,
        Association(node.peer, "FAST", [CT_PROPOSAL]) as second,
    ):
        for number in range(1, 11):
            assert send(first, b"x" * 10_000, number).number(0x0900) == 0
            assert send(second, b"x" * 10_000, number).number(0x0900) == 0
    assert time.monotonic() - started >= shortest_s
    assert len(node.memory.objects) == 20


def test_connections_beyond_all_measure_are_closed_and_the_node_goes_on(
    start: StartNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dicom_node.dimse.acceptor._CONNECTIONS_BESIDE", 20)
    node = start(maximum_associations=10, association_seconds=3.0)
    crowd = [raw(node) for _ in range(60)]
    wait_until(lambda: len(node.acceptor.associations()) >= 30, "the crowd")
    closed = [connection for connection in crowd if rest(connection) == b""]
    assert len(closed) == 60  # most at once, the others when their time is over
    wait_until(lambda: not node.acceptor.associations(), "its end")
    assert echo(node.peer, "SCU") > 0


def test_connections_that_wait_end_with_the_node(start: StartNode, caplog: pytest.LogCaptureFixture) -> None:
    node = start()
    waiting = [raw(node) for _ in range(3)]
    waiting[0].sendall(b"\x01")
    wait_until(lambda: len(node.acceptor.associations()) == 3, "the connections")
    node.acceptor.stop()
    assert [rest(connection) for connection in waiting] == [b""] * 3
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []


def test_what_ends_leaves_no_descriptor_and_no_thread(start: StartNode) -> None:
    node = start(association_seconds=0.3, idle_seconds=0.3)

    def open_files() -> int:
        return len(os.listdir("/proc/self/fd"))

    echo(node.peer, "SCU")
    wait_until(lambda: not node.acceptor.associations(), "its end")
    before, threads = open_files(), threading.active_count()
    for _ in range(5):
        raw(node).close()
        silent, idle = raw(node), Association(node.peer, "SCU", [CT_PROPOSAL])
        broken = raw(node)
        broken.sendall(b"GET / HTTP/1.1\r\n\r\n")
        for connection in (silent, idle._socket, broken):
            rest(connection)
            connection.close()
    wait_until(lambda: threading.active_count() == threads, "the threads' end")
    wait_until(lambda: open_files() == before, "the descriptors' end")
