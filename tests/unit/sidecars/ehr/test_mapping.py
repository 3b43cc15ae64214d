"""The mapping: what is shipped is sound, and a site's own counts instead of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicom_node.errors import ConfigurationError
from dicom_node.sidecars.ehr.mapping import load, scheme_of

OWN = """
version = "7"
[[features]]
name = "egfr"
title = "eGFR of our laboratory"
from = "Observation"
codes = ["LOCAL GFR1"]
unit = "mL/min/{1.73_m2}"
units = { "mL/min/{1.73_m2}" = 1 }
"""


def test_what_is_shipped_covers_what_models_ask_for() -> None:
    names = {source.name for source in load().sources}
    assert names >= {
        "smoking_status",
        "bmi",
        "sbp",
        "egfr",
        "hba1c",
        "diabetes",
        "copd",
        "cancer_history",
        "pack_years",
    }


def test_a_sites_own_counts_instead(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text(OWN)
    (found,) = (source for source in load(file).sources if source.name == "egfr")
    assert found.transform == "site:own.toml/7:egfr"
    assert found.takes("LOCAL", "GFR1")
    assert not found.takes("LN", "33914-3")
    assert len(load(file).sources) == len(load().sources)


def test_codes_below_a_chapter_are_taken() -> None:
    (copd,) = (source for source in load().sources if source.name == "copd")
    assert copd.takes("I10", "J44.1")
    assert not copd.takes("I10", "J45")
    assert not copd.takes("LN", "J44.1")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ('unit = "mL"', "must be among units"),
        ('codes = ["GFR1"]', "codes"),
        ('surprise = "x"', "surprise"),
        ('from = "Encounter"', "from"),
        ("units = {}", "number with units"),
    ],
)
def test_what_cannot_be_used_is_refused(tmp_path: Path, change: str, told: str) -> None:
    file = tmp_path / "own.toml"
    key = change.split(" = ")[0]
    kept = [line for line in OWN.splitlines() if not line.startswith(f"{key} =")]
    file.write_text("\n".join([*kept, change]))
    with pytest.raises(ConfigurationError, match="own") as caught:
        load(file)
    assert told in str(caught.value)


def test_schemes_of_both_worlds() -> None:
    assert [scheme_of(name) for name in ("http://loinc.org", "LN", "99LAB", "SCT")] == ["LN", "LN", "LOCAL", "SCT"]
