"""One file of a series: its header first, its pixels frame by frame when they are wanted, each decoded by itself."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate, generate_frames
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_dataset
from pydicom.pixels.utils import pixel_array
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian

from dicom_node.errors import HeaderError, NotDicomError, PixelError
from workers.inference import codecs, headers

Stored = npt.NDArray[Any]

RESEND = "send the image again; if it fails again, export it anew at the modality or the PACS"
# What pydicom and its decoding plug-ins raise on bytes that are not what their header says.
UNREADABLE = (
    AttributeError,
    EOFError,
    IndexError,
    KeyError,
    NotImplementedError,
    OverflowError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
)
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_FLOATS = {"FloatPixelData": "<f4", "DoubleFloatPixelData": "<f8"}
_DESCRIBING = (
    "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "Rows", "Columns", "BitsAllocated",
    "BitsStored", "HighBit", "PixelRepresentation", "RedPaletteColorLookupTableDescriptor",
    "GreenPaletteColorLookupTableDescriptor", "BluePaletteColorLookupTableDescriptor",
    "RedPaletteColorLookupTableData", "GreenPaletteColorLookupTableData", "BluePaletteColorLookupTableData",
)  # fmt: skip


_OF_GREY = tuple(keyword for keyword in _DESCRIBING if "Palette" not in keyword)
# How Pixel Data begins, in explicit and in implicit VR.
_NATIVE = {False: (b"\xe0\x7f\x10\x00OW", b"\xe0\x7f\x10\x00OB"), True: (b"\xe0\x7f\x10\x00",)}
_UNDEFINED = 0xFFFFFFFF


class ImageFile:
    """A DICOM Part 10 file. ``header`` has no pixel data."""

    def __init__(self, path: Path, header: Dataset, pixels_at: int | None) -> None:
        self.path = path
        self.header = header
        self._pixels_at = pixels_at  # byte offset of what follows the header; None: the data set is deflated

    def __str__(self) -> str:
        return f"image {self.header.get('SOPInstanceUID', '(no SOP Instance UID)')} ({self.path.name})"

    @classmethod
    def read(cls, path: Path) -> ImageFile:
        """The header.

        Raises:
            NotDicomError: it is not DICOM Part 10, or damaged.
            HeaderError: it lacks the UIDs of the object or its series.
            OSError: it cannot be read.
        """
        try:
            header, at = _header(path)
            for keyword in ("SOPInstanceUID", "SeriesInstanceUID"):
                if not str(header.get(keyword) or ""):
                    raise HeaderError(f"{path.name} has no {keyword}", remedy=RESEND)
        except InvalidDicomError as error:
            raise NotDicomError(f"{path.name} is not a DICOM file", remedy=RESEND) from error
        except UNREADABLE as error:
            raise NotDicomError(f"{path.name} cannot be read as DICOM: {error}", remedy=RESEND) from error
        deflated = header.file_meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian
        return cls(path, header, None if deflated else at)

    @property
    def frames(self) -> int:
        """Number of Frames (0028,0008); 1 where it is absent.

        Raises:
            HeaderError: it is no number.
        """
        value = self.header.get("NumberOfFrames")
        try:
            return max(1, int(value)) if value not in (None, "") else 1
        except (TypeError, ValueError) as error:
            raise HeaderError(f"Number of Frames of {self} is {value!r}", reason="bad-value") from error

    def pixels(self) -> EncodedPixels:
        """Its pixel data, read now.

        Raises:
            PixelError: there is none, or the file ends within it.
        """
        try:
            return EncodedPixels(self._with_pixels(), self.frames)
        except UNREADABLE as error:
            raise self.undecodable(error) from error

    def _with_pixels(self) -> Dataset:
        """A small data set with the pixel data and what describes it."""
        made = Dataset()
        made.file_meta = self.header.file_meta
        for keyword in _DESCRIBING if "PALETTE" in str(self.header.get("PhotometricInterpretation")) else _OF_GREY:
            if keyword in self.header:
                made.add(self.header[keyword])
        plain = self._plain_value()
        if plain is not None:
            made.add_new("PixelData", "OW", plain)
            return made
        rest = self._rest()
        for keyword in (*_PIXELS, "ExtendedOffsetTable", "ExtendedOffsetTableLengths"):
            if keyword in rest:
                made.add_new(keyword, "OW" if keyword == "PixelData" else rest[keyword].VR, rest[keyword].value)
        if not any(keyword in made for keyword in _PIXELS):
            raise ValueError("no Pixel Data, or the file ends within it")
        return made

    def _plain_value(self) -> bytes | None:
        """Pixel Data (7FE0,0010) of known length, straight from the file; None where it is anything else."""
        if self._pixels_at is None or self.header.original_encoding[1] is False:
            return None
        implicit = bool(self.header.original_encoding[0])
        with self.path.open("rb") as file:
            head = os.pread(file.fileno(), 12, self._pixels_at)
            known = head.startswith(_NATIVE[implicit])
            length = int.from_bytes(head[4:8] if implicit else head[8:12], "little")
            if not known or len(head) < 12 or length == _UNDEFINED:
                return None
            file.seek(self._pixels_at + (8 if implicit else 12))
            return file.read(length)

    def _rest(self) -> Dataset:
        """The data set from the pixel data on, or all of a deflated one."""
        if self._pixels_at is None:
            return dcmread(self.path)
        with self.path.open("rb") as file:
            file.seek(self._pixels_at)
            implicit, little = self.header.original_encoding
            return read_dataset(file, bool(implicit), little is not False)

    def undecodable(self, error: Exception) -> PixelError:
        """What to raise when its pixels could not be decoded."""
        syntax = UID(str(self.header.file_meta.get("TransferSyntaxUID", "(none)")))
        return PixelError(
            f"{self} in transfer syntax {syntax.name} cannot be decoded: {str(error).strip()}",
            remedy=f"{RESEND}, uncompressed (Explicit VR Little Endian)",
        )


def _header(path: Path) -> tuple[Dataset, int]:
    """The header of a file, and the byte offset of what follows it."""
    try:
        return headers.read(path)
    except headers.NotPlain:
        with path.open("rb") as file:
            return dcmread(file, stop_before_pixels=True), file.tell()


class EncodedPixels:
    """The pixel data of one file, in memory; frames decode independently of each other, in any thread."""

    def __init__(self, described: Dataset, frames: int) -> None:
        self._described = described
        self._syntax = str(described.file_meta.TransferSyntaxUID)
        self._keyword = next(keyword for keyword in _PIXELS if keyword in described)
        value = described[self._keyword].value
        self._frames = frames
        self._encoded: Sequence[bytes] | None = None
        if UID(self._syntax).is_encapsulated:
            self._encoded = self._fragments(value)
        elif frames > 1 and self._frame_bytes() * frames > len(value):
            raise ValueError(f"{len(value)} bytes of pixel data are too few for {frames} frames")
        self._value = memoryview(b"" if self._encoded else value)

    def _fragments(self, value: bytes) -> list[bytes]:
        described = self._described
        tables = None
        if "ExtendedOffsetTable" in described and "ExtendedOffsetTableLengths" in described:
            tables = (described.ExtendedOffsetTable, described.ExtendedOffsetTableLengths)
        encoded = list(generate_frames(value, number_of_frames=self._frames, extended_offsets=tables))
        if len(encoded) < self._frames:
            raise ValueError(f"{len(encoded)} of {self._frames} frames are there")
        return encoded

    def _frame_bytes(self) -> int:
        described = self._described
        bits = 8 * np.dtype(_FLOATS[self._keyword]).itemsize if self._keyword in _FLOATS else described.BitsAllocated
        if bits % 8:
            raise ValueError(f"frames of {bits} bits a pixel are not read")
        samples = int(described.get("SamplesPerPixel") or 1)
        return int(described.Rows) * int(described.Columns) * samples * int(bits) // 8

    def decode(self, index: int) -> Stored:
        """Stored values of a frame (index base 0): axes (row, column), or (row, column, RGB) of a colour image.

        Bits outside Bits Stored are dropped.

        Raises:
            ValueError, RuntimeError, …: any of ``UNREADABLE``.
        """
        described = self._described
        shape = int(described.Rows), int(described.Columns)
        grey = int(described.get("SamplesPerPixel") or 1) == 1
        stored = None
        if self._encoded is not None and grey:
            stored = codecs.decode(self._encoded[index], self._syntax, described)
        elif grey and self._syntax != ExplicitVRBigEndian:
            stored = self._native(index, shape)
        if stored is None:
            stored = self._by_pydicom(index, grey)
        if stored.shape[:2] != shape:
            raise ValueError(f"it decodes to {stored.shape}, not to {shape}")
        return _without_unused_bits(stored, described) if grey else stored

    def _native(self, index: int, shape: tuple[int, int]) -> Stored:
        size = self._frame_bytes()
        if len(self._value) < (index + 1) * size:
            raise ValueError(f"{len(self._value)} bytes of pixel data are fewer than the {size} of a frame")
        signed = int(self._described.get("PixelRepresentation") or 0)
        kind = _FLOATS.get(self._keyword, f"<{'ui'[signed]}{size // (shape[0] * shape[1])}")
        count = shape[0] * shape[1]
        return np.frombuffer(self._value, kind, count, index * size).reshape(shape)

    def _by_pydicom(self, index: int, grey: bool) -> Stored:
        """One frame as an image of its own, decoded by whichever plug-in of pydicom can."""
        alone = Dataset()
        alone.update({element.tag: element for element in self._described if element.keyword not in _PIXELS})
        alone.file_meta = self._described.file_meta
        for keyword in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths"):
            alone.pop(keyword, None)
        alone.NumberOfFrames = 1
        if self._encoded is not None:
            alone.PixelData = encapsulate([self._encoded[index]], has_bot=False)
            alone["PixelData"].VR = "OB"
        else:
            value = self._described[self._keyword].value
            size = len(value) if self._frames == 1 else self._frame_bytes()
            part = bytes(value[index * size : (index + 1) * size])
            alone.add_new(self._keyword, self._described[self._keyword].VR, part)
        decoded: Stored = pixel_array(alone, raw=grey)
        return decoded


def _without_unused_bits(stored: Stored, described: Dataset) -> Stored:
    """Bits outside Bits Stored may hold anything (PS3.5 8.1.1); shifting twice drops them and keeps the sign."""
    if stored.dtype.kind not in "iu":
        return stored
    allocated = stored.dtype.itemsize * 8
    kept = int(described.BitsStored)
    above = allocated - 1 - int(described.get("HighBit", kept - 1))
    if kept >= allocated:
        return stored
    signed = stored.dtype.kind == "i"
    lowest, highest = (-(1 << (kept - 1)), (1 << (kept - 1)) - 1) if signed else (0, (1 << kept) - 1)
    if above == allocated - kept and lowest <= stored.min(initial=0) and stored.max(initial=0) <= highest:
        return stored
    native = stored.astype(stored.dtype.newbyteorder("="), copy=False)
    shifted: Stored = (native << above) >> (allocated - kept)
    return shifted
