"""Findings from what the archive and the ledger keep of them, so that they can be encoded another way.

What was measured and stated stands in the ledger; where the segments lie, in a Segmentation of ours. The same findings
encoded again in the same profile give the same bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.dataset import Dataset
from pydicom.pixels.utils import iter_pixels

from dicom_node.archive.files import ObjectStore
from dicom_node.archive.finding_rows import records_of
from dicom_node.domain.finding import Classification, Detection, Evaluation, Findings, Measurement, Segment
from dicom_node.domain.grid import VoxelGrid
from dicom_node.domain.parcel import Artifact
from dicom_node.errors import InputError, ResultError

Layer = npt.NDArray[np.uint8]


def findings(
    rows: Sequence[Mapping[str, Any]],
    notes: tuple[str, ...],
    segmentation: Dataset | None,
    grid: VoxelGrid,
    sources: Sequence[Dataset],
) -> Findings:
    """What a job found, on ``grid``; ``sources`` are the headers of its images, one for each slice.

    ``rows`` are those of the ledger; ``segmentation`` is one of ours, BINARY or LABELMAP.

    Raises:
        ResultError: the Segmentation is not one of these images, or not that of these findings.
        LedgerError: a row cannot be read.
    """
    segments = records_of(rows, Segment)
    if segments and segmentation is None:
        raise ResultError("the segments of these findings stand in no Segmentation", reason="no-masks")
    layers = _layers(segmentation, grid, sources) if segments and segmentation is not None else ()
    return Findings(
        grid=grid,
        layers=layers,
        frames=tuple(str(image.SOPInstanceUID) for image in sources),
        segments=segments,
        measurements=records_of(rows, Measurement),
        evaluations=records_of(rows, Evaluation),
        notes=notes,
        classes=records_of(rows, Classification),
        detections=records_of(rows, Detection),
    )


def read_segmentation(store: ObjectStore, made: Artifact | None) -> Dataset | None:
    """A Segmentation of ours, if there is one.

    Raises:
        InputError: the file is gone, or is not the one that was written.
    """
    if made is None:
        return None
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
        f"the segments cannot be read again from {path}: {why}",
        reason="unreadable-file",
        remedy="restore it from a backup, or run the model again: dicom-node results replace",
    )


def _layers(segmentation: Dataset, grid: VoxelGrid, sources: Sequence[Dataset]) -> tuple[Layer, ...]:
    """Label maps, axes (slice, row, column); segments that overlap lie in different ones."""
    if (segmentation.Rows, segmentation.Columns) != grid.shape[1:]:
        raise ResultError(f"the Segmentation has frames of {segmentation.Rows} x {segmentation.Columns}")
    layers = [np.zeros(grid.shape, np.uint8)]
    if segmentation.SegmentationType == "LABELMAP":
        for index, plane in _planes(segmentation, sources):
            layers[0][index] = plane
        return tuple(layers)
    for number, planes in _by_segment(segmentation, sources):
        layer = next((each for each in layers if not any(each[index][plane].any() for index, plane in planes)), None)
        if layer is None:
            layer = np.zeros(grid.shape, np.uint8)
            layers.append(layer)
        for index, plane in planes:
            layer[index][plane] = number
    return tuple(layers)


def _by_segment(
    segmentation: Dataset, sources: Sequence[Dataset]
) -> Iterator[tuple[int, list[tuple[int, npt.NDArray[np.bool_]]]]]:
    """The frames of each segment, which follow each other: its number, then slice index and voxels of each."""
    number, held = 0, list[tuple[int, npt.NDArray[np.bool_]]]()
    groups = segmentation.PerFrameFunctionalGroupsSequence
    shared = segmentation.SharedFunctionalGroupsSequence[0]
    for group, (index, plane) in zip(groups, _planes(segmentation, sources), strict=True):
        holder = group if "SegmentIdentificationSequence" in group else shared
        found = int(holder.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        if found != number and held:
            yield number, held
            held = []
        number = found
        held.append((index, plane.astype(np.bool_)))
    if held:
        yield number, held


def _planes(segmentation: Dataset, sources: Sequence[Dataset]) -> Iterator[tuple[int, npt.NDArray[Any]]]:
    """Slice index and pixels of each frame: its source image, or frame of one, says which slice it is."""
    places = {(str(image.SOPInstanceUID), image.get("ReferencedFrameNumber")): at for at, image in enumerate(sources)}
    for group, plane in zip(segmentation.PerFrameFunctionalGroupsSequence, iter_pixels(segmentation), strict=True):
        source = group.DerivationImageSequence[0].SourceImageSequence[0]
        named = str(source.ReferencedSOPInstanceUID), source.get("ReferencedFrameNumber")
        if named not in places:
            raise ResultError(f"a frame of the Segmentation lies on {named[0]}, which is not among the images")
        yield places[named], plane
