"""What is known of a parcel before it is sent, and how what came of asking is noted."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from result_cases import series
from sqlalchemy import select, update
from studies_of_results import Clinic

from dicom_node.archive import identities, parcel_checks, schema
from dicom_node.archive.identities import IdentityEvent, Kind, Patient
from dicom_node.archive.parcel_checks import Check
from dicom_node.domain.parcel import ParcelState
from dicom_node.errors import HeaderError, PeerError

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
GONE = PeerError("pacs: the images are gone", reason="images-gone", remedy="look")


def check(clinic: Clinic, ae_title: str = "PACS") -> Check:
    return parcel_checks.check_of(clinic.database, clinic.parcels.all()[0], ae_title)


def test_it_knows_what_the_objects_say_and_what_they_speak_of(clinic: Clinic) -> None:
    clinic.result()
    found = check(clinic)
    assert found.subject.said["PatientID"] == "SYN-1"
    assert {uid: len(images) for uid, images in found.subject.images.items()} == {"1.2.826.0.1.3680043.8.498.9": 4}
    assert (found.told, found.corrected, found.divided, found.doubts, found.rule) == (None, {}, False, 0, "lungs")


def test_a_destination_had_the_images_if_it_sent_or_showed_them(clinic: Clinic) -> None:
    clinic.result()
    assert check(clinic, "PACS").subject.was_there
    assert not check(clinic, "OTHER").subject.was_there
    assert not check(clinic, "").subject.was_there
    parcel_checks.note(clinic.database, 1, "the same", known=True)
    assert check(clinic, "OTHER").subject.was_there


def test_it_had_only_the_images_that_it_showed(clinic: Clinic) -> None:
    clinic.result()
    first = clinic.parcels.all()[0]
    parcel_checks.note(clinic.database, first.id, "the same", known=True)
    added = series()
    for number, image in enumerate(added, start=1):
        image.SeriesInstanceUID, image.SOPInstanceUID = "1.2.3.4", f"1.2.3.4.{number}"
    clinic.result(added)
    (second,) = (each for each in clinic.parcels.all()[2:] if each.destination == first.destination)
    assert not parcel_checks.check_of(clinic.database, second, "OTHER").subject.was_there
    assert parcel_checks.check_of(clinic.database, first, "OTHER").subject.was_there


def test_what_was_told_since_is_what_they_would_have_to_say(clinic: Clinic) -> None:
    clinic.result()
    event = IdentityEvent("E1", "hl7", NOON, Kind.MERGE, Patient("SYN-1"), Patient("P-NEW"))
    identities.take(clinic.database, event, "test")
    assert check(clinic).told == {"PatientID": "P-NEW"}
    assert parcel_checks.corrections_wanted(clinic.database, 1) == {"PatientID": "P-NEW"}


def test_a_doubt_puts_off_and_a_note_ends_it(clinic: Clinic) -> None:
    clinic.result()
    parcel_checks.doubt(clinic.database, 1, GONE, 60)
    parcel_checks.doubt(clinic.database, 1, GONE, 60)
    assert check(clinic).doubts == 2
    assert [parcel.id for parcel in clinic.parcels.due()] == [2]
    parcel_checks.note(clinic.database, 1, "the same")
    assert check(clinic).doubts == 0
    assert clinic.parcels.all()[0].record == "the same"


def test_hold_and_cancel_reach_what_is_due_alone(clinic: Clinic) -> None:
    clinic.result()
    parcel_checks.hold(clinic.database, 1, GONE, "gone: all")
    parcel_checks.cancel(clinic.database, 2, GONE)
    assert clinic.states() == [("pacs", "held"), ("reading", "cancelled")]
    parcel_checks.cancel(clinic.database, 1, GONE)  # it is held, and a person's matter
    assert clinic.parcels.all()[0].state == ParcelState.HELD
    with clinic.database.read() as connection:
        kinds = connection.execute(select(schema.open_item.c.kind)).scalars().all()
    assert list(kinds) == ["images-gone"]
    clinic.parcels.release(1, "admin")
    assert clinic.parcels.all()[0].cleared == "gone: all"


def test_a_file_that_is_no_dicom_is_named(clinic: Clinic) -> None:
    clinic.result()
    with clinic.database.write() as connection:
        connection.execute(update(schema.artifact).values(path="nothing.dcm"))
    with pytest.raises(HeaderError, match=r"nothing\.dcm cannot be read"):
        check(clinic)
