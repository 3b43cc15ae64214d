"""Files of one series become a volume: an array in modality units on a grid in the patient, or a refusal by name."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from pydicom import Dataset
from pydicom.multival import MultiValue
from pydicom.uid import UID

from dicom_node.domain.contract import Selection
from dicom_node.domain.grid import VoxelGrid, stack
from dicom_node.errors import GeometryError, HeaderError
from workers.inference import parts, projection, suv
from workers.inference.frames import Frame, frames_of
from workers.inference.image_file import UNREADABLE, EncodedPixels, ImageFile, Stored
from workers.inference.projection import Projection

T = TypeVar("T")
Float32 = npt.NDArray[np.float32]
Values = npt.NDArray[np.float32 | np.int16]

# Stands for the value of an attribute that is not the same in all images of a series.
DIFFERS = "different from image to image"
# Rescale Type (PS3.3 C.11.1.1.2) of CT images whose values are another quantity than Hounsfield units.
_NOT_HOUNSFIELD = frozenset({"OD", "MGML", "Z_EFF", "ED", "EDW", "PCT"})
_HOUNSFIELD_CODES = frozenset({"[hnsf'U]", "1", ""})
# Modalities whose images lie in the patient; those of the others may be projections and photographs.
_IN_THE_PATIENT = frozenset({"CT", "MR", "PT"})
_UNSPECIFIED = frozenset({"US", ""})
_MOST_THREADS = 16
_BATCH = 8  # files that a thread takes at once
_BEYOND = 1 << 15  # one more than 16 bits with a sign hold


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """A series as one array.

    ``array``: axes (slice, row, column), or (slice, row, column, RGB) where colour was asked for. Values after the
    modality LUT of each slice: HU for CT, Bq/ml or SUV for PET, the stored values where no rescale is given; float32,
    or int16 where every value is such a number, in half the memory.
    MONOCHROME1 images without a unit are turned, so that higher is brighter; Pixel Padding Value is left as it is.
    ``grid`` takes its indices to LPS mm; slices ascend along the normal (row x column direction) of the images.

    ``headers`` are flat, also those of multi-frame objects: see :mod:`workers.inference.frames`.
    """

    array: Values
    grid: VoxelGrid
    frames: tuple[str, ...]  # SOP Instance UID per slice
    headers: tuple[Dataset, ...]  # data set and file meta information per slice, without pixel data
    unit: str  # Rescale Type (0028,1054) or Units (0054,1001): "HU" for CT, "US" (unspecified) where none is told;
    # "{SUVbw}g/ml" where SUV was asked for
    projection: Projection | None = None  # of a 2-D image that has no position in the patient

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
        """Frame of Reference UID (0020,0052), the same in every slice; empty of a projection without one."""
        return str(self.headers[0].get("FrameOfReferenceUID") or "")

    @property
    def frame_numbers(self) -> tuple[int | None, ...]:
        """Frame number per slice, base 1, within the object of ``frames``; None: it is single-frame."""
        numbers = (header.get("ReferencedFrameNumber") for header in self.headers)
        return tuple(None if number is None else int(number) for number in numbers)

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


def load_volume(
    paths: Sequence[Path],
    *,
    minimum_slices: int = 1,
    select: Sequence[Selection] = (),
    suv_bw: bool = False,
    colour: bool = False,
) -> Volume:
    """Read the images of one series, in any order, into a volume.

    ``select`` says which of several volumes or views in the series is meant; ``suv_bw`` asks for PET in SUV by body
    weight; with ``colour`` the images must be in colour, without it in grey.

    Raises:
        NotDicomError: a file is not DICOM Part 10.
        HeaderError: ``mixed-series``, ``mixed-patients``, ``colour``, ``no-colour``, ``bad-value``, ``modality-lut``,
            ``not-hounsfield`` or ``suv``.
        GeometryError: those of :func:`dicom_node.domain.grid.stack`, and ``too-few-slices``, ``not-an-image``,
            ``no-geometry``, ``localizer``, ``several-volumes``, ``several-images``, ``no-such-part``,
            ``no-frame-of-reference``, ``mixed-frames-of-reference``.
        PixelError: pixel data that is cut off or that no plug-in decodes, or values that are not finite.
    """
    if not paths:
        _check_count(0, minimum_slices)
    with ThreadPoolExecutor(min(os.cpu_count() or 1, _MOST_THREADS)) as pool:
        files = list(chain.from_iterable(pool.map(_read, _batched(paths))))
        _check_one_series(files)
        frames = parts.choose(list(chain.from_iterable(map(frames_of, files))), select)
        for frame in frames:
            _check_kind(frame, colour)
        _check_count(len(frames), minimum_slices)
        grid, frames, view = _placed(frames)
        scale = suv.factor(frames) if suv_bw else 1.0
        array = _decoded(pool, frames, (*grid.shape, 3) if colour else grid.shape, scale)
    headers = tuple(frame.header for frame in frames)
    unit = suv.UNIT if suv_bw else _unit(frames[0])
    return Volume(array, grid, tuple(str(header.SOPInstanceUID) for header in headers), headers, unit, view)


def _batched(items: Sequence[T]) -> list[Sequence[T]]:
    """The items in runs of a few, so that handing them to a thread costs less than the work."""
    return [items[at : at + _BATCH] for at in range(0, len(items), _BATCH)]


def _check_count(count: int, minimum: int) -> None:
    if count < max(1, minimum):
        raise GeometryError(
            f"the series has {count} image(s), the model needs {max(1, minimum)} or more",
            reason="too-few-slices",
            remedy="send the whole series; if it is whole, this model is not meant for it",
        )


def _placed(frames: list[Frame]) -> tuple[VoxelGrid, list[Frame], Projection | None]:
    """The grid of the frames, and the frames in its order."""
    if _is_projection(frames[0]):
        if len(frames) > 1:
            raise parts.several_images(frames)
        plane, view = projection.read(frames[0])
        return stack([plane], thickness=1.0)[0], frames, view
    planes = [frame.plane() for frame in frames]
    try:
        grid, order = stack(planes, thickness=frames[0].number("SliceThickness"))
    except GeometryError as error:
        raise parts.explained(frames, planes, error) from error
    _check_frame_of_reference(frames)
    return grid, [frames[index] for index in order], None


def _is_projection(frame: Frame) -> bool:
    placed = frame.header.get("ImagePositionPatient") or frame.file.frames > 1
    return frame.text("Modality") not in _IN_THE_PATIENT and not placed


def _read(paths: Sequence[Path]) -> list[ImageFile]:
    return [ImageFile.read(path) for path in paths]


def _decoded(pool: ThreadPoolExecutor, frames: Sequence[Frame], shape: tuple[int, ...], scale: float) -> Values:
    """The values of every frame, as integers where they are some."""
    if scale == 1 and all(map(_is_whole, frames)):
        whole = np.empty(shape, dtype=np.int16)
        with suppress(_TooLarge):
            _decode(pool, frames, whole, scale)
            return whole
    array = np.empty(shape, dtype=np.float32)
    _decode(pool, frames, array, scale)
    return array


def _is_whole(frame: Frame) -> bool:
    """Whether a frame's values are integers, of 16 bits with a sign unless ``_TooLarge`` says otherwise."""
    slope, intercept = _rescale(frame)
    return (
        slope == 1
        and intercept.is_integer()
        and abs(intercept) < _BEYOND
        and (frame.number("BitsAllocated") or 0) in (8, 16)
        and frame.text("PhotometricInterpretation") == "MONOCHROME2"
    )


