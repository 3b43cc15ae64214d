"""Differential privacy of what leaves a site: one update per round, clipped, with Gaussian noise.

What is protected is a site's whole set of cases: whoever sees every update of a site learns little more than if it
had trained on any other cases. Two updates of norm ``clip`` at most are ``2 * clip`` apart.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

_ORDERS = tuple(1 + x / 10 for x in range(1, 100)) + tuple(range(11, 512))

Weights = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Privacy:
    """What is done to an update."""

    clip: float  # largest norm (L2) over all weights together
    noise: float  # standard deviation, as a multiple of ``clip``
    delta: float = 1e-5

    def epsilon(self, rounds: int) -> float:
        """The privacy that so many rounds cost: they are (epsilon, delta)-private together.

        By the Renyi divergence of the Gaussian mechanism (Mironov 2017, doi:10.1109/CSF.2017.11).
        """
        per_order = 2.0 * rounds / self.noise**2  # order * (2 * clip)^2 / (2 * (noise * clip)^2), per order
        return min(order * per_order + math.log(1 / self.delta) / (order - 1) for order in _ORDERS)


def privatised(update: Weights, privacy: Privacy) -> dict[str, npt.NDArray[np.float32]]:
    """The update, scaled down to norm ``clip`` where it is larger, with noise that nobody can compute again."""
    norm = math.sqrt(sum(float((array.astype(np.float64) ** 2).sum()) for array in update.values()))
    scale = min(1.0, privacy.clip / norm) if norm else 1.0
    generator = np.random.default_rng(secrets.randbits(128))
    deviation = privacy.noise * privacy.clip
    return {
        name: (array * scale + generator.normal(0.0, deviation, array.shape)).astype(np.float32)
        for name, array in update.items()
    }


def averaged(weights: Weights, updates: Sequence[tuple[float, Weights]]) -> dict[str, npt.NDArray[Any]]:
    """The weights after a round: each update counts by the number of cases it was trained on.

    Federated averaging (McMahan 2017, arXiv:1602.05629).
    """
    whole = sum(share for share, _ in updates)
    moved = dict(weights)
    for name, array in weights.items():
        if all(name in update for _, update in updates):
            change = np.sum([share / whole * update[name].astype(np.float64) for share, update in updates], axis=0)
            moved[name] = (array + change).astype(array.dtype)
    return moved
