"""Which studies changed, as open pages are told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from result_cases import series
from studies_of_results import Clinic

from dicom_node.archive import changes, events
from dicom_node.archive.changes import StudyChanges
from dicom_node.archive.database import Database


def test_every_step_of_a_study_is_told_once_and_of_no_other(clinic: Clinic) -> None:
    other = series(1, StudyInstanceUID="1.2.9", SeriesInstanceUID="1.2.9.1")
    other[0].SOPInstanceUID, other[0].Modality = "1.2.9.1.1", "MR"
    clinic.arrive(other)
    looks = StudyChanges(clinic.database)
    assert looks.look() == frozenset()
    images = clinic.arrive(series())
    first = looks.look()
    assert first is not None
    (study,) = first
    job_id = clinic.plan()
    assert looks.look() == {study}
    claim = clinic.claim(job_id)
    assert looks.look() == {study}
    clinic.ledger.heartbeat(claim, 600, "slice 3 of 4")  # no event
    assert looks.look() == {study}
    clinic.commit(job_id, images, claim)
    assert looks.look() == {study}
    assert looks.look() == frozenset()


def test_too_much_at_once_is_told_as_anything(database: Database, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(changes, "MOST_EVENTS", 3)
    looks = StudyChanges(database)
    looks.look()
    with database.write() as connection:
        for _ in range(4):
            events.record(connection, "test", "test")
    assert looks.look() is None
    assert looks.look() == frozenset()
