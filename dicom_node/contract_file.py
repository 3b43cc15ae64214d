"""What a ``model.toml`` may hold, and how it becomes a :class:`~dicom_node.domain.contract.ModelContract`.

Segments are written with the names of dcmqi's segment JSON, so the same table drives other tools.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dicom_node.domain.contract import (
    EvaluationSpec,
    InputRole,
    MeasurementSpec,
    ModelContract,
    ProtocolBound,
    Resources,
    SegmentSpec,
    Selection,
    Status,
    Weight,
)
from dicom_node.domain.finding import Code
from dicom_node.errors import ContractError
from dicom_node.settings import Label, Source

_NAME = r"^[a-z][a-z0-9_]*$"
_PREFERENCE = re.compile(r"^(smallest|largest) (\S+)$")

Text = Annotated[str, Field(min_length=1)]
Name = Annotated[str, Field(pattern=_NAME, max_length=64)]
Names = Annotated[tuple[Name, ...], Field(min_length=1, strict=False)]
Color = Annotated[int, Field(ge=0, le=255)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _Code(_Table):
    CodeValue: Annotated[str, Field(min_length=1, max_length=16)]
    CodingSchemeDesignator: Annotated[str, Field(min_length=1, max_length=16)]
    CodeMeaning: Annotated[str, Field(min_length=1, max_length=64)]

    def code(self) -> Code:
        return Code(self.CodeValue, self.CodingSchemeDesignator, self.CodeMeaning)


class _Model(_Table):
    name: Name
    version: Annotated[str, Field(pattern=r"^\d+(\.\d+)*([-+.][0-9A-Za-z.]+)?$")]
    title: Annotated[str, Field(min_length=1, max_length=64)]
    manufacturer: Annotated[str, Field(min_length=1, max_length=64)]
    task: Literal["segmentation"]
    status: Literal["research", "clinical"]
    configuration: Text
    intended_use: Text
    limits: Annotated[tuple[Text, ...], Field(min_length=1, strict=False)]


class _Input(_Table):
    name: Name
    modality: Annotated[str, Field(pattern=r"^[A-Z0-9_]{1,16}$")]
    minimum_slices: Annotated[int, Field(ge=1)]
    conditions: Annotated[tuple[Text, ...], Field(strict=False)] = ()
    prefer: Annotated[tuple[Text, ...], Field(strict=False)] = ()
    select: Annotated[tuple[Text, ...], Field(strict=False)] = ()
    values: Literal["", "SUVbw"] = ""
    colour: bool = False
    maximum_extent_mm: Annotated[float, Field(gt=0)] | None = None

    def record(self) -> InputRole:
        told = self.model_dump() | {"select": tuple(Selection.parse(text) for text in self.select)}
        return InputRole(**told)


class _Segment(_Table):
    name: Name
    labelID: Annotated[int, Field(ge=1, le=255)]
    SegmentLabel: Annotated[str, Field(min_length=1, max_length=64)]
    SegmentDescription: str = ""
    SegmentedPropertyCategoryCodeSequence: _Code
    SegmentedPropertyTypeCodeSequence: _Code
    SegmentedPropertyTypeModifierCodeSequence: _Code | None = None
    recommendedDisplayRGBValue: Annotated[tuple[Color, Color, Color], Field(strict=False)]


class _Measurement(_Table):
    name: Name
    kind: Name
    of: Annotated[tuple[Names, ...], Field(min_length=1, strict=False)]
    parameters: dict[str, float | int | str] = Field(default_factory=dict)


class _Bound(_Table):
    keyword: Annotated[str, Field(pattern=r"^[A-Z][A-Za-z0-9]*$")]
    at_least: float | None = None
    at_most: float | None = None
    matching: str | None = None
    not_matching: str | None = None
    absent: bool = False


class _Evaluation(_Table):
    name: Name
    concept: _Code
    site: _Code
    of: Names
    measurement: Name
    present_from: float
    protocol: Annotated[tuple[_Bound, ...], Field(strict=False)] = ()
    source: Text


class _Resources(_Table):
    time_limit_s: Annotated[float, Field(gt=0)]
    memory_mb: Annotated[int, Field(gt=0)]
    gpu_memory_mb: Annotated[int, Field(ge=0)] = 0
    labels: Annotated[tuple[Label, ...], Field(strict=False)] = ()


class _Weight(_Table):
    path: Text
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    source: Text


class ContractFile(_Table):
    """All tables of a ``model.toml``, checked."""

    model: _Model
    inputs: Annotated[tuple[_Input, ...], Field(min_length=1, strict=False)]
    segments: Annotated[tuple[_Segment, ...], Field(min_length=1, strict=False)]
    measurements: Annotated[tuple[_Measurement, ...], Field(strict=False)] = ()
    evaluations: Annotated[tuple[_Evaluation, ...], Field(strict=False)] = ()
    resources: _Resources
    weights: Annotated[tuple[_Weight, ...], Field(strict=False)] = ()


def read(file: Path) -> ContractFile:
    """Read and check a contract by itself, without the bundle around it.

    Raises:
        ContractError: with file, line and key.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        remedy = "write one; that of ct_lung_density is an example"
        raise ContractError("the bundle has no contract", file=file, remedy=remedy) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ContractError(f"cannot be read: {error}", file=file) from error
    source = Source(file, text)
    try:
        contract = ContractFile.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        at = re.search(r"line (\d+)", str(error))
        raise ContractError(f"not TOML: {error}", file=file, line=int(at[1]) if at else None) from error
    except ValidationError as error:
        raise _explained(error, source) from error
    for path, message in _contradictions(contract):
        raise _error(source, path, message)
    return contract


