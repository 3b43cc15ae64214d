"""Networks computed otherwise than their bundle says: faster, and with results that were measured to agree.

Imported by host processes only. What is computed here was chosen by ``models optimise``; an option that a network
cannot take is refused when it is loaded, by name, so that it is never chosen.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from dicom_node.archive.optimised import Options
from dicom_node.errors import ContractError
from workers import device as devices
from workers.inference.failures import innermost

_OPSET = 17


def unfit(why: str) -> ContractError:
    """An option that a network cannot take."""
    return ContractError(why, reason="option", remedy="dicom-node models optimise NAME --forget")


def faster(
    networks: Sequence[Any], options: Options, device: torch.device, *, exported: Path | None, declares_amp: bool
) -> list[Any]:
    """The networks, computed as ``options`` say.

    Raises:
        ContractError: reason ``option``: one does not fit these networks, or this machine.
    """
    made = list(networks)
    if options.int8:
        made = [_int8(network, device) for network in made]
    if options.channels_last:
        made = [ChannelsLast(network) for network in made]
    if options.bfloat16:
        if not declares_amp:
            raise unfit("the bundle does not say that it may be computed with mixed precision (evaluator.amp)")
        made = [Bfloat16(network, device.type) for network in made]
    if options.compiled:
        made = [_compiled(network) for network in made]
    if options.onnx:
        if exported is None or len(made) != 1 or device.type != "cpu":
            raise unfit("ONNX Runtime computes single networks on the CPU")
        made = [Onnx(made[0], exported, options.onnx)]
    return made


class ChannelsLast(torch.nn.Module):
    """Tensors lie in memory with the channels next to each other."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        weights = [weight for weight in network.parameters() if weight.dim() in (4, 5)]
        if not weights:
            raise unfit("the network has no convolutions")
        for weight in weights:
            weight.data = weight.data.contiguous(memory_format=_layout(weight))
        self.network = network

    def forward(self, x: torch.Tensor) -> Any:
        """As the network's."""
        return self.network(x.contiguous(memory_format=_layout(x)) if x.dim() in (4, 5) else x)


class Bfloat16(torch.nn.Module):
    """Computes in bfloat16 where that is safe, by autocast; the results are float32 again."""

    def __init__(self, network: Any, kind: str) -> None:
        super().__init__()
        self.network, self.kind = network, kind

    def forward(self, x: torch.Tensor) -> Any:
        """As the network's."""
        with torch.autocast(self.kind, dtype=torch.bfloat16):
            return _floats(self.network(x))


class Onnx(torch.nn.Module):
    """ONNX Runtime computes inputs of the size that the network was exported for; others go through the network."""

    def __init__(self, network: Any, file: Path, sha256: str) -> None:
        super().__init__()
        try:
            import onnxruntime
        except ImportError as error:
            raise unfit(f"{error}: pip install 'dicom-node[onnx]'") from error
        content = file.read_bytes()
        if hashlib.sha256(content).hexdigest() != sha256:
            raise unfit(f"{file} is not the network that was exported")
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = devices.threads()
        self.network = network
        self._session = onnxruntime.InferenceSession(content, settings, providers=["CPUExecutionProvider"])
        (given,) = self._session.get_inputs()
        self._name, self._size = given.name, tuple(given.shape[1:])

    def forward(self, x: torch.Tensor) -> Any:
        """As the network's."""
        if tuple(x.shape[1:]) != self._size:
            return self.network(x)
        (found,) = self._session.run(None, {self._name: x.detach().contiguous().numpy()})
        return torch.from_numpy(found)


def set_windows(inferer: Any, windows: int | None) -> None:
    """How many windows of a sliding window are computed at a time; None leaves it to the bundle.

    Raises:
        ContractError: reason ``option``: the inferer has no sliding window.
    """
    if windows is None:
        return
    if not isinstance(getattr(inferer, "sw_batch_size", None), int):
        raise unfit("the bundle has no sliding window")
    inferer.sw_batch_size = windows


def export(network: Any, infer: Callable[[], object], file: Path) -> None:
    """Write the network as ONNX to ``file``, for inputs of the size that ``infer`` first gives it, of any number.

    Raises:
        ContractError: reason ``option``: it cannot be exported.
    """
    seen: list[Any] = []  # as arrays, since tensors of the inference mode cannot be traced
    hook = network.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach()[:1].cpu().numpy().copy()))
    try:
        infer()
    finally:
        hook.remove()
    if not seen:
        raise unfit("the network was not asked for anything")
    x = torch.from_numpy(seen[0])
    names: dict[str, Any] = {"input_names": ["x"], "output_names": ["y"]}
    batch: dict[str, Any] = {"dynamic_axes": {"x": {0: "n"}, "y": {0: "n"}}}
    try:
        with torch.no_grad():
            if not isinstance(network(x), torch.Tensor):
                raise unfit("the network returns no single tensor")
            torch.onnx.export(network, (x,), str(file), opset_version=_OPSET, dynamo=False, **names, **batch)
    except ContractError:
        raise
    except Exception as error:
        raise unfit(f"the network cannot be exported: {innermost(error).splitlines()[0]}") from error


def _int8(network: Any, device: torch.device) -> Any:
    if device.type != "cpu" or not any(isinstance(part, torch.nn.Linear) for part in network.modules()):
        raise unfit("int8 is for linear layers on the CPU; there are none")
    return torch.ao.quantization.quantize_dynamic(network, {torch.nn.Linear}, dtype=torch.qint8)  # type: ignore[no-untyped-call]


def _compiled(network: Any) -> Any:
    """In this process and its scratch folder, the one place a sandboxed host may write to."""
    scratch = str(Path.cwd())
    os.environ |= {"TMPDIR": scratch, "TORCHINDUCTOR_CACHE_DIR": scratch, "TORCHINDUCTOR_COMPILE_THREADS": "1"}
    tempfile.tempdir = scratch
    return torch.compile(network)


def _layout(tensor: torch.Tensor) -> torch.memory_format:
    return torch.channels_last_3d if tensor.dim() == 5 else torch.channels_last


def _floats(found: Any) -> Any:
    if isinstance(found, torch.Tensor):
        return found.float() if found.is_floating_point() else found
    if isinstance(found, dict):
        return {key: _floats(value) for key, value in found.items()}
    return type(found)(_floats(value) for value in found) if isinstance(found, list | tuple) else found
