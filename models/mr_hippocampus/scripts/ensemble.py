"""What is served: several networks, trained from different seeds, that look at the image and at its mirror image."""

from __future__ import annotations

import torch

from .network import HippocampusNet

# Axes of (batch, channel, W, H, D) in RAS.
_ACROSS, _ALONG, _UP = 2, 3, 4
# Trained by Dice, the members outline too much where unsure; so weighed, volumes of the validation cases are right.
_WEIGHT_OF_BACKGROUND = 3.0
_SURER_BY = 0.03  # in mean probability, before the image is believed against the header


class Ensemble(torch.nn.Module):
    """Mean probability over members and mirror images.

    The members know anterior from posterior and up from down, and were trained on left and right alike. Where the
    header has turned such an axis round, as converters do, the anatomy is found all the same: the image is read in
    the posture in which the first member is surest of what it outlines.

    Parameters
    ----------
    members
        Number of networks; the state dict holds each under ``members.<index>``.
    """

    def __init__(self, members: int) -> None:
        super().__init__()
        self.members = torch.nn.ModuleList(HippocampusNet() for _ in range(members))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Probabilities (1, 3, W, H, D) of an image in RAS (1, 1, W, H, D) at 1 mm, normalised and padded."""
        turned = self.posture(image)
        mean = torch.stack(self.views(torch.flip(image, turned))).mean(0)
        return torch.flip(weighed(mean), turned)

    def posture(self, image: torch.Tensor) -> tuple[int, ...]:
        """The axes to be turned round so that the anatomy lies as the header says; none, unless it plainly does not."""
        postures: tuple[tuple[int, ...], ...] = ((), (_ALONG,), (_UP,), (_ALONG, _UP))
        sure = {turned: _sureness(self.members[0](torch.flip(image, turned)).softmax(1)) for turned in postures}
        best = max(postures, key=lambda turned: sure[turned])
        return best if sure[best] > sure[()] + _SURER_BY else ()

    def views(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Probabilities by each member, of the image and of its mirror image, all on the grid of ``image``."""
        mirror = torch.flip(image, (_ACROSS,))
        straight = [member(image).softmax(1) for member in self.members]
        return straight + [torch.flip(member(mirror).softmax(1), (_ACROSS,)) for member in self.members]


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
