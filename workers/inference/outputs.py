"""What a bundle's postprocessing returned → arrays in our axes and frame, or a refusal by name.

Imported by host processes only. Every array a host hands out is one of

    NAME               uint8 (layer, slice, row, column): label maps whose segments do not overlap within a layer
    NAME/probabilities float32 (segment, slice, row, column), 0 to 1: of outputs that keep them
    NAME               float64 (n,): probabilities of classes, or values
    NAME/points        float64 (n, 1 or 8, 3): LPS mm of points, or of the corners of boxes
    NAME/scores        float64 (n,)
    NAME/labels        int64 (n,)
    NAME/MEASUREMENT   float64 (n,)

where NAME is that of the output in the contract. Nothing that is not finite gets past here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from monai.data import MetaTensor
from monai.data.utils import to_affine_nd

from dicom_node.errors import ModelOutputError

Array = npt.NDArray[Any]
Float64 = npt.NDArray[np.float64]

_LARGEST_LABEL = 255
_AFFINE_TOLERANCE_MM = 1e-2
_PROBABILITY_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class Frame:
    """The grid results must lie on: spatial shape (W, H[, D]) and its affine to RAS mm, 4x4."""

    shape: tuple[int, ...]
    ras_affine: Float64
    image_key: str


def collect(data: Any, orders: list[dict[str, Any]], frame: Frame) -> dict[str, Array]:
    """The arrays of every output that the contract names.

    Raises:
        ModelOutputError: reasons ``output-missing``, ``output-empty``, ``output-not-finite``, ``output-channels``,
            ``output-shape``, ``output-grid``, ``output-labels``, ``output-range``, ``output-outside``.
    """
    arrays: dict[str, Array] = {}
    for order in orders:
        name = order["name"]
        if order["kind"] == "mask":
            arrays |= {f"{name}{part}": array for part, array in _mask(data, order, frame).items()}
        elif order["kind"] == "vector":
            arrays[name] = _vector(data, order)
        else:
            arrays |= {f"{name}/{part}": array for part, array in _regions(data, order, frame).items()}
    return arrays


def _wrong(reason: str, message: str, remedy: str = "") -> ModelOutputError:
    return ModelOutputError(message, reason=f"output-{reason}", remedy=remedy)


def _value(data: Any, key: str) -> Any:
    value = data.get(key) if isinstance(data, Mapping) else None
    if value is None:
        there = ", ".join(sorted(map(str, data))) if isinstance(data, Mapping) else type(data).__name__
        raise _wrong(
            "missing",
            f"the postprocessing returned no {key!r} (but: {there})",
            "correct the bundle's postprocessing, or key under [[outputs]] of model.toml",
        )
    return value


def _numbers(value: Any, key: str, *, empty: bool = False) -> Array:
    """The value as an array of numbers that are all finite."""
    try:
        array = value.detach().cpu().float().numpy() if _is_half(value) else _as_array(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise _wrong("shape", f"{key!r} is no array of numbers: {error}") from error
    if array.dtype.kind not in "biuf":
        raise _wrong("shape", f"{key!r} holds {array.dtype}, no numbers")
    if array.size == 0 and not empty:
        raise _wrong("empty", f"{key!r} is empty: it has the shape {array.shape}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise _wrong(
            "not-finite",
            f"{key!r} holds NaN or infinite values",
            "the network overflows or its weights are damaged; try it without mixed precision",
        )
    return array


def _is_half(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.dtype in (torch.float16, torch.bfloat16)


def _as_array(value: Any) -> Array:
    return value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)


def _mask(data: Any, order: Mapping[str, Any], frame: Frame) -> dict[str, Array]:
    """The label maps, and the probabilities of the segments where they are kept."""
    key = order["key"]
    value = _value(data, key)
    array = _numbers(value, key)
    if order["form"] == "labels" and array.shape == frame.shape:
        array = array[None]
    wanted = {"labels": 1, "channels": len(order["numbers"]), "probabilities": len(order["numbers"]) + 1}
    if array.ndim == len(frame.shape) + 1 and array.shape[0] != wanted[order["form"]]:
        raise _wrong(
            "channels",
            f"{key!r} has {array.shape[0]} channels, the contract's {order['form']} have {wanted[order['form']]}",
            "end the postprocessing with AsDiscreted(argmax=true) for one label map, or say under [[outputs]] of "
            "model.toml what the channels are",
        )
    if array.shape[1:] != frame.shape:
        raise _wrong(
            "shape",
            f"{key!r} has the shape {array.shape}, not that of the input, {frame.shape}, with channels before it",
            "end the postprocessing with Invertd, so that the result lies on the grid of the input",
        )
    _check_affine(value, data, key, frame)
    if order["form"] == "labels":
        return {"": _turned(_labels(array, key), frame)}
    probabilities = _activated(array, order)
    found = {"": _turned(_layers(probabilities, order), frame)}
    if order.get("keep"):
        of_segments = probabilities[1:] if order["form"] == "probabilities" else probabilities
        found["/probabilities"] = _turned(of_segments.astype(np.float32, copy=False), frame)
    return found


def _turned(channels: Array, frame: Frame) -> Array:
    """(channel, W, H[, D]) as (channel, slice, row, column)."""
    if len(frame.shape) == 2:
        channels = channels[..., None]
    return np.ascontiguousarray(channels.transpose(0, 3, 2, 1))


def _check_affine(value: Any, data: Any, key: str, frame: Frame) -> None:
    placed = value if isinstance(value, MetaTensor) else data.get(frame.image_key)
    if not isinstance(placed, MetaTensor):
        return
    affine = np.asarray(placed.affine.cpu().numpy(), dtype=np.float64)
    expected = to_affine_nd(affine.shape[-1] - 1, frame.ras_affine)
    if not np.allclose(affine, expected, atol=_AFFINE_TOLERANCE_MM):
        raise _wrong(
            "grid",
            f"{key!r} lies on another grid than the input (its affine differs)",
            "add Invertd to the postprocessing, for every spatial transform of the preprocessing",
        )


def _layers(probabilities: Array, order: Mapping[str, Any]) -> Array:
    """uint8 (layer, W, H[, D]) with the numbers of segments."""
    numbers = np.asarray([0, *order["numbers"]], dtype=np.uint8)
    if order["form"] == "probabilities":
        return np.asarray(numbers[probabilities.argmax(axis=0)])[None]
    inside = probabilities >= order["threshold"]
    return np.where(inside, numbers[1:].reshape(-1, *(1,) * (probabilities.ndim - 1)), np.uint8(0))


def _labels(array: Array, key: str) -> Array:
    lowest, highest = float(array.min()), float(array.max())
    if not (lowest >= 0 and highest <= _LARGEST_LABEL):
        raise _wrong("labels", f"{key!r} holds values from {lowest} to {highest}, labels are 0 to {_LARGEST_LABEL}")
    labels = array.astype(np.uint8)
    if array.dtype.kind == "f" and not np.array_equal(labels, array):
        raise _wrong(
            "labels",
            f"{key!r} holds fractions, not labels",
            "add AsDiscreted to the postprocessing, after Invertd or with nearest_interp=true before it",
        )
    return labels


def _vector(data: Any, order: Mapping[str, Any]) -> Array:
    key, count = order["key"], order["count"]
    array = _numbers(_value(data, key), key).astype(np.float64)
    if array.size != count:
        raise _wrong(
            "channels",
            f"{key!r} has {array.size} values, the contract has {count}",
            "list under [[outputs]] of model.toml what each value is, in the order of the network",
        )
    vector = array.reshape(count)
    return _activated(vector, order) if order["probabilities"] else vector


def _activated(array: Array, order: Mapping[str, Any]) -> Array:
    """Probabilities along the first axis."""
    tensor = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float64 if array.ndim == 1 else np.float32))
    if order["activation"] == "softmax":
        tensor = torch.softmax(tensor, dim=0)
    elif order["activation"] == "sigmoid":
        tensor = torch.sigmoid(tensor)
    values: Array = tensor.numpy()
    lowest, highest = float(values.min()), float(values.max())
    if lowest < -_PROBABILITY_TOLERANCE or highest > 1 + _PROBABILITY_TOLERANCE:
        raise _wrong(
            "range",
            f"{order['key']!r} holds values from {lowest:g} to {highest:g}, probabilities are 0 to 1",
            "add Activationsd to the postprocessing, or activation under [[outputs]] of model.toml",
        )
    return np.clip(values, 0.0, 1.0)


def _regions(data: Any, order: Mapping[str, Any], frame: Frame) -> dict[str, Array]:
    key = order["key"]
    boxes = order["form"] == "boxes"
    columns = 6 if boxes else 3
    positions = _numbers(_value(data, key), key, empty=True).astype(np.float64)
    if positions.size == 0:
        positions = positions.reshape(0, columns)
    if positions.ndim != 2 or positions.shape[1] != columns:
        raise _wrong("shape", f"{key!r} has the shape {positions.shape}, {order['form']} are (n, {columns})")
    count = len(positions)
    corners = _corners(positions, centred=order["centred"]) if boxes else positions[:, None]
    parts = {"points": _placed(corners, order, frame)}
    for part, from_key in order["columns"].items():
        values = _numbers(_value(data, from_key), from_key, empty=True).reshape(-1)
        if values.size != count:
            raise _wrong("shape", f"{from_key!r} has {values.size} values for {count} {order['form']}")
        parts[part] = values.astype(np.int64 if part == "labels" else np.float64)
    if "scores" in parts and count:
        parts["scores"] = _activated(parts["scores"], {**order, "key": order["columns"]["scores"]})
    return parts


def _corners(positions: Float64, *, centred: bool) -> Float64:
    """The eight corners, (n, 8, 3), of boxes given as two opposite corners, or as centre and size."""
    first, second = positions[:, :3], positions[:, 3:]
    if centred:
        first, second = first - second / 2, first + second / 2
    ends = np.stack([np.minimum(first, second), np.maximum(first, second)])
    return np.stack(
        [np.stack([ends[which[axis], :, axis] for axis in range(3)], axis=-1) for which in product((0, 1), repeat=3)],
        axis=1,
    )


def _placed(points: Float64, order: Mapping[str, Any], frame: Frame) -> Float64:
    """LPS mm; every point must lie within the volume it was found in, and half of it around."""
    to_ras = np.asarray(frame.ras_affine)
    flip = np.array([-1.0, -1.0, 1.0])
    if order["coordinates"] == "index":
        ras = points @ to_ras[:3, :3].T + to_ras[:3, 3]
    else:
        ras = points * flip if order["coordinates"] == "lps" else points
    index = (ras - to_ras[:3, 3]) @ np.linalg.inv(to_ras[:3, :3]).T
    size = np.asarray([*frame.shape, 1][:3], dtype=np.float64)
    centre = index.mean(axis=1)
    if ((centre < -size / 2) | (centre > size * 1.5)).any():
        raise _wrong(
            "outside",
            f"{order['key']!r} lies outside the volume it was found in",
            f'coordinates = "{order["coordinates"]}" under [[outputs]] of model.toml may be wrong',
        )
    return np.asarray(ras * flip, dtype=np.float64)
