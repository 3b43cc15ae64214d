"""A MONAI bundle on arrays in memory: preprocessing, network, postprocessing, without its files, dataset or engine.

Imported by host processes only. At this door, and nowhere else, axes are (W, H, D) = (column, row, slice) and the
frame is RAS; MONAI's transforms turn a volume silently where ``space`` is not said, so it always is.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import monai
import numpy as np
import numpy.typing as npt
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor

from dicom_node.errors import ContractError, ModelOutputError
from workers.inference.failures import innermost

Float64 = npt.NDArray[np.float64]
Array = npt.NDArray[Any]

# Transforms that read or write files; arrays come and go in memory instead.
_FILE_TRANSFORMS = ("LoadImage", "SaveImage")
_PRED = "pred"
_LARGEST_LABEL = 255
_AFFINE_TOLERANCE_MM = 1e-2


@dataclass(frozen=True, slots=True)
class Input:
    """One volume: ``array`` float32 (slice, row, column), and the affine of its transpose (W, H, D) to RAS mm."""

    array: Array
    ras_affine: Float64  # 4x4


class Bundle:
    """A bundle that has been loaded and can be run again and again."""

    def __init__(self, folder: Path, configuration: str, weights: Mapping[str, str], device: torch.device) -> None:
        """Load it; ``weights`` maps files of the bundle to their SHA-256.

        Raises:
            ContractError: the configuration or the weights cannot be used; names the file and what is wrong.
        """
        self.device = device
        self._file = folder / configuration
        parser = _parsed(folder, self._file, device)
        self._image_key = str(parser.get("image_key", "image"))
        self._preprocessing = self._part(parser, "preprocessing", needed=False)
        self._postprocessing = self._part(parser, "postprocessing", needed=False)
        self._inferer = self._part(parser, "inferer")
        for part in (self._preprocessing, self._postprocessing):
            _drop_file_transforms(part)
        network = self._part(parser, "network_def")
        _load_weights(network, folder, weights)
        self._network = network.to(device).eval()
        self._mixed_precision = device.type == "cuda" and bool(parser.get("evaluator", {}).get("amp", False))

    def _part(self, parser: ConfigParser, key: str, *, needed: bool = True) -> Any:
        if key not in parser:
            if needed:
                raise ContractError(
                    "the bundle has no such key",
                    file=self._file,
                    key=key,
                    remedy="an inference configuration needs network_def and inferer",
                )
            return None
        try:
            return parser.get_parsed_content(key)
        except Exception as error:
            raise ContractError(
                f"cannot be built: {innermost(error)}",
                file=self._file,
                key=key,
                remedy="run the bundle with `python -m monai.bundle run` to see the same error",
            ) from error

    def run(self, inputs: Mapping[str, Input], progress: Callable[[str], None]) -> tuple[Array, dict[str, float]]:
        """Label map as uint8 (slice, row, column) on the grid of the first input, and seconds per step.

        A single input goes in under the bundle's image key; several go in under their roles' names, and the bundle's
        preprocessing joins them.

        Raises:
            ModelOutputError: what came out is not a label map on that grid.
            Exception: whatever the bundle raises.
        """
        names = [self._image_key] if len(inputs) == 1 else list(inputs)
        reference = next(iter(inputs.values()))
        seconds: dict[str, float] = {}
        torch.manual_seed(0)
        with torch.inference_mode():
            progress("preprocessing")
            with _timed(seconds, "preprocessing"):
                data: dict[str, Any] = {
                    name: _tensor(volume, name) for name, volume in zip(names, inputs.values(), strict=True)
                }
                data = self._preprocessing(data) if self._preprocessing else _with_channel(data)
            progress("inference")
            with _timed(seconds, "inference"), self._precision():
                x = data[self._image_key][None].to(self.device)
                data[_PRED] = self._inferer(x, self._network)[0]
                self._wait()
            progress("postprocessing")
            with _timed(seconds, "postprocessing"):
                data = self._postprocessing(data) if self._postprocessing else data
                labels = _label_map(data, self._image_key, reference)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return labels, seconds

    def _precision(self) -> AbstractContextManager[Any]:
        return torch.autocast("cuda") if self._mixed_precision else nullcontext()

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


class _timed:
    def __init__(self, seconds: dict[str, float], name: str) -> None:
        self.seconds, self.name = seconds, name

    def __enter__(self) -> None:
        self.began = time.perf_counter()

    def __exit__(self, *exception: object) -> None:
        self.seconds[self.name] = time.perf_counter() - self.began


def choose_device(wanted: str) -> torch.device:
    """The device to compute on; the one visible GPU is always ``cuda:0``.

    Raises:
        ContractError: a GPU is wanted that torch cannot use.
    """
    if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ContractError(
            f"device {wanted} is configured, but torch {torch.__version__} finds no GPU it can use",
            key="worker.devices",
            remedy='install the NVIDIA driver and a torch build for CUDA, or set devices = ["cpu"]',
        )
    return torch.device("cuda:0")


def versions(device: torch.device) -> dict[str, str]:
    """What computes here, for the record of a result."""
    name = f"cuda ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else "cpu"
    return {"torch": str(torch.__version__), "monai": str(monai.__version__), "numpy": np.__version__, "device": name}


def _parsed(folder: Path, file: Path, device: torch.device) -> ConfigParser:
    parser = ConfigParser()
    try:
        parser.read_config(str(file))
        metadata = file.parent / "metadata.json"
        if metadata.exists():
            parser.read_meta(str(metadata))
    except Exception as error:
        raise ContractError(
            f"cannot be read: {innermost(error)}", file=file, remedy="correct the file, or restore it from its source"
        ) from error
    parser["bundle_root"] = str(folder)
    parser["device"] = f"$torch.device('{device}')"
    _disable_file_transforms(parser.config)
    parser.parse(True)
    return parser


def _disable_file_transforms(node: Any) -> None:
    """Keep them from being built at all: some need packages of formats nobody uses here."""
    if isinstance(node, dict):
        if _is_file_transform(str(node.get("_target_", "")).rpartition(".")[2]):
            node["_disabled_"] = True
        for value in node.values():
            _disable_file_transforms(value)
    elif isinstance(node, list):
        for value in node:
            _disable_file_transforms(value)


def _drop_file_transforms(compose: Any) -> None:
    """Those that a ``$`` expression has built; in place, since Invertd holds the same object."""
    if hasattr(compose, "transforms"):
        compose.transforms = [t for t in compose.transforms if not _is_file_transform(type(t).__name__)]


def _is_file_transform(name: str) -> bool:
    return name.startswith(_FILE_TRANSFORMS)


def _load_weights(network: Any, folder: Path, weights: Mapping[str, str]) -> None:
    unlisted = [path for path in ("models/model.pt",) if (folder / path).exists() and path not in weights]
    if unlisted or (not weights and any(True for _ in network.parameters())):
        raise ContractError(
            "the network has weights, but model.toml lists none"
            if not unlisted
            else f"{unlisted[0]} is there, but model.toml does not list it",
            file=folder / "model.toml",
            key="weights",
            remedy="list the file with its sha256 and source under [[weights]]",
        )
    for path, sha256 in weights.items():
        _check_digest(folder, path, sha256)
    if weights:
        chosen = "models/model.pt" if "models/model.pt" in weights else next(iter(weights))
        _load_state(network, folder / chosen)


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


def _tensor(volume: Input, name: str) -> MetaTensor:
    array = torch.from_numpy(np.ascontiguousarray(volume.array.T))
    meta = {"space": "RAS", "original_channel_dim": "no_channel", "filename_or_obj": name}
    return MetaTensor(array, affine=torch.from_numpy(volume.ras_affine), meta=meta)


def _with_channel(data: dict[str, Any]) -> dict[str, Any]:
    return {name: tensor[None] for name, tensor in data.items()}


def _label_map(data: Mapping[str, Any], image_key: str, reference: Input) -> Array:
    pred = data.get(_PRED) if isinstance(data, Mapping) else None
    if pred is None:
        raise ModelOutputError("the postprocessing returned no 'pred'", remedy="correct the bundle's postprocessing")
    values = pred.detach().cpu().numpy() if isinstance(pred, torch.Tensor) else np.asarray(pred)
    expected = reference.array.shape[::-1]
    if values.shape == (1, *expected):
        values = values[0]
    if values.shape != expected:
        raise ModelOutputError(
            f"'pred' has the shape {values.shape}, not that of the input {expected} with one channel (W, H, D)",
            remedy="end the postprocessing with Invertd and AsDiscreted(argmax=true), so that it gives one label map",
        )
    placed = pred if isinstance(pred, MetaTensor) else data.get(image_key)
    affine = placed.affine.cpu().numpy() if isinstance(placed, MetaTensor) else reference.ras_affine
    if not np.allclose(affine, reference.ras_affine, atol=_AFFINE_TOLERANCE_MM):
        raise ModelOutputError(
            "'pred' lies on another grid than the input (its affine differs)",
            remedy="add Invertd to the postprocessing, for every spatial transform of the preprocessing",
        )
    return _as_labels(values)


def _as_labels(values: Array) -> Array:
    lowest, highest = float(values.min()), float(values.max())
    if not (lowest >= 0 and highest <= _LARGEST_LABEL):
        raise ModelOutputError(f"'pred' holds values from {lowest} to {highest}, labels are 0 to {_LARGEST_LABEL}")
    labels = values.astype(np.uint8)
    if not np.issubdtype(values.dtype, np.integer) and not np.array_equal(labels, values):
        raise ModelOutputError(
            "'pred' holds fractions, not labels",
            remedy="add AsDiscreted to the postprocessing, after Invertd or with nearest_interp=true before it",
        )
    return np.ascontiguousarray(labels.T)
