"""Small MR objects, encoded without a DICOM library so that making many of them costs little."""

from __future__ import annotations

import hashlib
import struct
import uuid
from dataclasses import dataclass

from dicom_node.dimse.associate import Proposal

MR = "1.2.840.10008.5.1.4.1.1.4"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
PROPOSAL = Proposal(MR, (EXPLICIT_LITTLE,))


@dataclass(frozen=True, slots=True)
class Made:
    """One object: its UID and the bytes of its data set."""

    uid: str
    data: bytes

    @property
    def digest(self) -> str:
        """SHA-256 of the data set."""
        return hashlib.sha256(self.data).hexdigest()

    def part10(self) -> bytes:
        """The object as a file."""
        meta = b"".join(
            (
                _element(2, 0x01, b"OB", b"\0\1"),
                _element(2, 0x02, b"UI", MR.encode()),
                _element(2, 0x03, b"UI", self.uid.encode()),
                _element(2, 0x10, b"UI", EXPLICIT_LITTLE.encode()),
                _element(2, 0x12, b"UI", b"2.25.1"),
            )
        )
        return b"\0" * 128 + b"DICM" + _element(2, 0, b"UL", struct.pack("<L", len(meta))) + meta + self.data


def new_uid() -> str:
    """A UID nobody has used."""
    return f"2.25.{uuid.uuid4().int}"


def make(study: str, number: int, pixels: bytes, uid: str = "") -> Made:
    """Image ``number`` of a study of one series, under a new UID; ``pixels`` are an even number of bytes."""
    uid = uid or new_uid()
    data = b"".join(
        (
            _element(0x08, 0x16, b"UI", MR.encode()),
            _element(0x08, 0x18, b"UI", uid.encode()),
            _element(0x08, 0x20, b"DA", b"20260304"),
            _element(0x08, 0x60, b"CS", b"MR"),
            _element(0x10, 0x10, b"PN", b"Synthetic^Many"),
            _element(0x10, 0x20, b"LO", b"MANY-" + study[-8:].encode()),
            _element(0x20, 0x0D, b"UI", study.encode()),
            _element(0x20, 0x0E, b"UI", f"{study}.1".encode()[-64:]),
            _element(0x20, 0x13, b"IS", str(number).encode()),
            _element(0x28, 0x10, b"US", struct.pack("<H", 1)),
            _element(0x28, 0x11, b"US", struct.pack("<H", len(pixels) // 2 & 0xFFFF)),
            _element(0x28, 0x100, b"US", struct.pack("<H", 16)),
            _element(0x7FE0, 0x10, b"OW", pixels),
        )
    )
    return Made(uid, data)


def _element(group: int, number: int, vr: bytes, value: bytes) -> bytes:
    value += (b"\0" if vr in (b"UI", b"OB") else b" ") * (len(value) % 2)
    if vr in (b"OB", b"OW"):
        return struct.pack("<HH2sHL", group, number, vr, 0, len(value)) + value
    return struct.pack("<HH2sH", group, number, vr, len(value)) + value
