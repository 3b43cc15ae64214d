"""A record is that of the images beyond doubt, or it is not used."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dicom_node.archive.features import PatientRecord
from dicom_node.archive.subjects import Subject
from dicom_node.sidecars.matching import match

JANE = {"PatientName": "Doe^Jane", "PatientBirthDate": "19640301", "PatientSex": "F"}
SUBJECT = Subject("P1", "HOSP", JANE)
RECORD = PatientRecord("epic", "Patient/a", JANE)


def record(**changed: str) -> PatientRecord:
    return replace(RECORD, attributes={**JANE, **changed})


def test_number_issuer_birth_and_sex_agree() -> None:
    found = match(SUBJECT, [RECORD])
    assert found.matched
    assert found.record == RECORD
    assert "the name too" in found.reason


@pytest.mark.parametrize("name", ["DOE^JANE^Q", "Doe^Jane=ドウ"])
def test_the_way_a_name_is_written_decides_nothing(name: str) -> None:
    assert match(SUBJECT, [record(PatientName=name)]).matched
    assert "written otherwise" in match(SUBJECT, [record(PatientName="Roe^Jane")]).reason


@pytest.mark.parametrize(
    ("subject", "records", "reason"),
    [
        ({"identity_removed": True}, [RECORD], "de-identified"),
        ({"patient_id": ""}, [RECORD], "name no patient"),
        ({"issuer": ""}, [RECORD], "who issued"),
        ({}, [], "no record"),
        ({}, [replace(RECORD, standing="replaced")], "no record"),
        ({}, [record(PatientBirthDate="19640103")], "date of birth is not the same"),
        ({}, [record(PatientSex="M")], "sex is not the same"),
        ({}, [record(PatientSex="")], "not told by the record"),
        ({"attributes": {**JANE, "PatientBirthDate": ""}}, [RECORD], "not told by the images"),
        ({"attributes": {**JANE, "PatientSex": "O"}}, [RECORD], "not told by the images"),
        ({}, [RECORD, replace(RECORD, reference="Patient/b")], "2 records"),
        ({}, [RECORD, replace(record(PatientSex="M"), source="lab")], "2 records"),
    ],
)
def test_any_doubt_keeps_them_apart(subject: dict[str, Any], records: list[PatientRecord], reason: str) -> None:
    found = match(replace(SUBJECT, **subject), records)
    assert not found.matched
    assert reason in found.reason
    assert found.record is None


def test_two_systems_may_describe_the_same_person() -> None:
    assert match(SUBJECT, [RECORD, replace(RECORD, source="lab", reference="7")]).matched
