"""Numbers, dates and durations as people read them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.domain.wording import day, number, took


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.02399, "0.024"),
        (0.9951, "1"),
        (7.25, "7.25"),
        (-867.512, "-867.5"),
        (2871.4, "2871"),
        (123456.7, "123457"),
    ],
)
def test_number(value: float, text: str) -> None:
    assert number(value) == text


@given(st.floats(-1e6, 1e6, allow_nan=False).filter(lambda value: abs(value) >= 1))
def test_a_number_is_told_to_a_thousandth(value: float) -> None:
    assert abs(float(number(value)) - value) <= abs(value) / 1000


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, ""), (0.0, "0.00 s"), (119.9, "119.90 s"), (180, "3.0 min"), (7200, "2.0 h")]
)
def test_took(seconds: float | None, text: str) -> None:
    assert took(seconds) == text


@pytest.mark.parametrize(
    ("date", "text"), [("20260301", "2026-03-01"), ("", ""), ("2026", "2026"), ("2026.3.1", "2026.3.1")]
)
def test_day(date: str, text: str) -> None:
    assert day(date) == text
