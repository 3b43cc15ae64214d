"""What a bundle returns, as its contract says it: which key, in which form, and what each number of it means."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from dicom_node.domain.comparison import Repeatability
from dicom_node.domain.contract import ProtocolBound
from dicom_node.domain.finding import Code


class Activation(StrEnum):
    """What is applied to a network's values before they are read as probabilities."""

    NONE = "none"  # they are probabilities, 0 to 1
    SIGMOID = "sigmoid"
    SOFTMAX = "softmax"


class MaskForm(StrEnum):
    """How segments come out."""

    LABELS = "labels"  # one channel of label values
    CHANNELS = "channels"  # a channel per segment, which may overlap: inside at the threshold or above
    PROBABILITIES = "probabilities"  # background, then a channel per segment: the most probable one wins


class Encoding(StrEnum):
    """Segmentation Type (0062,0001): how segments are written as DICOM."""

    BINARY = "BINARY"
    FRACTIONAL = "FRACTIONAL"  # probabilities; only of outputs that keep them
    LABELMAP = "LABELMAP"


class RegionForm(StrEnum):
    """How detections come out."""

    BOXES = "boxes"  # two opposite corners, or centre and size
    POINTS = "points"


class Coordinates(StrEnum):
    """What the numbers of a position count."""

    RAS = "ras"  # mm, as MONAI gives them
    LPS = "lps"  # mm, as DICOM and ITK give them
    INDEX = "index"  # voxels of the input series, (column, row, slice)


@dataclass(frozen=True, slots=True)
class MaskOutput:
    """Segments on the grid of the first input."""

    name: str
    key: str  # in what the postprocessing returns
    form: MaskForm
    segments: tuple[str, ...]  # names of segments in the order of channels; of labels: all, numbered in [[segments]]
    activation: Activation = Activation.NONE
    threshold: float = 0.5
    keep: bool = False  # the probabilities go on beside the label map, as those of the findings


@dataclass(frozen=True, slots=True)
class ClassSpec:
    """One class of a classifier, or one kind of thing that a detector marks."""

    name: str
    concept: Code
    present_from: float = 0.5  # probability; counts where classes do not exclude each other


@dataclass(frozen=True, slots=True)
class ClassOutput:
    """A vector of probabilities, one per class, of the series as a whole."""

    name: str
    key: str
    classes: tuple[ClassSpec, ...]  # in the order of the vector
    exclusive: bool  # one of them holds, the most probable; otherwise each by its own threshold
    activation: Activation = Activation.NONE
    site: Code | None = None
    decided_from: float = 0.0  # exclusive: below this probability of the best one nothing is decided
    protocol: tuple[ProtocolBound, ...] = ()  # all must hold, or the answer is "not evaluated"
    source: str = ""


@dataclass(frozen=True, slots=True)
class ValueSpec:
    """One number of a regression."""

    name: str
    concept: Code
    unit: Code  # UCUM
    at_least: float | None = None  # what lies outside is refused: no such value exists
    at_most: float | None = None
    method: str = ""
    repeatability: Repeatability | None = None  # None: not stated


@dataclass(frozen=True, slots=True)
class ValueOutput:
    """A vector of numbers with units, of the series as a whole."""

    name: str
    key: str
    values: tuple[ValueSpec, ...]  # in the order of the vector
    of_lesions: bool = False  # of each lesion that the model judges, not of the series as a whole


@dataclass(frozen=True, slots=True)
class RegionOutput:
    """Detections: boxes or points in the patient, each with a score and a class."""

    name: str
    key: str  # of the positions
    form: RegionForm
    coordinates: Coordinates
    category: Code
    classes: tuple[ClassSpec, ...]  # label 0 is the first; their present_from is the lowest score that counts
    scores: str = ""  # key of the scores; empty: there are none
    labels: str = ""  # key of the classes; empty: all are of the first
    centred: bool = False  # boxes are given as centre and size
    activation: Activation = Activation.NONE
    score_concept: Code | None = None  # None: certainty of the finding, in percent
    site: Code | None = None
    measurements: tuple[ValueSpec, ...] = ()  # one number per detection each, under the key of its name
    at_most: int = 100  # detections that are told, the best first
    source: str = ""


Output = MaskOutput | ClassOutput | ValueOutput | RegionOutput


CALIBRATION = "configs/calibration.json"  # of a bundle: what its intervals were calibrated by


class SampleMethod(StrEnum):
    """What a model yields several times of the same images, so that a measurement has a spread."""

    MEMBERS = "members"  # each network of an ensemble by itself
    VIEWS = "views"  # the network on mirror images, turned back: test-time augmentation; its result is their mean
    CALL = "call"  # a method of the network returns ``pred`` and, sample by sample, ``samples``
    THRESHOLDS = "thresholds"  # the segments at each probability, from outputs that keep them


@dataclass(frozen=True, slots=True)
class Calibration:
    """How a spread becomes an interval that holds the truth in a share of cases: value ± factor (spread + floor)."""

    measurement: str  # name in the contract
    of: tuple[str, ...]  # names of segments measured together; none of a value of the series
    factor: float
    floor: float  # in the unit of the measurement
    cases: int  # that it was calibrated on


@dataclass(frozen=True, slots=True)
class UncertaintySpec:
    """How the uncertainty of measurements is found, and what it was calibrated by."""

    method: SampleMethod
    flips: tuple[str, ...] = ()  # of views: axes of the network's image, of W, H and D
    call: str = ""  # name of the method
    coverage: float = 0.9  # that calibration aims at
    calibrations: tuple[Calibration, ...] = ()


class MapMethod(StrEnum):
    """How it is found what of the images an answer rests on."""

    GRAD_CAM = "grad-cam"
    OCCLUSION = "occlusion"


@dataclass(frozen=True, slots=True)
class ExplanationSpec:
    """The map that comes with one output, of classes or values."""

    output: str  # name
    method: MapMethod
    of: str = ""  # name of the class or value; empty: the class with the highest probability, the first value
    layer: str = ""  # of the network, for Grad-CAM
    window: int = 8  # voxels of the network's image that occlusion hides along each axis
    overlap: float = 0.5  # of windows, a share
