"""Results are written anew once, for all destinations or for one, and whoever has the old ones is told."""

from __future__ import annotations

import pydicom
import pytest
from sqlalchemy import select
from studies_of_results import Clinic

from dicom_node.archive import reissues, schema
from dicom_node.archive.reissues import Reissue, reissue, stragglers
from dicom_node.archive.withdrawals import Withdrawal, withdraw
from dicom_node.domain.parcel import Purpose
from dicom_node.errors import HeaderError, LedgerError

NOTES = ["pacs"]


def wanted(set_id: int = 1, to: tuple[str, ...] | None = None, **values: str) -> Reissue:
    return Reissue(set_id, values or {"PatientID": "P2"}, "merged", "hl7:ADT1", to)


def write(clinic: Clinic, order: Reissue) -> int | None:
    return reissue(clinic.database, clinic.desk, order, NOTES, "test")


def counting(clinic: Clinic) -> dict[str, list[str]]:
    """Destination -> patients of the result objects that are sent, or were."""
    found: dict[str, list[str]] = {}
    for parcel in clinic.parcels.all():
        if parcel.purpose == Purpose.RESULT and parcel.state != "cancelled":
            for made in parcel.artifacts:
                patient = pydicom.dcmread(clinic.data_dir / made.path, stop_before_pixels=True).PatientID
                found.setdefault(parcel.destination, []).append(str(patient))
    return found


def test_what_was_not_sent_is_sent_anew_in_its_place(clinic: Clinic) -> None:
    job = clinic.result()
    before = {made.sop_uid for made in clinic.ledger.artifacts(job)}
    assert write(clinic, wanted()) == 2
    assert counting(clinic) == {"pacs": ["P2"] * 2, "reading": ["P2"] * 2}
    assert clinic.standings() == ["reissued", "current"]
    assert clinic.states("withdrawal") == []  # nobody has the old one
    after = {made.sop_uid for made in clinic.ledger.artifacts(job)}
    assert len(after) == len(before)
    assert not after & before
    with pytest.raises(LedgerError, match="cancelled: written anew as result set 2: merged"):
        clinic.parcels.retry(1, "admin")


def test_whoever_has_the_old_one_is_told(clinic: Clinic) -> None:
    job = clinic.result()
    clinic.deliver("pacs", "reading")
    old = {made.sop_uid for made in clinic.ledger.artifacts(job)}
    write(clinic, wanted())
    told = clinic.sent("withdrawal")
    assert told["pacs"].ConceptNameCodeSequence[0].CodeValue == "113038"
    named = {
        item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        for item in told["pacs"].ContentSequence
        if "ReferencedSOPSequence" in item
    }
    assert named == old
    said = " ".join(item.TextValue for item in told["reading"].ContentSequence if item.ValueType == "TEXT")
    assert "Another result replaces it" in said
    (report,) = [made for made in clinic.ledger.artifacts(job) if made.kind == "sr"]
    replaced = pydicom.dcmread(clinic.data_dir / report.path).PredecessorDocumentsSequence[0]
    assert replaced.ReferencedSeriesSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID in old


def test_one_destination_alone(clinic: Clinic) -> None:
    clinic.result()
    write(clinic, wanted(to=("pacs",)))
    assert counting(clinic) == {"pacs": ["P2"] * 2, "reading": ["SYN-1"] * 2}
    assert clinic.standings() == ["current", "current"]
    write(clinic, wanted(to=("reading",), PatientID="P3"))
    assert counting(clinic) == {"pacs": ["P2"] * 2, "reading": ["P3"] * 2}
    assert clinic.standings() == ["reissued", "current", "current"]


def test_corrections_that_follow_each_other_leave_the_last_alone(clinic: Clinic) -> None:
    job = clinic.result()
    first = pydicom.dcmread(clinic.data_dir / clinic.ledger.artifacts(job)[0].path)
    assert write(clinic, wanted(1, PatientID="P2", PatientName="Roe^Richard")) == 2
    assert write(clinic, wanted(2, PatientID="SYN-1")) == 3
    again = pydicom.dcmread(clinic.data_dir / clinic.ledger.artifacts(job)[0].path)
    assert (again.PatientID, again.PatientName) == (first.PatientID, first.PatientName)
    assert again.SOPInstanceUID != first.SOPInstanceUID  # the first one may have been rejected
    assert "OriginalAttributesSequence" not in again
    assert clinic.standings() == ["reissued", "reissued", "current"]


