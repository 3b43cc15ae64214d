"""DIMSE command sets, read and written without a DICOM library (PS3.7 6.3, 9.3)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

C_STORE_RQ = 0x0001
C_STORE_RSP = 0x8001
C_FIND_RQ = 0x0020
C_ECHO_RQ = 0x0030
N_EVENT_REPORT_RQ = 0x0100
N_EVENT_REPORT_RSP = 0x8100
N_ACTION_RQ = 0x0130
N_ACTION_RSP = 0x8130
DATA_SET = 0x0001
NO_DATA_SET = 0x0101
COMMAND_AND_LAST = 0x03  # message control header of a whole command set

_HEADER = struct.Struct("<HHL")
_P_DATA = struct.Struct(">BBLLBB")
_MEDIUM_PRIORITY = 0
_ERROR_COMMENT = 0x0902


class Status(IntEnum):
    """Status of a C-STORE response (PS3.4 B.2.3, PS3.7 C)."""

    SUCCESS = 0x0000
    SOP_CLASS_NOT_SUPPORTED = 0x0122
    OUT_OF_RESOURCES = 0xA700
    CANNOT_UNDERSTAND = 0xC000


class CommandError(ValueError):
    """A command set that cannot be read; its association is aborted."""


@dataclass(frozen=True, slots=True)
class Command:
    """The elements of a command set by element number; values as sent."""

    elements: dict[int, bytes]

    @classmethod
    def parse(cls, encoded: bytes) -> Command:
        """Read a command set, Implicit VR Little Endian.

        Raises:
            CommandError: it is cut off, holds another group, or has no Command Field.
        """
        elements: dict[int, bytes] = {}
        position, end = 0, len(encoded)
        while position < end:
            if end - position < _HEADER.size:
                raise CommandError("the command set is cut off")
            group, element, length = _HEADER.unpack_from(encoded, position)
            position += _HEADER.size
            if group != 0 or length > end - position:
                raise CommandError(f"the command set holds ({group:04X},{element:04X}) of {length} bytes")
            elements[element] = encoded[position : position + length]
            position += length
        command = cls(elements)
        if command.number(0x0100) is None:
            raise CommandError("the command set has no Command Field")
        return command

    def number(self, element: int) -> int | None:
        """An element of VR US, or None where it is absent or has another length."""
        value = self.elements.get(element, b"")
        return int.from_bytes(value, "little") if len(value) == 2 else None

    def uid(self, element: int) -> bytes:
        """An element of VR UI without its padding; empty where it is absent."""
        return self.elements.get(element, b"").strip(b"\0 ")

    @property
    def field(self) -> int:
        """Command Field: which message this is."""
        return self.number(0x0100) or 0

    @property
    def is_response(self) -> bool:
        """Whether it answers a request."""
        return bool(self.field & 0x8000)

    @property
    def has_data_set(self) -> bool:
        """Whether a data set follows."""
        return self.number(0x0800) != NO_DATA_SET

    @property
    def sop_class(self) -> bytes:
        """Affected SOP Class UID."""
        return self.uid(0x0002)

    @property
    def sop_instance(self) -> bytes:
        """Affected SOP Instance UID."""
        return self.uid(0x1000)


def encode(elements: dict[int, bytes]) -> bytes:
    """A command set with its group length; the elements must be in ascending order."""
    body = b"".join(_element(element, value) for element, value in elements.items())
    return _element(0x0000, struct.pack("<L", len(body))) + body


def pdu(context: int, header: int, data: bytes) -> bytes:
    """A P-DATA-TF PDU of one PDV; ``header`` is its message control header (PS3.8 E.2)."""
    return _P_DATA.pack(4, 0, len(data) + 6, len(data) + 2, context, header) + data


def store_response(request: Command, context: int, status: int, comment: str = "") -> bytes:
    """The P-DATA-TF PDU of a C-STORE response, with the UIDs of its request as they were sent.

    ``comment`` becomes its Error Comment, cut to the 64 characters of VR LO.
    """
    told = comment.encode("ascii", errors="replace").replace(b"\\", b"/")[:64]
    of_request = request.elements
    body = b"".join(
        (
            _element(0x0002, of_request.get(0x0002, b"")),
            _IS_STORE_RESPONSE,
            _element(0x0120, of_request.get(0x0110, b"")),
            _WITHOUT_DATA_SET,
            _element(0x0900, struct.pack("<H", status)),
            _element(_ERROR_COMMENT, told) if told else b"",
            _element(0x1000, of_request.get(0x1000, b"")),
        )
    )
    return pdu(context, COMMAND_AND_LAST, _element(0x0000, struct.pack("<L", len(body))) + body)


def request(field: int, sop_class: str, message_id: int, *, sop_instance: str = "", has_data_set: bool) -> bytes:
    """The command set of a request of medium priority: C-ECHO, C-STORE or C-FIND."""
    elements = {
        0x0002: sop_class.encode("ascii"),
        0x0100: struct.pack("<H", field),
        0x0110: struct.pack("<H", message_id),
    }
    if has_data_set:
        elements[0x0700] = struct.pack("<H", _MEDIUM_PRIORITY)
    elements[0x0800] = struct.pack("<H", DATA_SET if has_data_set else NO_DATA_SET)
    if sop_instance:
        elements[0x1000] = sop_instance.encode("ascii")
    return encode(elements)


def action_request(sop_class: str, sop_instance: str, message_id: int, action_type: int = 1) -> bytes:
    """The command set of an N-ACTION request that has a data set (PS3.7 10.3.4.1)."""
    return encode(
        {
            0x0003: sop_class.encode("ascii"),
            0x0100: struct.pack("<H", N_ACTION_RQ),
            0x0110: struct.pack("<H", message_id),
            0x0800: struct.pack("<H", DATA_SET),
            0x1001: sop_instance.encode("ascii"),
            0x1008: struct.pack("<H", action_type),
        }
    )


def event_report_response(request: Command, status: int) -> bytes:
    """The command set of an N-EVENT-REPORT response, with what its request has sent (PS3.7 10.3.1.2)."""
    return encode(
        {
            0x0002: request.elements.get(0x0002, b""),
            0x0100: struct.pack("<H", N_EVENT_REPORT_RSP),
            0x0120: request.elements.get(0x0110, b""),
            0x0800: struct.pack("<H", NO_DATA_SET),
            0x0900: struct.pack("<H", status),
            0x1000: request.elements.get(0x1000, b""),
            0x1002: request.elements.get(0x1002, b""),
        }
    )


def _element(element: int, value: bytes) -> bytes:
    if len(value) % 2:
        value += b" " if element == _ERROR_COMMENT else b"\0"
    return _HEADER.pack(0, element, len(value)) + value


_IS_STORE_RESPONSE = _element(0x0100, struct.pack("<H", C_STORE_RSP))
_WITHOUT_DATA_SET = _element(0x0800, struct.pack("<H", NO_DATA_SET))
