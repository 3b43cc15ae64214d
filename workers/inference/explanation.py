"""What an answer rests on, as a map on the grid of the input: Grad-CAM or occlusion, by MONAI's ``visualize``.

Imported by host processes only. Grad-CAM (Selvaraju 2017, doi:10.1109/ICCV.2017.74) gives the share of the strongest
activation of a layer that raised the answer, 0 to 1. Occlusion (Zeiler 2014, doi:10.1007/978-3-319-10590-1_53) gives
how much lower the answer is where a window of the image is hidden, in the unit of the answer.

A map that stays the same when the weights are drawn at random says nothing of the model (Adebayo 2018,
doi:10.48550/arXiv.1810.03292); :func:`likeness_at_random` tells how alike they are.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from monai.data import MetaTensor
from monai.visualize import GradCAM, OcclusionSensitivity
from scipy import ndimage

from dicom_node.errors import ContractError, ModelOutputError
from workers.inference.outputs import Frame

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

_BATCH = 8  # windows that are hidden at a time


class Explainer:
    """Explains one output of a network as the contract asks for."""

    def __init__(self, order: Mapping[str, Any], network: torch.nn.Module) -> None:
        """``order``: ``method``, ``layer``, ``window`` (voxels), ``overlap``, ``activation``, ``of`` (index or None).

        Raises:
            ContractError: the network has no such layer.
        """
        self._order = order
        self._network = network
        layers = dict(network.named_modules())
        if order["method"] == "grad-cam" and order["layer"] not in layers:
            known = ", ".join(name for name, layer in layers.items() if "Conv" in type(layer).__name__)
            raise ContractError(
                f"the network has no layer {order['layer']!r}",
                key="explanation.layer",
                remedy=f"name one of its layers; convolutions: {known or 'none'}",
            )

    def index(self, vector: Float64) -> int:
        """Which number of the output is explained: the one of the contract, else the highest."""
        of = self._order["of"]
        return int(np.argmax(vector)) if of is None else int(of)

    def map(self, x: torch.Tensor, index: int) -> Float32:
        """The map of an image (1, channel, W, H[, D]) as the network gets it: axes (W, H[, D])."""
        with torch.inference_mode(False), torch.random.fork_rng(devices=[]):
            image = (x.as_tensor() if isinstance(x, MetaTensor) else x).detach().clone()
            found = (
                self._grad_cam(image, index) if self._order["method"] == "grad-cam" else self._occluded(image, index)
            )
        return np.asarray(found.detach().cpu().float().numpy(), dtype=np.float32)

    def likeness_at_random(self, x: torch.Tensor, index: int, draws: int) -> Float64:
        """Spearman's correlation of the map with that of ``draws`` networks of random weights: (draws,)."""
        straight = self.map(x, index)
        found = []
        for seed in range(draws):
            with _at_random(self._network, seed):
                found.append(rank_correlation(straight, self.map(x, index)))
        return np.asarray(found, dtype=np.float64)

    def _grad_cam(self, image: torch.Tensor, index: int) -> torch.Tensor:
        network = copy.deepcopy(self._network)  # MONAI's hooks stay on the network they were put on
        with torch.enable_grad():
            cam = GradCAM(nn_module=network, target_layers=self._order["layer"], postprocessing=lambda found: found)
            raw: torch.Tensor = cam(image.requires_grad_(), class_idx=index)[0, 0]
        highest = float(raw.detach().max())
        return raw / highest if highest > 0 else raw

    def _occluded(self, image: torch.Tensor, index: int) -> torch.Tensor:
        # In the mode of its network, which MONAI puts it back into afterwards, with all below it.
        answer = _Answer(self._network, self._order["activation"]).train(self._network.training)
        window = [min(self._order["window"], size) for size in image.shape[2:]]
        with torch.no_grad():
            baseline = answer(image)[0, index]
            hide = OcclusionSensitivity(
                answer,
                window,
                n_batch=_BATCH,
                verbose=False,
                mode="mean_img",
                overlap=self._order["overlap"],
                activate=False,
            )
            hidden, _ = hide(image)
        lost: torch.Tensor = baseline - torch.as_tensor(hidden)[0, index]
        return lost


class _Answer(torch.nn.Module):
    """A network whose output is a vector of answers for each image."""

    def __init__(self, network: torch.nn.Module, activation: str) -> None:
        super().__init__()
        self.network = network
        self.activation = activation

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.network(image).flatten(1).float()
        if self.activation == "softmax":
            return found.softmax(1)
        return found.sigmoid() if self.activation == "sigmoid" else found


def placed(found: Float32, image: Any, frame: Frame) -> Float32:
    """A map of the network's image, brought onto the grid of the input: (slice, row, column), 0 outside of the image.

    Raises:
        ModelOutputError: ``explanation-grid``: the preprocessing does not tell where its image lies.
    """
    ndim = len(frame.shape)
    if isinstance(image, MetaTensor):
        affine = np.asarray(image.affine.cpu().numpy(), dtype=np.float64)
        back = np.linalg.inv(affine) @ frame.ras_affine  # indices of the input → those of the network's image
        matrix, offset = back[:ndim, :ndim], back[:ndim, 3]
        same = found.shape == frame.shape and np.allclose(back, np.eye(4), atol=1e-6)
        on_input = found if same else ndimage.affine_transform(found, matrix, offset, frame.shape, order=1)
    elif found.shape == frame.shape:
        on_input = found
    else:
        raise ModelOutputError(
            f"the network's image has the shape {found.shape} and no affine, the input has {frame.shape}",
            reason="explanation-grid",
            remedy="have the preprocessing keep its metadata (track_meta), or leave [explanation] out of model.toml",
        )
    whole = on_input[..., None] if ndim == 2 else on_input
    return np.ascontiguousarray(whole.transpose(2, 1, 0), dtype=np.float32)


def rank_correlation(one: Float32, other: Float32) -> float:
    """Spearman's; 1 where neither map varies, 0 where one of them does not."""
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return float(np.ptp(one) == np.ptp(other))
    return float(np.corrcoef(_ranks(one), _ranks(other))[0, 1])


def _ranks(values: Float32) -> Float64:
    """Ranks of the values, equal ones at their mean."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts - 1) / 2)[inverse.ravel()], dtype=np.float64)


@contextmanager
def _at_random(network: torch.nn.Module, seed: int) -> Iterator[None]:
    """The network with parameters drawn anew, each as wide as it was; afterwards as before."""
    generator = torch.Generator().manual_seed(seed)
    kept = [parameter.detach().clone() for parameter in network.parameters()]
    try:
        with torch.no_grad():
            for parameter in network.parameters():
                drawn = torch.randn(parameter.shape, generator=generator).to(parameter)
                width = parameter.std() if parameter.numel() > 1 else parameter.abs().mean()
                parameter.copy_(drawn * width)
        yield
    finally:
        with torch.no_grad():
            for parameter, before in zip(network.parameters(), kept, strict=True):
                parameter.copy_(before)
