"""The socket of an association that a peer opened, over TLS or not. It never blocks, but for its handshake."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
import time
from typing import Any

from pynetdicom.transport import AssociationSocket

from dicom_node.dimse import transport
from dicom_node.dimse.tls import is_bound

_NOTHING_YET = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class StreamingSocket(AssociationSocket):  # type: ignore[misc]
    """Read and written by the association's DUL thread alone."""

    socket: Any  # None once it is closed

    def __init__(self, assoc: Any, client_socket: socket.socket, patience_s: float) -> None:
        super().__init__(assoc, client_socket=client_socket)
        self._patience_s = patience_s  # for the peer to take what is sent
        transport.tune(client_socket)
        client_socket.setblocking(False)

    def secure(self, context: ssl.SSLContext, within_s: float) -> None:
        """Shake hands as a TLS server.

        Raises:
            OSError: the peer speaks no TLS, has no certificate that is good, or is too slow.
        """
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.socket.settimeout(within_s)  # of the whole handshake
        self.socket.do_handshake()
        self.socket.setblocking(False)

    @property
    def secured(self) -> bool:
        """Whether it speaks TLS."""
        return isinstance(self.socket, ssl.SSLSocket)

    def has_certificate(self, wanted: str) -> bool:
        """Whether the peer has shown the certificate that ``PeerSettings.certificate`` names; any, if it is empty."""
        return not wanted or (isinstance(self.socket, ssl.SSLSocket) and is_bound(self.socket, wanted))

    def pending(self) -> bool:
        """Whether bytes have been decrypted that :meth:`receive` has not given; the system knows nothing of them."""
        return isinstance(self.socket, ssl.SSLSocket) and self.socket.pending() > 0

    def receive(self, room: memoryview) -> int | None:
        """Fill ``room`` with what has come: how many bytes, 0 at the end, None when there is nothing yet.

        A TLS record has 16 KiB at most, so several are put together.

        Raises:
            OSError: the connection is lost.
        """
        connection, total = self.socket, 0
        try:
            while total < len(room):
                count = connection.recv_into(room[total:])
                total += count
                if not count or not isinstance(connection, ssl.SSLSocket):
                    break
        except _NOTHING_YET:
            return total or None
        return total

    def sendall(self, data: bytes) -> None:
        """Send, and wait while the peer takes nothing.

        Raises:
            OSError: the connection is lost, or the peer is too slow.
        """
        left, deadline = memoryview(data), time.monotonic() + self._patience_s
        while left:
            try:
                left = left[self.socket.send(left) :]
            except _NOTHING_YET as error:
                events = select.POLLIN if isinstance(error, ssl.SSLWantReadError) else select.POLLOUT
                poll = select.poll()
                poll.register(self.socket, events)
                if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                    raise TimeoutError(f"the peer has taken nothing for {self._patience_s:g} s") from error

    def send(self, bytestream: bytes) -> None:
        """Send a PDU of the state machine, which is told when the connection is lost."""
        try:
            self.sendall(bytestream)
        except OSError:
            self.event_queue.put("Evt17")

    def _shutdown_socket(self) -> None:
        if isinstance(self.socket, ssl.SSLSocket) and threading.current_thread() is self.assoc.dul:
            with contextlib.suppress(OSError, ValueError):
                self.socket.unwrap()  # sends close_notify; the peer's need not be waited for
        super()._shutdown_socket()
