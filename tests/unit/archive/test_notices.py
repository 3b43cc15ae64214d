"""A missing or late result is told once, in the study, and never as a finding."""

from __future__ import annotations

from typing import Any

import pytest
from result_cases import series
from studies_of_results import RULE, Clinic

from dicom_node.archive import notices
from dicom_node.archive.notices import lateness, wanting
from dicom_node.domain.job import JobState
from dicom_node.domain.parcel import Artifact


def issue_all(clinic: Clinic, *destinations: str) -> int:
    found = wanting(clinic.database, [RULE])
    return sum(notices.issue(clinic.database, clinic.desk, each, destinations, "test") for each in found)


def test_a_refused_input_is_told_once_in_the_study_of_the_images(clinic: Clinic) -> None:
    images = clinic.arrive()
    clinic.refuse(clinic.plan())

    assert issue_all(clinic, "pacs", "reading") == 1
    assert issue_all(clinic, "pacs", "reading") == 0

    note = clinic.sent("notice")["pacs"]
    assert clinic.states("notice") == [("pacs", "due"), ("reading", "due")]
    for keyword in ("StudyInstanceUID", "PatientID", "PatientName", "AccessionNumber", "PatientBirthDate"):
        assert note[keyword].value == images[0][keyword].value
    assert note.SOPClassUID.name == "Basic Text SR Storage"
    assert note.SeriesDescription == "AI NOT PERFORMED: ct_lung_density 0.1.0"
    said = [item.TextValue for item in note.ContentSequence if item.ValueType == "TEXT"]
    assert "refused its input: the slices are too thick" in said[1]
    assert "send the thin series" in "".join(said)
    assert "says nothing about what the images show" in "".join(said)
    evidence = note.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
    assert len(evidence.ReferencedSOPSequence) == len(images)


def test_a_quarantined_job_and_one_that_is_retried_are_told_once(clinic: Clinic) -> None:
    images = clinic.arrive()
    job_id = clinic.plan()
    clinic.refuse(job_id)
    assert issue_all(clinic, "pacs") == 1
    clinic.ledger.retry(job_id, "test")
    clinic.refuse(job_id)
    assert issue_all(clinic, "pacs") == 0
    clinic.ledger.retry(job_id, "test")
    assert lateness(clinic.database, job_id).startswith("LATE RESULT: a notice")
    clinic.commit(job_id, images)
    assert clinic.states("result") == [("pacs", "due"), ("reading", "due")]


def test_what_is_late_is_told_before_it_comes(clinic: Clinic) -> None:
    clinic.arrive()
    job_id = clinic.plan()
    assert issue_all(clinic, "pacs") == 0
    clinic.past(job_id)
    assert lateness(clinic.database, job_id).startswith("LATE RESULT: it was made after")
    assert issue_all(clinic, "pacs") == 1
    assert clinic.sent("notice")["pacs"].SeriesDescription.startswith("AI RESULT LATE: ")


def test_a_notice_that_a_result_followed_makes_no_later_result_late(clinic: Clinic) -> None:
    images = clinic.arrive()
    first = clinic.plan()
    clinic.past(first)
    assert issue_all(clinic, "pacs") == 1
    clinic.commit(first, images)
    second = clinic.plan(key="k" * 64)
    assert lateness(clinic.database, first).startswith("LATE RESULT: a notice")
    assert lateness(clinic.database, second) == ""


def test_a_result_that_waits_for_its_destination_is_late_and_one_that_arrived_is_not(clinic: Clinic) -> None:
    job_id = clinic.result()
    clinic.deliver("pacs")
    clinic.past(job_id)
    assert [found.state for found in wanting(clinic.database, [RULE])] == [JobState.DONE]
    clinic.deliver("reading")
    assert not wanting(clinic.database, [RULE])


def test_only_rules_that_tell_somebody_are_looked_at(clinic: Clinic) -> None:
    clinic.arrive()
    clinic.refuse(clinic.plan())
    assert not wanting(clinic.database, ["another rule"])
    assert wanting(clinic.database, [RULE])


def test_a_job_that_moved_on_meanwhile_gets_no_notice(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    images = clinic.arrive()
    job_id = clinic.plan()
    clinic.past(job_id)
    (found,) = wanting(clinic.database, [RULE])
    keep = notices.keep

    def keep_while_the_result_comes(*given: Any) -> Artifact:
        clinic.commit(job_id, images)
        return keep(*given)

    monkeypatch.setattr(notices, "keep", keep_while_the_result_comes)
    assert not notices.issue(clinic.database, clinic.desk, found, ["pacs"], "test")
    assert clinic.states("notice") == []


@pytest.mark.parametrize("charset", ["ISO_IR 192", "ISO_IR 100", None])
def test_names_are_kept_in_their_character_set(clinic: Clinic, charset: str | None) -> None:
    given = {"SpecificCharacterSet": charset} if charset else {}
    clinic.arrive(series(PatientName="Müller^Jörg" if charset else "Mueller^Joerg", **given))
    clinic.refuse(clinic.plan())
    issue_all(clinic, "pacs")
    note = clinic.sent("notice")["pacs"]
    assert str(note.PatientName) == ("Müller^Jörg" if charset else "Mueller^Joerg")
    assert note.get("SpecificCharacterSet") == charset