def _error(source: Source, path: tuple[str | int, ...], message: str) -> ContractError:
    key = "".join(f"[{part + 1}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")
    return ContractError(message, file=source.file, line=source.line_of(path), key=key)


def _explained(error: ValidationError, source: Source) -> ContractError:
    first = error.errors()[0]
    message = first["msg"][:1].lower() + first["msg"][1:]
    if first["type"] == "extra_forbidden":
        message = "there is no such key"
    if first["type"] not in ("missing", "extra_forbidden") and isinstance(first["input"], str | int | float):
        message += f", not {first['input']!r}"
    return _error(source, first["loc"], message)


def _contradictions(contract: ContractFile) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """What no single key shows: names used twice or not at all, keywords and patterns that do not exist."""
    for table in ("inputs", "segments", "measurements", "evaluations"):
        names = [entry.name for entry in getattr(contract, table)]
        for index, name in enumerate(names):
            if name in names[:index]:
                yield (table, index, "name"), f"{name!r} is named twice"
    numbers = [segment.labelID for segment in contract.segments]
    for index, number in enumerate(numbers):
        if number in numbers[:index]:
            yield ("segments", index, "labelID"), f"two segments have the label {number}"
    known = {segment.name for segment in contract.segments}
    for index, measurement in enumerate(contract.measurements):
        for name in sorted({name for group in measurement.of for name in group} - known):
            yield ("measurements", index, "of"), f"there is no segment {name!r}"
    for index, role in enumerate(contract.inputs):
        for preference in role.prefer:
            match = _PREFERENCE.match(preference)
            if match and match[2] != "instances" and not _is_keyword(match[2]):
                yield ("inputs", index, "prefer"), f"{match[2]!r} is no DICOM keyword"
        yield from _input_contradictions(role, index)
    for index, evaluation in enumerate(contract.evaluations):
        yield from _evaluation_contradictions(contract, index, evaluation)


