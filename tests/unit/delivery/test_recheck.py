"""What is done with results whose destination has the images under another patient, study or order."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pydicom
import pytest
from sqlalchemy import select
from studies_of_results import Clinic
from wards import Ward, as_said

from dicom_node.archive import identities, schema
from dicom_node.archive.identities import IdentityEvent, Kind, Patient
from dicom_node.archive.withdrawals import Withdrawal, withdraw
from dicom_node.domain.parcel import ParcelState
from dicom_node.domain.record import StudyRecord
from dicom_node.jobs.correct import Corrector
from dicom_node.peer_settings import ChangeSettings
from dicom_node.settings import RuleSettings


@pytest.fixture
def ward(clinic: Clinic) -> Ward:
    return Ward(clinic)


def test_what_fits_goes_and_says_so(ward: Ward) -> None:
    ward.shows()
    ward.run()
    assert (ward.parcel.state, ward.parcel.record) == (ParcelState.PRESENT, "its record says the same")
    assert len(ward.peer.questions) == 1
    (subject,) = ward.peer.questions
    assert (subject.said["PatientID"], subject.was_there, len(subject.wanted)) == ("SYN-1", True, 4)


def test_a_difference_is_held_and_released_once(ward: Ward) -> None:
    ward.shows(patient_id="P2")
    ward.run(2)
    assert ward.parcel.state == ParcelState.DUE  # it may be amid a change
    assert ward.parcel.error["reason"] == "record-differs"
    ward.run()
    assert ward.parcel.state == ParcelState.HELD
    assert ward.parcel.error["message"] == "pacs: there PatientID is 'P2'"
    assert ward.peer.associations == []
    ward.clinic.parcels.release(ward.parcel.id, "admin")
    ward.shows(patient_id="P3")
    ward.run(3)
    assert ward.parcel.state == ParcelState.HELD  # another difference than the one that was accepted
    ward.clinic.parcels.release(ward.parcel.id, "admin")
    ward.run()
    assert ward.parcel.state == ParcelState.PRESENT


def test_a_difference_that_goes_away_changes_nothing(ward: Ward) -> None:
    ward.shows(patient_id="P2")
    ward.run(2)
    ward.shows()
    ward.run()
    assert ward.parcel.state == ParcelState.PRESENT


def test_a_retry_asks_again(ward: Ward) -> None:
    ward.shows(patient_id="P2")
    ward.run(3)
    ward.shows()
    ward.clinic.parcels.retry(ward.parcel.id, "admin")
    ward.run()
    assert ward.parcel.state == ParcelState.PRESENT


def test_it_is_written_anew_where_the_entry_says_so(clinic: Clinic) -> None:
    ward = Ward(clinic, on_difference="reissue")
    ward.peer.record = lambda subject: (as_said(subject, patient_id="P2", study_uid="1.2.3.9"),)
    ward.run(4)
    assert clinic.states() == [("pacs", "cancelled"), ("pacs", "present")]
    made = pydicom.dcmread(clinic.data_dir / ward.parcel.artifacts[0].path, stop_before_pixels=True)
    assert (made.PatientID, made.StudyInstanceUID) == ("P2", "1.2.3.9")
    assert ward.peer.associations == [[each.sop_uid for each in ward.parcel.artifacts]]


def test_a_rule_overrules_the_entry(clinic: Clinic) -> None:
    rule = RuleSettings(name="lungs", model="ct_lung_density", on_difference="send", on_gone="send")
    ward = Ward(clinic, [rule])
    ward.shows(patient_id="P2")
    ward.run()
    assert ward.parcel.state == ParcelState.PRESENT
    assert ward.parcel.record == "pacs: there PatientID is 'P2'"


def test_two_patients_are_held_whatever_the_entry_says(clinic: Clinic) -> None:
    ward = Ward(clinic, on_difference="reissue")
    ward.peer.record = lambda subject: (as_said(subject), as_said(subject, patient_id="P2"))
    ward.run(3)
    assert (ward.parcel.state, ward.parcel.error["reason"]) == (ParcelState.HELD, "record-contradictory")


@pytest.mark.parametrize(
    ("what", "state"), [("hold", ParcelState.HELD), ("cancel", ParcelState.CANCELLED), ("send", ParcelState.PRESENT)]
)
def test_images_that_are_gone(clinic: Clinic, what: Any, state: ParcelState) -> None:
    ward = Ward(clinic, on_gone=what)
    ward.run(3)
    assert ward.parcel.state == state
    assert ward.parcel.record == "pacs sent us these images, and its answer to C-FIND shows none of them"
    if what == "hold":
        assert "if pacs never shows what it sends" in ward.parcel.error["remedy"]
        assert "set check = false in its entry" in ward.parcel.error["remedy"]
    with clinic.database.read() as connection:
        opened = connection.execute(select(schema.open_item.c.kind)).scalars().all()
    assert list(opened) == (["images-gone"] if what == "cancel" else [])


def test_a_part_that_is_gone_is_never_cancelled(clinic: Clinic) -> None:
    ward = Ward(clinic, on_gone="cancel")
    ward.peer.record = lambda subject: (as_said(subject, images=frozenset(list(subject.wanted)[:2])),)
    ward.run(3)
    assert ward.parcel.state == ParcelState.HELD
    assert "2 of 4 images are not there any more" in ward.parcel.record


def test_a_destination_that_never_had_the_images_gets_the_result(clinic: Clinic) -> None:
    ward = Ward(clinic, ae_title="ARCHIVE")
    ward.run()
    assert (ward.parcel.state, ward.parcel.record) == (ParcelState.PRESENT, "it does not know the study")


def test_what_takes_a_result_back_is_never_held(clinic: Clinic) -> None:
    ward = Ward(clinic, on_silence="hold", on_gone="cancel")
    ward.shows()
    ward.run()
    withdraw(clinic.database, clinic.desk, Withdrawal(1, "its images were rejected"), ["pacs"], "test")
    for record in ((), (replace(ward_record(ward), patient_id="P2"),)):
        ward.peer.record = lambda subject, record=record: record
        ward.run()
        assert (ward.parcel.purpose, ward.parcel.state) == ("withdrawal", ParcelState.PRESENT)
        clinic.parcels.retry(ward.parcel.id, "admin")
    ward.fails("status")
    ward.run()
    assert ward.parcel.state == ParcelState.PRESENT


def ward_record(ward: Ward) -> StudyRecord:
    """The record of a destination that has what it was asked for last."""
    return as_said(ward.peer.questions[-1])


def test_an_archive_of_results_alone_does_not_hold_up_a_merge(clinic: Clinic) -> None:
    ward = Ward(clinic, ae_title="ARCHIVE")
    ward.shows(images=frozenset())
    ward.run()
    merge = IdentityEvent("E1", "hl7", datetime.now(UTC), Kind.MERGE, Patient("SYN-1"), Patient("P-NEW"))
    identities.take(clinic.database, merge, "test")
    Corrector(ward.bench.settings, clinic.database).tick()
    ward.shows(images=frozenset(), patient_id="SYN-1")  # by the earlier results
    ward.run()
    (result,) = [parcel for parcel in clinic.parcels.all() if parcel.purpose == "result" and parcel.state == "present"]
    assert pydicom.dcmread(clinic.data_dir / result.artifacts[0].path, stop_before_pixels=True).PatientID == "P-NEW"


@pytest.mark.parametrize("reason", ["status", "context-refused", "aborted", "stalled", "not-dicom", "too-many", "lost"])
def test_a_destination_that_does_not_tell_holds_up_nothing(ward: Ward, reason: str) -> None:
    ward.fails(reason)
    ward.run()
    assert ward.parcel.state == ParcelState.PRESENT
    assert ward.parcel.record == f"pacs could not be asked how it has the images: pacs: {reason}"


def test_silence_is_held_where_the_entry_says_so(clinic: Clinic) -> None:
    ward = Ward(clinic, on_silence="hold")
    ward.fails("status")
    ward.run(3)
    assert (ward.parcel.state, ward.parcel.error["reason"]) == (ParcelState.HELD, "record-untold")
    clinic.parcels.release(ward.parcel.id, "admin")
    ward.run()
    assert ward.parcel.state == ParcelState.PRESENT


def test_a_destination_that_is_away_is_tried_again_and_not_held(clinic: Clinic) -> None:
    ward = Ward(clinic, on_silence="hold")
    ward.fails("refused")
    ward.peer.unreachable = True
    ward.run(4)
    assert (ward.parcel.state, ward.parcel.error["reason"]) == (ParcelState.DUE, "refused")


def test_changes_of_the_destination_are_no_difference(clinic: Clinic) -> None:
    change = ChangeSettings(prefix={"PatientID": "R-"}, set={"IssuerOfPatientID": "R"})
    ward = Ward(clinic, change=change)
    ward.shows(patient_id="R-SYN-1", issuer="R")
    ward.run()
    assert ward.parcel.state == ParcelState.PRESENT


@pytest.mark.parametrize("entry", [{"check": False}, {"verify": "none"}])
def test_who_is_not_to_be_asked_is_not_asked(clinic: Clinic, entry: dict[str, Any]) -> None:
    ward = Ward(clinic, **entry)
    ward.run()
    assert ward.peer.questions == []
    assert (ward.parcel.state in (ParcelState.PRESENT, ParcelState.SENT), ward.parcel.record) == (True, "not asked")


def test_a_study_is_asked_about_once_for_a_moment(ward: Ward) -> None:
    ward.shows()
    lane = ward.bench.lane
    lane.run("pacs")
    ward.clinic.parcels.retry(ward.parcel.id, "admin")
    lane.run("pacs")
    assert len(ward.peer.questions) == 1


def test_a_file_of_ours_that_is_gone_is_told_by_the_sending(ward: Ward) -> None:
    (ward.clinic.data_dir / ward.parcel.artifacts[0].path).unlink()
    assert ward.lane._recheck.may_go(ward.parcel, ward.bench.settings.peers[0])
