"""Vectors and positions become coded statements, and silence is never one of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bundles import contract_of

from dicom_node.domain.contract import ProtocolBound
from dicom_node.domain.finding import Classification, Code, Presence
from dicom_node.domain.output import (
    ClassOutput,
    ClassSpec,
    Coordinates,
    Output,
    RegionForm,
    RegionOutput,
    ValueOutput,
    ValueSpec,
)
from dicom_node.errors import ModelOutputError
from workers.inference.statements import classify, detections, values

CODE = Code("1", "99TEST", "Something")
CLEAN, MOTION = ClassSpec("clean", CODE), ClassSpec("motion", CODE, present_from=0.3)
QUALITY = ClassOutput("quality", "pred", (CLEAN, MOTION), exclusive=True, site=CODE)
NODULES = RegionOutput(
    "nodules",
    "at",
    RegionForm.POINTS,
    Coordinates.LPS,
    CODE,
    (ClassSpec("nodule", CODE, present_from=0.4),),
    scores="score",
    measurements=(ValueSpec("long_axis", CODE, CODE),),
    at_most=2,
)


def classified(output: Output, probabilities: list[float], thickness: float = 1.0) -> dict[str, Classification]:
    contract = contract_of(Path("m"), outputs=(output,))
    found = classify(contract, {"quality": np.array(probabilities)}, {"SliceThickness": thickness})
    return {each.name: each for each in found}


def presences(found: dict[str, Classification]) -> list[str]:
    return [str(each.presence) for each in found.values()]


def test_one_of_exclusive_classes_holds_and_the_others_are_absent_by_code() -> None:
    found = classified(QUALITY, [0.2, 0.8])

    assert presences(found) == ["absent", "present"]
    assert found["motion"].probability == 0.8
    assert found["clean"].reason == "Probability 20.0%; motion is more probable"


def test_other_classes_hold_each_by_its_threshold() -> None:
    assert presences(classified(replace(QUALITY, exclusive=False), [0.49, 0.31])) == ["absent", "present"]


def test_an_undecided_classifier_says_so() -> None:
    found = classified(replace(QUALITY, decided_from=0.7), [0.4, 0.6])

    assert presences(found) == ["not evaluated"] * 2
    assert "below the 70%" in found["clean"].reason


def test_outside_its_protocol_nothing_is_evaluated_and_no_probability_told() -> None:
    thin = replace(QUALITY, protocol=(ProtocolBound("SliceThickness", at_most=2.0),))

    found = classified(thin, [0.2, 0.8], thickness=5.0)

    assert presences(found) == ["not evaluated"] * 2
    assert found["motion"].probability is None
    assert found["motion"].reason == "SliceThickness is 5, more than 2"
    assert presences(classified(thin, [0.2, 0.8])) == ["absent", "present"]


def test_a_value_outside_its_bounds_is_refused() -> None:
    age = ValueOutput("age", "pred", (ValueSpec("age", CODE, CODE, at_least=0, at_most=120),))
    contract = contract_of(Path("m"), outputs=(age,))

    assert values(contract, {"age": np.array([63.5])})[0].value == 63.5
    with pytest.raises(ModelOutputError, match="returned 400 1 as age") as caught:
        values(contract, {"age": np.array([400.0])})
    assert caught.value.reason == "output-range"


def marked(scores: list[float]) -> dict[str, np.ndarray]:
    count = len(scores)
    points = np.arange(3.0 * count).reshape(count, 1, 3)
    axes = np.arange(count, dtype=np.float64)
    return {"nodules/points": points, "nodules/scores": np.array(scores), "nodules/long_axis": axes}


def test_the_best_detections_are_told_first_and_the_rest_counted() -> None:
    contract = contract_of(Path("m"), outputs=(NODULES,))
    arrays = marked([0.5, 0.9, 0.1, 0.7])

    found, notes = detections(contract, arrays, lambda name: f"uid of {name}")

    assert [(each.number, each.score) for each in found] == [(1, 0.9), (2, 0.7)]
    assert found[0].points == ((3.0, 4.0, 5.0),)
    assert found[0].measurements[0].value == 1.0
    assert found[1].tracking_uid == "uid of nodules 2"
    assert notes == ("3 nodules were found; the 2 with the best score are told.",)
    (told,) = classify(contract, arrays, {})
    assert (told.presence, told.reason) == (Presence.PRESENT, "3 found with a score of 0.4 or more")


def test_nothing_found_is_absent_by_code() -> None:
    contract = contract_of(Path("m"), outputs=(NODULES,))

    assert detections(contract, marked([]), str) == ((), ())
    assert [each.presence for each in classify(contract, marked([0.1]), {})] == [Presence.ABSENT]


def test_a_class_that_the_contract_does_not_have_is_refused() -> None:
    contract = contract_of(Path("m"), outputs=(replace(NODULES, labels="label"),))

    with pytest.raises(ModelOutputError, match="has the class 3"):
        detections(contract, marked([0.9]) | {"nodules/labels": np.array([3])}, str)
