"""Results are taken back once, and whoever has them is told in the way it understands."""

from __future__ import annotations

import pytest
from studies_of_results import Clinic

from dicom_node.archive import withdrawals
from dicom_node.archive.withdrawals import Withdrawal, current, withdraw
from dicom_node.domain.rejection import Title
from dicom_node.errors import LedgerError


def test_a_peer_gets_a_rejection_note_or_a_note_to_people(clinic: Clinic) -> None:
    job_id = clinic.result()
    clinic.deliver("pacs", "reading")

    told = withdraw(clinic.database, clinic.desk, Withdrawal(job_id, "wrong weights"), ["pacs"], "test")

    assert sorted(told) == ["pacs", "reading"]
    assert clinic.standings() == ["withdrawn"]
    objects = clinic.sent("withdrawal")
    artifacts = clinic.ledger.artifacts(job_id)
    rejected = objects["pacs"]
    assert rejected.ConceptNameCodeSequence[0].CodeValue == Title.PATIENT_SAFETY
    pointed = [item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in rejected.ContentSequence[3:]]
    assert pointed == [made.sop_uid for made in artifacts]
    assert [item.ValueType for item in rejected.ContentSequence[3:]] == ["IMAGE", "COMPOSITE"]
    note = objects["reading"]
    assert note.SeriesDescription.startswith("WITHDRAWN: ct_lung_density")
    said = " ".join(item.TextValue for item in note.ContentSequence if item.ValueType == "TEXT")
    assert "must not be used" in said
    assert "wrong weights" in said
    assert artifacts[1].sop_uid in said


def test_what_never_left_needs_no_note_and_is_never_sent(clinic: Clinic) -> None:
    job_id = clinic.result()
    clinic.deliver("reading")
    told = withdraw(clinic.database, clinic.desk, Withdrawal(job_id, "wrong"), [], "test")
    assert told == ("reading",)
    assert clinic.states() == [("pacs", "cancelled"), ("reading", "sent")]
    with pytest.raises(LedgerError, match="is cancelled: the results are withdrawn: wrong"):
        clinic.parcels.retry(1, "test")


def test_doing_it_again_changes_nothing_and_a_straggler_is_told_later(clinic: Clinic) -> None:
    job_id = clinic.result()
    clinic.deliver("pacs")
    wanted = Withdrawal(job_id, "wrong")
    assert withdraw(clinic.database, clinic.desk, wanted, ["pacs"], "test") == ("pacs",)
    before = clinic.events()
    assert withdraw(clinic.database, clinic.desk, wanted, ["pacs"], "test") == ()
    assert clinic.events() == before
    # The courier was at it when the result was withdrawn.
    clinic.parcels.took(2, ["2.25.1"])
    assert withdraw(clinic.database, clinic.desk, wanted, ["pacs"], "test") == ("reading",)


def test_a_killed_node_withdraws_once_when_it_comes_back(clinic: Clinic) -> None:
    job_id = clinic.result()
    clinic.deliver("pacs", "reading")
    withdrawals.prepare(clinic.database, clinic.desk, Withdrawal(job_id, "wrong"), [])  # its files stand, and it dies
    assert clinic.standings() == ["current"]
    withdraw(clinic.database, clinic.desk, Withdrawal(job_id, "wrong"), [], "test")
    assert clinic.standings() == ["withdrawn"]
    assert clinic.states("withdrawal") == [("pacs", "due"), ("reading", "due")]


def test_all_results_of_a_version_are_found(clinic: Clinic) -> None:
    job_id = clinic.result()
    assert current(clinic.database, "ct_lung_density", "0.1.0") == (job_id,)
    assert current(clinic.database, "ct_lung_density", "0.2.0") == ()
    withdraw(clinic.database, clinic.desk, Withdrawal(job_id, "wrong"), [], "test")
    assert current(clinic.database, "ct_lung_density", "0.1.0") == ()


def test_a_job_without_a_result_is_refused_by_name(clinic: Clinic) -> None:
    clinic.arrive()
    job_id = clinic.plan()
    with pytest.raises(LedgerError, match=f"job {job_id} has no result"):
        withdraw(clinic.database, clinic.desk, Withdrawal(job_id, "wrong"), [], "test")
    with pytest.raises(LedgerError, match="there is no job 99"):
        withdraw(clinic.database, clinic.desk, Withdrawal(99, "wrong"), [], "test")


def test_a_result_is_withdrawn_though_its_images_are_gone(clinic: Clinic) -> None:
    job_id = clinic.result()
    clinic.deliver("pacs")
    for file in clinic.data_dir.glob("objects/*/*/*.dcm"):
        file.unlink()
    assert withdraw(clinic.database, clinic.desk, Withdrawal(job_id, "wrong"), ["pacs"], "test") == ("pacs",)
    assert clinic.sent("withdrawal")["pacs"].PatientID == "SYN-1"
