"""Findings: what a model yields. SEG, SR, pages and messages are renderings of these.

Codes follow PS3.3 8.1; segments follow the Segmentation IOD (PS3.3 C.8.20.2); measurements and evaluations the
groups of TID 1500 (PS3.16).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from dicom_node.domain.grid import VoxelGrid
from dicom_node.errors import ModelOutputError

if TYPE_CHECKING:
    from dicom_node.domain.comparison import Comparison


@dataclass(frozen=True, slots=True)
class Code:
    """A coded concept: (value, scheme, meaning), e.g. ("39607008", "SCT", "Lung")."""

    value: str
    scheme: str
    meaning: str
    version: str | None = None


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment: the voxels of the label map that hold ``number``."""

    number: int  # value in the label map and Segment Number (0062,0004), from 1
    label: str  # Segment Label (0062,0005)
    category: Code
    type: Code
    type_modifier: Code | None
    color: tuple[int, int, int]  # recommended display, sRGB 0-255
    tracking_id: str
    tracking_uid: str
    description: str = ""


@dataclass(frozen=True, slots=True)
class Uncertainty:
    """How far off a measurement may be, all in its own unit."""

    spread: float  # standard deviation over what the model yields of the same images: members, views, thresholds
    low: float  # ends of the interval
    high: float
    coverage: float | None  # share of cases whose truth lies in such an interval, as calibrated; None: not calibrated
    method: str  # in a sentence


@dataclass(frozen=True, slots=True)
class Lesion:
    """One thing in the patient of which several reports speak: by the same UID (DCM 112040)."""

    tracking_id: str
    tracking_uid: str


@dataclass(frozen=True, slots=True)
class Measurement:
    """A number with its meaning, of one segment or of several together."""

    name: str  # name in the catalogue of measurements, e.g. "volume"
    concept: Code
    value: float
    unit: Code  # UCUM
    segments: tuple[int, ...]  # segment numbers that it was taken over
    derivation: Code | None = None
    method: str = ""  # how it was taken, in a sentence, with its source
    uncertainty: Uncertainty | None = None  # None: the model tells none
    lesion: Lesion | None = None  # that it is of; None: of the segments, or the series as a whole


