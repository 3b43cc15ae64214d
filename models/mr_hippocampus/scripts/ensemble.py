"""What is served: several networks that look at the image and its mirror image, in place and moved by a voxel."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch

from .network import HippocampusNet

# Axes of (batch, channel, W, H, D) in RAS.
_AXES = _ACROSS, _ALONG, _UP = 2, 3, 4
# Trained by Dice, the members outline too much where unsure; so weighed, volumes of the validation cases are right.
_WEIGHT_OF_BACKGROUND = 2.0
# Voxels along each axis: a network that folds voxels sees another image when all have moved by one.
_SHIFTS = (0, 1)
_SURER_BY = 0.03  # in mean probability, before the image is believed against the header


class Ensemble(torch.nn.Module):
    """Mean probability over members, mirror images and shifts; full and folded networks count alike.

    The members know anterior from posterior and up from down, and were trained on left and right alike. Where the
    header has turned such an axis round, as converters do, the anatomy is found all the same: the image is read in
    the posture in which the first member is surest of what it outlines.

    Parameters
    ----------
    folds
        Kind of each network, as in ``HippocampusNet``; the state dict holds each under ``members.<index>``.
    """

    def __init__(self, folds: Sequence[int]) -> None:
        super().__init__()
        self.folds = list(folds)
        self.members = torch.nn.ModuleList(HippocampusNet(fold) for fold in folds)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Probabilities (1, 3, W, H, D) of an image in RAS (1, 1, W, H, D) at 1 mm, normalised and padded."""
        return self.with_samples(image)["pred"]

    def with_samples(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        """``pred`` as ``forward`` gives it, and ``samples``: those of each member and view, (1, sample, 3, W, H, D)."""
        turned = self.posture(image)
        views = self.views(torch.flip(image, turned))
        samples = torch.stack([torch.flip(weighed(view), turned) for view in views], dim=1)
        return {"pred": torch.flip(weighed(self.mean(views)), turned), "samples": samples}

    def mean(self, views: Sequence[torch.Tensor]) -> torch.Tensor:
        """Mean probability over the views of an image; both kinds of network count alike."""
        shares = [1.0 / self.folds.count(fold) for fold in self.folds] * (len(views) // len(self.folds))
        summed = torch.stack([share * view for share, view in zip(shares, views, strict=True)]).sum(0)
        return summed / sum(shares)

    def posture(self, image: torch.Tensor) -> tuple[int, ...]:
        """The axes to be turned round so that the anatomy lies as the header says; none, unless it plainly does not."""
        postures: tuple[tuple[int, ...], ...] = ((), (_ALONG,), (_UP,), (_ALONG, _UP))
        sure = {turned: _sureness(self.members[0](torch.flip(image, turned)).softmax(1)) for turned in postures}
        best = max(postures, key=lambda turned: sure[turned])
        return best if sure[best] > sure[()] + _SURER_BY else ()

    def views(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Probabilities by each member of every view of the image, all on the grid of ``image``."""
        found = []
        for across, shift in itertools.product(((), (_ACROSS,)), _SHIFTS):
            by = (shift,) * len(_AXES)
            seen = torch.roll(torch.flip(image, across), by, _AXES)
            for member in self.members:
                moved = torch.roll(member(seen).softmax(1), tuple(-n for n in by), _AXES)
                found.append(torch.flip(moved, across))
        return found


def weighed(probabilities: torch.Tensor) -> torch.Tensor:
    """Probabilities (batch, class, W, H, D) with the odds of background raised, summing to 1 again."""
    raised = probabilities.clone()
    raised[:, 0] *= _WEIGHT_OF_BACKGROUND
    return raised / raised.sum(1, keepdim=True)


def _sureness(probabilities: torch.Tensor) -> float:
    """Mean of the highest probability over what would be outlined; 0 where nothing would be."""
    highest, label = probabilities.max(1)
    outlined = highest[label > 0]
    return float(outlined.mean()) if outlined.numel() else 0.0
