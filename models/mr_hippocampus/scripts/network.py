"""The network: a residual U-Net on the voxels of the image, or on a coarser grid that holds them as channels."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from monai.networks.nets import DynUNet
from monai.networks.utils import pixelshuffle, pixelunshuffle

CLASSES = 3  # background, anterior, posterior
# Widths by fold: the voxels along each axis that become channels of one voxel inside.
FILTERS = {1: (16, 32, 64, 128), 2: (32, 64, 128)}
DIVISOR = 8  # sides of the image must be multiples of it


class HippocampusNet(torch.nn.Module):
    """Residual U-Net (MONAI's ``DynUNet``, the layout of nnU-Net), between a space-to-depth and a depth-to-space step.

    Folding 2 x 2 x 2 voxels into channels costs a fifth of a network that convolves at full resolution, and errs
    elsewhere than one of that kind, so that both together are better than either.

    Parameters
    ----------
    fold
        1: full resolution; 2: 2 x 2 x 2 voxels are channels of one.
    mixed_precision
        Whether training computes in bfloat16 where that is safe; inference never does.
    """

    def __init__(self, fold: int = 2, mixed_precision: bool = False) -> None:
        super().__init__()
        self.fold = fold
        self.mixed_precision = mixed_precision
        depth = len(FILTERS[fold])
        self.body = DynUNet(
            spatial_dims=3,
            in_channels=fold**3,
            out_channels=CLASSES * fold**3,
            kernel_size=[3] * depth,
            strides=[1] + [2] * (depth - 1),
            upsample_kernel_size=[2] * (depth - 1),
            filters=FILTERS[fold],
            norm_name="instance",
            res_block=True,
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits (batch, 3, W, H, D) of an image (batch, 1, W, H, D) whose sides are multiples of ``DIVISOR``."""
        with torch.autocast(image.device.type, torch.bfloat16, enabled=self.training and self.mixed_precision):
            folded = self.body(pixelunshuffle(image, 3, self.fold) if self.fold > 1 else image)
            logits: torch.Tensor = pixelshuffle(folded, 3, self.fold) if self.fold > 1 else folded
        return logits.float()


def fold_of(state: Mapping[str, torch.Tensor]) -> int:
    """The fold of the network that a state dict belongs to; 2 where it is none of these networks."""
    weight = state.get("body.input_block.conv1.conv.weight")
    return 2 if weight is None else round(weight.shape[1] ** (1 / 3))
