"""DIMSE command sets of C-STORE, read and written without a DICOM library (PS3.7 6.3, 9.3.1)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

C_STORE_RQ = 0x0001
NO_DATA_SET = 0x0101

_HEADER = struct.Struct("<HHL")
_P_DATA = struct.Struct(">BBLLBB")
_COMMAND_AND_LAST = 0x03


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
        position = 0
        while position < len(encoded):
            if len(encoded) - position < _HEADER.size:
                raise CommandError("the command set is cut off")
            group, element, length = _HEADER.unpack_from(encoded, position)
            position += _HEADER.size
            if group != 0 or length > len(encoded) - position:
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


def store_response(request: Command, context: int, status: int) -> bytes:
    """The P-DATA-TF PDU of a C-STORE response, with the UIDs of its request as they were sent."""
    message_id = request.elements.get(0x0110, b"\0\0")
    body = b"".join(
        (
            _element(0x0002, request.elements.get(0x0002, b"")),
            _element(0x0100, b"\x01\x80"),
            _element(0x0120, message_id),
            _element(0x0800, b"\x01\x01"),
            _element(0x0900, struct.pack("<H", status)),
            _element(0x1000, request.elements.get(0x1000, b"")),
        )
    )
    body = _element(0x0000, struct.pack("<L", len(body))) + body
    return _P_DATA.pack(4, 0, len(body) + 6, len(body) + 2, context, _COMMAND_AND_LAST) + body


def _element(element: int, value: bytes) -> bytes:
    value += b"\0" * (len(value) % 2)
    return _HEADER.pack(0, element, len(value)) + value
