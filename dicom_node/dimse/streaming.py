"""pynetdicom's association, with a reactor that waits instead of polling and a C-STORE that is never decoded.

The DUL thread waits for the socket and a wake-up pair, as long as no limit can be reached. It cuts what comes into
PDUs; once the association is established the data go to an :class:`~dicom_node.dimse.intake.Intake`, and C-STORE is
answered right there. Negotiation, release, abort and every other message go through pynetdicom's own state machine.
Uses members of pynetdicom 3.0 that are not public: ``_accepted_cx``, ``_recv_pdu``, ``_run_reactor``, ``_dul_ready``.
"""

from __future__ import annotations

import logging
import secrets
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import Any

from pynetdicom import evt
from pynetdicom._globals import MODE_ACCEPTOR
from pynetdicom.association import Association
from pynetdicom.dul import DULServiceProvider
from pynetdicom.pdu_primitives import P_DATA

from dicom_node.dimse import transport
from dicom_node.dimse.command import CommandError
from dicom_node.dimse.connection import StreamingSocket
from dicom_node.dimse.framing import MALFORMED, Framer, FramingError, OtherPDU
from dicom_node.dimse.inbound import InboundAssociation, StoreService
from dicom_node.dimse.intake import AcceptedContext, Intake
from dicom_node.dimse.pace import Patience, Throttle, TimeLimits
from dicom_node.dimse.requests import ASSOCIATE_RQ, read_request
from dicom_node.settings import NodeSettings

RECEIVE_BUFFER = 1 << 19  # bytes; what fits into the processor's cache: larger ones are slower
LINGER_S = 1.0  # how long the peer may take to close, so that it can read the last that we have sent
_LONGEST_WAIT_S = 10.0  # of a reactor that nothing wakes

LOGGER = logging.getLogger(__name__)


