"""What is fuzzed: whatever takes bytes from a peer. Each target takes any bytes; what it raises is a fault of ours."""

from __future__ import annotations

import atexit
import contextlib
import os
import struct
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from fuzz import records
from listening import Memory
from pynetdicom.pdu import A_ASSOCIATE_RQ
from soak.objects import EXPLICIT_LITTLE, MR, make

from dicom_node.archive.header import identify, read_header
from dicom_node.archive.likeness import Likeness
from dicom_node.archive.receipt import Receipt, file_meta
from dicom_node.dimse import command, contexts
from dicom_node.dimse.command import Command, CommandError
from dicom_node.dimse.framing import MALFORMED, Framer, FramingError, OtherPDU
from dicom_node.dimse.inbound import InboundAssociation
from dicom_node.dimse.intake import AcceptedContext, Intake
from dicom_node.errors import DicomNodeError

Target = Callable[[bytes], None]
SYNTAXES = (EXPLICIT_LITTLE, "1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99")
MOST_READS = 64  # that one input is cut into
_ASSOCIATION = InboundAssociation("fuzz", "SCU", "DICOMNODE", "127.0.0.1")
_CONTEXTS = {1: AcceptedContext(MR, EXPLICIT_LITTLE), 3: AcceptedContext("1.2.840.10008.1.1", "1.2.840.10008.1.2")}


def pdus(data: bytes) -> None:
    """An established association's bytes, in pieces: the first byte says how long these are."""
    memory = Memory()
    answers: list[bytes] = []
    framer = Framer(256, 1 << 17)
    intake = Intake(memory, _ASSOCIATION, _CONTEXTS, answers.append, lambda *_: None, largest_object=1 << 20)
    stream = data[1:]
    step = max(data[0] + 1, len(stream) // MOST_READS) if data else 1
    try:
        while stream:
            room = framer.room()
            taken = min(len(room), step, len(stream))
            room[:taken] = stream[:taken]
            stream = stream[taken:]
            for piece in framer.pieces(taken):
                if not isinstance(piece, OtherPDU):
                    intake.take(piece)
            intake.flush()
    except (FramingError, CommandError):
        pass
    intake.discard()
    assert memory.begun == len(memory.objects) + memory.discarded, "an object was neither kept nor discarded"
    assert len(memory.objects) == intake.objects <= len(answers), "an object was kept and not answered"
    for answer in answers:
        assert Command.parse(answer[12:]).number(0x0900) is not None, "an answer that cannot be read"


def command_set(data: bytes) -> None:
    """One command set."""
    with contextlib.suppress(CommandError):
        read = Command.parse(data)
        command.store_response(read, 1, 0, "comment")
        assert len(read.sop_instance) + len(read.sop_class) <= len(data)


def association_request(data: bytes) -> None:
    """An A-ASSOCIATE-RQ, as far as it is negotiated."""
    request = A_ASSOCIATE_RQ()
    with contextlib.suppress(*MALFORMED):
        request.decode(data)
        proposed = request.to_primitive().presentation_context_definition_list
        assert len(contexts.accepted(proposed)) <= len(proposed)


def data_set(data: bytes) -> None:
    """A stored object; the first byte chooses its transfer syntax."""
    syntax = SYNTAXES[data[0] % len(SYNTAXES)] if data else SYNTAXES[0]
    path = _file()
    path.write_bytes(_meta(syntax) + data[1:])
    with contextlib.suppress(DicomNodeError):
        read = read_header(path)
        assert read.size == path.stat().st_size
        return
    study, sop = identify(path)
    assert isinstance(study, str)
    assert isinstance(sop, str)


def likeness(data: bytes) -> None:
    """A stored object that comes after others of its series: they must not change what is read of it."""
    syntax = SYNTAXES[data[0] % len(SYNTAXES)] if data else SYNTAXES[0]
    path, known = _file(), Likeness()
    for number in (1, 2):
        path.write_bytes(_meta(EXPLICIT_LITTLE) + make("2.25.1", number, b"\1\2" * 20, f"2.25.{number}").data)
        known.header(str(path))
    path.write_bytes(_meta(syntax) + data[1:])
    told = _outcome(lambda: known.header(str(path)))
    assert told == _outcome(lambda: replace(read_header(path), digest="", pixel_digest="")), (
        "others changed what is read"
    )


def _outcome(read: Callable[[], object]) -> object:
    try:
        return read()
    except DicomNodeError as error:
        return error.reason, error.message


TARGETS: dict[str, Target] = {
    "pdus": pdus,
    "command_set": command_set,
    "association_request": association_request,
    "data_set": data_set,
    "likeness": likeness,
    "hl7": records.hl7,
    "fhir": records.fhir,
}


def seeds(target: str) -> Iterator[bytes]:
    """Inputs that are as they should be, or nearly so."""
    if target in ("hl7", "fhir"):
        yield from records.hl7_seeds() if target == "hl7" else records.fhir_seeds()
        return
    made = make("2.25.1", 1, b"\1\2" * 20, "2.25.2").data
    store = command.request(command.C_STORE_RQ, MR, 9, sop_instance="2.25.2", has_data_set=True)
    echo = command.request(command.C_ECHO_RQ, "1.2.840.10008.1.1", 1, has_data_set=False)
    if target == "pdus":
        whole = command.pdu(1, 3, store) + command.pdu(1, 0, made[:40]) + command.pdu(1, 2, made[40:])
        yield from (bytes((step,)) + whole for step in (0, 6, 40, 255))
        yield b"\xff" + command.pdu(3, 3, echo) + whole + whole + bytes.fromhex("05000000000400000000")
        yield b"\x20" + command.pdu(1, 1, store[:30]) + command.pdu(1, 3, store[30:]) + command.pdu(1, 2, made)
    elif target == "command_set":
        yield from (store, echo, command.encode({0x0002: b"1.2", 0x0100: b"\1\0", 0x0110: b"\1\0", 0x0800: b"\1\1"}))
    elif target == "association_request":
        yield from _requests()
    else:
        sequence = struct.pack("<HH2sHL", 8, 0x1140, b"SQ", 0, 0xFFFFFFFF) + struct.pack("<HHL", 0xFFFE, 0xE000, 8)
        ends = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
        yield from (bytes((number,)) + made for number in range(len(SYNTAXES)))
        yield b"\0" + made[:60] + sequence + b"\x08\0\x50\x11UI\0\0" + ends + made[60:]
        yield b"\0" + sequence * 120


def _requests() -> Iterator[bytes]:
    from soak.objects import PROPOSAL

    from dicom_node.dimse.associate import _context, _request

    for count in (1, 3):
        asked = [_context(2 * number + 1, PROPOSAL) for number in range(count)]
        yield A_ASSOCIATE_RQ(_request("SCU", "DICOMNODE", asked)).encode()


@lru_cache(maxsize=8)
def _meta(syntax: str) -> bytes:
    receipt = Receipt("SCU", "DICOMNODE", "127.0.0.1", "fuzz", datetime(2026, 1, 1, tzinfo=UTC))
    return file_meta(MR.encode(), b"2.25.2", syntax, receipt)


@lru_cache(maxsize=1)
def _file() -> Path:
    """The one file that objects are written to, in memory where there is such a place."""
    memory = Path("/dev/shm")
    descriptor, name = tempfile.mkstemp(prefix="fuzz-", dir=memory if os.access(memory, os.W_OK) else None)
    os.close(descriptor)
    atexit.register(Path(name).unlink, missing_ok=True)
    return Path(name)
