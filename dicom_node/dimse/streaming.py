"""pynetdicom's association, with a reactor that waits instead of polling and a C-STORE that is never decoded.

The DUL thread blocks in ``poll`` on the socket and a wake-up pair. Once the association is established it reads the
socket in large pieces and hands them to an :class:`~dicom_node.dimse.intake.Intake`; C-STORE is answered right there.
Negotiation, release, abort and every other message go through pynetdicom's own state machine. Uses members of
pynetdicom 3.0 that are not public: ``_accepted_cx``, ``_recv_pdu``, ``_run_reactor``, ``_dul_ready``.
"""

from __future__ import annotations

import logging
import queue
import select
import socket
import threading
from collections.abc import Callable
from typing import Any

from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.dul import DULServiceProvider
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.transport import AssociationSocket

from dicom_node.dimse import transport
from dicom_node.dimse.command import CommandError
from dicom_node.dimse.framing import MALFORMED, Framer, FramingError, OtherPDU
from dicom_node.dimse.inbound import InboundAssociation, StoreService
from dicom_node.dimse.intake import AcceptedContext, Intake

RECEIVE_BUFFER = 1 << 17  # bytes; larger ones leave the processor's cache and are slower
_WAIT_S = 0.25  # longest sleep of a reactor, for its timers

LOGGER = logging.getLogger(__name__)


class StreamingDUL(DULServiceProvider):  # type: ignore[misc]
    """Upper layer of one association that a peer opened."""

    def __init__(self, assoc: StreamingAssociation) -> None:
        super().__init__(assoc)
        self._awake, self._waker = socket.socketpair()
        self._awake.setblocking(False)
        self._waker.setblocking(False)
        self._framer = Framer(RECEIVE_BUFFER)
        self._intake: Intake | None = None

    @property
    def objects(self) -> int:
        """How many objects were answered with Success."""
        return self._intake.objects if self._intake else 0

    @property
    def receiving(self) -> bool:
        """Whether an object is under way."""
        return self._intake is not None and self._intake.receiving

    def send_pdu(self, primitive: Any) -> None:
        super().send_pdu(primitive)
        self._wake()

    def kill_dul(self) -> None:
        super().kill_dul()
        self._wake()

    def stop_dul(self) -> bool:
        self._wake()
        return bool(super().stop_dul())

    def run_reactor(self) -> None:
        self._idle_timer.start()
        try:
            self._loop()
        except Exception:  # the top of the thread: whatever breaks ends this association only
            LOGGER.exception("the association with %s broke", self.assoc.requestor.ae_title)
            self.assoc.is_aborted = True
            self.assoc.is_established = False
        finally:
            if self._intake is not None:
                self._intake.discard()
            if self.socket is not None and self.socket.socket is not None:
                self.socket._shutdown_socket()
            # the association's thread may still wait for a request that will never come
            self.to_user_queue.put(None)
            self.assoc.notify()
            self._awake.close()
            self._waker.close()

    def _wake(self) -> None:
        try:
            self._waker.send(b"x")
        except BlockingIOError:
            return  # it has been woken often enough
        except OSError:
            return  # it has ended

    def _loop(self) -> None:
        self.assoc._dul_ready.set()
        poll = select.poll()
        poll.register(self._awake, select.POLLIN)
        poll.register(self.socket.socket, select.POLLIN)
        while not self._kill_thread:
            if self._act():
                continue
            connection = self.socket.socket
            if connection is None:
                select.select([self._awake], [], [], _WAIT_S)
                self._drain_wakes()
            elif self.state_machine.current_state == "Sta13":
                self._is_transport_event()
            elif self._readable(poll):
                self._read(connection)
                self._idle_timer.restart()

    def _act(self) -> bool:
        """Let the state machine take one step, where there is one to take."""
        try:
            event = self.event_queue.get(block=False)
        except queue.Empty:
            if self.artim_timer.expired:
                self.event_queue.put("Evt18")
                return True
            return bool(self._process_recv_primitive())
        self.state_machine.do_action(event)
        self.assoc.notify()
        return True

    def _readable(self, poll: select.poll) -> bool:
        wake = self._awake.fileno()
        ready = [descriptor for descriptor, _ in poll.poll(_WAIT_S * 1000)]
        if wake in ready:
            self._drain_wakes()
        return any(descriptor != wake for descriptor in ready)

    def _drain_wakes(self) -> None:
        try:
            self._awake.recv(4096)
        except BlockingIOError:
            return

    def _read(self, connection: socket.socket) -> None:
        if self.state_machine.current_state != "Sta6":
            self._read_pdu_data()
            return
        try:
            self._stream(connection)
        except (FramingError, CommandError) as error:
            LOGGER.error("the peer %s breaks the protocol: %s", self.assoc.requestor.ae_title, error)
            self._end("Evt19")
        except OSError:
            self._end("Evt17")

    def _end(self, event: str) -> None:
        if self._intake is not None:
            self._intake.discard()
        self.event_queue.put(event)

    def _stream(self, connection: socket.socket) -> None:
        intake = self._intake = self._intake or self._new_intake(connection)
        received = connection.recv_into(self._framer.room())
        if received == 0:
            raise ConnectionError("the peer closed the connection")
        for piece in self._framer.pieces(received):
            if isinstance(piece, OtherPDU):
                self._take_other(piece)
            else:
                intake.take(piece)
        intake.flush()
        transport.acknowledge(connection)

    def _new_intake(self, connection: socket.socket) -> Intake:
        contexts = {
            number: AcceptedContext(str(context.abstract_syntax), str(context.transfer_syntax[0]))
            for number, context in self.assoc._accepted_cx.items()
        }
        return Intake(self.assoc.service, self.assoc.inbound, contexts, connection.sendall, self._forward)

    def _take_other(self, piece: OtherPDU) -> None:
        try:
            pdu, event = self._decode_pdu(bytearray(piece.encoded))
        except MALFORMED as error:
            raise FramingError(f"a PDU that cannot be read: {error}") from error
        self._recv_pdu.put(pdu)
        self.event_queue.put(event)

    def _forward(self, context: int, header: int, data: bytes) -> None:
        primitive = P_DATA()
        primitive.presentation_data_value_list = [[context, bytes((header,)) + data]]
        try:
            self.assoc.dimse.receive_primitive(primitive)
        except MALFORMED as error:
            raise FramingError(f"a message that cannot be read: {error}") from error
        self.assoc.notify()


