"""What a ``model.toml`` may hold, and how it becomes a :class:`~dicom_node.domain.contract.ModelContract`."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from dicom_node.contract_features import FeatureTable, LesionsTable, lesion_contradictions
from dicom_node.contract_results import (
    ExplanationTable,
    ResultTable,
    UncertaintyTable,
    explanation_contradictions,
    result_contradictions,
    uncertainty_contradictions,
)
from dicom_node.contract_tables import (
    Bounds,
    BoundTable,
    CodeTable,
    Name,
    Names,
    OutputTable,
    RepeatabilityTable,
    SegmentTable,
    Table,
    Text,
    named_twice,
    output_contradictions,
)
from dicom_node.domain.contract import (
    EvaluationSpec,
    Grid,
    InputRole,
    MeasurementSpec,
    ModelContract,
    Resources,
    Selection,
    Status,
    Weight,
)
from dicom_node.domain.output import MaskForm, MaskOutput
from dicom_node.errors import ContractError
from dicom_node.settings import Label, Source

FILL_IN = "FILL IN"  # what a draft leaves to a person
_PREFERENCE = re.compile(r"^(smallest|largest) (\S+)$")


class _Model(Table):
    name: Name
    version: Annotated[str, Field(pattern=r"^\d+(\.\d+)*([-+.][0-9A-Za-z.]+)?$")]
    title: Annotated[str, Field(min_length=1, max_length=64)]
    manufacturer: Annotated[str, Field(min_length=1, max_length=64)]
    task: Literal["segmentation", "classification", "regression", "detection", "fusion"]
    status: Literal["research", "clinical"]
    configuration: Text
    intended_use: Text
    limits: Annotated[tuple[Text, ...], Field(min_length=1, strict=False)]


class _Input(Table):
    name: Name
    modality: Annotated[str, Field(pattern=r"^[A-Z0-9_]{1,16}$")]
    minimum_slices: Annotated[int, Field(ge=1)]
    conditions: Annotated[tuple[Text, ...], Field(strict=False)] = ()
    prefer: Annotated[tuple[Text, ...], Field(strict=False)] = ()
    select: Annotated[tuple[Text, ...], Field(strict=False)] = ()
    values: Literal["", "SUVbw"] = ""
    colour: bool = False
    maximum_extent_mm: Annotated[float, Field(gt=0)] | None = None
    dimensions: Literal[2, 3] = 3
    grid: Literal["same", "resample", "own"] = "same"

    def record(self) -> InputRole:
        told = self.model_dump() | {"select": tuple(Selection.parse(text) for text in self.select)}
        return InputRole(**{**told, "grid": Grid(self.grid)})


class _Measurement(Table):
    name: Name
    kind: Name
    of: Annotated[tuple[Names, ...], Field(min_length=1, strict=False)]
    parameters: dict[str, float | int | str] = Field(default_factory=dict)
    repeatability: RepeatabilityTable | None = None

    def record(self) -> MeasurementSpec:
        """The record."""
        stated = self.repeatability.record() if self.repeatability else None
        return MeasurementSpec(self.name, self.kind, self.of, tuple(sorted(self.parameters.items())), stated)


class _Evaluation(Table):
    name: Name
    concept: CodeTable
    site: CodeTable
    of: Names
    measurement: Name
    present_from: float
    protocol: Bounds = ()
    source: Text


class _Resources(Table):
    time_limit_s: Annotated[float, Field(gt=0)]
    memory_mb: Annotated[int, Field(gt=0)]
    gpu_memory_mb: Annotated[int, Field(ge=0)] = 0
    labels: Annotated[tuple[Label, ...], Field(strict=False)] = ()


class _Weight(Table):
    path: Text
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    source: Text


class ContractFile(Table):
    """All tables of a ``model.toml``, checked."""

    model: _Model
    inputs: Annotated[tuple[_Input, ...], Field(min_length=1, strict=False)]
    segments: Annotated[tuple[SegmentTable, ...], Field(strict=False)] = ()
    measurements: Annotated[tuple[_Measurement, ...], Field(strict=False)] = ()
    evaluations: Annotated[tuple[_Evaluation, ...], Field(strict=False)] = ()
    resources: _Resources
    weights: Annotated[tuple[_Weight, ...], Field(strict=False)] = ()
    outputs: Annotated[tuple[OutputTable, ...], Field(strict=False)] = ()
    population: Bounds = ()
    protocol: Bounds = ()
    result: ResultTable = ResultTable()
    features: Annotated[tuple[FeatureTable, ...], Field(strict=False)] = ()
    uncertainty: UncertaintyTable | None = None
    explanation: ExplanationTable | None = None
    lesions: LesionsTable | None = None


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
    for number, line in enumerate(text.splitlines(), start=1):
        if FILL_IN in line.partition("#")[0]:
            key = line.partition("=")[0].strip()
            raise ContractError(
                "the draft is not filled in", file=file, line=number, key=key, remedy=f"replace each {FILL_IN}"
            )
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
    at = first["loc"]
    if at[0] == "outputs" and len(at) > 2:
        at = (*at[:2], *at[3:])  # without the kind, which is no part of the path in the file
    return _error(source, at, message)


def _contradictions(contract: ContractFile) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """What no single key shows: names used twice or not at all, keywords and patterns that do not exist."""
    for table in ("inputs", "segments", "measurements", "evaluations", "outputs", "features"):
        yield from named_twice(getattr(contract, table), (table,))
    yield from output_contradictions(contract.outputs, contract.segments)
    yield from result_contradictions(contract.result, contract.outputs)
    yield from explanation_contradictions(contract.explanation, contract.outputs)
    yield from uncertainty_contradictions(contract.uncertainty, contract.outputs)
    numbers = [segment.labelID for segment in contract.segments]
    for index, number in enumerate(numbers):
        if number in numbers[:index]:
            yield ("segments", index, "labelID"), f"two segments have the label {number}"
    known = {segment.name for segment in contract.segments}
    for index, measurement in enumerate(contract.measurements):
        for name in sorted({name for group in measurement.of for name in group} - known):
            yield ("measurements", index, "of"), f"there is no segment {name!r}"
    yield from _input_contradictions(contract)
    yield from _feature_contradictions(contract)
    of_lesions = any(getattr(output, "of", "") == "lesions" for output in contract.outputs)
    yield from lesion_contradictions(contract.lesions, contract.features, contract.model.task, of_lesions)
    for index, evaluation in enumerate(contract.evaluations):
        yield from _evaluation_contradictions(contract, index, evaluation)
    for index, output in enumerate(contract.outputs):
        for bound in getattr(output, "protocol", ()):
            yield from ((("outputs", index, "protocol"), fault) for fault in _bound_faults(bound))
    for table in ("population", "protocol"):
        for index, bound in enumerate(getattr(contract, table)):
            yield from (((table, index, "keyword"), fault) for fault in _bound_faults(bound))


def _input_contradictions(contract: ContractFile) -> Iterator[tuple[tuple[str | int, ...], str]]:
    for index, role in enumerate(contract.inputs):
        for preference in role.prefer:
            match = _PREFERENCE.match(preference)
            if match and match[2] != "instances" and not _is_keyword(match[2]):
                yield ("inputs", index, "prefer"), f"{match[2]!r} is no DICOM keyword"
        yield from _input_faults(role, index)


def _feature_contradictions(contract: ContractFile) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """What networks cannot do with features, which equations can, and the reverse."""
    if contract.model.task == "fusion":
        return
    for index, feature in enumerate(contract.features):
        if feature.missing == "bracket":
            yield ("features", index, "missing"), "a network answers for one value: refuse, default or omit"
    if contract.features and contract.explanation:
        yield ("explanation",), "answers that rest on features too are not explained by a map of the image"


def _input_faults(role: _Input, index: int) -> Iterator[tuple[tuple[str | int, ...], str]]:
    for text in role.select:
        try:
            keyword = Selection.parse(text).keyword
        except ValueError as error:
            yield ("inputs", index, "select"), f"{text!r} selects nothing: {error}"
            continue
        if not _is_keyword(keyword):
            yield ("inputs", index, "select"), f"{keyword!r} is no DICOM keyword"
    if role.dimensions == 2 and role.minimum_slices > 1:
        yield ("inputs", index, "minimum_slices"), "an image of two dimensions is one slice"
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
        yield from ((("evaluations", index, "protocol"), fault) for fault in _bound_faults(bound))


def _bound_faults(bound: BoundTable) -> Iterator[str]:
    if not _is_keyword(bound.keyword):
        yield f"{bound.keyword!r} is no DICOM keyword"
    limits = (bound.at_least, bound.at_most, bound.matching, bound.not_matching)
    if all(limit is None for limit in limits) != bound.absent:
        yield f"{bound.keyword}: give bounds, or absent = true, and not both"
    if bound.absent and bound.unknown_fits:
        yield f"{bound.keyword}: what must be absent cannot be unknown; leave unknown_fits out"
    for pattern in (bound.matching, bound.not_matching):
        fault = _pattern_fault(pattern) if pattern is not None else None
        if fault:
            yield f"{bound.keyword}: {pattern!r} is no regular expression: {fault}"


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
    segments = tuple(segment.name for segment in contract.segments)
    sha256 = {weight.path: weight.sha256 for weight in contract.weights}
    default = (MaskOutput("segmentation", "pred", MaskForm.LABELS, segments),) if segments else ()
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
        segments=tuple(segment.record() for segment in contract.segments),
        measurements=tuple(measurement.record() for measurement in contract.measurements),
        evaluations=tuple(_evaluation(evaluation) for evaluation in contract.evaluations),
        resources=Resources(**contract.resources.model_dump()),
        weights=tuple(Weight(**weight.model_dump()) for weight in contract.weights),
        outputs=tuple(output.record(segments) for output in contract.outputs) or default,
        population=tuple(bound.record() for bound in contract.population),
        protocol=tuple(bound.record() for bound in contract.protocol),
        encoding=contract.result.encoding(),
        features=tuple(feature.record() for feature in contract.features),
        lesions=contract.lesions.record() if contract.lesions else None,
        explanation=contract.explanation.record() if contract.explanation else None,
        uncertainty=contract.uncertainty.record(folder, sha256) if contract.uncertainty else None,
    )


def _evaluation(evaluation: _Evaluation) -> EvaluationSpec:
    return EvaluationSpec(
        name=evaluation.name,
        concept=evaluation.concept.code(),
        site=evaluation.site.code(),
        of=evaluation.of,
        measurement=evaluation.measurement,
        present_from=evaluation.present_from,
        protocol=tuple(bound.record() for bound in evaluation.protocol),
        source=evaluation.source,
    )