class Presence(StrEnum):
    """Answer to "is it there?"; silence is never an answer."""

    PRESENT = "present"
    ABSENT = "absent"
    NOT_EVALUATED = "not evaluated"


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A coded statement on whether something is there."""

    name: str  # name in the contract, e.g. "emphysema"
    concept: Code  # what is looked for
    presence: Presence
    site: Code
    segments: tuple[int, ...]
    reason: str  # why present, absent, or not evaluated, in a sentence a radiologist can check
    source: str = ""  # citation of the criterion


@dataclass(frozen=True, slots=True)
class Classification:
    """A coded statement of a classifier on the series as a whole, or of a detector on whether it found anything."""

    name: str  # of the class in the contract
    output: str  # name of the output that it is a class of
    concept: Code
    presence: Presence
    probability: float | None  # 0 to 1; None where the model gives none
    site: Code | None
    reason: str  # why present, absent, or not evaluated, in a sentence a radiologist can check
    source: str = ""
    lesion: Lesion | None = None  # that it is of; None: of the series as a whole


@dataclass(frozen=True, slots=True)
class Detection:
    """Something that a model marked in the patient."""

    number: int  # of this output, from 1, the best first
    output: str  # name in the contract
    concept: Code
    category: Code
    site: Code | None
    points: tuple[tuple[float, float, float], ...]  # LPS mm: one, or the eight corners of a box
    score: float | None  # as the model gives it, 0 to 1
    score_concept: Code
    measurements: tuple[Measurement, ...]  # of this detection, over no segment
    tracking_id: str
    tracking_uid: str


@dataclass(frozen=True, slots=True, eq=False)
class ParameterMap:
    """Numbers of every voxel of the series, such as what an answer rests on."""

    name: str  # of the output it belongs to
    of: str  # name of the class or value it explains
    concept: Code  # what the numbers are
    unit: Code  # UCUM
    values: npt.NDArray[np.float32]  # axes (slice, row, column), shape of the grid; finite
    description: str  # how it was made, in sentences


@dataclass(frozen=True, slots=True, eq=False)
class Findings:
    """Everything one job found, on the grid of its reference series.

    Each of ``layers`` is a label map with axes (slice, row, column), dtype uint8, shape of ``grid``; 0 is background.
    Segments that may overlap lie in different layers; a model without segments has none. Nobody changes them any more.
    ``probabilities`` have the same axes and shape; they are of the segments whose model tells them, and the label maps
    are what its contract makes of them.
    ``frames`` gives for each slice the SOP Instance UID of the image it lies on.
    """

    grid: VoxelGrid
    layers: tuple[npt.NDArray[np.uint8], ...]
    frames: tuple[str, ...]
    segments: tuple[Segment, ...]
    measurements: tuple[Measurement, ...] = ()  # those over no segment are of the series as a whole
    evaluations: tuple[Evaluation, ...] = ()
    notes: tuple[str, ...] = ()
    classes: tuple[Classification, ...] = ()
    detections: tuple[Detection, ...] = ()
    probabilities: Mapping[int, npt.NDArray[np.float32]] = field(default_factory=dict)  # by segment number, 0 to 1
    explanation: ParameterMap | None = None  # of one class or value
    comparison: Comparison | None = None  # with the patient's last result by the same model
    occupied: tuple[npt.NDArray[np.bool_], ...] = field(init=False, repr=False)  # of each layer, as labels_by_slice

    def __post_init__(self) -> None:
        for layer in self.layers:
            if layer.shape != self.grid.shape:
                raise ModelOutputError(f"a label map has shape {layer.shape}, its grid {self.grid.shape}")
            if layer.dtype != np.uint8:
                raise ModelOutputError(f"a label map is {layer.dtype}, not uint8")
        if len(self.frames) != self.grid.shape[0]:
            raise ModelOutputError(f"{len(self.frames)} source images for {self.grid.shape[0]} slices")
        if self.explanation is not None:
            _check_map(self.explanation, self.grid.shape)
        for number, field_ in self.probabilities.items():
            _check_probabilities(number, field_, self.grid.shape)
        object.__setattr__(self, "occupied", tuple(labels_by_slice(layer) for layer in self.layers))
        known = {segment.number for segment in self.segments}
        found = [number for held in self.occupied for number in _numbers(held)]
        if set(found) - known:
            unknown = sorted(set(found) - known)
            raise ModelOutputError(f"a label map holds {unknown}, which the contract does not name")
        if set(self.probabilities) - known:
            raise ModelOutputError(f"there are probabilities of {sorted(set(self.probabilities) - known)}, no segments")
        if len(found) != len(set(found)):
            raise ModelOutputError("a segment lies in two label maps")

    def segment(self, number: int) -> Segment:
        """The segment of that number."""
        return next(segment for segment in self.segments if segment.number == number)

    def held(self) -> frozenset[int]:
        """Numbers of the segments that have a voxel."""
        return frozenset(number for held in self.occupied for number in _numbers(held))

    def mask(self, number: int) -> npt.NDArray[np.bool_]:
        """The voxels of a segment, axes (slice, row, column)."""
        inside = np.zeros(self.grid.shape, dtype=np.bool_)
        for layer in self.layers:
            inside |= layer == number
        return inside


def _check_map(found: ParameterMap, shape: tuple[int, int, int]) -> None:
    if found.values.shape != shape or found.values.dtype != np.float32:
        raise ModelOutputError(
            f"the map of {found.of} is {found.values.dtype} {found.values.shape}, not float32 {shape}"
        )
    if not np.isfinite(found.values).all():
        raise ModelOutputError(f"the map of {found.of} holds NaN or infinite values", reason="output-not-finite")


def _check_probabilities(number: int, found: npt.NDArray[np.float32], shape: tuple[int, int, int]) -> None:
    if found.shape != shape or found.dtype != np.float32:
        raise ModelOutputError(f"segment {number} has probabilities {found.dtype} {found.shape}, not float32 {shape}")
    lowest, highest = float(found.min()), float(found.max())
    if not (lowest >= 0 and highest <= 1):  # NaN is neither
        raise ModelOutputError(f"probabilities of segment {number} lie between {lowest} and {highest}, not 0 and 1")


def labels_by_slice(layer: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Which labels a map (slice, row, column) holds on each slice: axes (slice, label 0 to 255)."""
    held = np.zeros((len(layer), 256), dtype=np.bool_)
    for plane, found in zip(layer, held, strict=True):
        found[_labels(plane)] = True
    return held


_FEW = 16  # labels that are looked for one by one faster than all are counted


def _labels(plane: npt.NDArray[np.uint8]) -> npt.NDArray[np.intp]:
    """The labels in a plane. Counting takes eight bytes a pixel and time, so it is done where it must be."""
    highest = int(plane.max(initial=0))
    if highest > _FEW:
        return np.flatnonzero(np.bincount(plane.ravel(), minlength=1))
    return np.asarray([label for label in range(highest + 1) if (plane == label).any()], dtype=np.intp)


def _numbers(held: npt.NDArray[np.bool_]) -> list[int]:
    """The labels in a map, without background."""
    return [int(number) for number in np.flatnonzero(held.any(axis=0)) if number]
