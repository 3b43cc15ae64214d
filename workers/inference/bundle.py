"""A MONAI bundle on arrays in memory: preprocessing, network, postprocessing, without its files, dataset or engine.

Imported by host processes only. At this door, and nowhere else, axes are (W, H, D) = (column, row, slice) and the
frame is RAS; MONAI's transforms turn a volume silently where ``space`` is not said, so it always is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
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

from dicom_node.archive.optimised import Options
from dicom_node.errors import ContractError
from workers.inference import faster, samples, weights
from workers.inference.explanation import Explainer, placed
from workers.inference.failures import innermost
from workers.inference.ladder import Ladder
from workers.inference.outputs import Array, Frame, collect

Float64 = npt.NDArray[np.float64]

# Transforms that read or write files; arrays come and go in memory instead.
_FILE_TRANSFORMS = ("LoadImage", "SaveImage")
_PRED = "pred"
_NETWORK = "network"  # what the network returned, before the postprocessing
_NETWORKS = "networks"  # of an ensemble: a list; its outputs go to pred_keys
_LABEL = "label"  # truth, which there is none of
AS_IT_IS = Options()


@dataclass(frozen=True, slots=True)
class Input:
    """One volume: ``array`` float32 (slice, row, column[, RGB]), and the affine of its transpose (W, H, D) to RAS mm.

    With two ``dimensions`` it has one slice, and the bundle gets an image (W, H).
    """

    array: Array
    ras_affine: Float64  # 4x4
    dimensions: int = 3

    def image(self) -> Array:
        """As MONAI has it: (W, H, D), or (W, H), in colour with the channels first."""
        return self.array.T if self.dimensions == 3 else self.array[0].T

    @property
    def in_colour(self) -> bool:
        """Whether ``array`` is RGB: (slice, row, column, channel)."""
        return self.array.ndim == 4


class Bundle:
    """A bundle that has been loaded and can be run again and again."""

    def __init__(
        self,
        folder: Path,
        configuration: str,
        listed: Mapping[str, str],
        device: torch.device,
        outputs: list[dict[str, Any]],
        options: Options = AS_IT_IS,
        exported: Path | None = None,
        sampling: dict[str, Any] | None = None,
        explaining: dict[str, Any] | None = None,
    ) -> None:
        """Load it; ``listed`` maps files of the bundle to their SHA-256, ``outputs`` are those of the contract.

        ``options``: how the networks are computed, if not as the bundle says; ``exported``: the file that they name.
        With ``sampling`` (``method``, ``flips``, ``call``, and the ``outputs`` of a sample) each result has samples;
        with ``explaining`` (:mod:`workers.inference.explanation`) a map of what one output rests on.

        Raises:
            ContractError: the configuration or the weights cannot be used; names the file and what is wrong.
        """
        self.device = device
        self._outputs = outputs
        self._sampling = sampling
        self._file = folder / configuration
        parser = _parsed(folder, self._file, device)
        self._image_key = str(parser.get("image_key", "image"))
        self._preprocessing = self._part(parser, "preprocessing", needed=False)
        self._postprocessing = self._part(parser, "postprocessing", needed=False)
        self._inferer = self._part(parser, "inferer")
        for part in (self._preprocessing, self._postprocessing):
            _drop_file_transforms(part)
            _expect_no_truth(part)
        amp = bool(parser.get("evaluator", {}).get("amp", False))
        networks = [network.to(device).eval() for network in self._built(parser, folder, listed)]
        self._networks = faster.faster(networks, options, device, exported=exported, declares_amp=amp)
        faster.set_windows(self._inferer, options.windows)
        self._pred_keys = _pred_keys(parser, len(self._networks))
        self._explaining = explaining
        self._explainer = Explainer(explaining, self._networks[0]) if explaining else None
        self._ladder = Ladder(self._inferer, device)
        self._mixed_precision = device.type == "cuda" and amp

    def _built(self, parser: ConfigParser, folder: Path, listed: Mapping[str, str]) -> list[Any]:
        """The network with its weights, or those of an ensemble."""
        weights.check_files(folder, listed)
        scripted = weights.torchscript(listed)
        if scripted:
            return [weights.load_torchscript(folder / path) for path in scripted]
        ensemble = _NETWORKS in parser
        networks = list(self._part(parser, _NETWORKS)) if ensemble else [self._part(parser, "network_def")]
        weights.load_into(networks, folder, listed)
        return networks

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

    def rung(self, at: int) -> str:
        """How the sliding window runs on that rung, in words."""
        return str(self._ladder.rungs[at])

    def run(
        self,
        inputs: Mapping[str, Input],
        progress: Callable[[str], None],
        rung: int = 0,
        draws: int = 0,
        features: Sequence[float] = (),
    ) -> tuple[dict[str, Array], dict[str, float], int]:
        """The arrays of the contract's outputs, as :mod:`workers.inference.outputs` has them, and seconds per step.

        With ``draws`` the explanation is compared with those of as many networks of random weights. Last comes the rung
        of the ladder that had memory enough, from ``rung`` on; a later run may begin there.

        A single input goes in under the bundle's image key; several go in under their roles' names, and the bundle's
        preprocessing joins them. ``features`` go to the network as its second argument, a row (N, F) for each of N
        windows or images.

        Raises:
            ModelOutputError: what came out is not what the contract says.
            Exception: whatever the bundle raises.
        """
        names = [self._image_key] if len(inputs) == 1 else list(inputs)
        reference = next(iter(inputs.values()))
        given = torch.tensor([features], dtype=torch.float32, device=self.device) if features else None
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
                (found, drawn), rung = self._ladder.run(lambda: self._inferred(x, given), rung, progress)
                self._wait()
            progress("postprocessing")
            with _timed(seconds, "postprocessing"):
                shape = reference.image().shape[-reference.dimensions :]
                frame = Frame(shape, reference.ras_affine, self._image_key)
                samples_of = self._sampling["outputs"] if self._sampling else []
                arrays: dict[str, Array] = {}
                for number, sample in enumerate(drawn):
                    told = collect(self._finished(_own(data), sample), samples_of, frame)
                    arrays |= {f"{number}/{name}": array for name, array in told.items()}
                image = data[self._image_key]
                arrays |= collect(self._finished(data, found), self._outputs, frame)
            if self._explainer is not None and self._explaining is not None:
                progress("explanation")
                with _timed(seconds, "explanation"):
                    arrays |= self._explained(self._explainer, self._explaining["name"], x, image, arrays, frame, draws)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return arrays, seconds, rung

    def export(self, inputs: Mapping[str, Input], file: Path) -> None:
        """Write the network as ONNX, for inputs as it is given them by these volumes.

        Raises:
            ContractError: reason ``option``: it cannot be exported.
        """
        if len(self._networks) != 1:
            raise faster.unfit("an ensemble is not exported")
        faster.export(self._networks[0], lambda: self.run(inputs, lambda step: None), file)

    def _explained(
        self,
        explainer: Explainer,
        name: str,
        x: torch.Tensor,
        image: Any,
        arrays: Mapping[str, Array],
        frame: Frame,
        draws: int,
    ) -> dict[str, Array]:
        """The map of the output ``name``, which of its numbers it explains, and how like chance it is."""
        index = explainer.index(arrays[name])
        found: dict[str, Array] = {
            f"{name}/explanation": placed(explainer.map(x, index), image, frame),
            f"{name}/explained": np.asarray([index], dtype=np.float64),
        }
        if draws:
            found[f"{name}/likeness"] = explainer.likeness_at_random(x, index, draws)
        return found

    def _finished(self, data: dict[str, Any], found: dict[str, Any]) -> Any:
        """What the postprocessing makes of what the networks found."""
        data.update(found)
        before = data[self._pred_keys[0]]
        data.update(before if isinstance(before, Mapping) else {})
        finished = self._postprocessing(data) if self._postprocessing else data
        return {_NETWORK: before, **finished} if isinstance(finished, Mapping) else finished

    def _inferred(self, x: torch.Tensor, given: torch.Tensor | None) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """What the networks find, and samples of it where they are asked for."""
        if self._sampling is None:
            return self._passed(x, given), []
        if call := self._sampling["call"]:
            method = getattr(self._networks[0], call, None)
            if method is None:
                raise ContractError(f"the network has no method {call!r}", key="uncertainty.call")
            return samples.called(_first(self._inferer(x, _with(method, given))), call)
        return samples.drawn(self._sampling, lambda view: self._passed(view, given), x)

    def _passed(self, x: torch.Tensor, given: torch.Tensor | None) -> dict[str, Any]:
        pairs = zip(self._pred_keys, self._networks, strict=True)
        return {key: _first(self._inferer(x, _with(network, given))) for key, network in pairs}

    def _precision(self) -> AbstractContextManager[Any]:
        return torch.autocast("cuda") if self._mixed_precision else nullcontext()

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def _with(network: Any, given: torch.Tensor | None) -> Any:
    """The network with its features (1, F) beside each of the windows or images that an inferer gives it."""
    if given is None:
        return network
    return lambda windows, *more, **named: network(windows, given.expand(len(windows), -1), *more, **named)


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
        if file.suffix == ".ts":
            parser.read_config(weights.embedded_configuration(file))
        else:
            parser.read_config(str(file))
            metadata = file.parent / "metadata.json"
            if metadata.exists():
                parser.read_meta(str(metadata))
    except ContractError:
        raise
    except Exception as error:
        raise ContractError(
            f"cannot be read: {innermost(error)}", file=file, remedy="correct the file, or restore it from its source"
        ) from error
    parser["bundle_root"] = str(folder)
    parser["device"] = f"$torch.device('{device}')"
    _disable_file_transforms(parser.config)
    parser.parse(True)
    return parser


def _pred_keys(parser: ConfigParser, count: int) -> list[str]:
    """Where each network's output goes: ``pred``, or for an ensemble the keys that its postprocessing joins."""
    if count == 1:
        return [_PRED]
    keys = parser.get("pred_keys") or [f"{_PRED}{number}" for number in range(count)]
    return [str(key) for key in keys][:count] if len(keys) >= count else [f"{_PRED}{n}" for n in range(count)]


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


