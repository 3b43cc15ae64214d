"""Associations with the acceptor, byte by byte where that matters."""

from __future__ import annotations

import io
import os
import random
import socket
import threading
import time
from typing import BinaryIO

import pytest
from listening import Node
from peers import wait_until
from pynetdicom import AE

from dicom_node.dimse import command
from dicom_node.dimse.associate import Association, Proposal, echo
from dicom_node.errors import PeerError

CT = "1.2.840.10008.5.1.4.1.1.2"
PROPOSAL = Proposal(CT, ("1.2.840.10008.1.2.1",))
BARE_ECHO = command.pdu(1, 3, command.encode({0x0002: b"1.2.840.10008.1.1", 0x0100: b"\x30\0", 0x0110: b"\1\0"}))


def file_of(data: bytes, folder: os.PathLike[str]) -> BinaryIO:
    path = os.path.join(folder, f"{len(data)}")
    with open(path, "wb") as file:
        file.write(data)
    return open(path, "rb")


def socket_of(association: Association) -> socket.socket:
    return association._socket


def test_a_release_tells_how_many_objects_came(node: Node, tmp_path: os.PathLike[str]) -> None:
    data = os.urandom(1 << 20)
    with Association(node.peer, "SCU", [PROPOSAL]) as association:
        agreed = association.agreed(PROPOSAL)
        assert agreed is not None
        for number in range(3):
            with file_of(data, tmp_path) as file:
                association.store(agreed.id, CT, f"1.2.{number}", file)
            answer, _ = association.response()
            assert answer.number(0x0900) == 0
            assert answer.sop_instance == f"1.2.{number}".encode()
    wait_until(lambda: node.memory.ended, "the end of the association")
    (ended,) = node.memory.ended
    assert (ended[0].calling_ae, ended[0].called_ae, ended[0].peer) == ("SCU", "DICOMNODE", "127.0.0.1")
    assert ended[1:] == (3, False)
    assert [stored for _, stored in node.memory.objects] == [data] * 3


@pytest.mark.parametrize("how", ["abort", "close"])
def test_an_object_cut_off_is_discarded_and_those_before_it_are_kept(node: Node, how: str) -> None:
    association = Association(node.peer, "SCU", [PROPOSAL])
    whole = command.request(1, CT, 1, sop_instance="1.2.1", has_data_set=True)
    socket_of(association).sendall(command.pdu(1, 3, whole) + command.pdu(1, 2, b"whole"))
    association._message_id = 1
    association.response()
    socket_of(association).sendall(command.pdu(1, 3, whole) + command.pdu(1, 0, b"x" * 5000))
    wait_until(lambda: node.acceptor.associations()[0].dul.receiving, "the object")
    if how == "abort":
        association.abort()
    else:
        socket_of(association).close()
    wait_until(lambda: node.memory.ended, "the end of the association")
    assert node.memory.ended[0][1:] == (1, True)
    assert [data for _, data in node.memory.objects] == [b"whole"]
    assert node.memory.discarded == 1


@pytest.mark.parametrize(
    "garbage",
    [b"\0" * 64, b"GET / HTTP/1.1\r\n\r\n", command.pdu(1, 2, b"data"), command.pdu(99, 3, b"\0" * 16), BARE_ECHO],
    ids=["zeros", "http", "data without command", "unknown context", "echo that says not whether data follows"],
)
def test_a_peer_that_breaks_the_protocol_is_aborted_and_the_next_is_served(node: Node, garbage: bytes) -> None:
    association = Association(node.peer, "SCU", [PROPOSAL], timeout_s=10)
    socket_of(association).sendall(garbage)
    with pytest.raises(PeerError, match="aborted the association"):
        association.response()
    wait_until(lambda: node.memory.ended, "the end of the association")
    assert node.memory.ended[0][1:] == (0, True)
    with Association(node.peer, "SCU", [PROPOSAL]) as other:
        assert other.agreed(PROPOSAL)


def test_an_association_above_the_maximum_is_rejected(node: Node) -> None:
    first, second = (Association(node.peer, "SCU", [PROPOSAL]) for _ in range(2))
    with pytest.raises(PeerError, match="local limit exceeded"):
        Association(node.peer, "SCU", [PROPOSAL])
    first.release()
    wait_until(lambda: node.memory.ended, "the end of the first")
    wait_until(lambda: _opens(node), "a free association")
    second.release()


def _opens(node: Node) -> bool:
    try:
        Association(node.peer, "SCU", [PROPOSAL]).release()
    except PeerError:
        return False
    return True


def _idle(node: Node) -> bool:
    return not node.acceptor.associations()


def test_connections_that_close_at_once_hold_no_place(node: Node) -> None:
    for _ in range(5):
        socket.create_connection((node.peer.host, node.peer.port)).close()
    wait_until(lambda: _opens(node), "a free association", seconds=10)
    wait_until(lambda: _idle(node), "their end", seconds=10)


def test_an_object_under_way_is_finished_before_the_acceptor_stops(node: Node) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        begun.set()
        go_on.wait(10)

    node.memory.before_commit = hold
    association = Association(node.peer, "SCU", [PROPOSAL])
    request = command.request(1, CT, 1, sop_instance="1.2.1", has_data_set=True)
    socket_of(association).sendall(command.pdu(1, 3, request) + command.pdu(1, 2, b"data"))
    association._message_id = 1
    assert begun.wait(10)
    stopping = threading.Thread(target=node.acceptor.stop)
    stopping.start()
    time.sleep(0.1)
    go_on.set()
    answer, _ = association.response()
    stopping.join(10)
    assert answer.number(0x0900) == 0
    assert not stopping.is_alive()
    with pytest.raises(PeerError):
        association.response()
    assert node.memory.ended[0][1:] == (1, True)


def test_pynetdicom_is_served_too(node: Node) -> None:
    ae = AE("OTHER")
    ae.add_requested_context("1.2.840.10008.1.1")
    association = ae.associate(node.peer.host, node.peer.port, ae_title="DICOMNODE")
    assert association.is_established
    assert [association.send_c_echo().Status for _ in range(3)] == [0, 0, 0]
    association.release()
    wait_until(lambda: node.memory.ended, "the end of the association")
    assert node.memory.ended[0][1:] == (0, False)


def test_a_file_is_read_from_its_position(node: Node, tmp_path: os.PathLike[str]) -> None:
    with Association(node.peer, "SCU", [PROPOSAL]) as association, file_of(b"head|data", tmp_path) as file:
        file.seek(5, io.SEEK_SET)
        association.store(1, CT, "1.2.1", file)
        association.response()
    assert node.memory.objects[0][1] == b"data"


def test_no_stream_that_is_spoilt_ends_the_node(node: Node) -> None:
    request = command.request(command.C_STORE_RQ, CT, 1, sop_instance="1.2.3", has_data_set=True)
    whole = command.pdu(1, 3, request) + command.pdu(1, 0, b"half ") + command.pdu(1, 2, b"object")
    chance = random.Random(20)
    for _ in range(60):
        spoilt = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            spoilt[chance.randrange(len(spoilt))] = chance.randrange(256)
        wait_until(lambda: _idle(node), "the end of the last one")
        association = Association(node.peer, "SCU", [PROPOSAL])
        socket_of(association).sendall(spoilt[: chance.choice([len(spoilt), chance.randrange(1, len(spoilt))])])
        socket_of(association).shutdown(socket.SHUT_WR)
        association.abort()
    wait_until(lambda: _idle(node), "the end of all")
    assert echo(node.peer, "SCU") > 0
    assert node.memory.begun == len(node.memory.objects) + node.memory.discarded > 0
