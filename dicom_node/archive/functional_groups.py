"""Where the frames of a multi-frame object lie, from its functional groups (PS3.3 C.7.6.16)."""

from __future__ import annotations

import struct
from io import BytesIO
from typing import Any

from pydicom import Dataset
from pydicom.filereader import read_sequence

from dicom_node.archive.part10 import Part10
from dicom_node.domain.grid import ImagePlane

_SHARED, _PER_FRAME = 0x52009229, 0x52009230
# Macro and attribute of it.
_PLANE = (
    ("PixelMeasuresSequence", "PixelSpacing", 2),
    ("PlaneOrientationSequence", "ImageOrientationPatient", 6),
    ("PlanePositionSequence", "ImagePositionPatient", 3),
)
_BROKEN = (AttributeError, EOFError, IndexError, KeyError, OSError, TypeError, ValueError, struct.error)


def frame_planes(stored: Part10, rows: Any, columns: Any, frames: int) -> tuple[ImagePlane, ...]:
    """The plane of each frame, in its order; empty where a frame has none, or the groups are damaged or too long."""
    if not (isinstance(rows, float) and isinstance(columns, float) and min(rows, columns) >= 1):
        return ()
    try:
        shared = _items(stored, _SHARED)
        groups = _items(stored, _PER_FRAME)
        if len(groups) != frames:
            return ()
        return tuple(_plane(group, shared[0] if shared else Dataset(), int(rows), int(columns)) for group in groups)
    except _BROKEN:
        return ()


def _items(stored: Part10, tag: int) -> list[Dataset]:
    value = stored.groups.get(tag, b"")
    return list(read_sequence(BytesIO(value), stored.implicit, stored.little_endian, len(value), "iso8859"))


def _plane(group: Dataset, shared: Dataset, rows: int, columns: int) -> ImagePlane:
    spacing, orientation, position = (_numbers(group, shared, *wanted) for wanted in _PLANE)
    return ImagePlane(rows, columns, spacing, orientation, position)


def _numbers(group: Dataset, shared: Dataset, macro: str, keyword: str, count: int) -> Any:
    holder = group if macro in group else shared
    numbers = tuple(float(value) for value in holder[macro].value[0][keyword].value)
    if len(numbers) != count:
        raise ValueError(f"{keyword} has {len(numbers)} values")
    return numbers
