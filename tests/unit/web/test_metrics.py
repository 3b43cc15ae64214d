"""The text format of Prometheus."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from dicom_node.web.metrics import render

EMPTY: dict[str, Any] = {"studies": {}, "instances": {}, "jobs": {}, "parcels": {}}
EMPTY |= {"unaccounted": 0, "open_items": 0, "oldest_queued_seconds": 0.0}
LINE = re.compile(
    r'# (HELP|TYPE) dicom_node_\w+ .+|dicom_node_\w+(\{\w+="(\\[\\"n]|[^\\"\n])*"(,\w+="(\\[\\"n]|[^\\"\n])*")*\})? \S+'
)


def test_every_state_is_told_even_when_there_is_none() -> None:
    lines = render(EMPTY, {}).splitlines()
    assert 'dicom_node_jobs{state="quarantined"} 0' in lines
    assert 'dicom_node_parcels{state="refused"} 0' in lines
    assert 'dicom_node_instances{state="conflict"} 0' in lines
    assert 'dicom_node_studies{state="open"} 0' in lines


def test_large_numbers_keep_every_digit() -> None:
    assert 'dicom_node_instances{state="current"} 123456789\n' in render(
        {**EMPTY, "instances": {"current": 123456789}}, {}
    )


def test_stages_are_up_or_not() -> None:
    text = render(EMPTY, {"courier": "silent for 61 s", "indexer": "ok"})
    assert 'dicom_node_stage_up{stage="courier"} 0\ndicom_node_stage_up{stage="indexer"} 1\n' in text


@given(stages=st.dictionaries(st.text(), st.text()), unaccounted=st.integers(0))
def test_every_line_can_be_read(stages: dict[str, str], unaccounted: int) -> None:
    text = render({**EMPTY, "unaccounted": unaccounted}, stages)
    assert text.endswith("\n")
    assert all(LINE.fullmatch(line) for line in text[:-1].split("\n"))
