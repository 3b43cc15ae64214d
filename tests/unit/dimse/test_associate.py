from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from listening import Node
from peers import free_port

from dicom_node.dimse.associate import Association, Proposal, echo
from dicom_node.dimse.connect import name
from dicom_node.errors import PeerError
from dicom_node.settings import PeerSettings

CT = Proposal("1.2.840.10008.5.1.4.1.1.2", ("1.2.840.10008.1.2.4.90",))
FIND = Proposal("1.2.840.10008.5.1.4.1.2.2.1", ("1.2.840.10008.1.2",))
ACCEPT_NOTHING = bytes.fromhex("03000000000400010103")
ABORT = bytes.fromhex("07000000000400000200")


@contextmanager
def listener(serve: Callable[[socket.socket], None]) -> Iterator[PeerSettings]:
    """A peer that serves one connection as told."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()

        def take() -> None:
            connection, _ = listening.accept()
            with connection:
                serve(connection)

        thread = threading.Thread(target=take)
        thread.start()
        yield PeerSettings(name="pacs", ae_title="PACS", host="127.0.0.1", port=listening.getsockname()[1])
        thread.join(10)


def answer(data: bytes) -> Callable[[socket.socket], None]:
    def serve(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(data)

    return serve


def test_an_echo_takes_some_time(node: Node) -> None:
    assert 0 < echo(node.peer, "SCU") < 10


def test_contexts_are_agreed_upon_or_refused_by_name(node: Node) -> None:
    with Association(node.peer, "SCU", [CT, FIND]) as association:
        agreed = association.agreed(CT)
        assert agreed is not None
        assert (agreed.id, agreed.transfer_syntax) == (1, "1.2.840.10008.1.2.4.90")
        assert association.agreed(FIND) is None
        assert association.refused(FIND) == "SOP class not supported"


def test_nobody_listens() -> None:
    peer = PeerSettings(name="pacs", ae_title="PACS", host="127.0.0.1", port=free_port())
    with pytest.raises(PeerError, match=f"PACS at 127.0.0.1:{peer.port}: connection refused") as raised:
        echo(peer, "SCU")
    assert raised.value.reason == "refused"
    assert raised.value.remedy


def test_no_such_host() -> None:
    peer = PeerSettings(name="pacs", ae_title="PACS", host="no-such-host.invalid", port=104)
    with pytest.raises(PeerError, match="host name is unknown"):
        echo(peer, "SCU")


@pytest.mark.parametrize(
    ("reply", "reason", "message"),
    [
        (ACCEPT_NOTHING, "rejected", "calling ae title not recognised"),
        (bytes.fromhex("03000000000400010107"), "rejected", "called ae title not recognised"),
        (bytes.fromhex("03000000000400020302"), "rejected", "local limit exceeded"),
        (ABORT, "aborted", "aborted the association"),
        (b"HTTP/1.1 400 Bad Request\r\n", "not-dicom", "does not speak DICOM"),
        (b"\x02\x00\x00\x00\x00\x60" + b"\xff" * 96, "not-dicom", "cannot be read"),
        (b"\x02\x00\x00\x00\x01\x00half", "lost", "closed the connection"),
        (b"", "lost", "closed the connection"),
    ],
)
def test_what_a_peer_may_answer(reply: bytes, reason: str, message: str) -> None:
    with listener(answer(reply)) as peer, pytest.raises(PeerError, match=message) as raised:
        echo(peer, "SCU", timeout_s=5)
    assert raised.value.reason == reason
    assert name(peer) in str(raised.value)
    assert raised.value.remedy


def test_a_silent_peer_is_not_waited_for_longer_than_said() -> None:
    done = threading.Event()
    with listener(lambda connection: connection.recv(65536) and done.wait(10)) as peer:
        with pytest.raises(PeerError, match="no answer in time") as raised:
            echo(peer, "SCU", timeout_s=0.2)
        done.set()
    assert raised.value.reason == "no-answer"


def test_titles_of_another_called_node_are_rejected(node: Node) -> None:
    other = node.peer.model_copy(update={"ae_title": "SOMEBODY"})
    with pytest.raises(PeerError, match="called ae title not recognised") as raised:
        echo(other, "SCU")
    assert "ae_title of this peer" in raised.value.remedy