class _TooLarge(Exception):
    """A value does not fit into 16 bits with a sign."""


def _decode(pool: ThreadPoolExecutor, frames: Sequence[Frame], array: Values, scale: float) -> None:
    """Decode every frame into its slice of ``array``; a file is held in memory only while its frames decode."""
    of_file: dict[int, list[int]] = {}
    for index, frame in enumerate(frames):
        of_file.setdefault(id(frame.file), []).append(index)

    def single(indices: Sequence[int]) -> None:
        for index in indices:
            _decode_into(frames[index], frames[index].file.pixels(), array[index], scale)

    singles = [indices[0] for indices in of_file.values() if len(indices) == 1]
    list(pool.map(single, _batched(singles)))
    for indices in of_file.values():
        if len(indices) > 1:
            pixels = frames[indices[0]].file.pixels()
            list(pool.map(lambda at, held=pixels: _decode_into(frames[at], held, array[at], scale), indices))


def _decode_into(frame: Frame, pixels: EncodedPixels, out: npt.NDArray[Any], scale: float) -> None:
    """Decode a frame into ``out`` (row, column) in modality units."""
    slope, intercept = _rescale(frame)
    try:
        stored = pixels.decode(frame.index)
        if stored.shape != out.shape:
            raise ValueError(f"it decodes to {stored.shape}, not to {out.shape}")
    except UNREADABLE as error:
        raise frame.file.undecodable(error) from error
    if out.dtype == np.int16:
        _put_whole(stored, int(intercept), out)
        return
    if frame.text("PhotometricInterpretation") == "MONOCHROME1" and _unit(frame) in _UNSPECIFIED:
        stored = _turned(frame, stored)
    if slope == 1 and scale == 1 and stored.dtype.itemsize <= 2:
        np.add(stored, np.float32(intercept), out=out, dtype=np.float32, casting="unsafe")
    else:
        np.multiply(stored, slope * scale, out=out, dtype=np.float64, casting="unsafe")
        out += np.float32(intercept * scale)
    if (stored.dtype.kind == "f" or not np.isfinite((slope, intercept, scale)).all()) and not np.isfinite(out).all():
        raise frame.file.undecodable(ValueError("it holds values that are no finite numbers"))


