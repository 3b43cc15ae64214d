from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dicom_node.dimse import command
from dicom_node.dimse.command import Command, CommandError, Status, pdu
from dicom_node.dimse.framing import Fragment, Framer, FramingError
from dicom_node.dimse.inbound import InboundAssociation, InboundObject
from dicom_node.dimse.intake import LARGEST_COMMAND, LARGEST_IDENTIFIER, MOST_BETWEEN, AcceptedContext, Intake

CT = "1.2.840.10008.5.1.4.1.1.2"
CONTEXTS = {1: AcceptedContext("1.2.840.10008.1.1", "1.2.840.10008.1.2"), 3: AcceptedContext(CT, "1.2.840.10008.1.2.1")}


@dataclass
class Memory:
    """A store service that keeps objects in memory and fails where it is told to."""

    objects: list[tuple[InboundObject, bytes]] = field(default_factory=list)
    open: int = 0
    fail: str = ""

    def begin(self, inbound: InboundObject) -> MemorySink:
        if self.fail == "begin":
            raise OSError(28, "No space left on device")
        self.open += 1
        return MemorySink(self, inbound)

    def association_ended(self, association: InboundAssociation, objects: int, *, aborted: bool) -> None:
        raise AssertionError("not the intake's business")


@dataclass
class MemorySink:
    service: Memory
    inbound: InboundObject
    data: bytes = b""

    def write(self, views: Sequence[memoryview | bytes]) -> None:
        if self.service.fail == "write":
            raise OSError(28, "No space left on device")
        self.data += b"".join(views)

    def commit(self) -> None:
        self.service.open -= 1
        if self.service.fail == "commit":
            raise OSError(28, "No space left on device")
        self.service.objects.append((self.inbound, self.data))

    def discard(self) -> None:
        self.service.open -= 1


class Dialogue:
    """An intake, what it answered and what it handed on."""

    def __init__(self, fail: str = "", buffer: int = 4096) -> None:
        self.service = Memory(fail=fail)
        self.answers: list[Command] = []
        self.forwarded: list[tuple[int, int, bytes]] = []
        self.association = InboundAssociation("a1", "SCU", "DICOMNODE", "10.0.0.5")
        self.framer = Framer(buffer)
        self.intake = Intake(
            self.service,
            self.association,
            CONTEXTS,
            lambda encoded: self.answers.append(Command.parse(encoded[12:])),
            lambda context, header, data: self.forwarded.append((context, header, data)),
        )

    def receive(self, stream: bytes, cut: int = 1 << 20) -> None:
        while stream:
            room = self.framer.room()
            taken = min(len(room), cut, len(stream))
            room[:taken] = stream[:taken]
            stream = stream[taken:]
            for piece in self.framer.pieces(taken):
                assert isinstance(piece, Fragment)
                self.intake.take(piece)
            self.intake.flush()

    @property
    def statuses(self) -> list[int | None]:
        return [answer.number(0x0900) for answer in self.answers]


def store(data: bytes, *, sop_class: str = CT, uid: str = "1.2.3", context: int = 3, fragment: int = 1000) -> bytes:
    stream = pdu(context, 3, command.request(1, sop_class, 9, sop_instance=uid, has_data_set=True))
    parts = [data[at : at + fragment] for at in range(0, len(data), fragment)] or [b""]
    return stream + b"".join(pdu(context, 2 if at == len(parts) - 1 else 0, part) for at, part in enumerate(parts))


# one-byte views at the start of the buffer, and the half header of the next PDU behind them
@example(data=[b"\0\0"], fragment=1, cut=2, buffer=16)
@settings(max_examples=300)
@given(
    data=st.lists(st.binary(min_size=1, max_size=3000), min_size=1, max_size=4),
    fragment=st.integers(1, 1500),
    cut=st.integers(1, 2000),
    buffer=st.integers(16, 4096),
)
def test_data_sets_arrive_as_sent_however_they_are_cut(data: list[bytes], fragment: int, cut: int, buffer: int) -> None:
    dialogue = Dialogue(buffer=buffer)
    stream = b"".join(store(each, uid=f"1.2.{at}", fragment=fragment) for at, each in enumerate(data))
    dialogue.receive(stream, cut)
    assert [stored for _, stored in dialogue.service.objects] == data
    assert dialogue.statuses == [Status.SUCCESS] * len(data)
    assert dialogue.intake.objects == len(data)
    assert not dialogue.intake.receiving
    assert dialogue.service.open == 0