def test_doing_it_again_changes_nothing(clinic: Clinic) -> None:
    clinic.result()
    assert write(clinic, wanted(PatientID="SYN-1")) is None
    assert write(clinic, wanted()) == 2
    assert write(clinic, wanted(2)) is None
    with pytest.raises(LedgerError, match="result set 1 does not count any more"):
        write(clinic, wanted(1))
    with pytest.raises(LedgerError, match="result set 99"):
        write(clinic, wanted(99))


def test_a_withdrawal_in_between_wins(clinic: Clinic) -> None:
    job = clinic.result()
    prepared = reissues.prepare(clinic.database, clinic.desk, wanted(), NOTES)
    assert prepared is not None
    withdraw(clinic.database, clinic.desk, Withdrawal(job, "wrong"), NOTES, "test")
    with clinic.database.write() as connection:
        assert reissues._carry_out(connection, prepared, "test") is None
    assert clinic.standings() == ["withdrawn"]


def test_a_reissued_result_is_withdrawn_like_any_other(clinic: Clinic) -> None:
    job = clinic.result()
    clinic.deliver("pacs")
    write(clinic, wanted())
    clinic.deliver("pacs", "reading")
    told = withdraw(clinic.database, clinic.desk, Withdrawal(job, "wrong weights"), NOTES, "test")
    assert sorted(told) == ["pacs", "reading"]
    assert clinic.standings() == ["reissued", "withdrawn"]
    current = {made.sop_uid for made in clinic.ledger.artifacts(job)}
    named = {
        item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        for item in clinic.sent("withdrawal")["pacs"].ContentSequence
        if "ReferencedSOPSequence" in item
    }
    assert named == current


def test_what_a_person_holds_stays_held(clinic: Clinic) -> None:
    clinic.result()
    clinic.parcels.hold(1, "admin", "asked by the ward")
    write(clinic, wanted())
    assert clinic.states() == [("pacs", "cancelled"), ("reading", "cancelled"), ("pacs", "held"), ("reading", "due")]


def test_a_courier_that_was_at_it_is_followed(clinic: Clinic) -> None:
    clinic.result()
    write(clinic, wanted())
    assert stragglers(clinic.database, clinic.desk, NOTES) == 0
    clinic.parcels.took(1, ["2.25.1"])
    assert stragglers(clinic.database, clinic.desk, NOTES) == 1
    assert stragglers(clinic.database, clinic.desk, NOTES) == 0
    assert clinic.states("withdrawal") == [("pacs", "due")]


def test_a_file_that_is_gone_is_named(clinic: Clinic) -> None:
    job = clinic.result()
    (clinic.data_dir / clinic.ledger.artifacts(job)[0].path).unlink()
    with pytest.raises(HeaderError, match="our own file"):
        write(clinic, wanted())
    assert clinic.standings() == ["current"]


def test_a_moved_result_is_looked_for_in_its_new_study(clinic: Clinic) -> None:
    clinic.result()
    write(clinic, wanted(StudyInstanceUID="1.2.99"))
    assert {parcel.study_uid for parcel in clinic.parcels.all() if parcel.state == "due"} == {"1.2.99"}


def test_two_at_once_make_one(clinic: Clinic) -> None:
    clinic.result()
    prepared = reissues.prepare(clinic.database, clinic.desk, wanted(), NOTES)
    assert write(clinic, wanted()) == 2
    assert prepared is not None
    with clinic.database.write() as connection:
        assert reissues._carry_out(connection, prepared, "test") is None
    table = schema.result_set
    with clinic.database.write() as connection:
        assert len(connection.execute(select(table.c.id)).all()) == 2
