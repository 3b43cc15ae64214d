"""What resources say, and what they do not."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from fhir_records import RXNORM, SNOMED, concept, condition, observation, patient

from dicom_node.domain.feature import Feature, FeatureState
from dicom_node.exchange.fhir import fault_of, resource_of
from dicom_node.sidecars.ehr.extract import OWN_RESULTS, Extract, extract
from dicom_node.sidecars.ehr.mapping import load

MAPPING = load()
EGFR = "mL/min/{1.73_m2}"


def taken(*bodies: dict[str, Any]) -> Extract:
    assert [fault_of(body) for body in bodies] == [""] * len(bodies)
    return extract([resource_of(body) for body in bodies], MAPPING, "epic")


def one(body: dict[str, Any]) -> Feature:
    (found,) = taken(body).features
    return found


def test_a_value_keeps_where_it_is_from() -> None:
    meta = {"versionId": "3", "lastUpdated": "2026-02-02T00:00:00Z"}
    found = one(observation("33914-3", 88, EGFR, meta=meta))
    assert (found.name, found.value, found.unit, found.state) == ("egfr", 88.0, EGFR, FeatureState.PRESENT)
    assert (found.source, found.version, found.status) == ("fhir:epic/Observation/o1", "3", "final")
    assert found.effective_at == datetime(2026, 2, 1, 8, tzinfo=UTC)
    assert found.transform == "ehr/1:egfr"


@pytest.mark.parametrize(
    ("code", "value", "unit", "expected"),
    [("2093-3", 5.0, "mmol/L", 193.35), ("4548-4", 48.0, "mmol/mol", 6.543), ("8480-6", 16.0, "kPa", 120.0)],
)
def test_units_are_converted_as_declared(code: str, value: float, unit: str, expected: float) -> None:
    assert one(observation(code, value, unit)).value == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (observation("33914-3", 88, "mL/min"), "its unit is mL/min"),
        (observation("33914-3", 8800, EGFR), "not plausible"),
        (observation("33914-3", 88, EGFR, status="preliminary"), "status is preliminary"),
        (observation("33914-3", 88, EGFR, effectiveDateTime="2026-02"), "which day"),
        (observation("33914-3", 88, EGFR, effectiveDateTime=None), "which day"),
        (observation("33914-3", 88, EGFR, valueQuantity=None), "no number"),
        (
            observation("33914-3", 90, EGFR, valueQuantity={"value": 90, "comparator": ">", "code": EGFR}),
            "a bound, >90",
        ),
        (
            observation("72166-2", 1, "", valueQuantity=None, valueCodeableConcept=concept("1", SNOMED)),
            "does not know",
        ),
        (condition("13645005", verification="provisional"), "provisional"),
        (condition("13645005", onsetDateTime=None), "since when"),
    ],
)
def test_what_cannot_be_used_is_told_with_its_reason(body: dict[str, Any], reason: str) -> None:
    found = one(body)
    assert (found.state, found.value) == (FeatureState.REJECTED, None)
    assert reason in found.reason


def test_parts_of_a_panel_are_values_of_their_own() -> None:
    parts = [
        {"code": concept("8480-6"), "valueQuantity": {"value": 131, "code": "mm[Hg]"}},
        {"code": concept("8462-4"), "valueQuantity": {"value": 82, "code": "mm[Hg]"}},
    ]
    found = taken(observation("55284-4", 0, "", valueQuantity=None, component=parts)).features
    assert {each.name: each.value for each in found} == {"sbp": 131.0, "dbp": 82.0}


def test_answers_are_of_the_set() -> None:
    told = observation("72166-2", 1, "", valueQuantity=None, valueCodeableConcept=concept("8517006", SNOMED))
    assert one(told).value == "former"


def test_what_was_taken_back_says_nothing() -> None:
    found = taken(
        observation("33914-3", 88, EGFR, status="entered-in-error"),
        condition("13645005", verification="entered-in-error"),
    )
    assert found.features == []
    assert set(found.gone) == {"fhir:epic/Observation/o1", "fhir:epic/Condition/c1"}


def test_our_own_results_are_no_inputs() -> None:
    found = taken(observation("33914-3", 88, EGFR, identifier=[{"system": OWN_RESULTS, "value": "2.25.1"}]))
    assert found.features == []
    assert "result of this node" in found.gone["fhir:epic/Observation/o1"]


def test_a_refuted_condition_is_told_to_be_absent_and_silence_tells_nothing() -> None:
    assert {each.name for each in taken(condition("44054006")).features} == {"diabetes"}
    found = one(condition("44054006", verification="refuted"))
    assert (found.value, found.state) == (False, FeatureState.PRESENT)


def test_a_condition_that_ended_is_history_where_that_counts() -> None:
    ended = concept("resolved", "http://terminology.hl7.org/CodeSystem/condition-clinical")
    assert one(condition("44054006", clinicalStatus=ended)).state is FeatureState.REJECTED
    assert one(condition("109838007", clinicalStatus=ended)).value is True


@pytest.mark.parametrize(("status", "state"), [("active", FeatureState.PRESENT), ("stopped", FeatureState.REJECTED)])
def test_prescriptions_count_while_they_are_taken(status: str, state: FeatureState) -> None:
    made = {
        "resourceType": "MedicationRequest",
        "id": "m",
        "status": status,
        "intent": "order",
        "authoredOn": "2026-01-05T09:00:00Z",
        "subject": {"reference": "Patient/a"},
        "medicationCodeableConcept": concept("197361", RXNORM),
    }
    assert (one(made).name, one(made).state) == ("antihypertensive", state)


def test_relatives_of_the_first_degree_count() -> None:
    def history(relative: str) -> dict[str, Any]:
        return {
            "resourceType": "FamilyMemberHistory",
            "id": "f",
            "status": "completed",
            "patient": {"reference": "Patient/a"},
            "relationship": concept(relative, "http://terminology.hl7.org/CodeSystem/v3-RoleCode"),
            "condition": [{"code": concept("363358000", SNOMED)}],
        }

    assert [each.value for each in taken(history("MTH")).features] == [True]
    assert taken(history("AUNT")).features == []


def test_who_a_patient_is() -> None:
    assert {each.name: each.value for each in taken(patient()).features} == {
        "birth_date": "1964-03-01",
        "sex": "female",
    }
    assert [each.name for each in taken(patient(gender="unknown", birthDate=None)).features] == []
    assert taken(patient(birthDate="1964")).features[0].state is FeatureState.REJECTED