class StreamingDUL(DULServiceProvider):  # type: ignore[misc]
    """Upper layer of one association that a peer opened."""

    socket: StreamingSocket
    assoc: StreamingAssociation

    def __init__(self, assoc: StreamingAssociation, node: NodeSettings) -> None:
        super().__init__(assoc)
        self._awake, self._waker = socket.socketpair()
        self._awake.setblocking(False)
        self._waker.setblocking(False)
        self._framer = Framer(RECEIVE_BUFFER, node.maximum_pdu_size)
        self._patience = Patience(TimeLimits.of(node))
        self._largest_object = node.maximum_object_bytes
        self._intake: Intake | None = None
        self._resume_at = 0.0  # monotonic time; until then nothing is read
        self._poll = select.poll()
        self._calm = False  # whether data are all that may come, until it is woken
        self.ended = False

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
        try:
            self._loop()
        except Exception:  # the top of the thread: whatever breaks ends this association only
            LOGGER.exception("the association with %s broke", self.assoc.caller)
            self.assoc.is_aborted = True
            self.assoc.is_established = False
        finally:
            if self._intake is not None:
                self._intake.discard()
            self.ended = True
            # the association's thread may still wait for a request that will never come
            self.to_user_queue.put(None)
            self.assoc.notify()
            self.close()

    def drop(self) -> None:
        """End it as if the peer had closed the connection. For any thread."""
        if self.is_alive():
            self.event_queue.put("Evt17")
            self._wake()
        else:
            self.close()

    def close(self) -> None:
        """Let go of the connection and what else the system has lent."""
        if self.socket.socket is not None:
            self.socket._shutdown_socket()
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
        self._poll.register(self._awake, select.POLLIN)
        self._poll.register(self.socket.socket, select.POLLIN)
        self.assoc._dul_ready.set()
        while not self._kill_thread:
            if self._act():
                continue
            now = time.monotonic()
            if self._resume_at > now:
                self._sleep(self._resume_at - now)
            elif self._readable():
                self._read()
            elif self.state_machine.current_state == "Sta6" and (fault := self._patience.fault()):
                LOGGER.warning("aborting the association with %s: %s", self.assoc.caller, fault)
                self._end("Evt19")

    def _act(self) -> bool:
        """Let the state machine take one step, where there is one to take."""
        if self._calm:
            return False
        if self.event_queue.empty():  # nobody else takes from it
            if self.artim_timer.expired:
                self.event_queue.put("Evt18")
                return True
            if not self.to_provider_queue.empty() and self._process_recv_primitive():
                return True
            self._calm = self.state_machine.current_state == "Sta6"  # whose timer does not run
            return False
        self.state_machine.do_action(self.event_queue.get())
        if self.state_machine.current_state == "Sta13":
            self.artim_timer.timeout = LINGER_S
        self.assoc.notify()
        return True

    def _readable(self) -> bool:
        """Wait until the peer has sent something, or something else is to be done."""
        connection = self.socket.socket
        if connection is None:
            self._sleep(_LONGEST_WAIT_S)
            return False
        if self.socket.pending():
            self._calm = False  # it may have been woken, too
            return True
        started = time.monotonic()
        ready = [descriptor for descriptor, _ in self._poll.poll(self._longest_wait() * 1000)]
        self._patience.waited(time.monotonic() - started)
        wake = self._awake.fileno()
        if wake in ready:
            self._drain_wakes()
        return any(descriptor != wake for descriptor in ready)

    def _longest_wait(self) -> float:
        """Seconds until a timer may end."""
        state = self.state_machine.current_state
        if state == "Sta6":
            return min(_LONGEST_WAIT_S, self._patience.left())
        if state in ("Sta2", "Sta13"):
            return min(_LONGEST_WAIT_S, max(0.0, float(self.artim_timer.remaining) + 0.001))
        return _LONGEST_WAIT_S

    def _sleep(self, seconds: float) -> None:
        """Wait, but not when something is to be sent or ended."""
        poll = select.poll()
        poll.register(self._awake, select.POLLIN)
        if poll.poll(seconds * 1000):
            self._drain_wakes()

    def _drain_wakes(self) -> None:
        self._calm = False
        try:
            self._awake.recv(4096)
        except BlockingIOError:
            return

    def _read(self) -> None:
        try:
            received = self.socket.receive(self._framer.room())
            if received == 0:
                raise ConnectionError("the peer closed the connection")
            if received and self.state_machine.current_state != "Sta13":  # then it is read only to be dropped
                self._take(received)
        except (FramingError, CommandError) as error:
            LOGGER.error("the peer %s breaks the protocol: %s", self.assoc.caller, error)
            self._end("Evt19")
        except OSError:
            self._end("Evt17")

    def _end(self, event: str) -> None:
        if self._intake is not None:
            self._intake.discard()
        self._put(event)

    def _put(self, event: str) -> None:
        """Give the state machine something to do, from this thread."""
        self.event_queue.put(event)
        self._calm = False

    def _take(self, received: int) -> None:
        established = self.state_machine.current_state == "Sta6"
        if established and self._intake is None:
            self._intake = self._new_intake()
        intake = self._intake
        stored = self.objects
        for piece in self._framer.pieces(received):
            if isinstance(piece, OtherPDU):
                self._take_other(piece)
            elif established and intake is not None:
                intake.take(piece)
            else:
                raise FramingError("data outside an association")
        if intake is not None:
            intake.flush()
        transport.acknowledge(self.socket.socket)
        busy = intake is not None and intake.busy
        self._patience.received(received, pdus=self._framer.pdus, partial=self._framer.partial, busy=busy)
        if self.assoc.throttle is not None:
            self._resume_at = time.monotonic() + self.assoc.throttle.spend(self.objects - stored, received)

    def _new_intake(self) -> Intake:
        contexts = {
            number: AcceptedContext(str(context.abstract_syntax), str(context.transfer_syntax[0]))
            for number, context in self.assoc._accepted_cx.items()
        }
        assoc = self.assoc
        return Intake(
            assoc.service,
            assoc.inbound,
            contexts,
            self.socket.sendall,
            self._forward,
            largest_object=self._largest_object,
        )

    def _take_other(self, piece: OtherPDU) -> None:
        try:
            if piece.encoded[0] == ASSOCIATE_RQ:
                pdu, event = read_request(piece.encoded), "Evt6"
            else:
                pdu, event = self._decode_pdu(bytearray(piece.encoded))
        except MALFORMED as error:
            raise FramingError(f"a PDU that cannot be read: {error}") from error
        self._recv_pdu.put(pdu)
        self._put(event)

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
    dul: StreamingDUL
    inbound: InboundAssociation  # set once it is admitted
    service: StoreService
    throttle: Throttle | None = None
    tls: ssl.SSLContext | None = None  # to shake hands first
    take_response: Callable[[Any], None] | None = None  # takes the peer's responses to requests of ours

    def __init__(
        self, ae: Any, node: NodeSettings, client_socket: socket.socket, on_end: Callable[[str], None]
    ) -> None:
        self._notified = threading.Event()
        super().__init__(ae, MODE_ACCEPTOR)
        self.id = secrets.token_hex(8)
        self._node = node
        self._on_end = on_end  # called with its id at its very end
        self.dul = StreamingDUL(self, node)
        self.set_socket(StreamingSocket(self, client_socket, node.pdu_seconds))
        self.acse_timeout = node.association_seconds  # sets the DUL's ARTIM timer too
        self.network_timeout = None  # the DUL counts silence by itself

    @property
    def caller(self) -> str:
        """Who is at the other end, as far as it is known."""
        title = getattr(self.requestor.primitive, "calling_ae_title", None)
        return f"{title or 'somebody'} at {self.requestor.address_info.address}"

    def end(self) -> None:
        """Abort it, or close a connection that is no association yet; does not wait for the end."""
        if self.is_established:
            self.abort(block=False)
        else:
            self.dul.drop()

    def notify(self) -> None:
        """Something came from the peer."""
        self._notified.set()

    def run_reactor(self) -> None:
        """From the handshake of TLS to the end."""
        try:
            if self.tls is None or self._shake_hands(self.tls):
                super().run_reactor()
        finally:
            self._on_end(self.id)

    def _shake_hands(self, context: ssl.SSLContext) -> bool:
        try:
            self.dul.socket.secure(context, self._node.association_seconds)
        except OSError as error:
            LOGGER.warning("no TLS with %s: %s", self.caller, error)
            self.dul.close()
            return False
        return True

    def _run_reactor(self) -> None:
        try:
            while not self._kill:
                self._notified.wait(_LONGEST_WAIT_S)
                self._notified.clear()
                # whoever sends on this association holds the reactor meanwhile
                self._is_paused = True
                self._reactor_checkpoint.wait()
                self._is_paused = False
                self._serve()
                self._end_if_due()
        finally:
            self.dul.join(timeout=2 * LINGER_S)
            how = "released" if self.is_released else "aborted"
            LOGGER.info("association with %s %s: %d objects", self.caller, how, self.dul.objects)
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
        elif not self.dul.ended:
            return
        if event is not None:
            self.is_established = False
            evt.trigger(self, event, {})
        self.kill()
