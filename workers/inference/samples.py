"""What a network yields several times of the same image, so that what is measured has a spread.

Imported by host processes only. Samples are the members of an ensemble, the network's answers to mirror images
(test-time augmentation: Wang 2019, doi:10.1016/j.neucom.2019.01.103), or whatever a method of the network calls so.
Each goes through the bundle's postprocessing by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from dicom_node.errors import ModelOutputError

PRED = "pred"
SAMPLES = "samples"

Found = dict[str, Any]  # what networks returned, by the keys that the postprocessing looks for


def drawn(order: Mapping[str, Any], infer: Callable[[Any], Found], x: torch.Tensor) -> tuple[Found, list[Found]]:
    """The result and its samples, as ``order`` (``method``, ``flips``) says; ``infer`` passes through all networks.

    Raises:
        ModelOutputError: ``output-samples``: it yields none.
    """
    found = infer(x)
    if order["method"] == "members":
        return found, [dict.fromkeys(found, found[member]) for member in found]
    views = [found]
    for names in order["flips"]:
        axes = _axes(names, x)
        views.append({key: _turned(found_, axes, x) for key, found_ in infer(torch.flip(x, axes)).items()})
    return {key: _mean([view[key] for view in views]) for key in found}, views


def called(returned: Any, call: str) -> tuple[Found, list[Found]]:
    """The same of what a method of the network returned: a mapping with ``pred`` and ``samples``, one per sample.

    Raises:
        ModelOutputError: ``output-samples``: it is none.
    """
    if not isinstance(returned, Mapping) or PRED not in returned or SAMPLES not in returned:
        raise _wrong(f"{call}() returned no mapping with {PRED!r} and {SAMPLES!r}")
    rest = {key: value for key, value in returned.items() if key != SAMPLES}
    return rest, [{PRED: sample} for sample in returned[SAMPLES]]


def _axes(names: str, x: torch.Tensor) -> list[int]:
    """Axes of (batch, channel, W, H[, D]) by their letters."""
    axes = [2 + "WHD".index(name) for name in names]
    if max(axes) >= x.ndim:
        raise _wrong(f"the network's image has {x.ndim - 2} dimensions, flips name {names!r}")
    return axes


def _turned(y: Any, axes: Sequence[int], x: torch.Tensor) -> Any:
    """An output, without its batch, turned back; what has no spatial axes, such as classes, is as it is."""
    if isinstance(y, Mapping):
        return {key: _turned(part, axes, x) for key, part in y.items()}
    if not isinstance(y, torch.Tensor):
        raise _wrong("views need tensors, such as maps of probabilities or classes, not boxes")
    return torch.flip(y, [axis - 1 for axis in axes]) if y.ndim == x.ndim - 1 else y


def _mean(views: Sequence[Any]) -> Any:
    first = views[0]
    if isinstance(first, Mapping):
        return {key: _mean([view[key] for view in views]) for key in first}
    return sum(views[1:], start=first) / len(views)


def _wrong(message: str) -> ModelOutputError:
    return ModelOutputError(
        message, reason="output-samples", remedy="correct [uncertainty] of model.toml, or leave it out"
    )
