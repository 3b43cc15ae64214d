from __future__ import annotations

import socket

from dicom_node.dimse import transport


def test_small_messages_are_sent_at_once() -> None:
    with socket.socket() as connection:
        transport.tune(connection)
        transport.acknowledge(connection)
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
