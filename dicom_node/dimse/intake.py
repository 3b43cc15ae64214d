"""Follows the messages of one association: C-STORE goes to the store service, anything else is handed on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from dicom_node.dimse.command import C_STORE_RQ, COMMAND_AND_LAST, Command, CommandError, Status, store_response
from dicom_node.dimse.framing import Fragment, FramingError
from dicom_node.dimse.inbound import InboundAssociation, InboundObject, ObjectSink, StoreService
from dicom_node.domain.commitment import PUSH_MODEL

LARGEST_COMMAND = 1 << 16  # bytes; real ones have some hundred
LARGEST_IDENTIFIER = 1 << 20  # bytes of a data set that is not stored but decoded
MOST_BETWEEN = 16  # responses amid one data set; we have as many requests open only if the peer is broken
LARGEST_COMMITMENT = 1 << 24  # bytes of one that names objects to commit to: about 100,000; only peers we trust may

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AcceptedContext:
    """What a presentation context was accepted for."""

    abstract_syntax: str
    transfer_syntax: str


@dataclass(slots=True)
class _Store:
    """A C-STORE under way. Without a sink its data set is read and dropped, and ``status`` says why."""

    command: Command
    context: int
    sink: ObjectSink | None
    status: int = Status.SUCCESS
    comment: str = ""  # why it is refused
    pending: list[memoryview] = field(default_factory=list)  # received, not written yet
    size: int = 0  # bytes written


class Intake:
    """Takes the fragments of one association, from one thread.

    ``respond`` sends an encoded PDU; ``forward`` takes what is no C-STORE: context, message control header and bytes.
    A data set of more than ``largest_object`` bytes is refused, unless that is 0.
    """

    def __init__(
        self,
        service: StoreService,
        association: InboundAssociation,
        contexts: Mapping[int, AcceptedContext],
        respond: Callable[[bytes], None],
        forward: Callable[[int, int, bytes], None],
        *,
        largest_object: int = 0,
    ) -> None:
        self._service = service
        self._association = association
        self._contexts = contexts
        self._respond = respond
        self._forward = forward
        self._largest_object = largest_object
        self._command = bytearray()
        self._store: _Store | None = None
        self._forwarded = -1  # bytes of a data set that is handed on; -1: none is expected
        self._between: list[tuple[int, bytes]] = []  # contexts and responses that came amid a data set
        self._largest_forwarded = LARGEST_IDENTIFIER
        self.objects = 0  # answered with Success

    @property
    def receiving(self) -> bool:
        """Whether an object is under way."""
        return self._store is not None

    @property
    def busy(self) -> bool:
        """Whether a message is under way."""
        return self._store is not None or self._forwarded >= 0 or bool(self._command)

    def take(self, fragment: Fragment) -> None:
        """Follow one fragment; its view is used until :meth:`flush`.

        Raises:
            FramingError, CommandError: the peer breaks the protocol; its association is aborted.
            OSError: the response cannot be sent.
        """
        store = self._store
        if fragment.command:
            self._take_command(fragment)
        elif store is not None:
            if fragment.context != store.context:
                raise FramingError("the data set came in another presentation context than its command")
            store.pending.append(fragment.view)
            if fragment.last:
                self._finish(store)
        elif self._forwarded >= 0:
            self._forwarded += len(fragment.view)
            if self._forwarded > self._largest_forwarded:
                raise FramingError(f"an identifier of more than {self._largest_forwarded} bytes")
            self._forward(fragment.context, 2 if fragment.last else 0, bytes(fragment.view))
            if fragment.last:
                self._forwarded = -1
                self._hand_on_responses()
        else:
            raise FramingError("a data set without a command")

    def flush(self) -> None:
        """Write what was taken; afterwards the views may be overwritten."""
        store = self._store
        if store is None or not store.pending:
            return
        views, store.pending = store.pending, []
        if store.sink is None:
            return
        store.size += sum(map(len, views))
        if 0 < self._largest_object < store.size:
            self._refuse(store, Status.OUT_OF_RESOURCES, f"it has more than {self._largest_object} bytes")
            return
        try:
            store.sink.write(views)
        except OSError as error:
            self._refuse(store, Status.OUT_OF_RESOURCES, f"it cannot be written: {error}")

    def discard(self) -> None:
        """Leave nothing of an object that is not complete."""
        store, self._store = self._store, None
        if store is not None and store.sink is not None:
            store.sink.discard()

    def _take_command(self, fragment: Fragment) -> None:
        if self._store is not None or self._forwarded >= 0:
            self._take_response(fragment)
            return
        self._command += fragment.view
        if len(self._command) > LARGEST_COMMAND:
            raise CommandError(f"a command set of more than {LARGEST_COMMAND} bytes")
        if not fragment.last:
            return
        encoded, self._command = bytes(self._command), bytearray()
        command = Command.parse(encoded)
        accepted = self._contexts.get(fragment.context)
        if accepted is None:
            raise CommandError(f"a command in presentation context {fragment.context}, which was not accepted")
        if command.field == C_STORE_RQ:
            self._begin(command, fragment.context, accepted)
        else:
            commitment = accepted.abstract_syntax == PUSH_MODEL
            self._largest_forwarded = LARGEST_COMMITMENT if commitment else LARGEST_IDENTIFIER
            self._forwarded = 0 if command.has_data_set else -1
            self._forward(fragment.context, COMMAND_AND_LAST, encoded)

    def _take_response(self, fragment: Fragment) -> None:
        """Keep a response until the data set under way has ended.

        A peer whose threads share the association, as pynetdicom's do, answers our report amid an object it sends.
        """
        known = fragment.context in self._contexts
        whole = known and fragment.last and len(self._between) < MOST_BETWEEN
        command = Command.parse(bytes(fragment.view)) if whole else None
        if command is None or not command.is_response or command.has_data_set:
            raise FramingError("a command before the data set of the last one has ended")
        self._between.append((fragment.context, bytes(fragment.view)))

    def _hand_on_responses(self) -> None:
        waiting, self._between = self._between, []
        for context, encoded in waiting:
            self._forward(context, COMMAND_AND_LAST, encoded)

    def _begin(self, command: Command, context: int, accepted: AcceptedContext) -> None:
        if command.number(0x0110) is None:
            raise CommandError("a C-STORE without a Message ID")
        store = _Store(command, context, None)
        self._store = store
        sop_class, sop_instance = command.sop_class, command.sop_instance
        if not sop_class or not sop_instance:
            self._refuse(store, Status.CANNOT_UNDERSTAND, "its command names no SOP class or no SOP instance")
        elif sop_class != accepted.abstract_syntax.encode("ascii"):
            self._refuse(
                store,
                Status.SOP_CLASS_NOT_SUPPORTED,
                f"its SOP class {sop_class!r} is not {accepted.abstract_syntax} of its context",
            )
        else:
            inbound = InboundObject(sop_class, sop_instance, accepted.transfer_syntax, self._association)
            try:
                store.sink = self._service.begin(inbound)
            except OSError as error:
                self._refuse(store, Status.OUT_OF_RESOURCES, f"it cannot be written: {error}")
        if not command.has_data_set:
            self._finish(store)

    def _finish(self, store: _Store) -> None:
        self.flush()
        sink = store.sink
        if sink is not None and store.size == 0:
            self._refuse(store, Status.CANNOT_UNDERSTAND, "it has no data set")
        elif sink is not None:
            store.sink = None
            try:
                sink.commit()
                self.objects += 1
            except OSError as error:
                self._refuse(store, Status.OUT_OF_RESOURCES, f"it cannot be made durable: {error}")
        self._store = None
        self._respond(store_response(store.command, store.context, store.status, store.comment))
        self._hand_on_responses()

    def _refuse(self, store: _Store, status: Status, why: str) -> None:
        """Drop the object; the rest of it is read, and then answered with ``status``."""
        store.status, store.comment = status, why
        sink, store.sink = store.sink, None
        if sink is not None:
            sink.discard()
        LOGGER.error(
            "object from %s (%s) refused with 0x%04X: %s",
            self._association.calling_ae,
            self._association.peer,
            status,
            why,
        )
