"""Tables of a ``model.toml``: codes, segments, bounds, and what the bundle returns.

Segments are written with the names of dcmqi's segment JSON, so the same table drives other tools.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from dicom_node.domain.comparison import Repeatability
from dicom_node.domain.contract import ProtocolBound, SegmentSpec
from dicom_node.domain.finding import Code
from dicom_node.domain.output import (
    Activation,
    ClassOutput,
    ClassSpec,
    Coordinates,
    MaskForm,
    MaskOutput,
    Output,
    RegionForm,
    RegionOutput,
    ValueOutput,
    ValueSpec,
)

Path = tuple[str | int, ...]
Text = Annotated[str, Field(min_length=1)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)]
Names = Annotated[tuple[Name, ...], Field(min_length=1, strict=False)]
Color = Annotated[int, Field(ge=0, le=255)]
Share = Annotated[float, Field(ge=0, le=1)]
Word = Literal["none", "sigmoid", "softmax"]


class Table(BaseModel):
    """A table in which an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class CodeTable(Table):
    """A coded concept, by the names of DICOM."""

    CodeValue: Annotated[str, Field(min_length=1, max_length=16)]
    CodingSchemeDesignator: Annotated[str, Field(min_length=1, max_length=16)]
    CodeMeaning: Annotated[str, Field(min_length=1, max_length=64)]

    def code(self) -> Code:
        """The record."""
        return Code(self.CodeValue, self.CodingSchemeDesignator, self.CodeMeaning)


class SegmentTable(Table):
    """``[[segments]]``."""

    name: Name
    labelID: Annotated[int, Field(ge=1, le=255)]
    SegmentLabel: Annotated[str, Field(min_length=1, max_length=64)]
    SegmentDescription: str = ""
    SegmentedPropertyCategoryCodeSequence: CodeTable
    SegmentedPropertyTypeCodeSequence: CodeTable
    SegmentedPropertyTypeModifierCodeSequence: CodeTable | None = None
    recommendedDisplayRGBValue: Annotated[tuple[Color, Color, Color], Field(strict=False)]

    def record(self) -> SegmentSpec:
        """The record."""
        modifier = self.SegmentedPropertyTypeModifierCodeSequence
        return SegmentSpec(
            number=self.labelID,
            name=self.name,
            label=self.SegmentLabel,
            category=self.SegmentedPropertyCategoryCodeSequence.code(),
            type=self.SegmentedPropertyTypeCodeSequence.code(),
            type_modifier=modifier.code() if modifier else None,
            color=self.recommendedDisplayRGBValue,
            description=self.SegmentDescription,
        )


class BoundTable(Table):
    """What one attribute of the acquisition must be like."""

    keyword: Annotated[str, Field(pattern=r"^[A-Z][A-Za-z0-9]*$")]
    at_least: float | None = None
    at_most: float | None = None
    matching: str | None = None
    not_matching: str | None = None
    absent: bool = False
    unknown_fits: bool = False

    def record(self) -> ProtocolBound:
        """The record."""
        return ProtocolBound(**self.model_dump())


Bounds = Annotated[tuple[BoundTable, ...], Field(strict=False)]


class ClassTable(Table):
    """``[[outputs.classes]]``."""

    name: Name
    concept: CodeTable
    present_from: Share = 0.5


class RepeatabilityTable(Table):
    """``repeatability`` of a measurement or value: what two measurements of the same differ by at most."""

    absolute: Annotated[float, Field(gt=0)] | None = None
    percent: Annotated[float, Field(gt=0)] | None = None
    source: Text

    @model_validator(mode="after")
    def _says_how_much(self) -> RepeatabilityTable:
        if self.absolute is None and self.percent is None:
            raise ValueError("say absolute, in the unit of the measurement, or percent, or both")
        return self

    def record(self) -> Repeatability:
        """The record."""
        return Repeatability(self.absolute, self.percent, self.source)


class ValueTable(Table):
    """``[[outputs.values]]`` and ``[[outputs.measurements]]``."""

    name: Name
    concept: CodeTable
    unit: CodeTable
    at_least: float | None = None
    at_most: float | None = None
    method: str = ""
    repeatability: RepeatabilityTable | None = None

    def record(self) -> ValueSpec:
        """The record."""
        return ValueSpec(
            *(self.name, self.concept.code(), self.unit.code(), self.at_least, self.at_most, self.method),
            repeatability=self.repeatability.record() if self.repeatability else None,
        )


class _Output(Table):
    name: Name
    key: Text = "pred"


class LabelsTable(_Output):
    """One label map of all segments."""

    kind: Literal["labels"]

    def record(self, segments: tuple[str, ...]) -> Output:
        """The record; ``segments`` are the names of all of them."""
        return MaskOutput(self.name, self.key, MaskForm.LABELS, segments)


