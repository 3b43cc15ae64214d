"""What a bundle lacks on this machine, told one by one: weights, hashes, packages, a contract that fits."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dicom_node.bundle_source import hash_fault, large_files
from dicom_node.catalogue import CONTRACT_FILE, load_contract
from dicom_node.errors import ContractError

# The names under which packages are imported, or listed in metadata.json, and installed.
_DISTRIBUTIONS = {"ignite": "pytorch-ignite", "skimage": "scikit-image", "cv2": "opencv-python-headless"}
_WEIGHTS = (".pt", ".pth", ".ts", ".onnx")

What = Literal["weights", "hash", "package", "contract", "metadata"]


@dataclass(frozen=True, slots=True)
class Need:
    """One thing that keeps a bundle from being served."""

    what: What
    message: str
    remedy: str
    prevents: bool = True  # False: it may run all the same


def needs(folder: Path) -> tuple[Need, ...]:
    """Everything that is missing or wrong, in the order in which to put it right."""
    return (*_weights(folder), *_packages(folder), *_contract(folder))


def weights_of(folder: Path) -> list[tuple[str, str, str]]:
    """Path, SHA-256 and source of each file of weights that is there."""
    sources = {str(entry["path"]): str(entry.get("url", "")) for entry in large_files(folder)}
    found = sorted(f for f in (folder / "models").rglob("*") if f.suffix in _WEIGHTS) if folder.is_dir() else []
    told = []
    for file in found:
        path = file.relative_to(folder).as_posix()
        with file.open("rb") as opened:
            told.append((path, hashlib.file_digest(opened, "sha256").hexdigest(), sources.get(path, "")))
    return told


def _weights(folder: Path) -> Iterator[Need]:
    try:
        entries = large_files(folder)
    except ContractError as error:
        yield Need("weights", error.message, error.remedy)
        return
    for entry in entries:
        file = folder / str(entry["path"])
        # TensorRT engines and TorchScript are other forms of the same weights.
        prevents = not file.name.endswith((".ts", ".onnx"))
        if not file.is_file():
            yield Need("weights", f"{entry['path']} is missing", f"download it from {entry.get('url')}", prevents)
        elif fault := hash_fault(file, entry):
            yield Need("hash", f"{entry['path']}: {fault}", f"download it again from {entry.get('url')}")
        elif not entry.get("hash_val"):
            remedy = "compare it with the file of its maker, and list its sha256 in model.toml"
            yield Need("hash", f"{entry['path']} comes without a hash", remedy, False)


def _packages(folder: Path) -> Iterator[Need]:
    try:
        metadata = json.loads((folder / "configs/metadata.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        yield Need("metadata", f"configs/metadata.json cannot be read: {error}", "restore it from its source")
        return
    wanted: dict[str, str] = {}
    for key in ("required_packages_version", "optional_packages_version"):
        wanted |= {str(name): str(version) for name, version in (metadata.get(key) or {}).items()}
    for key, name in (("monai_version", "monai"), ("pytorch_version", "torch")):
        if metadata.get(key):
            wanted[name] = str(metadata[key])
    for name, version in wanted.items():
        package = _DISTRIBUTIONS.get(name, name)
        try:
            installed = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            yield Need("package", f"{package} {version} is not installed", f"pip install '{package}>={version}'")
            continue
        if _numbers(installed) < _numbers(version):
            told = f"{package} {installed} is installed, the bundle was made with {version}"
            yield Need(
                "package", told, f"pip install '{package}>={version}', or see whether models verify passes", False
            )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("+")[0])[:3])


def _contract(folder: Path) -> Iterator[Need]:
    try:
        load_contract(folder)
    except ContractError as error:
        yield Need("contract", error.message, error.remedy or f"correct {CONTRACT_FILE}")
