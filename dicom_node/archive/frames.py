"""Single frames of stored images: as they stand in the file, or decoded.

Frames are numbered from 1, as in DICOMweb (PS3.18 10.4.1.1.3). One that stands uncompressed is a slice of the file;
nothing else of the pixel data is read.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.encaps import get_frame
from pydicom.errors import InvalidDicomError
from pydicom.pixels.utils import pixel_array
from pydicom.uid import UID

from dicom_node.archive.dicom_json import PIXELS, swapped
from dicom_node.archive.elements import DataSet, Raw, mapped_data_set, value_of
from dicom_node.archive.part10 import text_of
from dicom_node.errors import HeaderError, InputError, NotDicomError

EXPLICIT = "1.2.840.10008.1.2.1"
_ROWS, _COLUMNS, _SAMPLES, _FRAMES, _BITS = 0x00280010, 0x00280011, 0x00280002, 0x00280008, 0x00280100
_OFFSETS, _LENGTHS = 0x7FE00001, 0x7FE00002  # Extended Offset Table
_WANTED = frozenset((_ROWS, _COLUMNS, _SAMPLES, _FRAMES, _BITS, _OFFSETS, _LENGTHS, *PIXELS))
_FLOAT_BITS = {0x7FE00008: 32, 0x7FE00009: 64}
_MOST_FRAMES = 1 << 24
# What pydicom and its decoders raise of pixel data that is not as it says.
_UNDECODABLE = (
    ValueError,
    RuntimeError,
    AttributeError,
    KeyError,
    IndexError,
    TypeError,
    NotImplementedError,
    EOFError,
)


@dataclass(frozen=True, slots=True)
class Pixels:
    """The pixel data of one object, in its open file."""

    found: DataSet
    raw: Raw
    rows: int
    columns: int
    samples: int
    bits: int  # Bits Allocated
    frames: int
    offsets: tuple[bytes, bytes] | None  # Extended Offset Table and its lengths

    @property
    def syntax(self) -> str:
        """Transfer Syntax UID of the file."""
        return self.found.syntax

    @property
    def compressed(self) -> bool:
        """Whether a frame stands compressed."""
        return self.raw.undefined

    def stored(self, number: int) -> bytes:
        """A frame as it stands; one that is not compressed in little endian byte order.

        Raises:
            HeaderError: the pixel data ends before it, or its fragments are damaged.
        """
        if not self.compressed:
            return self._slice(number)
        data = self.found.data
        # A view of its own: positions of the map would be shared.
        encoded = io.BytesIO(data[self.raw.value : self.raw.end])
        try:
            return get_frame(encoded, number - 1, number_of_frames=self.frames, extended_offsets=self.offsets)
        except (ValueError, EOFError) as error:
            raise _ends(number) from error

    def _slice(self, number: int) -> bytes:
        bits = self.rows * self.columns * self.samples * self.bits
        start, end = (number - 1) * bits, number * bits
        if self.raw.value + (end + 7) // 8 > self.raw.end:
            raise _ends(number)
        whole = bytes(self.found.data[self.raw.value + start // 8 : self.raw.value + (end + 7) // 8])
        if self.bits == 1 and (start % 8 or end % 8):
            loose = np.unpackbits(np.frombuffer(whole, np.uint8), bitorder="little")[start % 8 :][:bits]
            return np.packbits(loose, bitorder="little").tobytes()
        word = max(self.bits // 8, 1)
        return swapped(whole, word) if self.found.encoding.order == ">" and word > 1 else whole


@contextmanager
def pixels_of(path: Path) -> Iterator[Pixels]:
    """The pixel data of a Part 10 file.

    Raises:
        HeaderError: it has none (reason ``no-pixels``), or it does not say what size its frames have.
        NotDicomError, OSError: the file cannot be read.
    """
    with mapped_data_set(path) as found:
        yield _described(found)


def decoded(path: Path, number: int) -> bytes:
    """A frame decoded, in little endian byte order, colour by pixel; colours are those of the file.

    Raises:
        InputError: it cannot be decoded here; says why, and what to do.
        OSError: the file cannot be read.
    """
    array = decoded_array(path, number, raw=True)
    return np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def decoded_array(path: Path, number: int, *, raw: bool = False) -> npt.NDArray[Any]:
    """A frame as an array (rows, columns) or (rows, columns, samples), stored values; YBR becomes RGB unless ``raw``.

    Raises:
        InputError: it cannot be decoded here; says why, and what to do.
        OSError: the file cannot be read.
    """
    try:
        return pixel_array(path, index=number - 1, raw=raw)
    except (*_UNDECODABLE, InvalidDicomError) as error:
        syntax = UID(_syntax_of(path)).name or "its transfer syntax"
        raise InputError(
            f"frame {number} in {syntax} cannot be decoded here: {error}",
            reason="not-decoded",
            remedy="ask for it as it is stored (transfer-syntax=*), or install the decoders: pip install "
            "'dicom-node[worker]'",
        ) from error


def _described(found: DataSet) -> Pixels:
    scanned: dict[int, Raw] = {}
    for raw in found.encoding.elements(found.data, found.start, len(found.data)):
        if raw.tag in _WANTED:
            scanned[raw.tag] = raw
        if raw.tag in PIXELS:
            break
    pixels = next((scanned[tag] for tag in PIXELS if tag in scanned), None)
    if pixels is None or pixels.value == pixels.end:
        raise HeaderError("the object has no pixel data", reason="no-pixels")
    rows, columns, bits = (_number(found, scanned.get(tag)) for tag in (_ROWS, _COLUMNS, _BITS))
    bits = _FLOAT_BITS.get(pixels.tag, bits)
    if not rows or not columns or bits not in (1, 8, 16, 32, 64):
        raise HeaderError(f"its frames have {rows} x {columns} pixels of {bits} bits", reason="no-pixels")
    offsets = (scanned.get(_OFFSETS), scanned.get(_LENGTHS))
    return Pixels(
        found,
        pixels,
        rows,
        columns,
        _number(found, scanned.get(_SAMPLES)) or 1,
        bits,
        _frames(found, scanned.get(_FRAMES)),
        (value_of(found.data, offsets[0]), value_of(found.data, offsets[1])) if offsets[0] and offsets[1] else None,
    )


def _number(found: DataSet, raw: Raw | None) -> int:
    if raw is None or raw.end - raw.value < 2:
        return 0
    order = "little" if found.encoding.order == "<" else "big"
    return int.from_bytes(found.data[raw.value : raw.value + 2], order)  # type: ignore[arg-type]


def _frames(found: DataSet, raw: Raw | None) -> int:
    text = text_of(value_of(found.data, raw)) if raw else ""
    return int(text) if text.isascii() and text.isdigit() and 0 < int(text) <= _MOST_FRAMES else 1


def _ends(number: int) -> HeaderError:
    return HeaderError(f"the pixel data ends before frame {number}", reason="no-such-frame")


def _syntax_of(path: Path) -> str:
    try:
        with mapped_data_set(path) as found:
            return found.syntax
    except NotDicomError:
        return ""
