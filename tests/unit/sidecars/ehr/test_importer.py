"""A folder of the record: taken once, each resource under its patient, refused by name."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from fhir_records import MRN, bundle, condition, ndjson, observation, patient

from dicom_node.archive.database import Database
from dicom_node.archive.features import Features
from dicom_node.archive.files import ObjectStore
from dicom_node.ehr_settings import EhrSettings
from dicom_node.errors import InputError
from dicom_node.sidecars.ehr.importer import Importer, Report
from dicom_node.sidecars.ehr.mapping import load

SETTINGS = EhrSettings.model_validate({"identifiers": [{"system": MRN, "issuer": "HOSP"}]})
EGFR = "mL/min/{1.73_m2}"
MAPPING = load()


def take(database: Database, folder: Path, settings: EhrSettings = SETTINGS) -> Report:
    return Importer(settings, database, ObjectStore(database.data_dir), MAPPING, "epic").folder(folder)


def values(database: Database, number: str = "P1") -> dict[str, object]:
    features = Features(database)
    return {each.name: each.value for each in features.of_patient(features.identity("HOSP", number))}


def test_the_same_folder_again_changes_nothing(database: Database, tmp_path: Path) -> None:
    folder = tmp_path / "record"
    folder.mkdir()
    (folder / "a.json").write_bytes(bundle(patient(), observation("33914-3", 88, EGFR)))
    first, second = take(database, folder), take(database, folder)
    assert (first.patients, first.resources, first.features, first.known) == (1, 2, 3, 0)
    assert (second.features, second.known) == (0, 1)
    assert values(database) == {"birth_date": "1964-03-01", "sex": "female", "egfr": 88.0}


def test_files_of_one_type_each_are_read_together_in_any_order(database: Database, tmp_path: Path) -> None:
    (tmp_path / "Condition.ndjson").write_bytes(ndjson(condition("13645005")))
    (tmp_path / "Patient.ndjson").write_bytes(ndjson(patient()))
    assert take(database, tmp_path).refused == []
    assert values(database)["copd"] is True


def test_what_belongs_to_nobody_here_is_refused_by_name(database: Database, tmp_path: Path) -> None:
    other = observation("33914-3", 20, EGFR, "o2", subject={"reference": "Patient/stranger"})
    (tmp_path / "a.json").write_bytes(bundle(patient(), observation("33914-3", 88, EGFR), other))
    (tmp_path / "b.json").write_bytes(bundle(patient(id_="b", identifier=[{"system": "urn:else", "value": "P1"}])))
    (tmp_path / "c.json").write_bytes(b"{")
    refused = {each.what: each.reason for each in take(database, tmp_path).refused}
    assert "1 resources of a patient that is not here" in refused["a.json: Patient/stranger"]
    assert "no number of a system" in refused["b.json: Patient/b"]
    assert "not JSON" in refused["c.json"]
    assert values(database)["egfr"] == 88.0


def test_nothing_to_import_is_told(database: Database, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no \.json"):
        take(database, tmp_path)


def test_patients_of_the_data_one_by_one(database: Database, test_data: Path) -> None:
    hospital = {"system": "http://hospital.smarthealthit.org", "issuer": "HOSP"}
    settings = EhrSettings.model_validate({"identifiers": [hospital]})
    files = sorted((test_data / "ehr" / "fhir").glob("*.json"))[:6]
    expected = 0
    start = time.perf_counter()
    for file in files:
        report = take(database, file, settings)
        assert report.refused == []
        entries = [entry["resource"] for entry in json.loads(file.read_bytes())["entry"]]
        (person,) = (each for each in entries if each["resourceType"] == "Patient")
        (number,) = (each["value"] for each in person["identifier"] if each["system"] == hospital["system"])
        found = values(database, number)
        assert found["birth_date"]
        expected += "bmi" in found and "sbp" in found and "smoking_status" in found
    assert expected == len(files)
    assert time.perf_counter() - start < 60