def _input_contradictions(role: _Input, index: int) -> Iterator[tuple[tuple[str | int, ...], str]]:
    for text in role.select:
        try:
            keyword = Selection.parse(text).keyword
        except ValueError as error:
            yield ("inputs", index, "select"), f"{text!r} selects nothing: {error}"
            continue
        if not _is_keyword(keyword):
            yield ("inputs", index, "select"), f"{keyword!r} is no DICOM keyword"
    if role.values == "SUVbw" and role.modality != "PT":
        yield ("inputs", index, "values"), f"SUV is for PET (PT), not for {role.modality}"


def _evaluation_contradictions(
    contract: ContractFile, index: int, evaluation: _Evaluation
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    decisive = next((m for m in contract.measurements if m.name == evaluation.measurement), None)
    if decisive is None:
        yield ("evaluations", index, "measurement"), f"there is no measurement {evaluation.measurement!r}"
    elif evaluation.of not in decisive.of:
        yield ("evaluations", index, "of"), f"{decisive.name!r} is not measured over {list(evaluation.of)} together"
    for bound in evaluation.protocol:
        place = ("evaluations", index, "protocol")
        if not _is_keyword(bound.keyword):
            yield place, f"{bound.keyword!r} is no DICOM keyword"
        limits = (bound.at_least, bound.at_most, bound.matching, bound.not_matching)
        if all(limit is None for limit in limits) != bound.absent:
            yield place, f"{bound.keyword}: give bounds, or absent = true, and not both"
        for pattern in (bound.matching, bound.not_matching):
            fault = _pattern_fault(pattern) if pattern is not None else None
            if fault:
                yield place, f"{bound.keyword}: {pattern!r} is no regular expression: {fault}"


def _is_keyword(keyword: str) -> bool:
    from pydicom.datadict import tag_for_keyword  # loads the dictionary, which a command without models can spare

    return tag_for_keyword(keyword) is not None


def _pattern_fault(pattern: str) -> str | None:
    try:
        re.compile(pattern)
    except re.error as error:
        return str(error)
    return None


def record(contract: ContractFile, folder: Path, digest: str) -> ModelContract:
    """The contract of the bundle in ``folder``."""
    model = contract.model
    return ModelContract(
        name=model.name,
        version=model.version,
        title=model.title,
        manufacturer=model.manufacturer,
        task=model.task,
        status=Status(model.status),
        intended_use=model.intended_use.strip(),
        limits=model.limits,
        folder=folder,
        configuration=model.configuration,
        digest=digest,
        inputs=tuple(role.record() for role in contract.inputs),
        segments=tuple(_segment(segment) for segment in contract.segments),
        measurements=tuple(
            MeasurementSpec(m.name, m.kind, m.of, tuple(sorted(m.parameters.items()))) for m in contract.measurements
        ),
        evaluations=tuple(_evaluation(evaluation) for evaluation in contract.evaluations),
        resources=Resources(**contract.resources.model_dump()),
        weights=tuple(Weight(**weight.model_dump()) for weight in contract.weights),
    )


def _segment(segment: _Segment) -> SegmentSpec:
    modifier = segment.SegmentedPropertyTypeModifierCodeSequence
    return SegmentSpec(
        number=segment.labelID,
        name=segment.name,
        label=segment.SegmentLabel,
        category=segment.SegmentedPropertyCategoryCodeSequence.code(),
        type=segment.SegmentedPropertyTypeCodeSequence.code(),
        type_modifier=modifier.code() if modifier else None,
        color=segment.recommendedDisplayRGBValue,
        description=segment.SegmentDescription,
    )


def _evaluation(evaluation: _Evaluation) -> EvaluationSpec:
    return EvaluationSpec(
        name=evaluation.name,
        concept=evaluation.concept.code(),
        site=evaluation.site.code(),
        of=evaluation.of,
        measurement=evaluation.measurement,
        present_from=evaluation.present_from,
        protocol=tuple(ProtocolBound(**bound.model_dump()) for bound in evaluation.protocol),
        source=evaluation.source,
    )
