"""A result that no job brings is put down once, and told in the study."""

from __future__ import annotations

from typing import Any

from sqlalchemy import update
from studies_of_results import RULE, Clinic

from dicom_node.archive import missing, notices, schema
from dicom_node.archive.missing import Missing
from dicom_node.archive.notices import lateness, wanting
from dicom_node.domain.job import JobState, Priority
from dicom_node.errors import InputError

LACKING = Missing(1, "1.2", RULE, "ct_lung_density", "0.1.0", "digest", Priority.STAT)
ERROR = InputError("no series of the study fits the model", reason="no-series", remedy="send the thin series")


def put_down(clinic: Clinic) -> int | None:
    return missing.put_down(clinic.database, LACKING, ERROR, "planner")


def test_it_is_put_down_once(clinic: Clinic) -> None:
    clinic.arrive()
    first = put_down(clinic)
    assert first is not None
    assert put_down(clinic) is None
    found = clinic.ledger.job(first)
    assert found is not None
    assert (found.state, found.error) == (
        JobState.FAILED,
        {"reason": "no-series", "message": ERROR.message, "remedy": ERROR.remedy},
    )
    assert "no job planned" in clinic.events()


def test_it_is_not_where_the_rule_has_a_job(clinic: Clinic) -> None:
    clinic.arrive()
    clinic.plan()
    assert put_down(clinic) is None


def test_its_notice_lies_in_the_study_and_a_later_result_says_so(clinic: Clinic) -> None:
    images = clinic.arrive()
    put_down(clinic)
    told = [
        notices.issue(clinic.database, clinic.desk, each, ["pacs"], "test") for each in wanting(clinic.database, [RULE])
    ]
    assert told == [True]
    note: Any = clinic.sent("notice")["pacs"]
    assert note.StudyInstanceUID == images[0].StudyInstanceUID
    assert note.SeriesDescription.startswith("AI NOT PERFORMED")
    said = "".join(item.TextValue for item in note.ContentSequence if item.ValueType == "TEXT")
    assert "was not run: no series of the study fits the model" in said
    later = clinic.plan()
    assert lateness(clinic.database, later).startswith("LATE RESULT: a notice")


def test_held_studies_are_listed(clinic: Clinic) -> None:
    clinic.arrive()
    assert missing.held(clinic.database) == ()
    with clinic.database.write() as connection:
        connection.execute(update(schema.study).values(state="held"))
    (found,) = missing.held(clinic.database)
    assert found.study_id == 1
