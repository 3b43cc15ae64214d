"""What a network is given of a patient's record, and what the report tells of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from bundles import contract_of

from dicom_node.domain.feature import Feature, FeatureSpec, FeatureState, WhenMissing
from dicom_node.domain.finding import Code
from dicom_node.errors import ContractError
from workers.fusion.vector import NONE, vector

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
BMI = FeatureSpec("bmi", Code("39156-5", "LN", "Body mass index"), "kg/m2")
STATUS = FeatureSpec("smoking", Code("72166-2", "LN", "Smoking status"), one_of=("never", "current"))


def told(**values: Any) -> dict[str, Any]:
    """What a job was given; None: missing."""
    found = []
    for name, value in values.items():
        state = FeatureState.MISSING if value is None else FeatureState.PRESENT
        unit, at = "kg/m2" if name == "bmi" else "", NOON - timedelta(days=3)
        found.append(Feature(name, value, unit, state, effective_at=at, source=f"fhir:epic/Observation/{name}"))
    match = {"matched": True, "reason": "number and birth date agree"}
    return {"at": NOON.isoformat(), "match": match, "values": [each.as_json() for each in found]}


def test_known_values_are_given_and_told_with_source_and_age() -> None:
    contract = replace(contract_of(Path("model")), features=(BMI, STATUS))
    given = vector(contract, told(bmi=31.5, smoking="current"))

    assert given.numbers == (31.5, 0.0, 1.0, 1.0, 1.0)
    assert given.refused == ""
    assert given.notes[0] == "The patient's record was used: number and birth date agree."
    assert "31.5 kg/m2" in given.notes[1] and "3 days old; fhir:epic/Observation/bmi" in given.notes[1]


def test_a_network_without_what_it_needs_does_not_answer() -> None:
    contract = replace(contract_of(Path("model")), features=(BMI, replace(STATUS, missing=WhenMissing.OMIT)))
    given = vector(contract, told(bmi=None, smoking=None))

    assert given.refused == "Body mass index is missing"
    assert any("without it there is no answer" in note for note in given.notes)


def test_what_may_be_missing_is_marked_or_has_its_default() -> None:
    default = replace(BMI, missing=WhenMissing.DEFAULT, default=25.0, source="doi:10.1/x")
    contract = replace(contract_of(Path("model")), features=(default, replace(STATUS, missing=WhenMissing.OMIT)))
    given = vector(contract, told(bmi=None, smoking=None))

    assert given.numbers == (25.0, 0.0, 0.0, 1.0, 0.0)
    assert given.refused == ""
    assert any("25 kg/m2 was taken instead (doi:10.1/x)" in note for note in given.notes)


def test_a_model_that_asks_for_none_needs_no_record() -> None:
    assert vector(contract_of(Path("model")), None) is NONE


def test_a_job_that_was_given_nothing_is_told() -> None:
    contract = replace(contract_of(Path("model")), features=(BMI,))
    with pytest.raises(ContractError, match="holds no features"):
        vector(contract, None)