def test_the_service_learns_what_comes_from_whom() -> None:
    dialogue = Dialogue()
    dialogue.receive(store(b"data"))
    inbound, _ = dialogue.service.objects[0]
    assert inbound == InboundObject(CT.encode(), b"1.2.3", "1.2.840.10008.1.2.1", dialogue.association)


def test_an_identifier_that_is_malformed_is_stored_all_the_same() -> None:
    dialogue = Dialogue()
    dialogue.receive(store(b"data", uid="1..02.not a uid/../x"))
    assert dialogue.service.objects[0][0].sop_instance == b"1..02.not a uid/../x"
    assert dialogue.statuses == [Status.SUCCESS]


@pytest.mark.parametrize("fail", ["begin", "write", "commit"])
def test_a_disk_that_fails_is_answered_after_the_whole_object_and_the_next_one_works(fail: str) -> None:
    dialogue = Dialogue(fail)
    dialogue.receive(store(b"x" * 10_000), cut=900)
    assert dialogue.statuses == [Status.OUT_OF_RESOURCES]
    assert dialogue.service.open == 0
    dialogue.service.fail = ""
    dialogue.receive(store(b"next"))
    assert dialogue.statuses == [Status.OUT_OF_RESOURCES, Status.SUCCESS]
    assert [data for _, data in dialogue.service.objects] == [b"next"]
    assert dialogue.intake.objects == 1


def test_a_class_other_than_that_of_the_context_is_refused() -> None:
    dialogue = Dialogue()
    dialogue.receive(store(b"data", sop_class="1.2.840.10008.5.1.4.1.1.4") + store(b"data", context=1))
    assert dialogue.statuses == [Status.SOP_CLASS_NOT_SUPPORTED] * 2
    assert dialogue.service.objects == []


@pytest.mark.parametrize("missing", [0x0002, 0x1000])
def test_a_store_without_an_identifier_is_not_understood(missing: int) -> None:
    elements = Command.parse(command.request(1, CT, 9, sop_instance="1.2.3", has_data_set=True)).elements
    encoded = command.encode({key: value for key, value in elements.items() if key not in (0, missing)})
    dialogue = Dialogue()
    dialogue.receive(pdu(3, 3, encoded) + pdu(3, 2, b"data"))
    assert dialogue.statuses == [Status.CANNOT_UNDERSTAND]
    assert dialogue.service.objects == []


def test_a_store_without_a_data_set_is_not_understood() -> None:
    dialogue = Dialogue()
    without = command.request(1, CT, 9, sop_instance="1.2.3", has_data_set=False)
    dialogue.receive(pdu(3, 3, without) + store(b"") + store(b"data"))
    assert dialogue.statuses == [Status.CANNOT_UNDERSTAND, Status.CANNOT_UNDERSTAND, Status.SUCCESS]
    assert dialogue.service.open == 0


def test_a_command_in_pieces_is_one_command() -> None:
    encoded = command.request(1, CT, 9, sop_instance="1.2.3", has_data_set=True)
    dialogue = Dialogue()
    dialogue.receive(b"".join(pdu(3, 1, encoded[at : at + 1]) for at in range(len(encoded) - 1)))
    dialogue.receive(pdu(3, 3, encoded[-1:]) + pdu(3, 2, b"data"))
    assert dialogue.statuses == [Status.SUCCESS]


def test_other_messages_are_handed_on() -> None:
    echo = command.request(command.C_ECHO_RQ, "1.2.840.10008.1.1", 1, has_data_set=False)
    find = command.request(command.C_FIND_RQ, "1.2.840.10008.5.1.4.1.2.2.1", 2, has_data_set=True)
    dialogue = Dialogue()
    dialogue.receive(pdu(1, 3, echo) + store(b"data") + pdu(1, 3, find) + pdu(1, 0, b"ident") + pdu(1, 2, b"ifier"))
    assert dialogue.forwarded == [(1, 3, echo), (1, 3, find), (1, 0, b"ident"), (1, 2, b"ifier")]
    assert dialogue.statuses == [Status.SUCCESS]


