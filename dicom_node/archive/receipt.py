"""Who sent an object, when and over which association: kept in its file meta information.

The durable file is the only receipt of an object, so it must hold by itself what a rule or an inquiry asks later.
PS3.10 7.1: (0002,0016)-(0002,0018) name the AE titles; our own (0002,0102) holds the rest as JSON: peer, association,
time, and of an object that is stored with a single flush a seal: the size and CRC-32 of the data set, written last.
"""

from __future__ import annotations

import json
import re
import struct
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

from dicom_node.domain.identifiers import (
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    RECEIPT_CREATOR_UID,
)

SEAL_LENGTH = 24
TIME_LENGTH = 29
_SEAL_TO_COME = "0" * SEAL_LENGTH
_TIME_TO_COME = "@" * TIME_LENGTH
_RECEIVED = b'"received":"'
_SEAL = b'"seal":"'
_ASSOCIATION = b'"association":"'
_OURS = re.compile(rb'"(?:,"seal":"[^"\\]{24}")?\} ?')  # what follows the time
_PREAMBLE = b"\0" * 128 + b"DICM"


@dataclass(frozen=True, slots=True)
class Receipt:
    """How one object reached us."""

    calling_ae: str  # who sent it
    called_ae: str  # whom it was sent to: us
    peer: str  # network address of the sender, or the door it came through
    association: str  # our name for the association or upload
    received: datetime  # aware, UTC
    sealed: bool = False  # whether room is left for a seal


def file_meta(sop_class: bytes, sop_instance: bytes, transfer_syntax: str, receipt: Receipt | None = None) -> bytes:
    """Preamble and file meta information of PS3.10 7.1, to stand before a data set.

    The UIDs of the object are bytes as its sender wrote them, since even a malformed one is kept. Without a receipt it
    tells nothing of the way of the object.
    """
    elements = (
        _of_the_class(sop_class)
        + _element(0x0003, b"UI", sop_instance)
        + _of_the_syntax(transfer_syntax)
        + (b"" if receipt is None else _origin(receipt))
    )
    return _PREAMBLE + struct.pack("<HH2sHL", 2, 0, b"UL", 4, len(elements)) + elements


def _origin(receipt: Receipt) -> bytes:
    before, after = _of_the_association(
        receipt.calling_ae, receipt.called_ae, receipt.peer, receipt.association, receipt.sealed
    )
    time = receipt.received.astimezone(UTC).isoformat(timespec="milliseconds")
    return before + time.encode("ascii") + after


# The images of an association differ in two elements; the others are encoded once.


@lru_cache(256)
def _of_the_class(sop_class: bytes) -> bytes:
    return struct.pack("<HH2sHL", 2, 1, b"OB", 0, 2) + b"\0\1" + _element(0x0002, b"UI", sop_class)


@lru_cache(256)
def _of_the_syntax(transfer_syntax: str) -> bytes:
    return (
        _element(0x0010, b"UI", transfer_syntax.encode("ascii"))
        + _element(0x0012, b"UI", IMPLEMENTATION_CLASS_UID.encode("ascii"))
        + _element(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME.encode("ascii"), b" ")
    )


@lru_cache(256)
def _of_the_association(
    calling_ae: str, called_ae: str, peer: str, association: str, sealed: bool
) -> tuple[bytes, bytes]:
    """What stands before the time of an object, and behind it."""
    content = {"peer": peer, "association": association, "received": _TIME_TO_COME}
    if sealed:
        content["seal"] = _SEAL_TO_COME
    private = json.dumps(content, separators=(",", ":")).encode("ascii")
    elements = b"".join(
        (
            _element(0x0016, b"AE", _title(calling_ae), b" "),
            _element(0x0017, b"AE", _title(calling_ae), b" "),
            _element(0x0018, b"AE", _title(called_ae), b" "),
            _element(0x0100, b"UI", RECEIPT_CREATOR_UID.encode("ascii")),
            struct.pack("<HH2sHL", 2, 0x0102, b"OB", 0, len(private) + len(private) % 2),
            private + b" " * (len(private) % 2),
        )
    )
    before, _, after = elements.rpartition(_TIME_TO_COME.encode("ascii"))
    return before, after


def seal(size: int, crc: int) -> bytes:
    """The seal of a data set of ``size`` bytes with that CRC-32."""
    return b"%015d-%08x" % (size, crc)


def seal_at(meta: bytes) -> int:
    """Where in :func:`file_meta` the seal is to be written."""
    return meta.rindex(_SEAL) + len(_SEAL)


def places_in(told: bytes) -> tuple[int, int]:
    """Where in the private information of a receipt its time and its seal stand; -1 where there is none."""
    time = told.rfind(_RECEIVED) + len(_RECEIVED)
    after = time + TIME_LENGTH
    if time < len(_RECEIVED) or _OURS.fullmatch(told, after) is None:
        return -1, -1
    at = told.find(_SEAL, after)
    return time, at if at < 0 else at + len(_SEAL)


def association_in(beginning: bytes) -> str:
    """Our name for the association that brought a file, as the beginning of the file tells; else empty.

    A hint: a malformed UID before it may tell something else.
    """
    at = beginning.find(_ASSOCIATION) + len(_ASSOCIATION)
    end = beginning.find(b'"', at)
    return beginning[at:end].decode("ascii", errors="replace") if len(_ASSOCIATION) <= at < end else ""


def _element(element: int, vr: bytes, value: bytes, pad: bytes = b"\0") -> bytes:
    value += pad * (len(value) % 2)
    return struct.pack("<HH2sH", 2, element, vr, len(value)) + value


def _title(title: str) -> bytes:
    return title.encode("ascii", errors="replace")[:16]
