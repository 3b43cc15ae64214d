"""What readers say of results: an object in the study, delivered as the result is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pydicom
import pytest
from studies_of_results import Clinic

from dicom_node.archive import withdrawals
from dicom_node.archive.assessments import CODES, Verdict, assess
from dicom_node.archive.holdings import Holdings
from dicom_node.domain.rejection import Title
from dicom_node.errors import InputError, LedgerError


def say(clinic: Clinic, job_id: int, verdict: Verdict, comment: str = "", reader: str = "Grün=^Eva") -> None:
    assess(clinic.database, clinic.desk, job_id, (verdict, reader, comment), "test")


def written(clinic: Clinic) -> list[Any]:
    made = [
        parcel for parcel in clinic.parcels.all() if parcel.purpose == "assessment" and parcel.destination == "pacs"
    ]
    return [pydicom.dcmread(clinic.data_dir / parcel.artifacts[0].path) for parcel in made]


@pytest.mark.parametrize("verdict", Verdict)
def test_an_assessment_is_an_object_about_the_results(clinic: Clinic, verdict: Verdict) -> None:
    job_id = clinic.result()
    say(clinic, job_id, verdict, "Die Spitze fehlt: größer")
    (document,) = written(clinic)
    results = {made.sop_uid for made in clinic.ledger.artifacts(job_id) if made.kind != "assessment"}
    items = {item.ConceptNameCodeSequence[0].CodeMeaning: item for item in document.ContentSequence}
    judged = items["Assessment of the result by the reader"]
    assert judged.ConceptCodeSequence[0].CodeValue == CODES[verdict].value
    about = {item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in judged.ContentSequence}
    evidence = document.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    assert about == results == {one.ReferencedSOPInstanceUID for each in evidence for one in each.ReferencedSOPSequence}
    assert str(items["Person Observer Name"].PersonName) == "Grün Eva"
    assert items["Comment"].TextValue == "Die Spitze fehlt: größer"
    assert (document.PatientID, document.VerificationFlag) == ("SYN-1", "UNVERIFIED")
    assert clinic.states("assessment") == [("pacs", "due"), ("reading", "due")]
    assert clinic.events()[-1] == str(verdict)


def test_each_word_is_an_object_of_its_own_and_all_are_shown(clinic: Clinic) -> None:
    job_id = clinic.result()
    say(clinic, job_id, Verdict.ACCEPT)
    say(clinic, job_id, Verdict.REJECT, "On second thoughts: no")
    first, second = written(clinic)
    assert first.SOPInstanceUID != second.SOPInstanceUID
    job = clinic.ledger.job(job_id)
    assert job is not None
    shown = {held.sop_uid for held in Holdings(clinic.database).objects(job.study_uid, "", "")}
    assert {str(first.SOPInstanceUID), str(second.SOPInstanceUID)} <= shown
    assert {each["state"] for each in clinic.ledger.findings(job_id)} == {"rejected"}


def test_what_cannot_be_assessed_leaves_nothing(clinic: Clinic) -> None:
    job_id = clinic.result()
    with pytest.raises(InputError, match="needs words"):
        say(clinic, job_id, Verdict.CORRECT, " ")
    withdrawal = withdrawals.Withdrawal(job_id, "wrong side", Title.QUALITY)
    withdrawals.withdraw(clinic.database, clinic.desk, withdrawal, (), "test")
    with pytest.raises(LedgerError, match="no result that counts"):
        say(clinic, job_id, Verdict.ACCEPT)
    assert written(clinic) == []


def test_a_word_on_a_study_whose_files_are_gone_is_kept(clinic: Clinic) -> None:
    job_id = clinic.result()
    for file in [*clinic.data_dir.rglob("*.dcm")]:
        Path(file).unlink()
    say(clinic, job_id, Verdict.REJECT, "It is of another patient")
    assert written(clinic) == []
    assert clinic.events()[-1] == "result rejected"
