"""A risk with every input and its source; what is missing is told, and what that does to the answer."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dicom_node.catalogue import load_contract
from dicom_node.domain.contract import ModelContract
from dicom_node.domain.feature import Feature, FeatureState
from dicom_node.domain.finding import Presence
from dicom_node.errors import ContractError
from workers.fusion.risk import Assessment, assess

MODELS = Path(__file__).parents[4] / "models"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MAN: dict[str, Any] = {
    "age": (61.0, "a"),
    "education_level": (5.0, "1"),
    "bmi": (34.25606, "kg/m2"),
    "copd": (True, ""),
    "cancer_history": (True, ""),
    "family_lung_cancer": (True, ""),
    "smoking_status": ("former", ""),
    "cigarettes_per_day": (20.0, "/d"),
    "years_smoked": (21.0, "a"),
    "years_since_quitting": (9.0, "a"),
}


@pytest.fixture(scope="module")
def plco() -> ModelContract:
    return load_contract(MODELS / "plco_m2012_norace")


def features(given: dict[str, Any], *without: str, reason: str = "the record is that of the images") -> dict[str, Any]:
    values = []
    for name, (value, unit) in given.items():
        source = {"source": f"fhir:epic/Observation/{name}", "version": "2", "transform": f"ehr/1:{name}"}
        made = Feature(name, value, unit, FeatureState.PRESENT, effective_at=NOON - timedelta(days=30), **source)
        if name in without:
            made = replace(made, value=None, state=FeatureState.MISSING, reason="not in what is known")
        values.append(made.as_json())
    match = {"matched": True, "reason": reason, "record": "epic Patient/a"}
    return {"at": NOON.isoformat(), "match": match, "values": values}


def said(found: Assessment, word: str) -> str:
    (line,) = (note for note in found.notes if word in note)
    return line


def test_a_known_patient_gets_the_published_risk_and_every_input_is_told(plco: ModelContract) -> None:
    found = assess(plco, features(MAN))
    (risk,) = found.measurements
    assert (risk.value, risk.unit.value) == (pytest.approx(2.192871, abs=1e-6), "%")
    assert "10.1016/j.jtho.2020.08.006" in risk.method
    assert found.classes == ()
    told = said(found, "Body mass index")
    assert "34.26 kg/m2" in told and "30 days old" in told
    assert "fhir:epic/Observation/bmi version 2" in told and "ehr/1:bmi" in told
    assert sum(note.startswith("Input ") for note in found.notes) == len(MAN)
    assert "current smoker +0.0000" in said(found, "Contributions")


def test_what_nobody_told_makes_an_interval_and_not_a_guess(plco: ModelContract) -> None:
    found = assess(plco, features(MAN, "copd"))
    assert found.measurements == ()
    (answer,) = found.classes
    assert answer.presence is Presence.NOT_EVALUATED
    assert "between 1.54 and 2.19 %" in answer.reason and "copd" in answer.reason
    assert "told for no and for yes" in said(found, "COPD")


def test_without_what_is_needed_there_is_no_answer(plco: ModelContract) -> None:
    (answer,) = assess(plco, features(MAN, "bmi")).classes
    assert answer.presence is Presence.NOT_EVALUATED
    assert "Body mass index is missing" in answer.reason


def test_of_those_who_smoke_the_years_since_quitting_follow(plco: ModelContract) -> None:
    found = assess(plco, features({**MAN, "smoking_status": ("current", "")}, "years_since_quitting"))
    assert len(found.measurements) == 1
    assert "follows from the other inputs" in said(found, "Time since")


def test_without_a_record_the_report_says_why(plco: ModelContract) -> None:
    told = features(MAN, *MAN, reason="the sex is not the same in the images and in the record")
    told["match"]["matched"] = False
    found = assess(plco, told)
    assert found.measurements == ()
    assert "was not used: the sex is not the same" in said(found, "The patient's record")


def test_a_job_that_was_given_nothing_is_refused(plco: ModelContract) -> None:
    with pytest.raises(ContractError, match="holds no features"):
        assess(plco, None)


def test_equations_and_contract_fit_together(plco: ModelContract) -> None:
    with pytest.raises(ContractError, match="does not ask for"):
        assess(replace(plco, features=plco.features[1:]), features(MAN))


def test_prevent_answers_what_it_can(plco: ModelContract) -> None:
    prevent = load_contract(MODELS / "prevent_base")
    woman = {
        "age": (50.0, "a"),
        "sex": ("female", ""),
        "total_cholesterol": (200.0, "mg/dL"),
        "hdl_cholesterol": (45.0, "mg/dL"),
        "sbp": (160.0, "mm[Hg]"),
        "egfr": (90.0, "mL/min/{1.73_m2}"),
        "bmi": (35.0, "kg/m2"),
        "smoking_status": ("never", ""),
        "diabetes": (True, ""),
        "antihypertensive": (True, ""),
        "lipid_lowering": (False, ""),
    }
    found = {each.name: round(each.value, 1) for each in assess(prevent, features(woman)).measurements}
    assert found == {"cvd": 14.7, "ascvd": 9.2, "heart_failure": 8.1}
    partly = assess(prevent, features(woman, "bmi"))
    assert [each.name for each in partly.measurements] == ["cvd", "ascvd"]
    assert [each.name for each in partly.classes] == ["heart_failure"]
