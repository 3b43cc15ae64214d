"""The network: statistics of a volume, then a few small perceptrons whose probabilities are averaged."""

from __future__ import annotations

import torch

from .statistics import FEWEST, statistics

COUNT = statistics(torch.zeros((FEWEST,) * 3)).numel()
WIDTH = 64
_LIMIT = 6.0  # standard deviations: what lies further from the training data counts as being there


class QualityNet(torch.nn.Module):
    """Probabilities of the classes.

    Parameters
    ----------
    classes
        Number of classes.
    members
        Perceptrons of the ensemble; each is trained by itself.
    """

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self, classes: int, members: int = 1) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(COUNT))
        self.register_buffer("scale", torch.ones(COUNT))
        self.members = torch.nn.ModuleList(_perceptron(classes) for _ in range(members))

    def fit_scale(self, samples: torch.Tensor) -> None:
        """Take mean and spread of statistics (n, COUNT) as those of the training data."""
        self.mean.copy_(samples.mean(0))
        self.scale.copy_(samples.std(0).clip(min=1e-4))

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        """Probabilities (batch, classes) of volumes (batch, 1, W, H, D) or of their statistics; in training logits."""
        found = given if given.ndim == 2 else torch.stack([statistics(volume[0].cpu()) for volume in given])
        found = ((found.to(self.mean) - self.mean) / self.scale).clip(-_LIMIT, _LIMIT)
        logits = torch.stack([member(found) for member in self.members])
        return logits.mean(0) if self.training else logits.softmax(-1).mean(0)


def _perceptron(classes: int) -> torch.nn.Sequential:
    def layer(before: int) -> list[torch.nn.Module]:
        return [torch.nn.Linear(before, WIDTH), torch.nn.GELU(), torch.nn.Dropout(0.3)]

    return torch.nn.Sequential(*layer(COUNT), *layer(WIDTH), torch.nn.Linear(WIDTH, classes))
