"""Each confirmed nodule gets its risk, within the equation's population; a candidate stays a candidate."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dicom_node.catalogue import load_contract
from dicom_node.domain.contract import ModelContract
from dicom_node.domain.feature import Feature, FeatureState
from dicom_node.domain.finding import Presence
from dicom_node.domain.lesion import KnownLesion
from dicom_node.errors import ConfigurationError
from workers.fusion.risk import Assessment, assess

MODELS = Path(__file__).parents[3] / "models"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
WOMAN: dict[str, Any] = {
    "age": (62.0, "a"),
    "sex": ("female", ""),
    "family_lung_cancer": (False, ""),
    "smoking_status": ("former", ""),
    "emphysema": (False, ""),
}
NODULE: dict[str, Any] = {
    "nodule_diameter": (8.0, "mm"),
    "nodule_type": ("solid", ""),
    "nodule_in_upper_lobe": (True, ""),
    "nodule_spiculated": (True, ""),
    "nodule_count": (1.0, "1"),
}
PGS = {"score": "PGS000740", "output": "lung_cancer", "fold_in": True, "per_sd": 1.2, "source": "a paper"}


@pytest.fixture(scope="module")
def contract() -> ModelContract:
    return load_contract(MODELS / "ct_lung_risk")


def present(given: dict[str, Any], **how: str) -> list[Feature]:
    source = {"source": "fhir:epic/Observation/1", "version": "1", "transform": "ehr/1:x", **how}
    return [
        Feature(name, value, unit, FeatureState.PRESENT, effective_at=NOON, **source)
        for name, (value, unit) in given.items()
    ]


def lesion(number: int = 1, confirmed: str = "Dr Rita", reason: str = "", **changes: Any) -> KnownLesion:
    values = tuple(present({**NODULE, **changes}, source="report 1.2.3"))
    return KnownLesion(f"Nodule {number}", f"2.25.{number}", "report 1.2.3", confirmed, reason, values)


def told(*lesions: KnownLesion, **changes: Any) -> dict[str, Any]:
    match = {"matched": True, "reason": "the record is that of the images"}
    values = [each.as_json() for each in present({**WOMAN, **changes})]
    return {"at": NOON.isoformat(), "match": match, "values": values, "lesions": [each.as_json() for each in lesions]}


def brock(found: Assessment) -> list[float]:
    return [round(each.value, 3) for each in found.measurements if each.name == "nodule_cancer"]


def answers(found: Assessment, name: str = "nodule_cancer") -> list[str]:
    assert all(each.presence is Presence.NOT_EVALUATED for each in found.classes)
    return [each.reason for each in found.classes if each.name == name]


def test_each_confirmed_nodule_has_its_own_risk_and_its_shares(contract: ModelContract) -> None:
    found = assess(contract, told(lesion(1), lesion(2, nodule_diameter=(20.0, "mm"))))
    first, second = brock(found)
    assert first == pytest.approx(11.754, abs=1e-3)
    assert second > first
    of = [each.lesion.tracking_uid for each in found.measurements if each.lesion]
    assert of == ["2.25.1", "2.25.2"]
    assert any("nodule_cancer of Nodule 2" in note and "exact" in note for note in found.notes)
    assert any("confirmed by Dr Rita" in note for note in found.notes)
    assert any("of Nodule 1: 8 mm" in note and "report 1.2.3" in note for note in found.notes)


def test_a_candidate_gets_no_number(contract: ModelContract) -> None:
    why = "it is a candidate of ct_nodule_candidates, job 3: no reader has accepted the result"
    found = assess(contract, told(lesion(1, confirmed="", reason=why), lesion(2, confirmed="", reason=why)))
    assert brock(found) == []
    assert answers(found) == [f"2 x nodule: {why}"]


def test_without_nodules_it_is_said(contract: ModelContract) -> None:
    assert "no nodule is known" in answers(assess(contract, told()))[0]


@pytest.mark.parametrize(
    "change, words",
    [
        ({"age": (45.0, "a")}, "age is 45, below 50"),
        ({"smoking_status": ("never", "")}, "smoking_status is never, not former or current"),
    ],
)
def test_outside_its_population_there_is_no_answer(contract: ModelContract, change: dict[str, Any], words: str) -> None:
    (reason,) = answers(assess(contract, told(lesion(), **change)))
    assert "does not speak of this case" in reason and words in reason


def test_a_mass_is_no_nodule(contract: ModelContract) -> None:
    (reason,) = answers(assess(contract, told(lesion(nodule_diameter=(45.0, "mm")))))
    assert "nodule_diameter is 45, above 30" in reason


def test_what_the_source_does_not_tell_makes_an_interval_over_all_answers(contract: ModelContract) -> None:
    known = lesion()
    unknown = replace(
        known,
        values=tuple(
            replace(value, value=None, state=FeatureState.MISSING, reason="not told")
            if value.name in ("nodule_type", "nodule_in_upper_lobe")
            else value
            for value in known.values
        ),
    )
    (reason,) = answers(assess(contract, told(unknown)))
    corners = [
        brock(assess(contract, told(lesion(nodule_type=(kind, ""), nodule_in_upper_lobe=(upper, "")))))[0]
        for kind in ("solid", "part_solid", "nonsolid")
        for upper in (False, True)
    ]
    assert f"between {min(corners):.2f} and {max(corners):.2f} %" in reason


def test_what_plco_lacks_does_not_silence_brock(contract: ModelContract) -> None:
    found = assess(contract, told(lesion()))
    assert len(brock(found)) == 1
    assert "Body mass index is missing" in answers(found, "lung_cancer")[0]


SMOKER: dict[str, Any] = {
    "education_level": (4.0, "1"),
    "bmi": (27.0, "kg/m2"),
    "copd": (False, ""),
    "cancer_history": (False, ""),
    "cigarettes_per_day": (20.0, "/d"),
    "years_smoked": (30.0, "a"),
    "years_since_quitting": (5.0, "a"),
}


def test_a_polygenic_score_stands_beside_the_risk_and_in_it_only_where_asked(contract: ModelContract) -> None:
    given = {**SMOKER, "pgs000740_z": (1.5, "1")}
    beside = assess(contract, told(**given), {"polygenic": {"score": "PGS000740", "output": "lung_cancer"}})
    (base,) = beside.measurements
    assert any("z = +1.50" in note and "no part of the risk" in note for note in beside.notes)
    folded = assess(contract, told(**given), {"polygenic": PGS})
    same, more = folded.measurements
    assert same.value == base.value
    odds, more_odds = (value / (100 - value) for value in (base.value, more.value))
    assert more_odds / odds == pytest.approx(1.2**1.5)
    assert "NOT VALIDATED" in more.method


@pytest.mark.parametrize("wrong", [{"score": "rs123"}, {"per_sd": -1}, {"source": ""}, {"other": 1}])
def test_a_score_that_is_none_is_refused(contract: ModelContract, wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="polygenic"):
        assess(contract, told(), {"polygenic": {**PGS, **wrong}})


def test_a_rule_declares_the_region_of_its_patients() -> None:
    score2 = load_contract(MODELS / "score2")
    man = {
        "age": (50.0, "a"),
        "sex": ("male", ""),
        "smoking_status": ("current", ""),
        "sbp": (140.0, "mm[Hg]"),
        "total_cholesterol": (212.68, "mg/dL"),
        "hdl_cholesterol": (50.27, "mg/dL"),
        "diabetes": (False, ""),
    }
    given = {**told(), "values": [each.as_json() for each in present(man)]}
    assert assess(score2, given).measurements == ()
    (low,) = assess(score2, given, {"inputs": {"risk_region": "low"}}).measurements
    (high,) = assess(score2, given, {"inputs": {"risk_region": "very_high"}}).measurements
    assert round(low.value, 1) == 5.9 and high.value > 2 * low.value
    with pytest.raises(ConfigurationError, match="risk_region"):
        assess(score2, given, {"inputs": {"risk_region": "mars"}})
    diabetic = {**given, "values": [each.as_json() for each in present({**man, "diabetes": (True, "")})]}
    (answer,) = assess(score2, diabetic, {"inputs": {"risk_region": "low"}}).classes
    assert "diabetes is yes, not no" in answer.reason


def test_mesa_falls_back_to_the_equation_without_calcium() -> None:
    mesa = load_contract(MODELS / "mesa_chd")
    man = {
        "age": (70.0, "a"),
        "sex": ("male", ""),
        "race": ("hispanic", ""),
        "diabetes": (False, ""),
        "smoking_status": ("never", ""),
        "total_cholesterol": (190.0, "mg/dL"),
        "hdl_cholesterol": (50.0, "mg/dL"),
        "lipid_lowering": (False, ""),
        "sbp": (130.0, "mm[Hg]"),
        "antihypertensive": (True, ""),
        "family_heart_attack": (False, ""),
        "coronary_calcium": (0.0, "1"),
    }
    with_calcium = {**told(), "values": [each.as_json() for each in present(man)]}
    without = {**told(), "values": [each.as_json() for each in present(man) if each.name != "coronary_calcium"]}
    (first,), (second,) = assess(mesa, with_calcium).measurements, assess(mesa, without).measurements
    assert round(first.value, 2) == 3.06 and "with coronary calcium" in first.method
    assert second.value > first.value and "without coronary calcium" in second.method


def test_findrisc_adds_points_exactly_and_its_interval_covers_what_nobody_told() -> None:
    findrisc = load_contract(MODELS / "findrisc")
    woman = {
        "age": (56.0, "a"),
        "sex": ("female", ""),
        "bmi": (28.0, "kg/m2"),
        "waist": (85.0, "cm"),
        "daily_activity": (False, ""),
        "daily_vegetables": (True, ""),
        "antihypertensive": (True, ""),
        "high_glucose_ever": (False, ""),
        "family_diabetes": ("none", ""),
    }
    found = assess(findrisc, {**told(), "values": [each.as_json() for each in present(woman)]})
    assert [each.value for each in found.measurements] == [4.0]
    assert any("to the points of diabetes" in note for note in found.notes)
    del woman["high_glucose_ever"]
    (answer,) = assess(findrisc, {**told(), "values": [each.as_json() for each in present(woman)]}).classes
    assert "between 4.00 and 33.00 %" in answer.reason
