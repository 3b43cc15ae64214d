"""The contract of PLCOm2012noRace, and what it holds for."""

from __future__ import annotations

from pathlib import Path

from dicom_node.catalogue import load_contract
from dicom_node.domain.contract import Status
from dicom_node.domain.feature import Feature, FeatureState, WhenMissing, unfit
from workers.fusion.risk import equations_of

FOLDER = Path(__file__).parents[3] / "models" / "plco_m2012_norace"


def test_the_contract_fits_its_equations_and_says_what_it_is() -> None:
    contract = load_contract(FOLDER)
    assert (contract.task, contract.status) == ("fusion", Status.RESEARCH)
    assert equations_of(contract).inputs == {spec.name for spec in contract.features}
    assert contract.gather_s == 600


def test_outside_its_population_a_value_is_none() -> None:
    specs = {spec.name: spec for spec in load_contract(FOLDER).features}
    assert unfit(specs["age"], Feature("age", 80.0, "a", FeatureState.PRESENT)) == "80 is above 74"
    assert "never" in unfit(specs["smoking_status"], Feature("smoking_status", "never", "", FeatureState.PRESENT))
    assert specs["copd"].missing is WhenMissing.BRACKET
