"""Outside of what a model holds for: "not evaluated", with the reason, for all that it would have told."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from bundles import oblique_volume
from result_cases import CONTEXT, findings_on, series

from dicom_node.catalogue import load_contract
from dicom_node.domain.contract import ModelContract, ProtocolBound
from dicom_node.domain.finding import Presence
from workers.inference.scope import not_evaluated, outside
from workers.inference.volume import Volume
from workers.results import readback
from workers.results.encode import encode

ADULTS = ProtocolBound("PatientAge", at_least=18, at_most=90)
THIN = ProtocolBound("SliceThickness", at_most=1.5, unknown_fits=True)


@pytest.fixture(scope="module")
def contract() -> ModelContract:
    lungs = load_contract(Path(__file__).resolve().parents[4] / "models" / "ct_lung_density")
    return replace(lungs, population=(ADULTS,), protocol=(THIN,))


def volume_with(**attributes: Any) -> Volume:
    volume = oblique_volume()
    headers = []
    for header in volume.headers:
        told = pydicom.Dataset()
        told.update(header)
        for keyword, value in attributes.items():
            setattr(told, keyword, value)
        headers.append(told)
    return replace(volume, headers=tuple(headers))


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"PatientAge": "045Y"}, ""),
        ({"PatientAge": "018Y", "SliceThickness": 1.5}, ""),
        ({"PatientAge": "017Y"}, "PatientAge is 017Y, less than 18 years"),
        ({"PatientAge": "018M"}, "PatientAge is 018M, less than 18 years"),
        ({"PatientAge": "091Y"}, "PatientAge is 091Y, more than 90 years"),
        ({"PatientBirthDate": "20000101", "StudyDate": "20200101"}, ""),
        ({"PatientBirthDate": "20100101", "StudyDate": "20200102"}, "PatientAge is 10.0"),
        ({"PatientBirthDate": "20100101"}, "PatientAge is not given"),
        ({"PatientBirthDate": "1990", "StudyDate": "20200102"}, "PatientAge is not given"),
        ({"PatientAge": "045Y", "SliceThickness": 3.0}, "SliceThickness is 3, more than 1.5"),
        ({"PatientAge": "010Y", "SliceThickness": 3.0}, "less than 18 years; SliceThickness is 3"),
    ],
)
def test_population_and_protocol_decide(contract: ModelContract, attributes: dict[str, Any], reason: str) -> None:
    blank = {"PatientAge": None, "PatientBirthDate": None, "StudyDate": None, "SliceThickness": None}
    told = outside(contract, volume_with(**(blank | attributes)))

    assert reason in told
    assert bool(told) == bool(reason)


def test_a_model_without_bounds_holds_for_every_series(contract: ModelContract) -> None:
    assert outside(replace(contract, population=(), protocol=()), volume_with(PatientAge="001D")) == ""


def test_everything_the_model_would_have_told_is_answered_once(contract: ModelContract) -> None:
    answers = not_evaluated(contract, "Too young")

    assert [(answer.concept.meaning, answer.output) for answer in answers] == [
        ("Lung", "segmentation"),
        ("Pulmonary emphysema", "evaluations"),
    ]
    assert {answer.presence for answer in answers} == {Presence.NOT_EVALUATED}
    assert {(answer.reason, answer.probability) for answer in answers} == {("Too young", None)}


def test_the_report_says_not_evaluated_and_there_is_no_segmentation(contract: ModelContract) -> None:
    sources = series(4)
    nothing: dict[str, Any] = {"layers": (), "segments": (), "measurements": (), "evaluations": ()}
    answers = not_evaluated(contract, "PatientAge is 010Y, less than 18 years")
    findings = findings_on(sources, classes=answers, **nothing)
    objects = encode(findings, contract, sources, CONTEXT)

    readback.check(objects, findings, sources)
    assert [made.kind for made in objects] == ["sr"]
    told = pydicom.dcmread(BytesIO(objects[0].data)).to_json()
    assert told.count("373121007") == len(answers)
    assert told.count("PatientAge is 010Y, less than 18 years") == len(answers)
