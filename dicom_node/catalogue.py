"""The models that can be served: finds bundles and reads the contract beside each. Needs no torch.

Looked through in order: the configured folders, the bundles shipped in the wheel (``dicom_node/_models``), the
``models/`` of a checkout. The first bundle of a name counts, so a site can put its own in front of a shipped one.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dicom_node.domain.contract import (
    EvaluationSpec,
    InputRole,
    MeasurementSpec,
    ModelContract,
    ProtocolBound,
    Resources,
    SegmentSpec,
    Status,
    Weight,
)
from dicom_node.domain.finding import Code
from dicom_node.errors import ContractError
from dicom_node.settings import Settings, Source

CONTRACT_FILE = "model.toml"
# Required of every MONAI bundle by its metadata schema.
METADATA_KEYS = (
    "version",
    "changelog",
    "monai_version",
    "pytorch_version",
    "numpy_version",
    "task",
    "description",
    "authors",
    "copyright",
    "network_data_format",
)
_NAME = r"^[a-z][a-z0-9_]*$"
_PREFERENCE = re.compile(r"^(smallest|largest) (\S+)$")
_SCRIPT = re.compile(r"\bscripts((?:\.[A-Za-z_]\w*)*)")

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


class _Weight(_Table):
    path: Text
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    source: Text


class _Contract(_Table):
    model: _Model
    inputs: Annotated[tuple[_Input, ...], Field(min_length=1, strict=False)]
    segments: Annotated[tuple[_Segment, ...], Field(min_length=1, strict=False)]
    measurements: Annotated[tuple[_Measurement, ...], Field(strict=False)] = ()
    evaluations: Annotated[tuple[_Evaluation, ...], Field(strict=False)] = ()
    resources: _Resources
    weights: Annotated[tuple[_Weight, ...], Field(strict=False)] = ()


@dataclass(frozen=True, slots=True)
class Problem:
    """A bundle that cannot be served, and why."""

    name: str  # of its folder
    folder: Path
    error: ContractError


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The models found, with those that are broken beside them."""

    contracts: tuple[ModelContract, ...]
    problems: tuple[Problem, ...]
    searched: tuple[Path, ...]

    @classmethod
    def load(cls, settings: Settings) -> Catalogue:
        """Look through every folder. A broken bundle becomes a problem; it never hides behind another of its name."""
        contracts: dict[str, ModelContract] = {}
        problems: dict[str, Problem] = {}
        searched = (*settings.models.folders, *_shipped_folders())
        for folder in searched:
            if not folder.is_dir():
                missing = ContractError("there is no such folder", file=folder, remedy="correct models.folders")
                problems.setdefault(folder.name, Problem(folder.name, folder, missing))
                continue
            for bundle in _bundles(folder):
                try:
                    contract = load_contract(bundle)
                except ContractError as error:
                    if bundle.name not in contracts:
                        problems.setdefault(bundle.name, Problem(bundle.name, bundle, error))
                    continue
                if contract.name not in problems:
                    contracts.setdefault(contract.name, contract)
        return cls(tuple(contracts[name] for name in sorted(contracts)), tuple(problems.values()), searched)

    def names(self) -> tuple[str, ...]:
        """Names of the models that can be served, sorted."""
        return tuple(contract.name for contract in self.contracts)

    def get(self, name: str) -> ModelContract:
        """The contract of a model.

        Raises:
            ContractError: it is broken (with what is wrong), or there is none (with those that there are).
        """
        for contract in self.contracts:
            if contract.name == name:
                return contract
        for problem in self.problems:
            if problem.name == name:
                raise problem.error
        raise ContractError(
            f"there is no model {name!r}; known: {', '.join(self.names()) or 'none'}; "
            f"looked in {', '.join(str(folder) for folder in self.searched) or 'no folder'}",
            reason="unknown-model",
            remedy="put the bundle's folder into models.folders of dicom-node.toml, or correct the name",
        )


