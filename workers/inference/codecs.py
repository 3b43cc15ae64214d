"""Fast decoders that leave the interpreter to other threads while they work.

pydicom's plug-ins for JPEG-LS and JPEG 2000 hold it, so that threads gain nothing. What is not plainly handled here
goes to them: they are the reference, and their error is the one that is told.
"""

from __future__ import annotations

from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
from pydicom import Dataset
from pydicom.pixels.utils import get_j2k_parameters
from pydicom.uid import (
    JPEG2000,
    JPEG2000Lossless,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

_JPEG_LS = frozenset((JPEGLSLossless, JPEGLSNearLossless))
_JPEG_2000 = frozenset((JPEG2000, JPEG2000Lossless))
_BITS = (8, 16)


def decode(encoded: bytes, syntax: str, described: Dataset) -> npt.NDArray[Any] | None:
    """Stored values of one grey frame, axes (row, column); None where pydicom is to decode it."""
    bits, signed = int(described.BitsAllocated), int(described.get("PixelRepresentation") or 0)
    shape = int(described.Rows), int(described.Columns)
    if bits not in _BITS:
        return None
    dtype = np.dtype(f"<{'ui'[signed]}{bits // 8}")
    try:
        if syntax in _JPEG_LS:
            found = imagecodecs.jpegls_decode(encoded)
        elif syntax in _JPEG_2000 and _is_plain(encoded, described, signed):
            found = imagecodecs.jpeg2k_decode(encoded)
        elif syntax == RLELossless:
            found = np.frombuffer(imagecodecs.dicomrle_decode(encoded, dtype), dtype).reshape(shape)
        else:
            return None
    except (RuntimeError, TypeError, ValueError):
        return None
    if found.shape != shape or found.dtype.itemsize != dtype.itemsize:
        return None
    return found.view(dtype)


def _is_plain(encoded: bytes, described: Dataset, signed: int) -> bool:
    """Whether the codestream agrees with the header; pydicom knows what to do where it does not."""
    told = get_j2k_parameters(encoded)
    return told.get("precision") == described.BitsStored and told.get("is_signed") == bool(signed)
