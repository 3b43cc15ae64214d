"""Findings from what the archive and the ledger keep of them, so that they can be encoded another way.

What was measured and stated stands in the ledger; where the segments lie, in a Segmentation of ours; probabilities, in
a FRACTIONAL one; the numbers of a map, in a Parametric Map. The same findings encoded again in the same profile give
the same bytes: probabilities are known to 1/255 then, which is what a FRACTIONAL Segmentation says of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.dataset import Dataset
from pydicom.pixels.utils import iter_pixels

from dicom_node.archive.files import ObjectStore
from dicom_node.archive.finding_rows import map_of, records_of
from dicom_node.domain.comparison import Comparison
from dicom_node.domain.finding import (
    Classification,
    Detection,
    Evaluation,
    Findings,
    Measurement,
    ParameterMap,
    Segment,
)
from dicom_node.domain.grid import VoxelGrid
from dicom_node.domain.parcel import Artifact
from dicom_node.errors import InputError, ResultError

Layer = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """Objects of ours that hold the arrays of findings; None: there is no such one."""

    masks: Dataset | None = None  # Segmentation, BINARY or LABELMAP
    probabilities: Dataset | None = None  # Segmentation, FRACTIONAL
    numbers: Dataset | None = None  # Parametric Map


def findings(
    rows: Sequence[Mapping[str, Any]],
    notes: tuple[str, ...],
    kept: Kept,
    grid: VoxelGrid,
    sources: Sequence[Dataset],
) -> Findings:
    """What a job found, on ``grid``; ``sources`` are the headers of its images, one for each slice.

    ``rows`` are those of the ledger.

    Raises:
        ResultError: an object is not one of these images, or not that of these findings.
        LedgerError: a row cannot be read.
    """
    segments = records_of(rows, Segment)
    if segments and kept.masks is None:
        raise ResultError("the segments of these findings stand in no Segmentation", reason="no-masks")
    shares = kept.probabilities if segments else None
    return Findings(
        grid=grid,
        layers=_layers(kept.masks, grid, sources) if segments and kept.masks is not None else (),
        frames=tuple(str(image.SOPInstanceUID) for image in sources),
        segments=segments,
        measurements=records_of(rows, Measurement),
        evaluations=records_of(rows, Evaluation),
        notes=notes,
        classes=records_of(rows, Classification),
        detections=records_of(rows, Detection),
        probabilities=_probabilities(shares, segments, grid, sources) if shares is not None else {},
        explanation=_explanation(rows, kept.numbers, grid, sources),
        comparison=next(iter(records_of(rows, Comparison)), None),
    )


def read_kept(store: ObjectStore, artifacts: Mapping[str, Artifact]) -> Kept:
    """The objects that hold the arrays, by the name of what they hold.

    Raises:
        InputError: a file is gone, or is not the one that was written.
    """
    return Kept(**{what: _read(store, made) for what, made in artifacts.items()})


def _read(store: ObjectStore, made: Artifact) -> Dataset:
    path = store.absolute(made.path)
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unusable(path, error.strerror or str(error)) from error
    if found != made.digest:
        raise _unusable(path, "it was altered since it was written")
    return pydicom.dcmread(path)


def _unusable(path: Path, why: str) -> InputError:
    return InputError(
        f"what was found cannot be read again from {path}: {why}",
        reason="unreadable-file",
        remedy="restore it from a backup, or run the model again: dicom-node results replace",
    )


def _layers(segmentation: Dataset, grid: VoxelGrid, sources: Sequence[Dataset]) -> tuple[Layer, ...]:
    """Label maps, axes (slice, row, column); segments that overlap lie in different ones."""
    _check_frames("Segmentation", segmentation, grid)
    layers = [np.zeros(grid.shape, np.uint8)]
    if segmentation.SegmentationType == "LABELMAP":
        for index, plane in _planes(segmentation, sources):
            layers[0][index] = plane
        return tuple(layers)
    for number, frames in _by_segment(segmentation, sources):
        planes = [(index, plane.astype(np.bool_)) for index, plane in frames]
        layer = next((each for each in layers if not any(each[index][plane].any() for index, plane in planes)), None)
        if layer is None:
            layer = np.zeros(grid.shape, np.uint8)
            layers.append(layer)
        for index, plane in planes:
            layer[index][plane] = number
    return tuple(layers)


def _probabilities(
    segmentation: Dataset, segments: Sequence[Segment], grid: VoxelGrid, sources: Sequence[Dataset]
) -> dict[int, npt.NDArray[np.float32]]:
    """By segment number, axes (slice, row, column); what has no frame is 0."""
    _check_frames("Segmentation", segmentation, grid)
    found = {segment.number: np.zeros(grid.shape, np.float32) for segment in segments}
    for number, planes in _by_segment(segmentation, sources):
        if number not in found:
            raise ResultError(f"the Segmentation has probabilities of segment {number}, which was not found")
        for index, plane in planes:
            np.divide(plane, float(segmentation.MaximumFractionalValue), out=found[number][index], casting="same_kind")
    return found


def _explanation(
    rows: Sequence[Mapping[str, Any]], dataset: Dataset | None, grid: VoxelGrid, sources: Sequence[Dataset]
) -> ParameterMap | None:
    if not any(row["kind"] == "map" for row in rows):
        return None
    if dataset is None:
        raise ResultError("the numbers of these findings stand in no Parametric Map", reason="no-map")
    _check_frames("Parametric Map", dataset, grid)
    groups = dataset.PerFrameFunctionalGroupsSequence
    if len(groups) != len(sources) or len(dataset.FloatPixelData) != 4 * np.prod(grid.shape):
        raise ResultError(f"the Parametric Map has {len(groups)} frames, not one for each of {len(sources)} images")
    values = np.empty(grid.shape, np.float32)
    frames = np.frombuffer(dataset.FloatPixelData, "<f4").reshape(grid.shape)
    for index, frame in zip(_places("Parametric Map", dataset, sources), frames, strict=True):
        values[index] = frame
    return map_of(rows, values)


def _by_segment(
    segmentation: Dataset, sources: Sequence[Dataset]
) -> Iterator[tuple[int, list[tuple[int, npt.NDArray[Any]]]]]:
    """The frames of each segment, which follow each other: its number, then slice index and pixels of each."""
    number, held = 0, list[tuple[int, npt.NDArray[Any]]]()
    groups = segmentation.PerFrameFunctionalGroupsSequence
    shared = segmentation.SharedFunctionalGroupsSequence[0]
    for group, (index, plane) in zip(groups, _planes(segmentation, sources), strict=True):
        holder = group if "SegmentIdentificationSequence" in group else shared
        found = int(holder.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        if found != number and held:
            yield number, held
            held = []
        number = found
        held.append((index, plane))
    if held:
        yield number, held


def _planes(segmentation: Dataset, sources: Sequence[Dataset]) -> Iterator[tuple[int, npt.NDArray[Any]]]:
    """Slice index and pixels of each frame."""
    yield from zip(_places("Segmentation", segmentation, sources), iter_pixels(segmentation), strict=True)


def _places(which: str, dataset: Dataset, sources: Sequence[Dataset]) -> Iterator[int]:
    """Slice index of each frame: its source image, or frame of one, says which slice it is."""
    places = {(str(image.SOPInstanceUID), image.get("ReferencedFrameNumber")): at for at, image in enumerate(sources)}
    for group in dataset.PerFrameFunctionalGroupsSequence:
        source = group.DerivationImageSequence[0].SourceImageSequence[0]
        named = str(source.ReferencedSOPInstanceUID), source.get("ReferencedFrameNumber")
        if named not in places:
            raise ResultError(f"a frame of the {which} lies on {named[0]}, which is not among the images")
        yield places[named]


def _check_frames(which: str, dataset: Dataset, grid: VoxelGrid) -> None:
    if (dataset.Rows, dataset.Columns) != grid.shape[1:]:
        raise ResultError(f"the {which} has frames of {dataset.Rows} x {dataset.Columns}")
