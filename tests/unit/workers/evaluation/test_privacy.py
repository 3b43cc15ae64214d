"""Updates that are clipped, noised and averaged, and what that costs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from workers.evaluation.privacy import Privacy, averaged, privatised

update = st.fixed_dictionaries({
    "a": arrays(np.float32, (3, 2), elements=st.floats(-100, 100, width=32)),
    "b": arrays(np.float32, 4, elements=st.floats(-100, 100, width=32)),
})  # fmt: skip


def norm(weights: dict[str, np.ndarray]) -> float:
    return math.sqrt(sum(float((array.astype(np.float64) ** 2).sum()) for array in weights.values()))


@given(update)
def test_an_update_is_scaled_to_the_norm_and_keeps_its_direction(given_update: dict[str, np.ndarray]) -> None:
    clipped = privatised(given_update, Privacy(clip=2.0, noise=1e-9))
    assert norm(clipped) <= 2.0 + 1e-3
    if norm(given_update) <= 2.0:
        assert all(np.allclose(clipped[name], given_update[name], atol=1e-6) for name in given_update)
    else:
        assert norm(clipped) == pytest.approx(2.0, rel=1e-3)


def test_noise_is_as_large_as_said_and_never_the_same() -> None:
    nothing = {"a": np.zeros(200_000, np.float32)}
    first, second = (privatised(nothing, Privacy(clip=0.5, noise=3.0))["a"] for _ in range(2))
    assert first.std() == pytest.approx(1.5, rel=0.02)
    assert not np.array_equal(first, second)


@given(st.floats(0.5, 100), st.integers(1, 200), st.floats(0.01, 20))
def test_delta_is_what_an_observer_can_tell_apart_at_most(noise: float, rounds: int, epsilon: float) -> None:
    """The integral of max(0, p - e^epsilon q) over what the rounds show of two sites, p and q, summed numerically."""
    apart = 2 * math.sqrt(rounds) / noise
    x = np.linspace(-12, apart + 12, 200_001)
    p, q = stats.norm.pdf(x, apart), stats.norm.pdf(x)
    told = np.trapezoid(np.maximum(0.0, p - np.exp(epsilon) * q), x)
    assert Privacy(1.0, noise).delta_at(epsilon, rounds) == pytest.approx(told, abs=1e-7)


@pytest.mark.parametrize(
    ("noise", "rounds", "opacus"),
    [
        (20, 10, 1.3084972690),
        (10, 1, 0.7945220325),
        (4, 3, 4.0113217085),
        (50, 100, 1.6937176062),
        (2, 1, 4.7285070672),
    ],
)
def test_epsilon_is_a_little_below_the_bound_of_opacus(noise: float, rounds: int, opacus: float) -> None:
    """``RDPAccountant`` of Opacus 1.6.0, whose noise multiplier is of the distance: ``noise / 2``, each round whole."""
    assert 0.85 * opacus < Privacy(1.0, noise).epsilon(rounds) <= opacus


@given(st.floats(0.5, 100), st.integers(1, 200))
def test_more_rounds_cost_more_and_more_noise_less(noise: float, rounds: int) -> None:
    epsilon = Privacy(1.0, noise).epsilon(rounds)
    assert epsilon < Privacy(1.0, noise).epsilon(2 * rounds)
    assert epsilon > Privacy(1.0, noise * 1.5).epsilon(rounds)


def test_updates_count_by_the_cases_they_are_from() -> None:
    weights = {"a": np.array([1.0, 2.0], np.float32), "count": np.array(7)}
    moved = averaged(weights, [(3, {"a": np.array([4.0, 0])}), (1, {"a": np.array([0.0, 8])})])
    assert moved["a"].tolist() == [4.0, 4.0]
    assert moved["a"].dtype == np.float32
    assert moved["count"] == 7  # integers are no one's to move
