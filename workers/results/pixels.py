"""Pixel Data of many frames, made frame after frame while it is written; they never stand in memory together."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.encaps import encapsulate
from pydicom.pixels.encoders.base import RLELosslessEncoder

from dicom_node.errors import ResultError

Plane = npt.NDArray[Any]

_LONGEST = 0xFFFFFFFE  # bytes; an even number below that of an undefined length


class PixelStream(io.BufferedIOBase):
    """A readable buffer over chunks of bytes that are made when they are read; pydicom writes it as Pixel Data.

    Going back begins anew, so the chunks must be the same each time.
    """

    def __init__(self, size: int, chunks: Callable[[], Iterator[bytes]]) -> None:
        self._size = size
        self._chunks = chunks
        self._at = 0
        self._made = chunks()
        self._made_at = 0  # where what is held begins
        self._held = memoryview(b"")

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """Position in bytes."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a position; nothing is made yet."""
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def read(self, size: int | None = -1, /) -> bytes:
        """At most ``size`` bytes; fewer at the end alone."""
        if self._at < self._made_at:
            self._made, self._made_at, self._held = self._chunks(), 0, memoryview(b"")
        wanted = self._size - self._at if size is None or size < 0 else size
        parts = []
        while wanted > 0:
            behind = self._made_at + len(self._held) - self._at
            if behind <= 0:
                self._made_at += len(self._held)
                chunk = next(self._made, None)
                if chunk is None:
                    self._held = memoryview(b"")
                    break
                self._held = memoryview(chunk)
                continue
            start = self._at - self._made_at
            part = self._held[start : start + wanted]
            parts.append(part)
            self._at += len(part)
            wanted -= len(part)
        return b"".join(parts)


def native(planes: Callable[[], Iterable[Plane]], count: int, pixels: int, bits: int) -> PixelStream:
    """Pixel Data of ``count`` frames of so many ``pixels``, in 1 or 8 bits each, Little Endian.

    Raises:
        ResultError: ``too-large``: their length does not fit into 32 bits (PS3.5 7.1).
    """
    size = (count * pixels * bits + 7) // 8
    pad = size % 2
    if size + pad > _LONGEST:
        raise ResultError(
            f"{count} frames of {pixels} pixels are {size / 1e9:.1f} GB, more than one object holds uncompressed",
            reason="too-large",
            remedy="have the model name fewer segments, or crop what it gives",
        )
    frames = _packed if bits == 1 else _plain
    return PixelStream(size + pad, lambda: _padded(frames(planes()), pad))


def _padded(chunks: Iterator[bytes], pad: int) -> Iterator[bytes]:
    """Pixel Data of odd length are padded with a null byte (PS3.5 8.2)."""
    yield from chunks
    if pad:
        yield b"\0"


def _plain(planes: Iterable[Plane]) -> Iterator[bytes]:
    return (plane.astype(np.uint8, copy=False).tobytes() for plane in planes)


def _packed(planes: Iterable[Plane]) -> Iterator[bytes]:
    """Bits, the first pixel in the lowest one; they run on from frame to frame (PS3.5 8.1.1, annex D)."""
    rest = np.zeros(0, np.bool_)
    for plane in planes:
        flat = np.concatenate((rest, plane.ravel())) if rest.size else plane.ravel()
        whole = flat.size // 8 * 8
        rest = flat[whole:]
        yield np.packbits(flat[:whole], bitorder="little").tobytes()
    yield np.packbits(rest, bitorder="little").tobytes()


def run_length(planes: Iterable[Plane], shape: tuple[int, int]) -> bytes:
    """Encapsulated Pixel Data of frames of ``shape`` (rows, columns), uint8, RLE Lossless."""
    options: dict[str, Any] = {
        "rows": shape[0], "columns": shape[1], "number_of_frames": 1, "samples_per_pixel": 1, "bits_allocated": 8,
        "bits_stored": 8, "pixel_representation": 0, "photometric_interpretation": "MONOCHROME2",
    }  # fmt: skip
    return bytes(encapsulate([RLELosslessEncoder.encode(np.ascontiguousarray(plane), **options) for plane in planes]))
