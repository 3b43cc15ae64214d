"""Updates that are clipped, noised and averaged, and what that costs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

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


def test_epsilon_of_one_round_is_that_of_the_gaussian_mechanism() -> None:
    """min over orders of a r + ln(1/d)/(a-1) is r + 2 sqrt(r ln(1/d)), r = 2 / noise²; Mironov 2017, proposition 3."""
    for noise in (4.0, 10.0, 50.0):
        rate = 2 / noise**2
        exact = rate + 2 * math.sqrt(rate * math.log(1e5))
        assert Privacy(1.0, noise).epsilon(1) == pytest.approx(exact, rel=0.01)


@given(st.floats(0.5, 100), st.integers(1, 200))
def test_more_rounds_cost_more_and_more_noise_less(noise: float, rounds: int) -> None:
    epsilon = Privacy(1.0, noise).epsilon(rounds)
    assert epsilon < Privacy(1.0, noise).epsilon(rounds + 1)
    assert epsilon > Privacy(1.0, noise * 1.5).epsilon(rounds)


def test_updates_count_by_the_cases_they_are_from() -> None:
    weights = {"a": np.array([1.0, 2.0], np.float32), "count": np.array(7)}
    moved = averaged(weights, [(3, {"a": np.array([4.0, 0])}), (1, {"a": np.array([0.0, 8])})])
    assert moved["a"].tolist() == [4.0, 4.0]
    assert moved["a"].dtype == np.float32
    assert moved["count"] == 7  # integers are no one's to move
