"""Results against earlier ones."""

from __future__ import annotations

from dataclasses import replace
from math import nan

import pytest
from hypothesis import given
from hypothesis import strategies as st
from result_cases import DETECTIONS, LONG_AXIS, MILLILITRE, VOLUME

from dicom_node.domain.comparison import (
    Comparison,
    Prior,
    Repeatability,
    Verdict,
    changes,
    match,
    obstacle,
    protocol_of,
    shift_between,
)
from dicom_node.domain.finding import Detection, Measurement

PRIOR = Prior(1, "1.2.3", "20250102", "1.2.4", "1.2.840.10008.5.1.4.1.1.88.34", "1.2.5", accepted=True)
numbers = st.floats(-1e6, 1e6)


def volume(value: float, segments: tuple[int, ...] = (1,)) -> Measurement:
    return Measurement("volume", VOLUME, value, MILLILITRE, segments)


@given(numbers, numbers, st.floats(0.1, 1e3), st.floats(0.1, 50))
def test_a_change_is_told_beyond_what_is_stated_and_turns_round_with_its_values(
    earlier: float, now: float, absolute: float, percent: float
) -> None:
    stated = {"volume": Repeatability(absolute, percent, "A paper")}
    (found,) = changes([volume(now)], [volume(earlier)], stated)
    assert found.limit == max(absolute, percent / 100 * abs(earlier))
    assert (found.verdict is Verdict.UNCHANGED) == (abs(now - earlier) <= found.limit)
    only_absolute = {"volume": Repeatability(absolute, None, "A paper")}
    (there,) = changes([volume(now)], [volume(earlier)], only_absolute)
    (back,) = changes([volume(earlier)], [volume(now)], only_absolute)
    turned = {Verdict.INCREASED: Verdict.DECREASED, Verdict.DECREASED: Verdict.INCREASED}
    assert back.verdict is turned.get(there.verdict, there.verdict)
    assert back.change == -there.change


def test_without_repeatability_nothing_is_said_of_a_change() -> None:
    (found,) = changes([volume(300)], [volume(100)], {})
    assert (found.verdict, found.limit, found.change, found.percent) == (Verdict.NOT_TOLD, None, 200, 200)


def test_only_the_same_is_compared() -> None:
    stated = {"volume": Repeatability(1, None, "A paper")}
    assert not changes([volume(1, (1, 2))], [volume(2)], stated)
    assert not changes([volume(nan)], [volume(2)], stated)
    assert not changes([volume(1)], [volume(nan)], stated)
    assert not changes([replace(volume(1), unit=replace(MILLILITRE, value="mm3"))], [volume(2)], stated)
    (of_nothing,) = changes([volume(1)], [volume(0)], stated)
    assert of_nothing.percent is None


CT = {"Modality": "CT", "SliceThickness": 1.25, "KVP": 120.0, "ConvolutionKernel": "B30f", "PixelSpacing": [0.7, 0.7]}


@pytest.mark.parametrize(
    ("differs", "told"),
    [
        ({}, ""),
        ({"SliceThickness": 1.0}, ""),
        ({"PixelSpacing": [0.9, 0.9]}, ""),
        ({"SliceThickness": 5.0}, "SliceThickness is 1.25, and was 5"),
        ({"ConvolutionKernel": "B70f"}, "ConvolutionKernel is B30f, and was B70f"),
        ({"ContrastBolusAgent": "Iomeron 300"}, "ContrastBolusAgent is not stated, and was given"),
        ({"PixelSpacing": [0.7]}, "PixelSpacing is 0.7 x 0.7, and was 0.7"),
    ],
)
def test_protocols_are_compared_by_what_changes_measurements(differs: dict[str, object], told: str) -> None:
    assert obstacle(protocol_of(CT), protocol_of({**CT, **differs})) == told
    assert bool(obstacle(protocol_of({**CT, **differs}), protocol_of(CT))) == bool(told)
    assert not protocol_of({"PatientName": "Somebody"})


def at(number: int, x: float, **values: object) -> Detection:
    uids = {"number": number, "tracking_id": f"nodule {number}", "tracking_uid": f"2.25.{number}"}
    return replace(DETECTIONS[0], points=((x, 0.0, 0.0),), **{**uids, **values})  # type: ignore[arg-type]


def test_the_nearest_pairs_are_matched_first_each_once_and_within_the_distance() -> None:
    now, earlier = [at(1, 0), at(2, 4), at(3, 50)], [at(11, 3), at(12, 70)]
    (found,) = match(now, earlier, (0, 0, 0), 10)
    assert (found.tracking_uid, found.earlier_uid, found.distance_mm) == ("2.25.2", "2.25.11", 1)
    assert not match([at(1, 0)], [at(2, 0, output="other")], (0, 0, 0), 10)


@given(st.lists(st.integers(-200, 200), unique=True, min_size=1, max_size=8), st.integers(-500, 500))
def test_detections_that_moved_together_find_themselves_after_alignment(places: list[int], way: int) -> None:
    earlier = [at(number, 10.0 * place) for number, place in enumerate(places)]
    now = [at(number, 10.0 * place + way) for number, place in enumerate(places)]
    centres = {"a": [1.0, 2.0, 3.0], "b": [5.0, 0.0, -3.0], "of one alone": [0.0, 0.0, 0.0]}
    moved = {name: [x + way, y, z] for name, (x, y, z) in list(centres.items())[:2]}
    shift = shift_between(moved, centres)
    assert shift == pytest.approx((way, 0, 0))
    assert shift_between({}, centres) is None
    found = match(now, earlier, shift or (), 5)
    assert {pair.tracking_uid for pair in found} == {each.tracking_uid for each in earlier}
    assert all(pair.tracking_uid == pair.earlier_uid for pair in found)


def test_what_a_reader_is_told() -> None:
    (pair,) = match([at(1, 0, measurements=(LONG_AXIS,))], [at(2, 3)], (0, 0, 0), 10)
    told = list(Comparison(PRIOR, "", "their frame of reference", (), (pair,), (), ("nodule 3",)).sentences())
    assert told == [
        "Compared with the result of the same model of 2025-01-02 (accepted by a reader).",
        "nodule 1 may be nodule 2 of 2025-01-02: 3.0 mm apart, aligned by their frame of reference. A proposal until a "
        "reader confirms it.",
        "Not found again: nodule 3 of 2025-01-02.",
    ]
    unlike = Comparison(replace(PRIOR, study_date="", accepted=False), "SliceThickness is 5, and was 1", "")
    assert list(unlike.sentences()) == [
        "Not compared with the result of an unknown date (not reviewed): SliceThickness is 5, and was 1."
    ]
