"""Findings: what a model yields. SEG, SR, pages and messages are renderings of these.

Codes follow PS3.3 8.1; segments follow the Segmentation IOD (PS3.3 C.8.20.2); measurements and evaluations the
groups of TID 1500 (PS3.16).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from dicom_node.domain.grid import VoxelGrid
from dicom_node.errors import ModelOutputError


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
class Measurement:
    """A number with its meaning, of one segment or of several together."""

    name: str  # name in the catalogue of measurements, e.g. "volume"
    concept: Code
    value: float
    unit: Code  # UCUM
    segments: tuple[int, ...]  # segment numbers that it was taken over
    derivation: Code | None = None
    method: str = ""  # how it was taken, in a sentence, with its source


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
class Findings:
    """Everything one job found, on the grid of its reference series.

    Each of ``layers`` is a label map with axes (slice, row, column), dtype uint8, shape of ``grid``; 0 is background.
    Segments that may overlap lie in different layers; a model without segments has none. ``frames`` gives for each
    slice the SOP Instance UID of the image it lies on.
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

    def __post_init__(self) -> None:
        for layer in self.layers:
            if layer.shape != self.grid.shape:
                raise ModelOutputError(f"a label map has shape {layer.shape}, its grid {self.grid.shape}")
            if layer.dtype != np.uint8:
                raise ModelOutputError(f"a label map is {layer.dtype}, not uint8")
        if len(self.frames) != self.grid.shape[0]:
            raise ModelOutputError(f"{len(self.frames)} source images for {self.grid.shape[0]} slices")
        known = {segment.number for segment in self.segments}
        found = [number for layer in self.layers for number in _numbers(layer)]
        if set(found) - known:
            unknown = sorted(set(found) - known)
            raise ModelOutputError(f"a label map holds {unknown}, which the contract does not name")
        if len(found) != len(set(found)):
            raise ModelOutputError("a segment lies in two label maps")

    def segment(self, number: int) -> Segment:
        """The segment of that number."""
        return next(segment for segment in self.segments if segment.number == number)

    def held(self) -> frozenset[int]:
        """Numbers of the segments that have a voxel."""
        return frozenset(number for layer in self.layers for number in _numbers(layer))

    def mask(self, number: int) -> npt.NDArray[np.bool_]:
        """The voxels of a segment, axes (slice, row, column)."""
        inside = np.zeros(self.grid.shape, dtype=np.bool_)
        for layer in self.layers:
            inside |= layer == number
        return inside


def _numbers(layer: npt.NDArray[np.uint8]) -> list[int]:
    """The labels in a map, without background."""
    return [int(number) for number in np.flatnonzero(np.bincount(layer.ravel(), minlength=1)) if number]
