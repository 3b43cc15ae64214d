"""Intensities of MR, which have no unit: brought to one scale whatever the scanner, rescale or integer type was."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from monai.utils import convert_to_tensor

CLIPPED = (0.005, 0.995)  # shares of the voxels beyond which values are outliers


def normalised(image: torch.Tensor) -> torch.Tensor:
    """``image`` with outliers clipped, mean 0 and standard deviation 1; any a * image + b with a > 0 gives the same.

    Voxels that share the smallest value, such as padding around a crop, count neither for the range nor for the mean.
    """
    values: torch.Tensor = convert_to_tensor(image, dtype=torch.float32, track_meta=False)
    inside = values[values > values.min()]
    if inside.numel() < 2:
        return image * 0.0
    low, high = (float(bound) for bound in torch.quantile(inside, torch.tensor(CLIPPED)))
    inside = inside.clip(low, high)
    return (image.clip(low, high) - float(inside.mean())) / max(float(inside.std()), 1e-6)


class NormaliseCropd(MapTransform):  # type: ignore[misc]  # MONAI is not typed
    """``normalised`` of the images under ``keys``, each of shape (1, W, H, D)."""

    def __init__(self, keys: KeysCollection) -> None:
        super().__init__(keys)

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict[Hashable, torch.Tensor]:
        changed = dict(data)
        for key in self.key_iterator(changed):
            changed[key] = normalised(changed[key])
        return changed