def _put_whole(stored: Stored, intercept: int, out: npt.NDArray[np.int16]) -> None:
    """Add the intercept, in 16 bits with a sign.

    Raises:
        _TooLarge: a sum does not fit.
    """
    if stored.dtype.kind not in "iu" or stored.dtype.itemsize > 2:
        raise _TooLarge
    if int(stored.min()) + intercept < -_BEYOND or int(stored.max()) + intercept >= _BEYOND:
        raise _TooLarge
    # Sums that fit come out right modulo 2**16, whatever the sign of what is added.
    np.add(stored, np.int16(intercept), out=out, dtype=np.int16, casting="unsafe")


def _turned(frame: Frame, stored: Stored) -> Stored:
    """The values of a MONOCHROME1 image as those of MONOCHROME2 (PS3.3 C.7.6.3.1.2): the least becomes the greatest."""
    if stored.dtype.kind == "f":
        turned: Stored = -stored
        return turned
    bits = int(frame.number("BitsStored") or 16)
    ends = -1 if frame.number("PixelRepresentation") else 2**bits - 1
    turned = np.asarray(ends - stored.astype(np.int64))
    return turned


def _rescale(frame: Frame) -> tuple[float, float]:
    """Slope and intercept from stored values to modality units (PS3.3 C.11.1)."""
    slope, intercept = frame.number("RescaleSlope"), frame.number("RescaleIntercept")
    if frame.text("Modality") == "CT" and (slope is None or intercept is None):
        raise HeaderError(
            f"{frame} has no Rescale Slope and Intercept, so its values are not in Hounsfield units",
            reason="not-hounsfield",
            remedy="send the original CT images",
        )
    if slope == 0:
        raise HeaderError(f"Rescale Slope of {frame} is 0", reason="bad-value")
    return (1.0 if slope is None else slope), (intercept or 0.0)


