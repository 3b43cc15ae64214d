"""Calibrated intervals hold what they promise, and say how often they did."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundles import contract_of
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_node import contract_results
from dicom_node.domain.output import SampleMethod, UncertaintySpec
from dicom_node.errors import ContractError, InputError
from workers.evaluation import intervals


def cases(errors: Any, spreads: Any) -> list[dict[str, Any]]:
    return [
        {"measurement": "volume", "of": ["a"], "value": 10.0, "truth": 10.0 + error, "spread": spread}
        for error, spread in zip(errors, spreads, strict=True)
    ]


@given(seed=st.integers(0, 2**32 - 1), coverage=st.sampled_from([0.5, 0.8, 0.9]))
@settings(max_examples=20, deadline=None)
def test_new_cases_lie_within_as_often_as_promised(seed: int, coverage: float) -> None:
    """Mean coverage over many calibrations by 20 cases each, of errors whose size follows the spread."""
    rng = np.random.default_rng(seed)
    held = []
    for _ in range(200):
        spreads = rng.gamma(3, 1, 21)
        errors = rng.normal(0, spreads * 2)
        told = intervals.fitted(cases(errors[:20], spreads[:20]), coverage)
        held.append(abs(errors[20]) <= told.factor * (spreads[20] + told.floor) + 1e-3)
    assert np.mean(held) >= coverage - 0.1


def test_too_few_cases_are_refused_with_the_number_there_must_be() -> None:
    with pytest.raises(InputError, match="8 cases are too few") as refused:
        intervals.fitted(cases([1.0] * 8, [1.0] * 8), 0.9)
    assert "give 9 or more" in (refused.value.remedy or "")
    assert intervals.fitted(cases([1.0] * 9, [1.0] * 9), 0.9).factor == 0.5


def test_samples_that_always_agree_cannot_be_calibrated() -> None:
    with pytest.raises(InputError, match="agree"):
        intervals.fitted(cases([1.0] * 20, [0.0] * 20), 0.9)


def test_what_is_written_is_what_the_contract_reads_and_only_for_these_weights(tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    contract = replace(contract_of(tmp_path), uncertainty=UncertaintySpec(SampleMethod.MEMBERS))
    rows = [{"measurements": {"volume of a": case}} for case in cases(np.arange(1.0, 21.0), [1.0] * 20)]

    told = intervals.calibrate(contract, rows, "validation")

    assert told["volume of a"]["factor"] == 9.5  # the 19th of 20 errors, by spread and floor of 1 each
    (read,) = contract_results.calibrations(tmp_path, {})
    assert (read.measurement, read.of, read.factor, read.floor, read.cases) == ("volume", ("a",), 9.5, 1.0, 20)
    with pytest.raises(ContractError, match="other weights") as refused:
        contract_results.calibrations(tmp_path, {"models/model.pt": "00"})
    assert "--calibrate" in (refused.value.remedy or "")


@pytest.mark.parametrize("text", ["{", "[]", '{"weights": {}, "measurements": [{"of": []}]}'])
def test_a_damaged_calibration_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "calibration.json").write_text(text)
    with pytest.raises(ContractError, match="cannot be read"):
        contract_results.calibrations(tmp_path, {})


def test_a_factor_that_is_no_width_is_refused(tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    entry = {"measurement": "volume", "of": [], "factor": -1, "floor": 0, "cases": 9}
    content = json.dumps({"weights": {}, "measurements": [entry]})
    (tmp_path / "configs" / "calibration.json").write_text(content)
    with pytest.raises(ContractError, match="cannot be read"):
        contract_results.calibrations(tmp_path, {})


def test_a_model_without_uncertainty_cannot_be_calibrated(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="tells no uncertainty"):
        intervals.calibrate(contract_of(tmp_path), [], "")


def test_the_summary_counts_what_was_held(tmp_path: Path) -> None:
    rows = [
        {"measurements": {"volume of a": case | {"low": 9.0, "high": 11.5, "nominal": 0.9}}}
        for case in cases([0.0, 1.0, 2.0, -1.0], [1.0] * 4)
    ]
    (told,) = intervals.summary(contract_of(tmp_path), rows).values()
    assert (told["held"], told["cases"], told["coverage"], told["width"]) == (3, 4, 0.75, 1.25)
    assert told["low"] < 0.75 < told["high"]


def test_wilson_s_interval_is_that_of_the_paper() -> None:
    assert intervals.wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert intervals.wilson(0, 10)[0] == 0.0
