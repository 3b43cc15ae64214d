"""A frame as people see it: modality and VOI transformation, colour, size (PS3.3 C.11, PS3.18 8.3.5)."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi_lut

from dicom_node.archive.frames import decoded_array
from dicom_node.errors import InputError

FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")
LARGEST_SIDE = 4096  # pixels of a picture that is asked for in a size of its own

Grey = npt.NDArray[np.uint8]
_UNUSABLE = (ValueError, TypeError, AttributeError, KeyError, IndexError, NotImplementedError)


@dataclass(frozen=True, slots=True)
class Window:
    """Which values become grey, in units of the image after the modality transformation (HU in a CT)."""

    center: float
    width: float  # above 0; for LINEAR at least 1
    function: str = "LINEAR"

    def grey(self, values: npt.NDArray[Any]) -> Grey:
        """Values as 0 (black) to 255 (white) (PS3.3 C.11.2.1.2 and C.11.2.1.3)."""
        width, center = max(self.width, 1e-6), self.center
        shifted = values.astype(np.float32)
        if self.function == "SIGMOID":
            scaled = 255.0 / (1.0 + np.exp(np.clip(-4.0 * (shifted - center) / width, -80.0, 80.0)))
        elif self.function == "LINEAR_EXACT":
            scaled = ((shifted - center) / width + 0.5) * 255.0
        elif width <= 1.0:  # a threshold
            scaled = np.where(shifted > center - 0.5, 255.0, 0.0)
        else:
            scaled = ((shifted - (center - 0.5)) / (width - 1.0) + 0.5) * 255.0
        grey: Grey = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
        return grey


@dataclass(frozen=True, slots=True)
class View:
    """How a frame is to be shown."""

    window: Window | None = None  # None: that of the image
    size: tuple[int, int] | None = None  # columns and rows that the picture must fit in; None: its own
    region: tuple[float, float, float, float] | None = None  # left, top, width, height; negative ones are mirrored


def picture(path: Path, number: int, view: View) -> Image.Image:
    """A frame as an 8-bit picture, grey or RGB.

    Raises:
        InputError: it cannot be decoded, or is no picture.
        OSError: the file cannot be read.
    """
    dataset = dcmread(path, stop_before_pixels=True)
    array = decoded_array(path, number)
    try:
        return _fitted(_shown(array, dataset, number, view.window), view)
    except _UNUSABLE as error:
        raise InputError(f"frame {number} cannot be shown as a picture: {error}", reason="not-shown") from error


def encoded(image: Image.Image, kind: Literal["image/png", "image/jpeg"], quality: int = 90) -> bytes:
    """A picture as a file."""
    out = io.BytesIO()
    if kind == "image/png":
        image.save(out, "PNG", compress_level=1)
    else:
        image.save(out, "JPEG", quality=quality)
    return out.getvalue()


def window_of(dataset: Dataset, number: int = 1) -> Window | None:
    """The first window of an image, or of one of its frames."""
    for source in (dataset, *_groups(dataset, number, "FrameVOILUTSequence")):
        center, width = _first(source.get("WindowCenter")), _first(source.get("WindowWidth"))
        if center is not None and width is not None and width > 0:
            function = str(source.get("VOILUTFunction") or "LINEAR")
            return Window(center, width, function if function in FUNCTIONS else "LINEAR")
    return None


def in_units(array: npt.NDArray[Any], dataset: Dataset, number: int = 1) -> npt.NDArray[Any]:
    """Stored values after the modality transformation: HU of a CT."""
    for source in _groups(dataset, number, "PixelValueTransformationSequence"):
        slope, intercept = _first(source.get("RescaleSlope")), _first(source.get("RescaleIntercept"))
        if slope is not None and intercept is not None:
            return array * np.float32(slope) + np.float32(intercept)
    return apply_modality_lut(array, dataset)


def _shown(array: npt.NDArray[Any], dataset: Dataset, number: int, window: Window | None) -> Image.Image:
    photometric = str(dataset.get("PhotometricInterpretation", "MONOCHROME2"))
    if photometric == "PALETTE COLOR" and array.ndim == 2:
        coloured = apply_color_lut(array, dataset)[..., :3]
        return Image.fromarray((coloured >> 8 if coloured.dtype.itemsize > 1 else coloured).astype(np.uint8))
    if array.ndim == 3:
        return Image.fromarray(_eight_bits(array[..., :3], int(dataset.get("BitsStored", 8))))
    values = in_units(array, dataset, number)
    chosen = window or window_of(dataset, number)
    if chosen is None and "VOILUTSequence" in dataset:
        values = apply_voi_lut(values, dataset)
    if chosen is None:
        low, high = float(np.nanmin(values)), float(np.nanmax(values))
        chosen = Window((low + high) / 2, max(high - low, 1e-6), "LINEAR_EXACT")
    grey = chosen.grey(np.nan_to_num(values) if values.dtype.kind == "f" else values)
    inverse = photometric == "MONOCHROME1" or str(dataset.get("PresentationLUTShape", "")) == "INVERSE"
    return Image.fromarray(255 - grey if inverse else grey)


def _eight_bits(array: npt.NDArray[Any], bits: int) -> Grey:
    if bits <= 8:
        return np.ascontiguousarray(array.astype(np.uint8))
    return np.ascontiguousarray((array.astype(np.uint32) >> (bits - 8)).astype(np.uint8))


def _fitted(image: Image.Image, view: View) -> Image.Image:
    if view.region is not None:
        left, top, width, height = view.region
        right, bottom = min(left + abs(width), image.width), min(top + abs(height), image.height)
        if left >= right or top >= bottom:
            raise InputError("the region of the viewport lies outside the image", reason="not-shown")
        image = image.crop(
            (round(left), round(top), max(round(right), round(left) + 1), max(round(bottom), round(top) + 1))
        )
        if width < 0:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if height < 0:
            image = image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    if view.size is not None:
        scale = min(view.size[0] / image.width, view.size[1] / image.height)
        size = (max(1, math.floor(image.width * scale)), max(1, math.floor(image.height * scale)))
        image = image.resize(size, Image.Resampling.BILINEAR)
    return image


def _groups(dataset: Dataset, number: int, name: str) -> Sequence[Dataset]:
    """The item of a functional group that holds for a frame: its own, else the shared one (PS3.3 C.7.6.16)."""
    for sequence, at in (("PerFrameFunctionalGroupsSequence", number - 1), ("SharedFunctionalGroupsSequence", 0)):
        items = dataset.get(sequence) or ()
        if at < len(items) and items[at].get(name):
            return [items[at][name].value[0]]
    return ()


def _first(value: Any) -> float | None:
    values = [value] if isinstance(value, str) or not hasattr(value, "__iter__") else list(value)
    try:
        found = float(values[0])
    except (IndexError, TypeError, ValueError):
        return None
    return found if math.isfinite(found) else None
