"""Weights: the files that the contract lists, by their SHA-256, and never code that lies in a pickle.

Imported by host processes only.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from dicom_node.errors import ContractError
from workers.inference.failures import innermost

_PREFERRED = "models/model.pt"
_TORCHSCRIPT = ".ts"
_EXTRA = "/extra/"  # where a TorchScript archive keeps the bundle's configurations


def check_files(folder: Path, listed: Mapping[str, str]) -> None:
    """Compare every listed file with its SHA-256.

    Raises:
        ContractError: one is not there, or another one; or there is ``models/model.pt`` and it is not listed.
    """
    if (folder / _PREFERRED).exists() and _PREFERRED not in listed:
        raise _unlisted(folder, f"{_PREFERRED} is there, but model.toml does not list it")
    for path, sha256 in listed.items():
        _check_digest(folder, path, sha256)


def torchscript(listed: Mapping[str, str]) -> list[str]:
    """The TorchScript files to run; empty where there are weights for the networks of the configuration."""
    return [] if any(not path.endswith(_TORCHSCRIPT) for path in listed) else list(listed)


def load_torchscript(file: Path) -> Any:
    """A network with its weights.

    Raises:
        ContractError: the file is no TorchScript.
    """
    try:
        return torch.jit.load(str(file), map_location="cpu")  # type: ignore[no-untyped-call]
    except Exception as error:
        raise ContractError(
            f"is no TorchScript: {innermost(error).splitlines()[0]}", file=file, remedy="restore it from its source"
        ) from error


def embedded_configuration(file: Path) -> dict[str, Any]:
    """``inference.json`` that a TorchScript archive holds, with its ``metadata.json`` under ``_meta_``.

    Raises:
        ContractError: there is none, or it is no JSON object.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            entries = {name.partition(_EXTRA)[2]: name for name in archive.namelist() if _EXTRA in name}
            found = {part: json.loads(archive.read(entries[f"{part}.json"])) for part in ("inference", "metadata")}
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ContractError(
            f"holds no inference.json and metadata.json: {error}",
            file=file,
            remedy="name configs/inference.json as configuration, or export the bundle with both in the archive",
        ) from error
    return {**found["inference"], "_meta_": found["metadata"]}


def load_into(networks: Sequence[Any], folder: Path, listed: Mapping[str, str]) -> None:
    """Give each network its weights: those of an ensemble in the order of the contract.

    Raises:
        ContractError: there are none, or they do not fit.
    """
    files = [path for path in listed if not path.endswith(_TORCHSCRIPT)]
    if len(networks) == 1:
        files = [_PREFERRED] if _PREFERRED in files else files[:1]
    if not files:
        if any(True for network in networks for _ in network.parameters()):
            raise _unlisted(folder, "the network has weights, but model.toml lists none")
        return
    if len(files) != len(networks):
        raise _unlisted(folder, f"{len(networks)} networks have {len(files)} files of weights")
    for network, path in zip(networks, files, strict=True):
        _load_state(network, folder / path)


def _unlisted(folder: Path, message: str) -> ContractError:
    return ContractError(
        message,
        file=folder / "model.toml",
        key="weights",
        remedy="list the file with its sha256 and source under [[weights]]",
    )


def _check_digest(folder: Path, path: str, sha256: str) -> None:
    file = (folder / path).resolve()
    if not file.is_relative_to(folder.resolve()) or not file.is_file():
        raise ContractError(
            "the weights are not there", file=folder / path, remedy="download them from the source named in model.toml"
        )
    with file.open("rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    if found != sha256.lower():
        raise ContractError(
            f"the weights are not those of the contract (SHA-256 {found}, model.toml says {sha256})",
            file=file,
            remedy="download them again, or correct model.toml if they were replaced on purpose",
        )


def _load_state(network: Any, file: Path) -> None:
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
        for wrapper in ("model", "state_dict"):
            if isinstance(state.get(wrapper), Mapping):
                state = state[wrapper]
        network.load_state_dict(state)
    except Exception as error:
        first = innermost(error).splitlines()
        raise ContractError(
            f"the weights do not fit the network: {' '.join(line.strip() for line in first[:3])}",
            file=file,
            remedy="use the model.pt (state dict) that belongs to this configuration",
        ) from error
