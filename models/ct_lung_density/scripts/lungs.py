"""The bundle's network: Hounsfield units in, label map out."""

from __future__ import annotations

import numpy as np
import torch
from monai.data import MetaTensor

from .segmentation import segment


class LungSegmenter(torch.nn.Module):
    """Labels the lungs: 0 background, 1 right lung, 2 left lung (the patient's right and left).

    Takes a MetaTensor of shape (1, 1, X, Y, Z) in Hounsfield units whose axes point to the patient's right, front
    and head as nearly as they can ("RAS"), with the affine of its voxels in mm; gives a uint8 MetaTensor of the same
    shape. There is nothing random and nothing learned in it. An image without lungs gives zeros.
    """

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Label one image.

        Raises:
            ValueError: the tensor carries no affine, or is not one volume of one channel.
        """
        if not isinstance(image, MetaTensor):
            raise ValueError("the lungs need a MetaTensor: voxel size and body axes are in its affine")
        if image.ndim != 5 or image.shape[0] != 1 or image.shape[1] != 1:
            raise ValueError(f"the lungs need a tensor of shape (1, 1, X, Y, Z), not {tuple(image.shape)}")
        affine = np.asarray(image.affine.cpu().numpy(), dtype=np.float64).reshape(-1, 4, 4)[0]
        labels = segment(image.as_tensor()[0, 0].cpu().numpy(), affine)
        label_map = torch.as_tensor(labels, device=image.device)[None, None]
        result: torch.Tensor = MetaTensor(label_map, meta=image.meta)
        return result