def load_contract(folder: Path) -> ModelContract:
    """Read and check ``folder/model.toml`` and the bundle around it.

    Raises:
        ContractError: with file, line and key; faults of the bundle's files are listed together.
    """
    file = folder / CONTRACT_FILE
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        remedy = "write one; that of ct_lung_density is an example"
        raise ContractError("the bundle has no contract", file=file, remedy=remedy) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ContractError(f"cannot be read: {error}", file=file) from error
    source = Source(file, text)
    try:
        contract = _Contract.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        at = re.search(r"line (\d+)", str(error))
        raise ContractError(f"not TOML: {error}", file=file, line=int(at[1]) if at else None) from error
    except ValidationError as error:
        raise _explained(error, source) from error
    for path, message in _contradictions(contract):
        raise _error(source, path, message)
    faults = tuple(_faults(folder, contract))
    if faults:
        raise ContractError(
            "; ".join(faults), file=folder, reason="bundle", remedy="restore the bundle's files, or correct model.toml"
        )
    return _record(folder, contract)


def digest_of(folder: Path) -> str:
    """SHA-256 over the paths and contents of every file of a bundle, model.toml included; caches left out."""
    total = hashlib.sha256()
    for file in sorted(_files(folder), key=lambda f: f.relative_to(folder).as_posix()):
        total.update(f"{file.relative_to(folder).as_posix()}\0{_sha256(file)}\n".encode())
    return total.hexdigest()


def _shipped_folders() -> Iterator[Path]:
    package = Path(__file__).resolve().parent
    if (package / "_models").is_dir():
        yield package / "_models"
    elif (package.parent / "pyproject.toml").is_file() and (package.parent / "models").is_dir():
        yield package.parent / "models"


def _bundles(folder: Path) -> Iterator[Path]:
    if (folder / CONTRACT_FILE).is_file() or (folder / "configs").is_dir():
        yield folder
        return
    for child in sorted(folder.iterdir()):
        if (child / CONTRACT_FILE).is_file() or (child / "configs").is_dir():
            yield child


def _files(folder: Path) -> Iterator[Path]:
    return (f for f in folder.rglob("*") if f.is_file() and "__pycache__" not in f.relative_to(folder).parts)


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


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


def _contradictions(contract: _Contract) -> Iterator[tuple[tuple[str | int, ...], str]]:
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
    for index, evaluation in enumerate(contract.evaluations):
        yield from _evaluation_contradictions(contract, index, evaluation)


def _evaluation_contradictions(
    contract: _Contract, index: int, evaluation: _Evaluation
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


def _faults(folder: Path, contract: _Contract) -> Iterator[str]:
    """What is wrong with the bundle's files, one by one."""
    for needed in ("LICENSE", "configs/metadata.json", contract.model.configuration):
        if not (folder / needed).is_file():
            yield f"{needed} is missing"
    metadata = _json(folder / "configs/metadata.json")
    if isinstance(metadata, str):
        yield f"configs/metadata.json: {metadata}"
    elif metadata is not None:
        yield from (f"configs/metadata.json: {key!r} is missing" for key in METADATA_KEYS if key not in metadata)
        if metadata.get("version", contract.model.version) != contract.model.version:
            yield f"configs/metadata.json has version {metadata['version']!r}, not {contract.model.version!r}"
    yield from _configuration_faults(folder, contract.model.configuration)
    for weight in contract.weights:
        file = folder / weight.path
        if not file.is_file():
            yield f"{weight.path} is missing; it comes from {weight.source}"
        elif (found := _sha256(file)) != weight.sha256:
            yield f"{weight.path} has SHA-256 {found}, not {weight.sha256}"


def _configuration_faults(folder: Path, name: str) -> Iterator[str]:
    file = folder / name
    if not file.is_file():
        return
    if file.suffix == ".json" and isinstance(fault := _json(file), str):
        yield f"{name}: {fault}"
    modules = {match[1].lstrip(".").split(".")[0] for match in _SCRIPT.finditer(file.read_text(encoding="utf-8"))}
    for module in sorted(modules):
        wanted = f"scripts/{module}.py" if module else "scripts/__init__.py"
        if not (folder / wanted).is_file() and not (folder / "scripts" / module / "__init__.py").is_file():
            yield f"{wanted} is missing, which {name} uses"


def _json(file: Path) -> dict[str, Any] | str | None:
    """The object in a file; a text says what is wrong with it; None: there is no file."""
    if not file.is_file():
        return None
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        return f"not JSON: {error}"
    return content if isinstance(content, dict) else "not a JSON object"


def _record(folder: Path, contract: _Contract) -> ModelContract:
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
        digest=digest_of(folder),
        inputs=tuple(InputRole(**role.model_dump()) for role in contract.inputs),
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
