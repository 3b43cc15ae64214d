"""A model's contract: what ``model.toml`` beside a bundle says, checked. No torch is needed to read it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dicom_node.domain.feature import FeatureSpec
from dicom_node.domain.finding import Code

if TYPE_CHECKING:
    from dicom_node.domain.comparison import Repeatability
    from dicom_node.domain.lesion import LesionSpec
    from dicom_node.domain.output import Encoding, ExplanationSpec, Output, UncertaintySpec

_ORDERED = re.compile(r"(smallest|largest)\s+(\w+)")
_EQUAL = re.compile(r"(\w+)\s*==?\s*(\S(?:.*\S)?)")


class Status(StrEnum):
    """Whether results may count as clinical statements."""

    RESEARCH = "research"
    CLINICAL = "clinical"


class Grid(StrEnum):
    """How a further series lies to that of the first role."""

    SAME = "same"  # on the same grid, or it is refused
    RESAMPLE = "resample"  # brought onto that grid, in the same frame of reference
    OWN = "own"  # as it is; the bundle brings them together


@dataclass(frozen=True, slots=True)
class Selection:
    """Which images of a series that holds several volumes, or several views, a model takes."""

    keyword: str  # DICOM keyword, e.g. "EchoTime"
    order: str  # smallest, largest or equal
    value: str = ""  # with equal: the value, or one of several values

    @classmethod
    def parse(cls, text: str) -> Selection:
        """Read ``smallest KEYWORD``, ``largest KEYWORD`` or ``KEYWORD = VALUE``.

        Raises:
            ValueError: it is none of them.
        """
        if ordered := _ORDERED.fullmatch(text.strip()):
            return cls(ordered[2], ordered[1])
        if equal := _EQUAL.fullmatch(text.strip()):
            return cls(equal[1], "equal", equal[2])
        raise ValueError('write "smallest KEYWORD", "largest KEYWORD" or "KEYWORD = VALUE"')

    def __str__(self) -> str:
        return f"{self.keyword} = {self.value}" if self.order == "equal" else f"{self.order} {self.keyword}"


@dataclass(frozen=True, slots=True)
class InputRole:
    """One series the model needs."""

    name: str
    modality: str
    minimum_slices: int
    conditions: tuple[str, ...]  # CEL over DICOM keywords; all must hold
    prefer: tuple[str, ...]  # which series wins, in order: "smallest KEYWORD", "largest KEYWORD" or a CEL condition;
    # the keyword may be "instances"
    select: tuple[Selection, ...] = ()  # which part of the series, where it holds several volumes or views
    values: str = ""  # "SUVbw": PET as standardised uptake; empty: as the series gives them
    colour: bool = False  # RGB instead of grey
    maximum_extent_mm: float | None = None  # along each axis of the volume; a larger one is refused
    dimensions: int = 3  # of the image the bundle gets: 3, or 2 for a series of one slice
    grid: Grid = Grid.SAME  # of roles after the first


@dataclass(frozen=True, slots=True)
class SegmentSpec:
    """A segment that the model yields: a label value and how the result objects name it."""

    number: int
    name: str  # short name used in model.toml, e.g. "right_lung"
    label: str
    category: Code
    type: Code
    type_modifier: Code | None
    color: tuple[int, int, int]
    description: str = ""


@dataclass(frozen=True, slots=True)
class MeasurementSpec:
    """A measurement of the catalogue, and the segments it is taken over."""

    name: str  # unique in the contract, e.g. "laa_950"; that of the findings
    kind: str  # in the catalogue of workers.inference.measurements, e.g. "laa"
    of: tuple[tuple[str, ...], ...]  # groups of segment names; each group is measured together
    parameters: tuple[tuple[str, Any], ...] = ()
    repeatability: Repeatability | None = None  # None: not stated


@dataclass(frozen=True, slots=True)
class ProtocolBound:
    """What patient or acquisition must be like for a criterion, or a model, to hold; one attribute, at least one bound.

    Except with ``absent``, an attribute that the series does not have, or on which its images differ, fits no bound:
    what is not known to fit does not fit. With ``unknown_fits`` one that the series does not have fits.
    """

    keyword: str  # DICOM keyword, e.g. "SliceThickness"
    at_least: float | None = None
    at_most: float | None = None
    matching: str | None = None  # regular expression that must be found in the value
    not_matching: str | None = None  # regular expression that must not be found in the value
    absent: bool = False  # the attribute must be absent or empty
    unknown_fits: bool = False  # an attribute that the series does not have fits


@dataclass(frozen=True, slots=True)
class EvaluationSpec:
    """A coded statement drawn from a measurement by a published cut-off, where the protocol fits."""

    name: str
    concept: Code
    site: Code
    of: tuple[str, ...]  # segment names that are judged together
    measurement: str  # name of the measurement that decides
    present_from: float  # in the measurement's unit; present at or above, absent below
    protocol: tuple[ProtocolBound, ...]  # all must hold, or the answer is "not evaluated"
    source: str  # citation


@dataclass(frozen=True, slots=True)
class Resources:
    """What one run may take."""

    time_limit_s: float
    memory_mb: int  # host memory of the bundle's process
    gpu_memory_mb: int = 0
    labels: tuple[str, ...] = ()  # that a worker must have


@dataclass(frozen=True, slots=True)
class Weight:
    """A file of the bundle that holds weights."""

    path: str
    sha256: str
    source: str


@dataclass(frozen=True, slots=True)
class ModelContract:
    """A model as it is served."""

    name: str
    version: str
    title: str
    manufacturer: str
    task: str  # segmentation, classification, regression, detection, or fusion: of features, by published equations
    status: Status
    intended_use: str
    limits: tuple[str, ...]
    folder: Path
    configuration: str  # of the bundle, e.g. "configs/inference.json"
    digest: str  # SHA-256 over bundle and contract
    inputs: tuple[InputRole, ...]
    segments: tuple[SegmentSpec, ...]
    measurements: tuple[MeasurementSpec, ...]
    evaluations: tuple[EvaluationSpec, ...]
    resources: Resources
    weights: tuple[Weight, ...] = ()
    outputs: tuple[Output, ...] = ()
    population: tuple[ProtocolBound, ...] = ()  # patients the model holds for; outside it nothing is evaluated
    protocol: tuple[ProtocolBound, ...] = ()  # acquisitions of the first input it holds for
    uncertainty: UncertaintySpec | None = None
    explanation: ExplanationSpec | None = None
    encoding: Encoding | None = None  # how segments are written; None: as the destination has it, else BINARY
    features: tuple[FeatureSpec, ...] = ()  # of the patient's record and genome, in the order the bundle takes them

    lesions: LesionSpec | None = None  # that it judges one by one

    @property
    def gather_s(self) -> float | None:
        """How long its features are waited for at most; None: it asks for none."""
        return max((spec.wait_s for spec in self.features), default=None)

    @property
    def needed_models(self) -> tuple[str, ...]:
        """Models whose findings on the same study it asks for."""
        asked = [spec.model for spec in self.features if spec.model]
        return tuple(dict.fromkeys([*asked, *(self.lesions.models if self.lesions else ())]))

    @property
    def repeatability(self) -> dict[str, Repeatability]:
        """That of measurements and values by their names, as far as it is stated."""
        specs: list[Any] = list(self.measurements)
        for output in self.outputs:
            specs += [*getattr(output, "values", ()), *getattr(output, "measurements", ())]
        return {spec.name: spec.repeatability for spec in specs if spec.repeatability is not None}

    def segment_numbers(self, names: tuple[str, ...]) -> tuple[int, ...]:
        """Segment numbers of those short names, in order."""
        numbers = {segment.name: segment.number for segment in self.segments}
        return tuple(numbers[name] for name in names)