def response(has_data_set: bool = False) -> bytes:
    """That of an N-EVENT-REPORT."""
    data_set = (command.DATA_SET if has_data_set else command.NO_DATA_SET).to_bytes(2, "little")
    return command.encode({0x0100: b"\0\x81", 0x0120: b"\7\0", 0x0800: data_set, 0x0900: b"\0\0"})


def test_a_response_amid_an_object_is_handed_on_behind_it() -> None:
    dialogue = Dialogue()
    begun = pdu(3, 3, command.request(1, CT, 9, sop_instance="1.2.3", has_data_set=True))
    dialogue.receive(begun + pdu(1, 3, response()) + pdu(3, 0, b"da") + pdu(1, 3, response()))
    assert dialogue.forwarded == []
    dialogue.receive(pdu(3, 2, b"ta") + store(b"next"))
    assert dialogue.forwarded == [(1, 3, response())] * 2
    assert [data for _, data in dialogue.service.objects] == [b"data", b"next"]


def test_a_response_amid_an_identifier_is_handed_on_behind_it() -> None:
    find = command.request(command.C_FIND_RQ, "1.2.840.10008.5.1.4.1.2.2.1", 2, has_data_set=True)
    dialogue = Dialogue()
    dialogue.receive(pdu(1, 3, find) + pdu(1, 0, b"ident") + pdu(3, 3, response()) + pdu(1, 2, b"ifier"))
    assert dialogue.forwarded == [(1, 3, find), (1, 0, b"ident"), (1, 2, b"ifier"), (3, 3, response())]


def broken() -> dict[str, bytes]:
    begun = pdu(3, 3, command.request(1, CT, 9, sop_instance="1.2.3", has_data_set=True))
    no_id = Command.parse(command.request(1, CT, 9, sop_instance="1.2.3", has_data_set=True)).elements
    no_id = {key: value for key, value in no_id.items() if key not in (0, 0x0110)}
    return {
        "data without a command": pdu(3, 2, b"data"),
        "command inside a data set": begun + pdu(3, 0, b"x") + begun,
        "response with a data set inside a data set": begun + pdu(1, 3, response(has_data_set=True)),
        "response in pieces inside a data set": begun + pdu(1, 1, response()),
        "response in no context inside a data set": begun + pdu(7, 3, response()),
        "responses without end inside a data set": begun + pdu(1, 3, response()) * (MOST_BETWEEN + 1),
        "data in another context": begun + pdu(1, 2, b"data"),
        "context that was not accepted": pdu(7, 3, command.request(1, CT, 9, sop_instance="1.2", has_data_set=True)),
        "command that is cut off": pdu(3, 3, b"\0\0\0\1\2\0\0"),
        "command of another group": pdu(3, 3, b"\2\0\0\1\2\0\0\0\1\0"),
        "no command field": pdu(3, 3, command.encode({0x0002: b"1.2."})),
        "no message id": pdu(3, 3, command.encode(no_id)),
        "endless command": b"".join(pdu(3, 1, b"\0" * 1000) for _ in range(LARGEST_COMMAND // 1000 + 1)),
        "endless identifier": pdu(1, 3, command.request(command.C_FIND_RQ, "1.2", 2, has_data_set=True))
        + b"".join(pdu(1, 0, b"\0" * 1000) for _ in range(LARGEST_IDENTIFIER // 1000 + 1)),
    }


@pytest.mark.parametrize("case", sorted(broken()))
def test_a_broken_protocol_ends_the_association_and_leaves_nothing(case: str) -> None:
    dialogue = Dialogue()
    with pytest.raises((FramingError, CommandError)):
        dialogue.receive(broken()[case])
    dialogue.intake.discard()
    assert dialogue.service.open == 0
    assert dialogue.service.objects == []
    assert dialogue.answers == []


def test_an_object_cut_off_is_discarded() -> None:
    dialogue = Dialogue()
    dialogue.receive(store(b"x" * 5000)[:-1000])
    assert dialogue.intake.receiving
    dialogue.intake.discard()
    assert dialogue.service.open == 0
    assert dialogue.service.objects == []
    assert not dialogue.intake.receiving
