"""Files of one series become a volume: an array in modality units on a grid in the patient, or a refusal by name."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.multival import MultiValue
from pydicom.pixels.utils import pixel_array
from pydicom.uid import UID

from dicom_node.domain.grid import ImagePlane, VoxelGrid, stack
from dicom_node.errors import GeometryError, HeaderError, NotDicomError, PixelError

Float32 = npt.NDArray[np.float32]

_RESEND = "send the image again; if it fails again, export it anew at the modality or the PACS"
# What pydicom and its decoding plug-ins raise on bytes that are not what their header says.
_UNREADABLE = (
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
# Stands for the value of an attribute that is not the same in all images of a series.
DIFFERS = "different from image to image"
# Rescale Type (PS3.3 C.11.1.1.2) of CT images whose values are another quantity than Hounsfield units.
_NOT_HOUNSFIELD = frozenset({"OD", "MGML", "Z_EFF", "ED", "EDW", "PCT"})


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """A series as one array.

    ``array``: float32, axes (slice, row, column), values after the modality LUT of each slice: HU for CT, the stored
    values where no rescale is given. Pixel Padding Value and MONOCHROME1 are left as they are. ``grid`` takes its
    indices to LPS mm; slices ascend along the normal (row x column direction) of the images.
    """

    array: Float32
    grid: VoxelGrid
    frames: tuple[str, ...]  # SOP Instance UID per slice
    headers: tuple[Dataset, ...]  # data set and file meta information per slice, without pixel data
    unit: str  # Rescale Type (0028,1054): "HU" for CT, "US" (unspecified) where the series does not say

    @property
    def modality(self) -> str:
        """Modality (0008,0060)."""
        return str(self.headers[0].get("Modality", ""))

    @property
    def series_instance_uid(self) -> str:
        """Series Instance UID (0020,000E)."""
        return str(self.headers[0].SeriesInstanceUID)

    @property
    def frame_of_reference_uid(self) -> str:
        """Frame of Reference UID (0020,0052), the same in every slice."""
        return str(self.headers[0].FrameOfReferenceUID)

    def agreed(self, keywords: Iterable[str]) -> dict[str, Any]:
        """Attributes of the images by keyword: text, float, or a list of them.

        What no image has is left out; what differs between images is ``DIFFERS``, which no bound on a value fits.
        """
        found = {keyword: {_plain(header.get(keyword)) for header in self.headers} for keyword in keywords}
        agreed = {keyword: values.pop() if len(values) == 1 else DIFFERS for keyword, values in found.items()}
        return {
            keyword: list(value) if isinstance(value, tuple) else value
            for keyword, value in agreed.items()
            if value is not None
        }


def _plain(value: Any) -> Any:
    """A value of an element as text, float, or a tuple of them; None where there is none."""
    if value is None or value == "":
        return None
    if isinstance(value, MultiValue):
        return tuple(_plain(part) for part in value)
    return float(value) if isinstance(value, int | float | Decimal) else str(value)


def load_volume(paths: Sequence[Path], *, minimum_slices: int = 1) -> Volume:
    """Read the images of one series, in any order, into a volume.

    Raises:
        NotDicomError: a file is not DICOM Part 10.
        HeaderError: ``mixed-series``, ``mixed-patients``, ``colour``, ``bad-value`` or ``not-hounsfield``.
        GeometryError: those of :func:`dicom_node.domain.grid.stack`, and ``too-few-slices``, ``not-an-image``,
            ``multi-frame``, ``no-geometry``, ``localizer``, ``no-frame-of-reference``, ``mixed-frames-of-reference``.
        PixelError: pixel data that is cut off or that no plug-in decodes.
    """
    if len(paths) < max(1, minimum_slices):
        raise GeometryError(
            f"the series has {len(paths)} image(s), the model needs {max(1, minimum_slices)} or more",
            reason="too-few-slices",
            remedy="send the whole series; if it is whole, this model is not meant for it",
        )
    with ThreadPoolExecutor(min(os.cpu_count() or 1, len(paths), 16)) as pool:
        images = list(pool.map(_Image.read, paths))
        _check_one_series(images)
        grid, order = stack([image.plane() for image in images], thickness=images[0].thickness())
        _check_frame_of_reference(images)
        images = [images[index] for index in order]
        array = np.empty(grid.shape, dtype=np.float32)
        list(pool.map(_Image.decode_into, images, array))
    headers = tuple(image.header for image in images)
    return Volume(array, grid, tuple(str(header.SOPInstanceUID) for header in headers), headers, _unit(images[0]))


class _Image:
    """One file of the series, on its way into the volume."""

    def __init__(self, path: Path, header: Dataset) -> None:
        self.path = path
        self.header = header

    def __str__(self) -> str:
        return f"image {self.header.get('SOPInstanceUID', '(no SOP Instance UID)')} ({self.path.name})"

    @classmethod
    def read(cls, path: Path) -> _Image:
        """The whole file; its pixel data is dropped once decoded."""
        try:
            header = dcmread(path)
            if "SOPInstanceUID" not in header:  # pydicom drops everything when encapsulated pixel data is cut off
                header = dcmread(path, stop_before_pixels=True)
            image = cls(path, header)
            for keyword in ("SOPInstanceUID", "SeriesInstanceUID"):
                image.text(keyword, needed=True)
        except InvalidDicomError as error:
            raise NotDicomError(f"{path.name} is not a DICOM file", remedy=_RESEND) from error
        except _UNREADABLE as error:
            raise NotDicomError(f"{path.name} cannot be read as DICOM: {error}", remedy=_RESEND) from error
        return image

    def text(self, keyword: str, *, needed: bool = False) -> str:
        """An attribute's value as text; empty when absent."""
        text = str(self.header.get(keyword) or "")
        if needed and not text:
            raise HeaderError(f"{self.path.name} has no {keyword}", remedy=_RESEND)
        return text

    def numbers(self, keyword: str, count: int) -> tuple[float, ...] | None:
        """The ``count`` numbers of an attribute; None when it is absent or empty."""
        try:
            value = self.header.get(keyword)
            if value is None or value == "":
                return None
            many = isinstance(value, Sequence) and not isinstance(value, str)
            numbers = tuple(float(v) for v in (value if many else [value]))
        except (TypeError, ValueError) as error:
            raise HeaderError(f"{keyword} of {self} is not a number: {error}", reason="bad-value") from error
        if not numbers:
            return None
        if len(numbers) != count or not np.isfinite(numbers).all():
            raise HeaderError(f"{keyword} of {self} is {value}, not {count} number(s)", reason="bad-value")
        return numbers

    def number(self, keyword: str) -> float | None:
        """The one number of an attribute; None when it is absent or empty."""
        numbers = self.numbers(keyword, 1)
        return numbers[0] if numbers else None

    def thickness(self) -> float | None:
        """Slice Thickness (0018,0050) in mm."""
        return self.number("SliceThickness")

    def plane(self) -> ImagePlane:
        """Where the image lies in the patient."""
        spacing = self.numbers("PixelSpacing", 2)
        orientation = self.numbers("ImageOrientationPatient", 6)
        position = self.numbers("ImagePositionPatient", 3)
        rows, columns = self.number("Rows"), self.number("Columns")
        if not (spacing and orientation and position):
            named = {"Pixel Spacing": spacing, "Image Orientation": orientation, "Image Position": position}
            absent = ", ".join(name for name, value in named.items() if not value)
            raise GeometryError(
                f"{self} has no {absent}: it has no place in the patient",
                reason="no-geometry",
                remedy="send the original images; secondary captures and screenshots cannot form a volume",
            )
        if not rows or not columns:
            raise GeometryError(f"{self} has no Rows or Columns", reason="not-an-image", remedy=_RESEND)
        return ImagePlane(
            rows=int(rows),
            columns=int(columns),
            pixel_spacing=(spacing[0], spacing[1]),
            orientation=orientation,  # type: ignore[arg-type]
            position=(position[0], position[1], position[2]),
        )

    def rescale(self) -> tuple[float, float]:
        """Slope and intercept from stored values to modality units (PS3.3 C.11.1)."""
        slope, intercept = self.number("RescaleSlope"), self.number("RescaleIntercept")
        if self.text("Modality") == "CT" and (slope is None or intercept is None):
            raise HeaderError(
                f"{self} has no Rescale Slope and Intercept, so its values are not in Hounsfield units",
                reason="not-hounsfield",
                remedy="send the original CT images",
            )
        if slope == 0:
            raise HeaderError(f"Rescale Slope of {self} is 0", reason="bad-value", remedy=_RESEND)
        return (1.0 if slope is None else slope), (intercept or 0.0)

    def decode_into(self, out: Float32) -> None:
        """Decode into ``out`` (row, column) in modality units, and drop the encoded pixel data."""
        slope, intercept = self.rescale()
        try:
            stored = self._without_unused_bits(pixel_array(self.header, raw=True))
            if stored.shape != out.shape:
                raise ValueError(f"it decodes to {stored.shape}, not to {out.shape}")
        except _UNREADABLE as error:
            syntax = UID(str(self.header.file_meta.get("TransferSyntaxUID", "(none)")))
            what = "no Pixel Data, or the file ends within it" if "PixelData" not in self.header else str(error).strip()
            raise PixelError(
                f"{self} in transfer syntax {syntax.name} cannot be decoded: {what}",
                remedy=f"{_RESEND}, uncompressed (Explicit VR Little Endian)",
            ) from error
        del self.header.PixelData
        np.multiply(stored, slope, out=out, casting="unsafe")
        out += np.float32(intercept)

    def _without_unused_bits(self, stored: npt.NDArray[np.integer]) -> npt.NDArray[np.integer]:
        """Bits outside Bits Stored may hold anything (PS3.5 8.1.1); shifting twice drops them and keeps the sign."""
        allocated = stored.dtype.itemsize * 8
        kept = int(self.header.BitsStored)
        above = allocated - 1 - int(self.header.get("HighBit", kept - 1))
        if kept == allocated or stored.dtype.kind not in "iu":
            return stored
        native = stored.astype(stored.dtype.newbyteorder("="), copy=False)
        return (native << above) >> (allocated - kept)


