"""Pauses grow and stay below the longest."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.delivery.backoff import pause_s


@given(st.integers(1, 10_000), st.floats(0.1, 60), st.floats(60, 3600))
def test_pauses_grow_up_to_the_longest(tries: int, first: float, longest: float) -> None:
    assert first <= pause_s(tries, first, longest) <= pause_s(tries + 1, first, longest) <= longest


def test_first_pauses() -> None:
    assert [pause_s(n, 5, 600) for n in (1, 2, 3, 9)] == [5, 10, 20, 600]


def test_there_is_no_pause_before_the_first_try() -> None:
    with pytest.raises(ValueError, match="follows a try"):
        pause_s(0, 5, 600)
