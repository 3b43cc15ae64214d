"""Features reach the job that waits for them, by a deadline, from the right record or from none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fhir_records import MRN, bundle, observation, patient
from result_cases import contract, series
from studies_of_results import Clinic

from dicom_node.archive.files import ObjectStore
from dicom_node.domain.contract import ModelContract
from dicom_node.domain.feature import Feature, FeatureSpec, WhenMissing
from dicom_node.domain.finding import Code
from dicom_node.domain.job import Job, JobState
from dicom_node.ehr_settings import EhrSettings
from dicom_node.sidecars.ehr.importer import Importer
from dicom_node.sidecars.ehr.mapping import load
from dicom_node.sidecars.gather import Gatherer

UNIT = "mL/min/{1.73_m2}"
SETTINGS = EhrSettings.model_validate({"default_issuer": "HOSP", "identifiers": [{"system": MRN, "issuer": "HOSP"}]})
SPECS = (
    FeatureSpec("age", Code("424144002", "SCT", "Age"), "a"),
    FeatureSpec("egfr", Code("33914-3", "LN", "eGFR"), UNIT, missing=WhenMissing.OMIT, wait_s=600),
)
MAPPING = load()


def asking() -> ModelContract:
    return replace(contract(), features=SPECS)


def study(clinic: Clinic, seconds: float = 600, **attributes: str) -> int:
    images = list(series())
    for image in images:
        image.PatientBirthDate, image.PatientSex = "19640301", "F"
        for keyword, value in attributes.items():
            setattr(image, keyword, value)
    clinic.arrive(images)
    return clinic.plan(gather_s=seconds)


def record(clinic: Clinic, folder: Path, *more: dict[str, Any]) -> None:
    file = folder / "record.json"
    file.write_bytes(bundle(patient("SYN-1"), *more))
    store = ObjectStore(clinic.data_dir)
    report = Importer(SETTINGS, clinic.database, store, MAPPING, "epic").folder(file)
    assert report.refused == []


def tick(clinic: Clinic, models: dict[str, ModelContract] | None = None) -> int:
    known = {"ct_lung_density": asking()} if models is None else models
    return Gatherer(SETTINGS, clinic.database, known).tick()


def given(clinic: Clinic, job_id: int) -> tuple[Job, dict[str, Feature]]:
    job = clinic.ledger.job(job_id)
    assert job is not None and job.features is not None
    values = [Feature.from_json(each) for each in job.features["values"]]
    return job, {each.name: each for each in values}


def test_everything_there_goes_on_at_once(clinic: Clinic, tmp_path: Path) -> None:
    job_id = study(clinic)
    record(clinic, tmp_path, observation("33914-3", 88, UNIT))
    assert tick(clinic) == 1
    job, values = given(clinic, job_id)
    assert job.state is JobState.QUEUED
    assert job.features["match"]["matched"]  # type: ignore[index]
    assert values["egfr"].value == 88.0
    assert values["age"].value == pytest.approx(62.5, abs=5)


def test_what_is_missing_is_waited_for_until_the_deadline(clinic: Clinic, tmp_path: Path) -> None:
    job_id = study(clinic)
    record(clinic, tmp_path)
    assert tick(clinic) == 0
    record(clinic, tmp_path, observation("33914-3", 88, UNIT))
    assert tick(clinic) == 1
    assert given(clinic, job_id)[1]["egfr"].value == 88.0


def test_after_the_deadline_it_goes_on_without(clinic: Clinic, tmp_path: Path) -> None:
    job_id = study(clinic, seconds=0)
    record(clinic, tmp_path)
    assert tick(clinic) == 1
    assert given(clinic, job_id)[1]["egfr"].state == "missing"


def test_a_late_value_makes_no_second_job(clinic: Clinic, tmp_path: Path) -> None:
    job_id = study(clinic, seconds=0)
    record(clinic, tmp_path)
    tick(clinic)
    record(clinic, tmp_path, observation("33914-3", 88, UNIT))
    assert tick(clinic) == 0
    assert given(clinic, job_id)[1]["egfr"].state == "missing"
    assert len(clinic.ledger.jobs(study_id=1)) == 1


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"PatientSex": "M"}, "sex is not the same"),
        ({"PatientBirthDate": "19640103"}, "date of birth is not the same"),
        ({"PatientID": "SYN-2"}, "no record has the number"),
        ({"IssuerOfPatientID": "OTHER"}, "no record has the number"),
        ({"PatientIdentityRemoved": "YES"}, "de-identified"),
    ],
)
def test_nothing_is_mixed_in_doubt(clinic: Clinic, tmp_path: Path, attributes: dict[str, str], reason: str) -> None:
    job_id = study(clinic, seconds=0, **attributes)
    record(clinic, tmp_path, observation("33914-3", 88, UNIT))
    assert tick(clinic) == 1
    job, values = given(clinic, job_id)
    assert not job.features["match"]["matched"]  # type: ignore[index]
    assert all(value.state == "missing" and reason in value.reason for value in values.values())


def test_a_model_that_is_gone_does_not_wait_for_ever(clinic: Clinic) -> None:
    study(clinic)
    assert tick(clinic, {}) == 0
    with clinic.database.write() as connection:
        connection.exec_driver_sql("UPDATE job SET gather_until = 0")
    assert tick(clinic, {}) == 1
