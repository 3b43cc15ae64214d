"""The network: a residual U-Net on a grid of half the resolution, whose channels hold the voxels of the full one."""

from __future__ import annotations

import torch
from monai.networks.nets import DynUNet
from monai.networks.utils import pixelshuffle, pixelunshuffle

CLASSES = 3  # background, anterior, posterior
FOLD = 2  # voxels along each axis that become channels of one voxel inside
FILTERS = (32, 64, 128)
DIVISOR = FOLD * 2 ** (len(FILTERS) - 1)  # sides of the image must be multiples of it


class HippocampusNet(torch.nn.Module):
    """Residual U-Net (MONAI's ``DynUNet``, the layout of nnU-Net) between a space-to-depth and a depth-to-space step.

    The crops are small and the structure fills them: folding 2 x 2 x 2 voxels into channels loses nothing, and costs a
    fifth of a network of the same depth that convolves at full resolution.

    Parameters
    ----------
    mixed_precision
        Whether training computes in bfloat16 where that is safe; inference never does.
    """

    def __init__(self, mixed_precision: bool = False) -> None:
        super().__init__()
        self.mixed_precision = mixed_precision
        depth = len(FILTERS)
        self.body = DynUNet(
            spatial_dims=3,
            in_channels=FOLD**3,
            out_channels=CLASSES * FOLD**3,
            kernel_size=[3] * depth,
            strides=[1] + [2] * (depth - 1),
            upsample_kernel_size=[2] * (depth - 1),
            filters=FILTERS,
            norm_name="instance",
            res_block=True,
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits (batch, 3, W, H, D) of an image (batch, 1, W, H, D) whose sides are multiples of ``DIVISOR``."""
        with torch.autocast(image.device.type, torch.bfloat16, enabled=self.training and self.mixed_precision):
            logits: torch.Tensor = pixelshuffle(self.body(pixelunshuffle(image, 3, FOLD)), 3, FOLD)
        return logits.float()
