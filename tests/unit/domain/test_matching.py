"""Attribute matching."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.domain.matching import key


def matches(vr: str, asked: str, *values: Any, fuzzy: bool = False) -> bool:
    return key(("00100010",), vr, asked, fuzzy=fuzzy).matches({"00100010": {"vr": vr, "Value": list(values)}})


@pytest.mark.parametrize(
    ("vr", "asked", "value", "found"),
    [
        ("LO", "ABC", "ABC", True),
        ("LO", "ABC", "abc", False),
        ("LO", "AB*", "ABCD", True),
        ("LO", "A?C", "ABC", True),
        ("LO", "A?C", "ABBC", False),
        ("LO", "a.c", "abc", False),
        ("LO", "", "ABC", True),
        ("LO", "*", "ABC", True),
        ("UI", "1.2,1.3", "1.3", True),
        ("UI", "1.2\\1.3", "1.3", True),
        ("UI", "1.2", "1.22", False),
        ("DA", "20260101", "20260101", True),
        ("DA", "20260101-20260131", "20260131", True),
        ("DA", "20260101-20260131", "20260201", False),
        ("DA", "-20260131", "20250101", True),
        ("DA", "20260101-", "20251231", False),
        ("TM", "08-12", "125959.123", True),
        ("TM", "0830-", "0829", False),
        ("TM", "08", "081500", True),
        ("DT", "202601010000+0100", "20260101000000", True),
        ("IS", "7", 7, True),
        ("DS", "0.50", 0.5, True),
        ("IS", "7", 8, False),
    ],
)
def test_ways_of_matching(vr: str, asked: str, value: Any, found: bool) -> None:
    assert matches(vr, asked, value) == found


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("Müller^Jürgen", True),
        ("muller^jurgen", True),
        ("MÜLLER*", True),
        ("M?ller^J*", True),
        ("Muller", False),
        ("*jurgen", True),
        ("山田^太郎", True),
        ("=山田*", True),
        ("Meier=山田^太郎", False),
    ],
)
def test_names(asked: str, found: bool) -> None:
    name = {"Alphabetic": "Müller^Jürgen^^", "Ideographic": "山田^太郎"}
    assert matches("PN", asked, name) == found


@pytest.mark.parametrize(
    ("asked", "found"), [("jürg mül", True), ("Mull,J", True), ("urgen", False), ("Muller Hans", False)]
)
def test_fuzzy_names_match_by_the_beginnings_of_their_parts(asked: str, found: bool) -> None:
    assert matches("PN", asked, {"Alphabetic": "Müller^Jürgen"}, fuzzy=True) == found


@pytest.mark.parametrize(
    ("vr", "asked", "why"),
    [
        ("UI", "1.2.*", "no UID"),
        ("DA", "2026", "neither YYYYMMDD"),
        ("DA", "2026*", "neither YYYYMMDD"),
        ("DA", "-", "without ends"),
        ("DA", "1-2-3", "no range"),
        ("IS", "seven", "no number"),
        ("OB", "x", "cannot be searched"),
        ("SQ", "x", "cannot be searched"),
    ],
)
def test_what_cannot_be_meant_is_refused(vr: str, asked: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        key(("00080020",), vr, asked)


def test_an_attribute_in_a_sequence_matches_in_any_item() -> None:
    items = [{"00400009": {"vr": "SH", "Value": [step]}} for step in ("S1", "S2")]
    model = {"00400275": {"vr": "SQ", "Value": items}}
    assert key(("00400275", "00400009"), "SH", "S2").matches(model)
    assert not key(("00400275", "00400009"), "SH", "S3").matches(model)


def test_several_values_match_where_one_does() -> None:
    assert matches("CS", "CT", "MR", "CT")
    assert not matches("CS", "CT", None)
    assert not key(("00080060",), "CS", "CT").matches({})


@given(st.text(max_size=20).filter(lambda text: text.strip(" \0") not in ("", '""')))
def test_a_pattern_matches_by_its_wildcards_alone(text: str) -> None:
    literal = text.strip(" \0")
    assert matches("LO", literal, literal)
    assert matches("LO", f"{literal}*", literal + "more")
    if not set(literal) & set("*?"):
        assert not matches("LO", literal, literal + "x")


@given(st.dates(), st.dates(), st.dates())
def test_a_day_is_in_a_range_when_it_lies_between_its_ends(first: Any, last: Any, day: Any) -> None:
    asked = f"{first:%Y%m%d}-{last:%Y%m%d}"
    if first.year >= 1000 and last.year >= 1000 and day.year >= 1000:
        assert matches("DA", asked, f"{day:%Y%m%d}") == (first <= day <= last)
