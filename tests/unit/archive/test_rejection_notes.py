"""Rejection notes of every title, before, while and after a model runs on what they name."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset
from result_cases import series
from studies_of_results import Clinic

from dicom_node.archive import documents, open_items
from dicom_node.archive.accounting import account
from dicom_node.archive.documents import Author, Identity, Reference
from dicom_node.archive.index import Arrival, Index
from dicom_node.archive.inheritance import inherit
from dicom_node.archive.rejection_notes import read_note
from dicom_node.domain.job import JobState
from dicom_node.domain.rejection import RejectionNote, Title
from dicom_node.errors import Fenced, LedgerError
from dicom_node.jobs.correct import Corrector
from dicom_node.settings import NodeSettings, Settings

WRONG = (Title.PATIENT_SAFETY, Title.WRONG_WORKLIST_ENTRY)
NOW = datetime.now(UTC)
EARLIER = NOW - timedelta(hours=1)


def note(clinic: Clinic, images: list[Dataset], title: Title, number: int = 1) -> Dataset:
    named = [Reference(i.StudyInstanceUID, i.SeriesInstanceUID, i.SOPClassUID, i.SOPInstanceUID) for i in images]
    called = Identity(f"1.2.3.99.{number}", "1.2.3.99", 9, "rejected", NOW)
    author = Author(clinic.ledger.installation(), "PACS")
    return documents.rejection_note(inherit([images[0]]), named, author, called, title.code, "")


def correct(clinic: Clinic) -> int:
    return Corrector(Settings(node=NodeSettings(data_dir=clinic.data_dir)), clinic.database).tick()


def counts(clinic: Clinic) -> dict[str, int]:
    found = account(clinic.database)
    assert found.unaccounted == 0
    return dict(found.by_state)


@pytest.mark.parametrize("title", Title)
def test_what_a_note_names_no_longer_counts(clinic: Clinic, title: Title) -> None:
    images = clinic.arrive(received=EARLIER)
    clinic.arrive([note(clinic, images[:2], title)])
    assert counts(clinic) == {"current": 3, "hidden": 2}


@pytest.mark.parametrize("title", Title)
def test_the_note_may_come_first_and_images_of_expired_retention_come_back(clinic: Clinic, title: Title) -> None:
    images = series()
    clinic.arrive([note(clinic, images[:2], title)], received=EARLIER)
    clinic.arrive(images)
    assert counts(clinic) == ({"current": 5} if title is Title.RETENTION_EXPIRED else {"current": 3, "hidden": 2})


@pytest.mark.parametrize("first", [0, 1])
def test_note_and_images_in_one_transaction(clinic: Clinic, first: int) -> None:
    images = series()
    rejecting = note(clinic, images, Title.QUALITY)
    clinic.arrive([rejecting, *images] if first else [*images, rejecting])
    assert counts(clinic) == {"current": 1, "hidden": 4}


@pytest.mark.parametrize("title", Title)
def test_a_rejected_object_that_is_sent_again(clinic: Clinic, title: Title) -> None:
    images = clinic.arrive(received=EARLIER)
    clinic.arrive([note(clinic, images, title)], received=NOW - timedelta(minutes=5))
    clinic.arrive(images)
    assert counts(clinic) == (
        {"current": 5, "hidden": 4} if title is Title.RETENTION_EXPIRED else {"current": 1, "hidden": 8}
    )


@pytest.mark.parametrize("title", Title)
def test_a_job_that_waits_is_cancelled_and_cannot_be_retried(clinic: Clinic, title: Title) -> None:
    images = clinic.arrive(received=EARLIER)
    job_id = clinic.plan()
    clinic.arrive([note(clinic, images[:1], title)])
    job = clinic.ledger.job(job_id)
    assert job is not None
    assert (job.state, job.progress) == (JobState.CANCELLED, f"its images were rejected: {title.code.meaning}"[:64])
    with pytest.raises(LedgerError, match="were rejected by a note"):
        clinic.ledger.retry(job_id, "test")


@pytest.mark.parametrize("title", Title)
def test_a_job_that_runs_commits_nothing(clinic: Clinic, title: Title) -> None:
    images = clinic.arrive(received=EARLIER)
    job_id = clinic.plan()
    claim = clinic.claim(job_id)
    clinic.arrive([note(clinic, images[:1], title)])
    assert not clinic.ledger.heartbeat(claim, 60, "infer")
    with pytest.raises(Fenced):
        clinic.commit(job_id, images, claim)


@pytest.mark.parametrize("title", Title)
def test_a_result_that_nobody_has_is_never_sent(clinic: Clinic, title: Title) -> None:
    clinic.arrive(images := series(), received=EARLIER)
    job_id = clinic.plan()
    clinic.commit(job_id, images)
    clinic.arrive([note(clinic, images[:1], title)])
    correct(clinic)
    assert clinic.states() == [("pacs", "cancelled"), ("reading", "cancelled")]
    assert clinic.states("withdrawal") == []
    assert not open_items.listed(clinic.database)


@pytest.mark.parametrize("title", Title)
def test_a_delivered_result_is_taken_back_or_left_to_a_person(clinic: Clinic, title: Title) -> None:
    clinic.arrive(images := series(), received=EARLIER)
    job_id = clinic.plan()
    clinic.commit(job_id, images)
    clinic.deliver("pacs", "reading")
    clinic.arrive([note(clinic, images[:1], title)])
    correct(clinic)
    assert correct(clinic) == 0
    items = open_items.listed(clinic.database)
    if title in WRONG:
        assert clinic.standings() == ["withdrawn"]
        assert clinic.states("withdrawal") == [("pacs", "due"), ("reading", "due")]
        assert not items
        return
    assert clinic.standings() == ["current"]
    assert clinic.states("withdrawal") == []
    if title is Title.QUALITY:
        assert [(item.kind, item.job_id) for item in items] == [("images-rejected", job_id)]
        assert f"dicom-node results withdraw {job_id}" in items[0].remedy
        open_items.close_by_hand(clinic.database, items[0].id, "test")
    assert not open_items.listed(clinic.database)


def test_the_same_note_again_changes_nothing(clinic: Clinic) -> None:
    clinic.arrive(images := series(), received=EARLIER)
    job_id = clinic.plan()
    clinic.commit(job_id, images)
    clinic.deliver("pacs")
    rejecting = note(clinic, images[:1], Title.QUALITY)
    clinic.arrive([rejecting])
    clinic.arrive([rejecting])
    assert len(open_items.listed(clinic.database)) == 1
    assert counts(clinic)["hidden"] == 1


def test_a_note_that_names_our_result_is_a_matter_for_a_person(clinic: Clinic) -> None:
    job_id = clinic.result()
    clinic.deliver("pacs")
    made = clinic.ledger.artifacts(job_id)[1]
    theirs = Dataset()
    theirs.update(series()[0])
    theirs.SOPClassUID, theirs.SOPInstanceUID, theirs.SeriesInstanceUID = made.sop_class, made.sop_uid, made.series_uid
    clinic.arrive([note(clinic, [theirs], Title.PATIENT_SAFETY)])
    assert [item.kind for item in open_items.listed(clinic.database)] == ["result-rejected"]


def test_a_courier_that_was_at_it_is_followed(clinic: Clinic) -> None:
    clinic.arrive(images := series(), received=EARLIER)
    job_id = clinic.plan()
    clinic.commit(job_id, images)
    clinic.arrive([note(clinic, images, Title.PATIENT_SAFETY)])
    correct(clinic)
    assert clinic.states("withdrawal") == []
    clinic.parcels.took(1, ["2.25.1"])
    assert correct(clinic) == 1
    assert clinic.states("withdrawal") == [("pacs", "due")]


def test_a_key_object_selection_of_another_kind_rejects_nothing(clinic: Clinic, tmp_path: Path) -> None:
    images = clinic.arrive()
    other = note(clinic, images, Title.QUALITY)
    other.ConceptNameCodeSequence[0].CodeValue = "113000"
    clinic.arrive([other])
    assert counts(clinic) == {"current": 5}


def test_a_damaged_or_huge_note_is_read_as_none(
    clinic: Clinic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = series()
    file = tmp_path / "note.dcm"
    whole = documents.part_10(note(clinic, images, Title.QUALITY), (), "PACS")
    file.write_bytes(whole)
    assert read_note(file) == RejectionNote(Title.QUALITY, tuple(str(image.SOPInstanceUID) for image in images))
    for length in range(140, len(whole), 97):
        file.write_bytes(whole[:length])
        found = read_note(file)
        assert found is None or isinstance(found, RejectionNote)
    file.write_bytes(whole)
    monkeypatch.setattr("dicom_node.archive.rejection_notes.MOST_REJECTED", 2)
    assert read_note(file) is None
    monkeypatch.setattr("dicom_node.archive.rejection_notes.LARGEST_NOTE", 10)
    assert read_note(file) is None
    assert pydicom.dcmread(file).Modality == "KO"


@pytest.mark.parametrize("same", [True, False], ids=["both index all", "one has the note"])
def test_two_nodes_index_note_and_images_at_once(clinic: Clinic, *, same: bool) -> None:
    """Whichever transaction comes first, what the note names is hidden, each object once."""
    images = series()
    arrivals = [clinic.put(image) for image in images]
    noted = [clinic.put(note(clinic, images[:3], Title.QUALITY))]
    parts = [[*arrivals, *noted], [*noted, *arrivals]] if same else [arrivals, noted]
    together = threading.Barrier(2)

    def index(part: list[Arrival]) -> None:
        node = Index(clinic.database, clinic.data_dir)
        together.wait(60)
        node.add(part)
        while node.settle():
            pass

    with ThreadPoolExecutor(2) as nodes:
        list(nodes.map(index, parts))
    assert counts(clinic) == {"current": 2, "hidden": 3}
