"""Differential privacy of what leaves a site: one update per round, clipped, with Gaussian noise.

What is protected is a site's whole set of cases: whoever sees every update of a site learns little more than if it
had trained on any other cases. Two updates of norm ``clip`` at most are ``2 * clip`` apart. What is told beside the
updates, metrics and the number of cases, is not covered, nor is what the least bits of floating-point noise give away
(Mironov 2012, doi:10.1145/2382196.2382264).
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special

_STEP = 0.001  # of an epsilon that is told

Weights = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Privacy:
    """What is done to an update."""

    clip: float  # largest norm (L2) over all weights together
    noise: float  # standard deviation, as a multiple of ``clip``
    delta: float = 1e-5

    def delta_at(self, epsilon: float, rounds: int) -> float:
        """The delta of so many rounds together at this epsilon: exact, no bound.

        Gaussian mechanisms compose to one whose noise is smaller by the root of their number (Dong 2022,
        doi:10.1111/rssb.12454), and that one's curve is known (Balle 2018, arXiv:1805.06530, theorem 8).
        """
        apart = 2.0 * math.sqrt(rounds) / self.noise  # of two sites' updates, in standard deviations of the noise
        beyond = special.log_ndtr(-epsilon / apart - apart / 2)
        return float(special.ndtr(apart / 2 - epsilon / apart) - np.exp(min(epsilon + beyond, 0.0)))

    def epsilon(self, rounds: int) -> float:
        """The privacy that so many rounds cost: they are (epsilon, delta)-private together; rounded up."""
        low, high = 0.0, 1.0
        while self.delta_at(high, rounds) > self.delta:
            low, high = high, 2 * high
        while high - low > _STEP / 10:
            middle = (low + high) / 2
            low, high = (low, middle) if self.delta_at(middle, rounds) <= self.delta else (middle, high)
        return math.ceil(high / _STEP) * _STEP


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
