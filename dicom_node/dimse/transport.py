"""Socket options without which small DICOM messages wait 40 ms each."""

from __future__ import annotations

import socket

_QUICKACK = getattr(socket, "TCP_QUICKACK", None)  # Linux


def tune(connection: socket.socket) -> None:
    """Send what is written at once: it must not wait for the peer's delayed acknowledgement."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


def acknowledge(connection: socket.socket) -> None:
    """Acknowledge what was received at once; to be repeated after every read.

    A peer that leaves Nagle's algorithm on, as DCMTK does, otherwise waits for us in the middle of a message.
    """
    if _QUICKACK is not None:
        connection.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