def _check_one_series(images: Sequence[_Image]) -> None:
    for image in images:
        _check_kind(image)
    for keyword, named, reason in (
        ("SeriesInstanceUID", "series", "mixed-series"),
        ("StudyInstanceUID", "studies", "mixed-series"),
        ("PatientID", "patients", "mixed-patients"),
        ("Modality", "modalities", "mixed-series"),
    ):
        values = sorted({image.text(keyword) for image in images})
        if len(values) > 1:
            shown = f"{len(values)} values" if keyword == "PatientID" else ", ".join(values[:3])
            raise HeaderError(
                f"the images are of different {named} ({keyword}: {shown})",
                reason=reason,
                remedy="find out at the sender which images belong together, correct them and send them again",
            )


def _check_kind(image: _Image) -> None:
    header = image.header
    if "Rows" not in header:
        kind = UID(image.text("SOPClassUID")).name
        raise GeometryError(
            f"{image} is not an image ({kind})", reason="not-an-image", remedy="leave it out of the series"
        )
    if (image.number("NumberOfFrames") or 1) > 1 or "PerFrameFunctionalGroupsSequence" in header:
        raise GeometryError(
            f"{image} is multi-frame; volumes are built from single-frame images only",
            reason="multi-frame",
            remedy="set the modality or the PACS to send classic single-frame images",
        )
    if int(image.number("SamplesPerPixel") or 1) != 1 or not image.text("PhotometricInterpretation").startswith("MONO"):
        raise HeaderError(
            f"{image} is in colour ({image.text('PhotometricInterpretation')}), a volume needs grey values",
            reason="colour",
            remedy="send the original images instead of captures",
        )
    if "LOCALIZER" in (header.get("ImageType") or ()):
        raise GeometryError(
            f"{image} is a localizer within the series",
            reason="localizer",
            remedy="send the series without its localizer",
        )
    if image.text("Modality") == "CT" and image.text("RescaleType") in _NOT_HOUNSFIELD:
        raise HeaderError(
            f"the values of {image} are of Rescale Type {image.text('RescaleType')}, not Hounsfield units",
            reason="not-hounsfield",
            remedy="send the conventional CT reconstruction",
        )
    if "ModalityLUTSequence" in header:
        raise HeaderError(
            f"{image} maps its values by a Modality LUT Sequence, which volumes do not take",
            reason="modality-lut",
            remedy="send images with Rescale Slope and Intercept",
        )


def _check_frame_of_reference(images: Sequence[_Image]) -> None:
    uids = {image.text("FrameOfReferenceUID") for image in images}
    if len(uids) > 1:
        raise GeometryError(
            f"the images lie in {len(uids)} frames of reference: their positions cannot be compared",
            reason="mixed-frames-of-reference",
            remedy="the patient was positioned anew within the series; send each part as a series of its own",
        )
    if uids == {""}:
        raise GeometryError(
            f"{images[0]} has no Frame of Reference UID, so no result could be tied to it",
            reason="no-frame-of-reference",
            remedy="send the original images; a de-identification must replace this UID, not remove it",
        )


def _unit(image: _Image) -> str:
    default = "HU" if image.text("Modality") == "CT" else "US"
    return image.text("RescaleType") or default