def _check_one_series(files: Sequence[ImageFile]) -> None:
    for file in files:
        if "Rows" not in file.header:
            kind = UID(str(file.header.get("SOPClassUID") or "")).name
            raise GeometryError(
                f"{file} is not an image ({kind})", reason="not-an-image", remedy="leave it out of the series"
            )
    for keyword, named, reason in (
        ("SeriesInstanceUID", "series", "mixed-series"),
        ("StudyInstanceUID", "studies", "mixed-series"),
        ("PatientID", "patients", "mixed-patients"),
        ("Modality", "modalities", "mixed-series"),
    ):
        values = sorted({str(file.header.get(keyword) or "") for file in files})
        if len(values) > 1:
            shown = f"{len(values)} values" if keyword == "PatientID" else ", ".join(values[:3])
            raise HeaderError(
                f"the images are of different {named} ({keyword}: {shown})",
                reason=reason,
                remedy="find out at the sender which images belong together, correct them and send them again",
            )


def _check_kind(frame: Frame, colour: bool) -> None:
    _check_colour(frame, colour)
    if "LOCALIZER" in frame.texts("ImageType"):
        raise GeometryError(
            f"{frame} is a localizer within the series",
            reason="localizer",
            remedy="send the series without its localizer",
        )
    if frame.text("Modality") == "CT":
        _check_hounsfield(frame)
    if "ModalityLUTSequence" in frame.header:
        raise HeaderError(
            f"{frame} maps its values by a Modality LUT Sequence, which volumes do not take",
            reason="modality-lut",
            remedy="send images with Rescale Slope and Intercept",
        )


def _check_colour(frame: Frame, wanted: bool) -> None:
    photometric = frame.text("PhotometricInterpretation")
    grey = int(frame.number("SamplesPerPixel") or 1) == 1 and photometric.startswith("MONO")
    if wanted and (grey or photometric == "PALETTE COLOR"):
        raise HeaderError(
            f"{frame} is {photometric}, the model takes true colour",
            reason="no-colour",
            remedy="send the original images; this model is not meant for grey or palette images",
        )
    if not wanted and not grey:
        raise HeaderError(
            f"{frame} is in colour ({photometric}), the model takes grey values",
            reason="colour",
            remedy="send the original images instead of captures; a model for colour says colour = true in model.toml",
        )


def _check_hounsfield(frame: Frame) -> None:
    other = frame.text("RescaleType") if frame.text("RescaleType") in _NOT_HOUNSFIELD else ""
    for mapping in frame.header.get("MeasurementUnitsCodeSequence") or ():  # of a Real World Value Mapping
        code = str(mapping.get("CodeValue") or "")
        other = other or ("" if code in _HOUNSFIELD_CODES else code)
    if other:
        raise HeaderError(
            f"the values of {frame} are of Rescale Type {other}, not Hounsfield units",
            reason="not-hounsfield",
            remedy="send the conventional CT reconstruction",
        )


def _check_frame_of_reference(frames: Sequence[Frame]) -> None:
    uids = {frame.text("FrameOfReferenceUID") for frame in frames}
    if len(uids) > 1:
        raise GeometryError(
            f"the images lie in {len(uids)} frames of reference: their positions cannot be compared",
            reason="mixed-frames-of-reference",
            remedy="the patient was positioned anew within the series; send each part as a series of its own",
        )
    if uids == {""}:
        raise GeometryError(
            f"{frames[0]} has no Frame of Reference UID, so no result could be tied to it",
            reason="no-frame-of-reference",
            remedy="send the original images; a de-identification must replace this UID, not remove it",
        )


def _unit(frame: Frame) -> str:
    default = frame.text("Units") if frame.text("Modality") in ("PT", "NM") else ""
    if frame.text("Modality") == "CT":
        default = "HU"
    return frame.text("RescaleType") or default or "US"
