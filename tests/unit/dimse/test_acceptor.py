from __future__ import annotations

import errno
import logging
import socket

import pytest
from listening import Memory, Node
from peers import free_port

from dicom_node.dimse.acceptor import Acceptor
from dicom_node.dimse.associate import Association, Proposal, echo
from dicom_node.domain.identifiers import IMPLEMENTATION_CLASS_UID
from dicom_node.errors import ConfigurationError, PeerError
from dicom_node.settings import NodeSettings, PeerSettings, Settings


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.EADDRINUSE, "in use"), "another program listens there"),
        (OSError(errno.EACCES, "denied"), "may not open ports below 1024"),
        (OSError(errno.EADDRNOTAVAIL, "no"), "no such address"),
        (socket.gaierror(-2, "unknown"), "no such address"),
        (OSError(errno.ENOBUFS, "no buffers"), "no buffers"),
    ],
)
def test_why_it_cannot_listen_is_told(error: OSError, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr("dicom_node.dimse.acceptor._Server.server_bind", refuse)
    with pytest.raises(ConfigurationError, match=message) as raised:
        Acceptor(Settings(node=NodeSettings(host="127.0.0.1", port=104)), Memory()).start()
    assert "127.0.0.1:104" in str(raised.value)
    assert raised.value.remedy


def test_an_unknown_peer_is_rejected_and_the_log_says_what_to_do(caplog: pytest.LogCaptureFixture) -> None:
    port = free_port()
    known = PeerSettings(name="ct", ae_title="SCANNER", host="127.0.0.1", port=104)
    acceptor = Acceptor(Settings(node=NodeSettings(host="127.0.0.1", port=port), peers=(known,)), Memory())
    acceptor.start()
    us = PeerSettings(name="node", ae_title="DICOMNODE", host="127.0.0.1", port=port)
    try:
        assert echo(us, "SCANNER") > 0
        with caplog.at_level(logging.WARNING), pytest.raises(PeerError, match="calling ae title not recognised"):
            echo(us, "NOBODY")
    finally:
        acceptor.stop()
    assert "NOBODY" in caplog.text
    assert "[[peers]]" in caplog.text


def test_it_names_itself_and_takes_large_pdus(node: Node) -> None:
    with Association(node.peer, "SCU", [Proposal("1.2.840.10008.1.1", ("1.2.840.10008.1.2",))]) as association:
        assert association._fragment == 131072 - 6
        (accepted,) = node.acceptor.associations()
        assert accepted.acceptor.implementation_class_uid == IMPLEMENTATION_CLASS_UID


def test_it_can_be_stopped_twice_and_listens_no_more(node: Node) -> None:
    assert node.acceptor.alive()
    node.acceptor.stop()
    node.acceptor.stop()
    assert not node.acceptor.alive()
    with pytest.raises(PeerError, match="connection refused"):
        echo(node.peer, "SCU")
