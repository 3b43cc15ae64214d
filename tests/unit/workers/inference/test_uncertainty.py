"""Spreads of samples and of probabilities, and the intervals that are made of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bundles import contract_of
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.domain.contract import MeasurementSpec, ModelContract
from dicom_node.domain.finding import Code, Measurement
from dicom_node.domain.output import Calibration, MaskForm, MaskOutput, SampleMethod, UncertaintySpec
from workers.inference.uncertainty import judged

ML = Code("ml", "UCUM", "milliliter")
VOLUME = Code("118565006", "SCT", "Volume")
SPECS = (MeasurementSpec("volume", "volume", (("segment_1",), ("segment_2",), ("segment_1", "segment_2"))),)


def contract(
    method: SampleMethod, *calibrations: Calibration, form: MaskForm = MaskForm.PROBABILITIES
) -> ModelContract:
    output = MaskOutput("masks", "pred", form, ("segment_1", "segment_2"), keep=True)
    made = contract_of(Path("model"), segments=2, outputs=(output,))
    wanted = UncertaintySpec(method, coverage=0.8, calibrations=calibrations)
    return replace(made, measurements=SPECS, uncertainty=wanted)


def volume(value: float, *segments: int) -> Measurement:
    return Measurement("volume", VOLUME, value, ML, segments or (1,))


def test_without_calibration_the_interval_is_two_deviations_and_says_so() -> None:
    samples = [[volume(9.0)], [volume(10.0)], [volume(11.0)]]

    (told,) = judged(contract(SampleMethod.MEMBERS), [volume(10.5)], samples, {}, 1.0)

    assert told.value == 10.5
    assert told.uncertainty is not None
    assert (told.uncertainty.spread, told.uncertainty.low, told.uncertainty.high) == (1.0, 8.5, 12.5)
    assert told.uncertainty.coverage is None
    assert "not calibrated" in told.uncertainty.method


def test_a_calibrated_one_is_as_wide_as_the_cases_asked_for() -> None:
    calibrated = contract(SampleMethod.VIEWS, Calibration("volume", ("segment_1",), 3.0, 0.5, 20))

    first, other = judged(
        calibrated,
        [volume(10.0), volume(5.0, 2)],
        [[volume(9.0), volume(5.0, 2)], [volume(10.0), volume(5.0, 2)], [volume(11.0), volume(5.0, 2)]],
        {},
        1.0,
    )

    assert first.uncertainty is not None
    assert (first.uncertainty.low, first.uncertainty.high, first.uncertainty.coverage) == (5.5, 14.5, 0.8)
    assert "80% of the truths of 20 cases" in first.uncertainty.method
    assert other.uncertainty is not None
    assert other.uncertainty.coverage is None


def test_no_volume_is_less_than_nothing() -> None:
    (told,) = judged(contract(SampleMethod.MEMBERS), [volume(1.0)], [[volume(0.0)], [volume(4.0)]], {}, 1.0)
    assert told.uncertainty is not None
    assert told.uncertainty.low == 0.0


def test_what_has_no_samples_has_no_uncertainty() -> None:
    assert judged(contract(SampleMethod.MEMBERS), [volume(1.0)], [[volume(1.0)]], {}, 1.0)[0].uncertainty is None
    assert judged(contract_of(Path("m")), [volume(1.0)], [[volume(1.0)]] * 3, {}, 1.0)[0].uncertainty is None


@given(share=st.floats(0.05, 0.95), inside=st.integers(1, 500))
def test_the_spread_of_one_probability_is_that_of_all_or_nothing(share: float, inside: int) -> None:
    """Voxels that are right together with probability p: standard deviation n sqrt(p (1 - p))."""
    field = np.zeros((5, 10, 10), np.float32)
    field.ravel()[:inside] = share
    (told,) = judged(contract(SampleMethod.THRESHOLDS), [volume(1.0)], [], {1: field, 2: field * 0}, 1000.0)
    assert told.uncertainty is not None
    assert told.uncertainty.spread == pytest.approx(inside * np.sqrt(share * (1 - share)), rel=0.12)


def test_sure_voxels_have_no_spread() -> None:
    field = np.ones((2, 3, 4), np.float32)
    (told,) = judged(contract(SampleMethod.THRESHOLDS), [volume(0.024)], [], {1: field}, 1.0)
    assert told.uncertainty is not None
    assert told.uncertainty.spread == 0


@pytest.mark.parametrize(("form", "spread"), [(MaskForm.PROBABILITIES, 0.0), (MaskForm.CHANNELS, 0.5)])
def test_segments_that_exclude_each_other_make_up_for_each_other(form: MaskForm, spread: float) -> None:
    half = np.full((1, 1, 1000), 0.5, np.float32)
    (told,) = judged(contract(SampleMethod.THRESHOLDS, form=form), [volume(1.0, 1, 2)], [], {1: half, 2: half}, 1.0)
    assert told.uncertainty is not None
    assert told.uncertainty.spread == pytest.approx(spread, abs=0.01)
