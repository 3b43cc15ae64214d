"""Tables of a ``model.toml``: features of the patient's record and genome, findings of other models, and lesions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from dicom_node.contract_tables import CodeTable, Name, Path, Table, Text, named_twice
from dicom_node.domain.feature import FeatureSpec, WhenMissing
from dicom_node.domain.lesion import LesionFeature, LesionSpec, key_of

Given = float | bool | str


_AS_THEY_ARE = {"name", "unit", "at_least", "at_most", "one_of", "lookback_days", "default", "bracket", "source"}


class FeatureTable(Table):
    """``[[features]]``: a value of the patient's record or genome."""

    name: Name
    concept: CodeTable
    unit: str = ""
    at_least: float | None = None
    at_most: float | None = None
    one_of: Annotated[tuple[Text, ...], Field(strict=False)] = ()
    lookback_days: Annotated[float, Field(gt=0)] | None = None
    missing: Literal["refuse", "default", "bracket", "omit"] = "refuse"
    default: Given | None = None
    bracket: Annotated[tuple[Given, ...], Field(min_length=2, strict=False)] | None = None
    source: str = ""
    wait_minutes: Annotated[float, Field(ge=0, le=1440)] = 0.0
    model: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")] | None = None
    finding: Name | None = None

    @model_validator(mode="after")
    def _says_what_counts_instead(self) -> FeatureTable:
        for way, value in (("default", self.default), ("bracket", self.bracket)):
            if (self.missing == way) != (value is not None):
                raise ValueError(f"{way} goes with missing = {way!r}")
            if value is not None and not self.source:
                raise ValueError(f"the source of the {way} is missing: who published it")
        if (self.model is None) != (self.finding is None):
            raise ValueError("model and finding go together: whose finding it is, and which")
        return self

    def record(self) -> FeatureSpec:
        """The record."""
        told = self.model_dump(include=_AS_THEY_ARE) | {"model": self.model or "", "finding": self.finding or ""}
        missing = WhenMissing(self.missing)
        return FeatureSpec(**told, concept=self.concept.code(), missing=missing, wait_s=60 * self.wait_minutes)


class LesionFeatureTable(FeatureTable):
    """``[[lesions.features]]``: what is asked of each lesion."""

    codes: Annotated[tuple[Text, ...], Field(strict=False)] = ()
    units: dict[str, float | int] = Field(default_factory=dict)
    values: dict[str, Given] = Field(default_factory=dict)
    counted: bool = False

    @field_validator("codes")
    @classmethod
    def _are_codes(cls, codes: tuple[str, ...]) -> tuple[str, ...]:
        for text in codes:
            key_of(text)
        return codes

    @field_validator("values")
    @classmethod
    def _answer_codes(cls, values: dict[str, Given]) -> dict[str, Given]:
        for text in values:
            key_of(text)
        return values

    @model_validator(mode="after")
    def _says_where_it_stands(self) -> LesionFeatureTable:
        if self.counted == bool(self.codes or self.values):
            raise ValueError("give codes or values that tell it, or counted = true")
        if self.codes and not self.values and not self.units:
            raise ValueError("a number needs units: those it may have, with the factor to its own")
        if self.model is not None or self.lookback_days is not None:
            raise ValueError("what is asked of a lesion has neither model nor lookback_days: its source tells both")
        return self

    def of_lesion(self) -> LesionFeature:
        """The record."""
        return LesionFeature(
            spec=self.record(),
            codes=tuple(key_of(text) for text in self.codes),
            units=tuple((unit, float(factor)) for unit, factor in self.units.items()),
            answers=tuple((key_of(text), value) for text, value in self.values.items()),
            counted=self.counted,
        )


class LesionsTable(Table):
    """``[lesions]``: what is judged one by one."""

    name: Text
    concept: CodeTable
    models: Annotated[tuple[Name, ...], Field(strict=False)] = ()
    findings: Annotated[tuple[Text, ...], Field(min_length=1, strict=False)]
    features: Annotated[tuple[LesionFeatureTable, ...], Field(min_length=1, strict=False)]

    @field_validator("findings")
    @classmethod
    def _are_codes(cls, findings: tuple[str, ...]) -> tuple[str, ...]:
        for text in findings:
            key_of(text)
        return findings

    def record(self) -> LesionSpec:
        """The record."""
        return LesionSpec(
            name=self.name,
            concept=self.concept.code(),
            models=self.models,
            findings=tuple(key_of(text) for text in self.findings),
            features=tuple(feature.of_lesion() for feature in self.features),
        )


def lesion_contradictions(
    lesions: LesionsTable | None, features: tuple[FeatureTable, ...], task: str, of_lesions: bool
) -> Iterator[tuple[Path, str]]:
    """What no single key of the lesions shows."""
    if (lesions is not None) != of_lesions:
        yield ("outputs",), 'lesions are judged by an output with of = "lesions", which goes with [lesions]'
    if lesions is None:
        return
    if task != "fusion":
        yield ("lesions",), "lesions are judged by models of the task fusion"
    yield from named_twice(lesions.features, ("lesions", "features"))
    known = {feature.name for feature in features}
    for index, feature in enumerate(lesions.features):
        if feature.name in known:
            yield ("lesions", "features", index, "name"), f"{feature.name!r} is asked of the patient, too"