class ChannelsTable(_Output):
    """A channel per segment."""

    kind: Literal["channels", "probabilities"]
    segments: Names
    activation: Word = "none"
    threshold: Share = 0.5
    keep: bool = False

    def record(self, segments: tuple[str, ...]) -> Output:
        """The record."""
        form, activation = MaskForm(self.kind), Activation(self.activation)
        return MaskOutput(self.name, self.key, form, self.segments, activation, self.threshold, self.keep)


class ClassesTable(_Output):
    """Probabilities of classes."""

    kind: Literal["classes"]
    classes: Annotated[tuple[ClassTable, ...], Field(min_length=1, strict=False)]
    exclusive: bool
    activation: Word = "none"
    site: CodeTable | None = None
    decided_from: Share = 0.0
    protocol: Bounds = ()
    source: str = ""

    def record(self, segments: tuple[str, ...]) -> Output:
        """The record."""
        return ClassOutput(
            name=self.name,
            key=self.key,
            classes=_classes(self.classes),
            exclusive=self.exclusive,
            activation=Activation(self.activation),
            site=self.site.code() if self.site else None,
            decided_from=self.decided_from,
            protocol=tuple(bound.record() for bound in self.protocol),
            source=self.source,
        )


class ValuesTable(_Output):
    """Numbers with units."""

    kind: Literal["values"]
    values: Annotated[tuple[ValueTable, ...], Field(min_length=1, strict=False)]
    of: Literal["series", "lesions"] = "series"

    def record(self, segments: tuple[str, ...]) -> Output:
        """The record."""
        return ValueOutput(self.name, self.key, tuple(value.record() for value in self.values), self.of == "lesions")


class RegionsTable(_Output):
    """Boxes or points."""

    kind: Literal["boxes", "points"]
    coordinates: Literal["ras", "lps", "index"]
    category: CodeTable
    classes: Annotated[tuple[ClassTable, ...], Field(min_length=1, strict=False)]
    scores: str = ""
    labels: str = ""
    centred: bool = False
    activation: Literal["none", "sigmoid"] = "none"
    score_concept: CodeTable | None = None
    site: CodeTable | None = None
    measurements: Annotated[tuple[ValueTable, ...], Field(strict=False)] = ()
    at_most: Annotated[int, Field(ge=1, le=1000)] = 100
    source: str = ""

    def record(self, segments: tuple[str, ...]) -> Output:
        """The record."""
        return RegionOutput(
            name=self.name,
            key=self.key,
            form=RegionForm(self.kind),
            coordinates=Coordinates(self.coordinates),
            category=self.category.code(),
            classes=_classes(self.classes),
            scores=self.scores,
            labels=self.labels,
            centred=self.centred,
            activation=Activation(self.activation),
            score_concept=self.score_concept.code() if self.score_concept else None,
            site=self.site.code() if self.site else None,
            measurements=tuple(value.record() for value in self.measurements),
            at_most=self.at_most,
            source=self.source,
        )


OutputTable = Annotated[
    LabelsTable | ChannelsTable | ClassesTable | ValuesTable | RegionsTable, Field(discriminator="kind")
]


def output_contradictions(
    outputs: tuple[OutputTable, ...], segments: tuple[SegmentTable, ...]
) -> Iterator[tuple[Path, str]]:
    """What no single key of the outputs shows: with the path of the key."""
    known = [segment.name for segment in segments]
    if not outputs and not segments:
        yield ("outputs",), "the model yields nothing: give [[segments]], or [[outputs]]"
    given: list[str] = []
    for index, output in enumerate(outputs):
        if isinstance(output, LabelsTable):
            given += known
            if not known:
                yield ("outputs", index, "kind"), "a label map needs [[segments]]"
        elif isinstance(output, ChannelsTable):
            given += output.segments
            for name in sorted({*output.segments} - {*known}):
                yield ("outputs", index, "segments"), f"there is no segment {name!r}"
        elif isinstance(output, RegionsTable) and len(output.classes) > 1 and not output.labels:
            yield ("outputs", index, "labels"), "there are several classes: name the key that tells which"
        for table in ("classes", "values", "measurements"):
            yield from named_twice(getattr(output, table, ()), ("outputs", index, table))
    for name in sorted({name for name in given if given.count(name) > 1}):
        yield ("outputs",), f"segment {name!r} comes from two outputs"
    if outputs:
        for name in sorted({*known} - {*given}):
            yield ("segments", known.index(name), "name"), f"no output yields {name!r}"


def named_twice(entries: tuple[Table, ...], path: Path) -> Iterator[tuple[Path, str]]:
    """Names that two entries of a table share."""
    names = [getattr(entry, "name", "") for entry in entries]
    for index, name in enumerate(names):
        if name in names[:index]:
            yield (*path, index, "name"), f"{name!r} is named twice"


def _classes(tables: tuple[ClassTable, ...]) -> tuple[ClassSpec, ...]:
    return tuple(ClassSpec(table.name, table.concept.code(), table.present_from) for table in tables)
