"""Functional groups of a Segmentation's frames (PS3.3 C.7.6.16), encoded in Explicit VR Little Endian.

A Segmentation has thousands of frames, whose items differ in a slice, a segment and two numbers. So the bytes of what
belongs to a slice are made once, and joined for each frame.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag
from pydicom.valuerep import DSfloat

from dicom_node.domain.finding import Code
from workers.results import codes
from workers.results.source import is_placed

_LONG = frozenset((b"SQ",))  # VRs used here whose length has 32 bits


@dataclass(frozen=True, slots=True)
class FrameOf:
    """What one frame shows."""

    segment: int  # Segment Number; 0 of a label map, which shows all
    slice: int  # index into the images
    dimensions: tuple[int, ...]  # Dimension Index Values (0020,9157)


def per_frame(
    frames: Sequence[FrameOf], images: Sequence[Dataset], *, identify: bool, derived_by: Code = codes.SEGMENTATION
) -> RawDataElement:
    """Per-Frame Functional Groups Sequence (5200,9230); with ``identify``, each item names its segment."""
    derivations = {frame.slice: b"" for frame in frames}
    positions = dict(derivations)
    for index in derivations:
        derivations[index], positions[index] = _derivation(images[index], derived_by), _position(images[index])
    return sequence(
        0x52009230,
        (
            derivations[frame.slice]
            + _content(frame, placed=bool(positions[frame.slice]))
            + positions[frame.slice]
            + (
                _sequence(0x0062000A, _element(0x0062000B, b"US", struct.pack("<H", frame.segment)))
                if identify
                else b""
            )
            for frame in frames
        ),
    )


def references(tag: int, images: Iterable[Dataset]) -> RawDataElement:
    """A sequence of references to objects."""
    return sequence(tag, map(reference, images))


def referenced_series(uid: str, images: Iterable[Dataset]) -> RawDataElement:
    """Referenced Series Sequence (0008,1115) of one series."""
    instances = _element(0x0008114A, b"SQ", references(0x0008114A, images).value or b"")
    return sequence(0x00081115, (instances + _text(0x0020000E, b"UI", uid),))


def reference(image: Dataset) -> bytes:
    """An item that refers to the object of an image."""
    return _text(0x00081150, b"UI", str(image.SOPClassUID)) + _text(0x00081155, b"UI", str(image.SOPInstanceUID))


def sequence(tag: int, items: Iterable[bytes]) -> RawDataElement:
    """A sequence of encoded items, as pydicom holds what it has read and not yet converted."""
    value = b"".join(part for item in items for part in (b"\xfe\xff\x00\xe0", struct.pack("<I", len(item)), item))
    return RawDataElement(BaseTag(tag), "SQ", len(value), value, 0, False, True)


def _derivation(image: Dataset, by: Code) -> bytes:
    """Derivation Image Sequence: derived from this image, or this frame of it."""
    number = image.get("ReferencedFrameNumber")
    source = (
        reference(image)
        + (_text(0x00081160, b"IS", str(int(number))) if number is not None else b"")
        + _text(0x0028135A, b"CS", "YES")
        + _sequence(0x0040A170, _code(codes.SOURCE_IMAGE))
    )
    return _sequence(0x00089124, _sequence(0x00082112, source) + _sequence(0x00089215, _code(by)))


def _content(frame: FrameOf, *, placed: bool) -> bytes:
    content = _element(0x00209157, b"UL", struct.pack(f"<{len(frame.dimensions)}I", *frame.dimensions))
    if not frame.segment and not placed:
        content += _text(0x00209453, b"LO", "Frame")  # what its dimension points at
    return _sequence(0x00209111, content)


def _position(image: Dataset) -> bytes:
    """Plane Position Sequence; nothing of a projection."""
    if not is_placed(image):
        return b""
    values = "\\".join(map(decimal, image.ImagePositionPatient))
    return _sequence(0x00209113, _text(0x00200032, b"DS", values))


def decimal(value: Any) -> str:
    """A number as DS holds it: as it was read where it fits into 16 characters."""
    formatted = DSfloat(value, auto_format=True)
    return str(getattr(formatted, "original_string", formatted))


def _code(code: Code) -> bytes:
    return (
        _text(0x00080100, b"SH", code.value)
        + _text(0x00080102, b"SH", code.scheme)
        + _text(0x00080104, b"LO", code.meaning)
    )


def _sequence(tag: int, item: bytes) -> bytes:
    return _element(tag, b"SQ", b"\xfe\xff\x00\xe0" + struct.pack("<I", len(item)) + item)


def _text(tag: int, vr: bytes, text: str) -> bytes:
    value = text.encode("ascii")
    return _element(tag, vr, value + (b"\0" if vr == b"UI" else b" ") * (len(value) % 2))


def _element(tag: int, vr: bytes, value: bytes) -> bytes:
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr)
    return (
        head + struct.pack("<HI" if vr in _LONG else "<H", *((0, len(value)) if vr in _LONG else (len(value),))) + value
    )
