"""Whose images a study holds."""

from __future__ import annotations

from datetime import UTC, datetime

from result_cases import series
from studies_of_results import Clinic

from dicom_node.archive import identities
from dicom_node.archive.features import Features
from dicom_node.archive.identities import IdentityEvent, Kind, Patient
from dicom_node.archive.subjects import Subject, of_study

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def subject(clinic: Clinic, default_issuer: str = "") -> Subject:
    with clinic.database.read() as connection:
        return of_study(connection, 1, default_issuer)


def test_who_the_images_say_and_what_was_corrected(clinic: Clinic) -> None:
    clinic.arrive()
    found = subject(clinic)
    assert (found.patient_id, found.issuer, found.identity_removed) == ("SYN-1", "", False)
    values = {"PatientSex": "F", "PatientBirthDate": "19640301"}
    event = IdentityEvent("E", "hl7", NOON, Kind.UPDATE, patient=Patient("SYN-1"), values=values)
    identities.take(clinic.database, event, "test")
    assert subject(clinic).attributes.items() >= values.items()


def test_a_number_without_issuer_is_that_of_the_sites(clinic: Clinic) -> None:
    clinic.arrive()
    there = Features(clinic.database).identity("HOSP", "SYN-1")
    found = subject(clinic, "HOSP")
    assert found.issuer == "HOSP"
    assert there in found.identities
    assert there not in subject(clinic).identities


def test_images_without_their_patient_say_so(clinic: Clinic) -> None:
    images = list(series())
    for image in images:
        image.PatientIdentityRemoved = "YES"
    clinic.arrive(images)
    assert subject(clinic).identity_removed
