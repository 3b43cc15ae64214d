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


@dataclass(frozen=True, slots=True, eq=False)
class Findings:
    """Everything one job found, on the grid of its reference series.

    ``label_map`` has axes (slice, row, column), dtype uint8, shape of ``grid``; 0 is background. ``frames`` gives
    for each slice the SOP Instance UID of the image it lies on.
    """

    grid: VoxelGrid
    label_map: npt.NDArray[np.uint8]
    frames: tuple[str, ...]
    segments: tuple[Segment, ...]
    measurements: tuple[Measurement, ...]
    evaluations: tuple[Evaluation, ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.label_map.shape != self.grid.shape:
            raise ModelOutputError(f"the label map has shape {self.label_map.shape}, its grid {self.grid.shape}")
        if self.label_map.dtype != np.uint8:
            raise ModelOutputError(f"the label map is {self.label_map.dtype}, not uint8")
        if len(self.frames) != self.grid.shape[0]:
            raise ModelOutputError(f"{len(self.frames)} source images for {self.grid.shape[0]} slices")
        known = {segment.number for segment in self.segments}
        found = set(np.unique(self.label_map).tolist()) - {0}
        if found - known:
            raise ModelOutputError(f"the label map holds {sorted(found - known)}, which the contract does not name")

    def segment(self, number: int) -> Segment:
        """The segment of that number."""
        return next(segment for segment in self.segments if segment.number == number)
