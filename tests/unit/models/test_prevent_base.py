"""The contract of PREVENT, and what it holds for."""

from __future__ import annotations

from pathlib import Path

from dicom_node.catalogue import load_contract
from dicom_node.domain.feature import Feature, FeatureState, WhenMissing, unfit
from workers.fusion.risk import equations_of

FOLDER = Path(__file__).parents[3] / "models" / "prevent_base"


def test_the_contract_fits_its_equations() -> None:
    contract = load_contract(FOLDER)
    assert equations_of(contract).inputs == {spec.name for spec in contract.features}
    outputs = {equation.output for equation in equations_of(contract).equations}
    assert outputs == {"cvd", "ascvd", "heart_failure"}


def test_inputs_count_within_the_published_ranges() -> None:
    specs = {spec.name: spec for spec in load_contract(FOLDER).features}
    assert unfit(specs["sbp"], Feature("sbp", 210.0, "mm[Hg]", FeatureState.PRESENT)) == "210 is above 200"
    assert unfit(specs["egfr"], Feature("egfr", 90.0, "mL/min", FeatureState.PRESENT)).startswith("its unit is mL/min")
    assert specs["bmi"].missing is WhenMissing.OMIT
