"""Documents are kept once, of each source the latest version counts, and merged patients share what is told."""

from __future__ import annotations

import stat
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from dicom_node.archive import identities
from dicom_node.archive.database import Database
from dicom_node.archive.features import Features, NewDocument, PatientRecord, keep
from dicom_node.archive.files import ObjectStore
from dicom_node.archive.identities import IdentityEvent, Kind, Patient
from dicom_node.domain.feature import Feature, FeatureState

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def told(value: float = 88.0, version: str = "1", **given: Any) -> Feature:
    made = Feature("egfr", value, "mL/min", FeatureState.PRESENT, effective_at=NOON, source="fhir:x/Observation/1")
    return replace(made, version=version, recorded_at=NOON + timedelta(days=int(version)), **given)


def document(number: int = 1) -> NewDocument:
    return NewDocument("fhir", "folder", f"{number:064d}", f"documents/{number}")


def test_a_document_is_kept_once_and_for_the_node_alone(database: Database, tmp_path: Path) -> None:
    store, features = ObjectStore(tmp_path), Features(database)
    patient = features.identity("", "P1")
    new = keep(store, "fhir", "folder", b"{}")
    assert keep(store, "fhir", "folder", b"{}") == new
    assert stat.S_IMODE(store.absolute(new.path).stat().st_mode) == 0o600
    first, second = (features.take(patient, new, [told()]) for _ in range(2))
    assert (first.known, first.features) == (False, 1)
    assert (second.known, second.features, second.document_id) == (True, 0, first.document_id)
    assert features.of_patient(patient) == (told(),)
    assert [each for each, _ in features.documents(patient)] == [new]


def test_the_latest_version_of_a_source_counts_in_whatever_order_they_come(database: Database) -> None:
    features = Features(database)
    patient = features.identity("", "P1")
    for number, version in enumerate(("2", "1", "3")):
        features.take(patient, document(number), [told(float(version), version)])
    assert [found.value for found in features.of_patient(patient, ["egfr"])] == [3.0]
    assert features.of_patient(patient, ["hba1c"]) == ()


def test_what_a_source_takes_back_counts_no_more(database: Database) -> None:
    features = Features(database)
    patient = features.identity("", "P1")
    features.take(patient, document(), [told(), told(source="fhir:x/Observation/2")])
    features.take(patient, document(2), [], gone={"fhir:x/Observation/1": "entered in error"})
    assert [found.source for found in features.of_patient(patient)] == ["fhir:x/Observation/2"]


def test_what_one_patient_is_told_is_not_anothers(database: Database) -> None:
    features = Features(database)
    here, there = features.identity("A", "P1"), features.identity("B", "P1")
    assert here != there
    assert features.identity("A", "P1") == here
    features.take(here, document(), [told()])
    assert features.of_patient(there) == ()


def test_patients_who_were_merged_share_what_is_told(database: Database) -> None:
    features = Features(database)
    old, new = features.identity("", "OLD"), features.identity("", "NEW")
    features.take(old, document(), [told()], record=PatientRecord("x", "Patient/1", {"PatientSex": "F"}))
    assert features.of_patient(new) == ()
    event = IdentityEvent("E1", "hl7", NOON, Kind.MERGE, patient=Patient("OLD"), into=Patient("NEW"))
    identities.take(database, event, "test")
    for patient in (old, new):
        assert features.of_patient(patient) == (told(),)
        assert [found.reference for found in features.records(patient)] == ["Patient/1"]


def test_a_record_is_described_as_last_told(database: Database) -> None:
    features = Features(database)
    patient = features.identity("", "P1")
    for sex in "FM":
        record = PatientRecord("x", "Patient/1", {"PatientSex": sex})
        features.take(patient, document(), [], record=record)
    assert features.records(patient) == (record,)


def test_a_document_of_several_patients_belongs_to_none(database: Database) -> None:
    features = Features(database)
    for number in ("P1", "P2"):
        features.take(features.identity("", number), document(), [])
    assert features.documents(features.identity("", "P1")) == ()
