"""Does a Segmentation hold what was found, in each voxel? Whatever its type, every frame is read and compared.

Bits and shares are taken from the bytes of the file, run-length encoded labels through pydicom's decoder; the planes
that the writer makes are not used.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.pixels.utils import iter_pixels

from dicom_node.domain.finding import Findings
from dicom_node.domain.output import Encoding
from dicom_node.errors import ResultError

Plane = npt.NDArray[Any]

# Positions are written with 16 characters at most; a frame lies on its slice when it is off by less than this share
# of the step between slices.
_POSITION_TOLERANCE = 0.01
# A share is off by half a step at most, and by what single precision leaves open where it lies between two steps.
_HALF_A_STEP = 0.5 + 1e-4


def check(segmentation: Dataset, findings: Findings) -> None:
    """Every frame against its segment on its slice; what has no frame must be empty.

    Raises:
        ResultError: names what differs.
    """
    _, rows, columns = findings.grid.shape
    if (segmentation.Rows, segmentation.Columns) != (rows, columns):
        raise wrong("SEG", f"its frames are {segmentation.Rows} x {segmentation.Columns}, not {rows} x {columns}")
    kind = _kind(segmentation)
    places = list(frames(segmentation, findings))
    if len(places) != int(segmentation.NumberOfFrames):
        raise wrong("SEG", f"it describes {len(places)} frames and counts {segmentation.NumberOfFrames}")
    if len(set(places)) != len(places):
        number, index = next(place for place in places if places.count(place) > 1)
        raise wrong("SEG", f"segment {number} has two frames on slice {index}")
    if kind is Encoding.FRACTIONAL:
        _check_scale(segmentation)
    for (number, index), plane in zip(places, _planes(segmentation, kind, len(places), (rows, columns)), strict=True):
        if not _same(plane, kind, number, index, findings):
            of = f"of segment {number} " if number else ""
            raise wrong("SEG", f"its mask {of}on slice {index} is not the one that was found")
    missing = sorted({*_occupied(kind, findings)} - {*places})
    if missing:
        raise wrong("SEG", f"segment {missing[0][0]} has no frame on slice {missing[0][1]}, where it was found")


def _kind(segmentation: Dataset) -> Encoding:
    try:
        return Encoding(segmentation.get("SegmentationType", ""))
    except ValueError as error:
        raise wrong("SEG", f"its type is {segmentation.get('SegmentationType')}") from error


def _check_scale(segmentation: Dataset) -> None:
    scale = segmentation.get("SegmentationFractionalType"), segmentation.get("MaximumFractionalValue")
    if scale != ("PROBABILITY", 255):
        raise wrong("SEG", f"its shares are {scale[0]} of {scale[1]}, not probabilities of 255")


def _planes(segmentation: Dataset, kind: Encoding, count: int, shape: tuple[int, int]) -> Iterator[Plane]:
    """Frame after frame, axes (row, column)."""
    if kind is Encoding.LABELMAP:
        try:
            planes = list(iter_pixels(segmentation))
        except (ValueError, RuntimeError) as error:  # what pydicom raises of frames that are cut short
            raise wrong("SEG", f"its frames cannot be read: {error}") from error
        if len(planes) != count:
            raise wrong("SEG", f"it holds {len(planes)} frames and counts {count}")
        yield from planes
        return
    bits = 1 if kind is Encoding.BINARY else 8
    data, size = segmentation.PixelData, shape[0] * shape[1]
    if len(data) < (count * size * bits + 7) // 8:
        raise wrong("SEG", f"its pixel data end before its {count} frames do")
    for frame in range(count):
        if bits == 1:
            yield _bits(data, frame, shape)
        else:
            yield np.frombuffer(data, np.uint8, size, frame * size).reshape(shape)


def _bits(data: bytes, frame: int, shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """One frame of bits that run on from frame to frame, axes (row, column)."""
    size = shape[0] * shape[1]
    first, skipped = divmod(frame * size, 8)
    held = np.frombuffer(data, np.uint8, (skipped + size + 7) // 8, first)
    return np.unpackbits(held, count=skipped + size, bitorder="little")[skipped:].reshape(shape).view(np.bool_)


def _same(plane: Plane, kind: Encoding, number: int, index: int, findings: Findings) -> bool:
    if kind is Encoding.FRACTIONAL:
        found = findings.probabilities[number][index].astype(np.float64) * 255
        return bool((np.abs(found - plane) <= _HALF_A_STEP).all())
    if kind is Encoding.LABELMAP:
        return np.array_equal(plane, np.maximum.reduce([layer[index] for layer in findings.layers]))
    return np.array_equal(plane, np.logical_or.reduce([layer[index] == number for layer in findings.layers]))


def _occupied(kind: Encoding, findings: Findings) -> Iterator[tuple[int, int]]:
    """Segment number and slice index wherever there is a voxel that must have a frame."""
    if kind is Encoding.FRACTIONAL:
        for number, found in findings.probabilities.items():
            highest = found.max(axis=(1, 2)).astype(np.float64) * 255
            yield from ((number, int(index)) for index in np.flatnonzero(highest > _HALF_A_STEP))
        return
    for held in findings.occupied:
        for index, number in np.argwhere(held):
            if number:
                yield (0 if kind is Encoding.LABELMAP else int(number)), int(index)


def frames(segmentation: Dataset, findings: Findings) -> Iterator[tuple[int, int]]:
    """Segment number and slice index of each frame; 0 of a label map, which shows all segments.

    Raises:
        ResultError: a frame lies beside the grid, or references another image than that of its slice.
    """
    shared = segmentation.SharedFunctionalGroupsSequence[0]
    groups = segmentation.PerFrameFunctionalGroupsSequence
    for group, index in zip(groups, positions(segmentation, findings, "SEG"), strict=True):
        if segmentation.SegmentationType == Encoding.LABELMAP:
            yield 0, index
            continue
        identification = group if "SegmentIdentificationSequence" in group else shared
        yield int(identification.SegmentIdentificationSequence[0].ReferencedSegmentNumber), index


def positions(dataset: Dataset, findings: Findings, which: str) -> Iterator[int]:
    """Slice index of each frame of an object, ``which`` in words.

    Raises:
        ResultError: a frame lies beside the grid, or references another image than that of its slice.
    """
    shared = dataset.SharedFunctionalGroupsSequence[0]
    groups = dataset.PerFrameFunctionalGroupsSequence
    indices = findings.grid.lps_to_index([_position(group, shared, findings) for group in groups])
    for group, at in zip(groups, indices, strict=True):
        index = round(float(at[0]))
        if not 0 <= index < len(findings.frames) or np.abs(at - (index, 0, 0)).max() > _POSITION_TOLERANCE:
            raise wrong(which, f"a frame lies at (slice, row, column) {at.round(3).tolist()} of the grid")
        image = str(group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID)
        if image != findings.frames[index]:
            raise wrong(which, f"the frame on slice {index} references image {image}")
        yield index


def _position(group: Dataset, shared: Dataset, findings: Findings) -> Sequence[float]:
    """Where a frame lies, LPS mm; the one slice of a projection, which has no position, at its grid's origin."""
    holder = group if "PlanePositionSequence" in group else shared
    if "PlanePositionSequence" not in holder and findings.grid.shape[0] == 1:
        return findings.grid.origin
    return [float(v) for v in holder.PlanePositionSequence[0].ImagePositionPatient]


def wrong(which: str, what: str) -> ResultError:
    """What is raised where an object does not say what was found."""
    return ResultError(
        f"the {which} does not read back as what was found: {what}",
        remedy="this is a fault of the software; keep the study and report it",
    )
