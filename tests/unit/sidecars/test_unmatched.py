"""Studies whose record a person has to look for: with reason and evidence, gone as soon as it is found."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from fhir_records import MRN, bundle, observation, patient
from result_cases import series
from studies_of_results import Clinic

from dicom_node.archive.files import ObjectStore
from dicom_node.ehr_settings import EhrSettings
from dicom_node.sidecars.ehr.importer import Importer
from dicom_node.sidecars.ehr.mapping import load
from dicom_node.sidecars.unmatched import unmatched

TOLD = {"default_issuer": "HOSP", "identifiers": [{"system": MRN, "issuer": "HOSP"}]}
SETTINGS = EhrSettings.model_validate(TOLD)
MAPPING = load()


def study(clinic: Clinic, asks: bool = True, **attributes: str) -> None:
    images = list(series())
    for image in images:
        image.PatientName, image.PatientBirthDate, image.PatientSex = "Doe^Jane", "19640301", "F"
        for keyword, value in attributes.items():
            setattr(image, keyword, value)
    clinic.arrive(images)
    clinic.plan(**({"gather_s": 600.0} if asks else {}))


def record(clinic: Clinic, **more: str) -> None:
    importer = Importer(SETTINGS, clinic.database, ObjectStore(clinic.data_dir), MAPPING, "epic")
    importer.document(bundle(patient("SYN-1", **more), observation("33914-3", 88.25, "mL/min/{1.73_m2}")), "a.json")


def test_a_study_is_on_the_list_until_its_record_agrees(clinic: Clinic) -> None:
    study(clinic)
    (found,) = unmatched(clinic.database, SETTINGS)
    assert (found.study_id, found.jobs, found.compared) == (1, (1,), ())
    assert "no record" in found.reason
    record(clinic, birthDate="1950-01-01")
    (found,) = unmatched(clinic.database, SETTINGS)
    assert "date of birth" in found.reason
    (evidence,) = found.compared
    agree = {key: evidence[key] for key in ("PatientName", "PatientBirthDate", "PatientSex")}
    assert agree == {"PatientName": "agrees", "PatientBirthDate": "differs", "PatientSex": "agrees"}
    assert "1950" not in str(found.as_json())
    record(clinic)
    assert unmatched(clinic.database, SETTINGS) == ()


def test_studies_that_ask_for_nothing_are_not_on_it(clinic: Clinic) -> None:
    study(clinic, asks=False)
    assert unmatched(clinic.database, SETTINGS) == ()


def test_what_is_deidentified_is_never_on_it(clinic: Clinic) -> None:
    study(clinic, PatientIdentityRemoved="YES")
    assert unmatched(clinic.database, SETTINGS) == ()


def test_nor_what_comes_from_one_that_removes_identities(clinic: Clinic) -> None:
    study(clinic)
    research = EhrSettings.model_validate(TOLD | {"deidentified_from": ["PACS"]})
    assert unmatched(clinic.database, research) == ()
    assert len(unmatched(clinic.database, EhrSettings.model_validate(TOLD | {"deidentified_from": ["OTHER"]}))) == 1


def test_nothing_of_a_record_is_logged(clinic: Clinic, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    with caplog.at_level(logging.DEBUG):
        study(clinic)
        record(clinic)
        unmatched(clinic.database, SETTINGS)
    for word in ("Doe", "Jane", "1964", "88.25"):
        assert word not in caplog.text
