"""Hours of the week."""

from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.domain.hours import Hours

MONDAY = "2026-03-02"


@pytest.mark.parametrize(
    ("texts", "at", "is_open"),
    [
        ([], f"{MONDAY}T12:00", True),
        (["19:00-07:00"], f"{MONDAY}T12:00", False),
        (["19:00-07:00"], f"{MONDAY}T19:00", True),
        (["19:00-07:00"], f"{MONDAY}T06:59", True),
        (["19:00-07:00"], f"{MONDAY}T07:00", False),
        (["Mon-Fri 22:00-24:00"], f"{MONDAY}T23:59", True),
        (["Mon-Fri 22:00-24:00"], "2026-03-07T23:00", False),
        (["Sun 22:00-06:00"], f"{MONDAY}T05:00", True),
        (["Mon 22:00-06:00"], f"{MONDAY}T05:00", False),
        (["Sat-Sun"], "2026-03-08T00:00", True),
        (["Sat-Sun"], f"{MONDAY}T00:00", False),
        (["Fri-Mon"], f"{MONDAY}T12:00", True),
        (["12:00-13:00", "Mon"], f"{MONDAY}T18:00", True),
    ],
)
def test_open_or_not(texts: list[str], at: str, is_open: bool) -> None:
    assert Hours.parse(texts).is_open(datetime.fromisoformat(at)) is is_open


@pytest.mark.parametrize(
    ("text", "opens"),
    [
        ("19:00-07:00", f"{MONDAY}T19:00"),
        ("Tue 08:00-09:00", "2026-03-03T08:00"),
        ("Mon 08:00-09:00", "2026-03-09T08:00"),
        ("Sat-Sun", "2026-03-07T00:00"),
    ],
)
def test_when_it_opens(text: str, opens: str) -> None:
    at = datetime.fromisoformat(f"{MONDAY}T12:00")
    assert Hours.parse([text]).opens(at) == datetime.fromisoformat(opens)


@pytest.mark.parametrize(
    "text",
    ["", "7-19", "25:00-26:00", "Mo-Fr", "07:00-07:00", "07:60-08:00", "Mon-Xyz 07:00-08:00", "always", "07:00-24:01"],
)
def test_what_is_no_span_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="should be hours such as"):
        Hours.parse([text])


@given(
    st.datetimes(datetime.fromisoformat("2026-01-01"), datetime.fromisoformat("2026-12-31")),
    st.lists(
        st.sampled_from(["19:00-07:00", "Mon-Fri 22:00-24:00", "Sat", "Wed-Mon 03:30-03:31"]), min_size=1, max_size=3
    ),
)
def test_it_is_open_when_it_opens_and_not_before(at: datetime, texts: list[str]) -> None:
    hours = Hours.parse(texts)
    opens = hours.opens(at)
    assert opens >= at
    assert hours.is_open(opens)