def _expect_no_truth(compose: Any) -> None:
    """Have transforms that also treat the truth do without it, as when a configuration of training is reused."""
    for transform in getattr(compose, "transforms", ()):
        if _LABEL in getattr(transform, "keys", ()):
            transform.allow_missing_keys = True


def _is_file_transform(name: str) -> bool:
    return name.startswith(_FILE_TRANSFORMS)


def _tensor(volume: Input, name: str) -> MetaTensor:
    array = torch.from_numpy(np.ascontiguousarray(volume.image()))
    channels = 0 if volume.in_colour else "no_channel"
    meta = {"space": "RAS", "original_channel_dim": channels, "filename_or_obj": name}
    return MetaTensor(array, affine=torch.from_numpy(volume.ras_affine), meta=meta)


def _own(data: Mapping[str, Any]) -> dict[str, Any]:
    """A copy whose images do not share with ``data`` the list of transforms that inverting takes from."""
    return {key: value.clone() if isinstance(value, MetaTensor) else value for key, value in data.items()}


def _with_channel(data: dict[str, Any]) -> dict[str, Any]:
    return {
        name: tensor[None] if tensor.meta["original_channel_dim"] == "no_channel" else tensor
        for name, tensor in data.items()
    }


def _first(returned: Any) -> Any:
    """The one item of the batch that a network returned: a tensor, or a mapping of tensors."""
    if isinstance(returned, Mapping):
        return {key: _first(value) for key, value in returned.items()}
    return returned[0]
