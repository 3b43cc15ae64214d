"""The models that can be served: finds bundles and reads the contract beside each. Needs no torch.

Looked through in order: the configured folders, the bundles shipped in the wheel (``dicom_node/_models``), the
``models/`` of a checkout. The first bundle of a name counts, so a site can put its own in front of a shipped one.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dicom_node import pins
from dicom_node.bundle_audit import audit
from dicom_node.contract_file import ContractFile, read, record
from dicom_node.domain.contract import ModelContract
from dicom_node.errors import ContractError, DicomNodeError, RuleError
from dicom_node.settings import Configuration, Settings

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
_SHOWN_CONCERNS = 5
_SCRIPT = re.compile(r"\bscripts((?:\.[A-Za-z_]\w*)*)")


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
        pinned = pins.read(settings.node.data_dir)
        searched = (*settings.models.folders, *_shipped_folders())
        for folder in searched:
            if not folder.is_dir():
                missing = ContractError("there is no such folder", file=folder, remedy="correct models.folders")
                problems.setdefault(folder.name, Problem(folder.name, folder, missing))
                continue
            for bundle in _bundles(folder):
                try:
                    contract = load_contract(bundle)
                    if folder in settings.models.folders:
                        _check_pin(contract, pinned)
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
    contract = read(folder / CONTRACT_FILE)
    faults = tuple(_faults(folder, contract))
    if faults:
        raise ContractError(
            "; ".join(faults), file=folder, reason="bundle", remedy="restore the bundle's files, or correct model.toml"
        )
    return record(contract, folder, digest_of(folder))


def _check_pin(contract: ModelContract, pinned: Mapping[str, str]) -> None:
    """Refuse a bundle that is not the one that was pinned, and an unpinned one that would do more than compute."""
    pin = pinned.get(contract.name)
    if pin == contract.digest:
        return
    again = f"look at what changed, then: dicom-node models pin {contract.name}"
    if pin is not None:
        raise ContractError(
            f"its digest is {contract.digest[:12]}, the pinned one {pin[:12]}: its files were changed",
            file=contract.folder,
            reason="digest-changed",
            remedy=again,
        )
    concerns = audit(contract.folder, contract.configuration).concerns
    if concerns:
        raise ContractError(
            f"it would do more than compute: {'; '.join(concerns[:_SHOWN_CONCERNS])}"
            + (f"; and {len(concerns) - _SHOWN_CONCERNS} more" if len(concerns) > _SHOWN_CONCERNS else ""),
            file=contract.folder,
            reason="not-pinned",
            remedy=f"read these lines; if you trust them: dicom-node models pin {contract.name}",
        )


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


def _faults(folder: Path, contract: ContractFile) -> Iterator[str]:
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


def contracts_of_rules(configuration: Configuration, catalogue: Catalogue) -> dict[str, ModelContract]:
    """The contracts of all models that rules name.

    Raises:
        RuleError: with file and line of the rule that names a model which is missing or broken.
    """
    contracts = {}
    for number, rule in enumerate(configuration.settings.rules):
        if rule.model is None:
            continue
        try:
            contracts[rule.model] = catalogue.get(rule.model)
        except DicomNodeError as error:
            path = ("rules", number, "model")
            raise RuleError(
                error.message,
                file=configuration.source.file,
                line=configuration.source.line_of(path),
                key=f"rules[{number + 1}].model",
                remedy=error.remedy,
            ) from error
    return contracts
