"""The contract's outputs as a host is told of them, and whether the arrays that come back are what was asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_node.domain.contract import ModelContract
from dicom_node.domain.finding import labels_by_slice
from dicom_node.domain.output import (
    Activation,
    ClassOutput,
    MaskForm,
    MaskOutput,
    Output,
    RegionForm,
    RegionOutput,
    SampleMethod,
    ValueOutput,
)
from dicom_node.errors import ModelOutputError

Array = npt.NDArray[Any]

_FEWEST_SAMPLES = 2


def orders(contract: ModelContract) -> list[dict[str, Any]]:
    """What a host needs to know of each output, as plain data."""
    return [_order(contract, output) for output in contract.outputs]


def _order(contract: ModelContract, output: Output) -> dict[str, Any]:
    common = {"name": output.name, "key": output.key}
    if isinstance(output, MaskOutput):
        mask = {"kind": "mask", "form": str(output.form), "threshold": output.threshold, "keep": output.keep}
        numbers = contract.segment_numbers(output.segments)
        return {**common, **mask, "activation": str(output.activation), "numbers": list(numbers)}
    if isinstance(output, RegionOutput):
        columns = {"scores": output.scores, "labels": output.labels}
        columns |= {measured.name: measured.name for measured in output.measurements}
        return {
            **common,
            "kind": "regions",
            "form": str(output.form),
            "coordinates": str(output.coordinates),
            "centred": output.centred,
            "activation": str(output.activation),
            "columns": {part: key for part, key in columns.items() if key},
        }
    probabilities = isinstance(output, ClassOutput)
    count = len(output.classes) if isinstance(output, ClassOutput) else len(output.values)
    activation = output.activation if isinstance(output, ClassOutput) else Activation.NONE
    vector = {"kind": "vector", "count": count, "probabilities": probabilities}
    return {**common, **vector, "activation": str(activation)}


def sampling(contract: ModelContract) -> dict[str, Any] | None:
    """How a host is to yield samples beside the result; None: not at all."""
    wanted = contract.uncertainty
    if wanted is None or wanted.method is SampleMethod.THRESHOLDS:
        return None
    outputs = [_order(contract, output) for output in _sampled(contract)]
    return {"method": str(wanted.method), "flips": list(wanted.flips), "call": wanted.call, "outputs": outputs}


def explaining(contract: ModelContract) -> dict[str, Any] | None:
    """How a host is to explain an output; None: not at all."""
    wanted = contract.explanation
    if wanted is None:
        return None
    output = next(output for output in contract.outputs if output.name == wanted.output)
    entries = (
        output.classes if isinstance(output, ClassOutput) else output.values if isinstance(output, ValueOutput) else ()
    )
    names = [entry.name for entry in entries]
    highest = isinstance(output, ClassOutput) and not wanted.of
    return {
        "name": wanted.output,
        "method": str(wanted.method),
        "layer": wanted.layer,
        "window": wanted.window,
        "overlap": wanted.overlap,
        "of": None if highest else names.index(wanted.of) if wanted.of else 0,
        "activation": str(output.activation) if isinstance(output, ClassOutput) else "none",
    }


def checked(
    contract: ModelContract, told: Sequence[Sequence[Any]], data: bytes | bytearray, shape: tuple[int, int, int]
) -> dict[str, Array]:
    """The arrays in ``data``, of which the host ``told`` name, dtype and shape in order.

    A host runs foreign code, so nothing it tells is taken on trust. The arrays of samples, where there are any, have
    their number before the name: ``2/NAME``.

    Raises:
        ModelOutputError: reason ``output-shape`` or ``output-labels``.
    """
    arrays: dict[str, Array] = {}
    at, held = 0, memoryview(data)
    for name, dtype, dimensions in told:
        if dtype not in ("uint8", "int64", "float32", "float64"):
            raise _wrong("output-shape", f"{contract.name} returned {name} as {dtype}")
        size = int(np.prod([int(n) for n in dimensions], dtype=np.int64)) * np.dtype(dtype).itemsize
        part = held[at : at + size]
        if len(part) != size:
            raise _wrong("output-shape", f"{contract.name} returned {len(part)} of {size} bytes of {name}")
        flat = np.require(np.frombuffer(part, dtype=dtype), requirements="A")  # what stands before it may be odd
        arrays[str(name)] = flat.reshape([int(n) for n in dimensions])
        at += size
    _check(contract, contract.outputs, arrays, shape)
    if contract.explanation:
        _check_explanation(contract, contract.explanation.output, arrays, shape)
    samples = of_samples(arrays)
    if sampling(contract) and len(samples) < _FEWEST_SAMPLES:
        raise _wrong("output-samples", f"{contract.name} returned {len(samples)} samples, which have no spread")
    for sample in samples:
        _check(contract, _sampled(contract), sample, shape)
    return arrays


def of_samples(arrays: Mapping[str, Array]) -> list[dict[str, Array]]:
    """The arrays of each sample, by their names without its number."""
    found: dict[str, dict[str, Array]] = {}
    for name, array in arrays.items():
        number, _, rest = name.partition("/")
        if number.isdigit():
            found.setdefault(number, {})[rest] = array
    return list(found.values())


def _check_explanation(
    contract: ModelContract, name: str, arrays: Mapping[str, Array], shape: tuple[int, int, int]
) -> None:
    for part, wanted in (("explanation", shape), ("explained", (1,))):
        found = arrays.get(f"{name}/{part}")
        if found is None or found.shape != wanted:
            told = "none" if found is None else found.shape
            raise _wrong("output-shape", f"{contract.name} returned {name}/{part} in the shape {told}, not {wanted}")
    if not 0 <= int(arrays[f"{name}/explained"][0]) < arrays[name].size:
        raise _wrong("output-shape", f"{contract.name} explained no number of {name}")


def _sampled(contract: ModelContract) -> tuple[Output, ...]:
    """The outputs that samples have: those something is measured of, without what is kept of them."""
    masks = (replace(output, keep=False) for output in contract.outputs if isinstance(output, MaskOutput))
    return (*masks, *(output for output in contract.outputs if isinstance(output, ValueOutput)))


def _check(
    contract: ModelContract, outputs: Sequence[Output], arrays: Mapping[str, Array], shape: tuple[int, int, int]
) -> None:
    for output in outputs:
        for name, wanted in _wanted(output, shape).items():
            if name not in arrays:
                raise _wrong("output-shape", f"{contract.name} returned no {name}")
            found = arrays[name].shape
            if len(found) != len(wanted) or any(w not in (None, f) for w, f in zip(wanted, found, strict=True)):
                raise _wrong("output-shape", f"{contract.name} returned {name} in the shape {found}, not {wanted}")
        if isinstance(output, MaskOutput):
            _check_labels(contract, output, arrays[output.name])


def expected_bytes(contract: ModelContract, shape: tuple[int, int, int]) -> int:
    """About how much a run gives back; what is not as long as the volume does not count."""
    voxels = int(np.prod(shape))
    explained = 4 * voxels if contract.explanation else 0
    return explained + sum(
        voxels * (_layer_count(output) + 4 * len(output.segments) * output.keep)
        for output in contract.outputs
        if isinstance(output, MaskOutput)
    )


def _layer_count(output: MaskOutput) -> int:
    return len(output.segments) if output.form is MaskForm.CHANNELS else 1


def _wanted(output: Output, shape: tuple[int, int, int]) -> Mapping[str, tuple[int | None, ...]]:
    if isinstance(output, MaskOutput):
        kept = {f"{output.name}/probabilities": (len(output.segments), *shape)} if output.keep else {}
        return {output.name: (_layer_count(output), *shape), **kept}
    if isinstance(output, RegionOutput):
        parts = [("scores", output.scores), ("labels", output.labels)]
        columns = [name for name, key in parts if key] + [measured.name for measured in output.measurements]
        corners = 8 if output.form is RegionForm.BOXES else 1
        return {f"{output.name}/points": (None, corners, 3)} | {f"{output.name}/{name}": (None,) for name in columns}
    return {output.name: (len(output.classes) if isinstance(output, ClassOutput) else len(output.values),)}


def _check_labels(contract: ModelContract, output: MaskOutput, layers: Array) -> None:
    known = {0, *contract.segment_numbers(output.segments)}
    found = np.flatnonzero(np.logical_or.reduce([labels_by_slice(layer).any(axis=0) for layer in layers]))
    unknown = [int(value) for value in found if int(value) not in known]
    if unknown:
        listed = ", ".join(map(str, unknown[:5]))
        raise _wrong("output-labels", f"{contract.name} returned label(s) {listed} that model.toml does not name")


def _wrong(reason: str, message: str) -> ModelOutputError:
    remedy = "describe all that it can return under [[segments]] and [[outputs]] of its model.toml"
    return ModelOutputError(message, reason=reason, remedy=remedy)