class StreamingAssociation(Association):  # type: ignore[misc]
    """An association that a peer opened; its thread sleeps until its DUL has something for it."""

    is_established: bool
    is_released: bool
    inbound: InboundAssociation  # set once it is admitted
    service: StoreService
    take_response: Callable[[Any], None] | None = None  # takes the peer's responses to requests of ours

    def __init__(self, ae: Any, mode: str) -> None:
        self._notified = threading.Event()
        super().__init__(ae, mode)
        self.dul = StreamingDUL(self)
        self.acse_timeout = ae.acse_timeout  # again: these set the timers of the DUL
        self.network_timeout = ae.network_timeout

    def notify(self) -> None:
        """Something came from the peer."""
        self._notified.set()

    def _run_reactor(self) -> None:
        try:
            while not self._kill:
                self._notified.wait(_WAIT_S)
                self._notified.clear()
                # whoever sends on this association holds the reactor meanwhile
                self._is_paused = True
                self._reactor_checkpoint.wait()
                self._is_paused = False
                self._serve()
                self._end_if_due()
        finally:
            self.dul.join(timeout=_WAIT_S * 20)
            how = "released" if self.is_released else "aborted"
            who = self.inbound
            LOGGER.info("association with %s (%s) %s: %d objects", who.calling_ae, who.peer, how, self.dul.objects)
            self.service.association_ended(self.inbound, self.dul.objects, aborted=not self.is_released)

    def _serve(self) -> None:
        context, message = self.dimse.get_msg(block=False)
        while message:
            if message.MessageIDBeingRespondedTo is None:
                self._serve_request(message, context)
            elif self.take_response is not None:
                self.take_response(message)
            context, message = self.dimse.get_msg(block=False)

    def _end_if_due(self) -> None:
        event = None
        if self.is_established and self.acse.is_release_requested():
            self.acse.send_release(is_response=True)
            self.is_released, event = True, evt.EVT_RELEASED
        elif self.acse.is_aborted():
            self.dul.receive_pdu(wait=False)
            self.is_aborted, event = True, evt.EVT_ABORTED
        elif self.dul.is_alive():
            if not self.dul.idle_timer_expired():
                return
            LOGGER.warning("aborting the idle association with %s", self.inbound.calling_ae)
            self.abort()
        if event is not None:
            self.is_established = False
            evt.trigger(self, event, {})
        self.kill()


class StreamingSocket(AssociationSocket):  # type: ignore[misc]
    """The socket of an accepted association."""

    def __init__(self, assoc: StreamingAssociation, client_socket: socket.socket) -> None:
        super().__init__(assoc, client_socket=client_socket)
        transport.tune(client_socket)
        client_socket.settimeout(assoc.network_timeout)
