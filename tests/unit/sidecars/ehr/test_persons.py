"""Whose numbers count, and how a record describes a person."""

from __future__ import annotations

from typing import Any

import pytest
from fhir_records import MRN, patient

from dicom_node.ehr_settings import EhrSettings
from dicom_node.exchange.fhir import resource_of
from dicom_node.sidecars.ehr.persons import numbers_of, record_of

SETTINGS = EhrSettings.model_validate(
    {"identifiers": [{"system": MRN, "issuer": "HOSP"}, {"system": "urn:oid:9", "issuer": "NAT"}]}
)


@pytest.mark.parametrize(
    ("identifiers", "numbers", "why"),
    [
        ([{"system": MRN, "value": "P1"}], (("HOSP", "P1"),), ""),
        ([{"system": MRN, "value": "P1"}, {"system": "urn:oid:9", "value": "7"}], (("HOSP", "P1"), ("NAT", "7")), ""),
        ([{"system": MRN, "value": "P1"}, {"system": MRN, "value": "P1", "use": "old"}], (("HOSP", "P1"),), ""),
        ([{"system": MRN, "value": "P1"}, {"system": MRN, "value": "P2", "use": "old"}], (), "two numbers"),
        ([{"system": "urn:other", "value": "P1"}], (), "no number"),
        ([{"value": "P1"}], (), "no number"),
        ([{"system": MRN, "value": "  "}], (), "no number"),
    ],
)
def test_numbers_of_systems_that_the_site_names(
    identifiers: list[dict[str, Any]], numbers: tuple[tuple[str, str], ...], why: str
) -> None:
    found, told = numbers_of(resource_of(patient(identifier=identifiers)), SETTINGS)
    assert found == numbers
    assert (why in told) if why else not told


def test_a_record_speaks_dicom() -> None:
    names = [{"family": "Maiden", "given": ["J"]}, {"use": "official", "family": "Doe", "given": ["Jane", "Q"]}]
    found = record_of(resource_of(patient(name=names)), "epic")
    assert found.attributes == {"PatientName": "Doe^Jane Q", "PatientBirthDate": "19640301", "PatientSex": "F"}
    assert (found.source, found.reference, found.standing) == ("epic", "Patient/a", "current")


def test_a_record_that_was_replaced_says_so() -> None:
    link = [{"other": {"reference": "Patient/b"}, "type": "replaced-by"}]
    assert record_of(resource_of(patient(link=link)), "epic").standing == "replaced"


def test_what_is_not_known_is_not_said() -> None:
    told = patient(name=None, gender="unknown", birthDate="1964")
    assert record_of(resource_of(told), "epic").attributes == {}
