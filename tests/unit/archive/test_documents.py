"""Objects that the node writes itself."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from io import BytesIO
from zoneinfo import ZoneInfo

import pydicom
import pytest
from result_cases import series

from dicom_node.archive import documents
from dicom_node.archive.documents import Author, Identity, Reference
from dicom_node.archive.inheritance import inherit
from dicom_node.domain.rejection import Title

AUTHOR = Author(uuid.UUID(int=7), "DICOMNODE")
AT = datetime(2026, 3, 1, 8, 0, 30, 250000, tzinfo=UTC)
IDENTITY = Identity("2.25.1", "2.25.2", 900001, "AI NOT PERFORMED: a model 0.1.0", AT)
CT = Reference("1.2", "1.2.3", "1.2.840.10008.5.1.4.1.1.2", "1.2.3.4")
SR = Reference("1.2", "1.2.5", "1.2.840.10008.5.1.4.1.1.88.34", "1.2.5.1")


def read(dataset: pydicom.Dataset, character_set: tuple[str, ...] = ()) -> pydicom.FileDataset:
    return pydicom.dcmread(BytesIO(documents.part_10(dataset, character_set, "DICOMNODE")))


def test_a_note_says_its_lines_in_the_study_it_is_about() -> None:
    note = read(documents.note(inherit(series()), [CT], AUTHOR, IDENTITY, ["One.", "Two."]))
    assert (note.PatientID, note.Modality, note.SOPInstanceUID) == ("SYN-1", "SR", "2.25.1")
    assert [item.TextValue for item in note.ContentSequence if item.ValueType == "TEXT"] == ["One.", "Two."]
    (evidence,) = note.CurrentRequestedProcedureEvidenceSequence
    assert evidence.ReferencedSeriesSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == "1.2.3.4"
    assert (note.ContentDate, note.ContentTime) == ("20260301", "080030.250000")
    assert "CurrentRequestedProcedureEvidenceSequence" not in read(
        documents.note(inherit(series()), [], AUTHOR, IDENTITY, ["One."])
    )


@pytest.mark.parametrize("reason", ["wrong weights", ""])
def test_a_rejection_note_names_what_it_rejects_and_why(reason: str) -> None:
    title = Title.PATIENT_SAFETY.code
    note = read(documents.rejection_note(inherit(series()), [CT, SR], AUTHOR, IDENTITY, title, reason))
    assert (note.Modality, note.ConceptNameCodeSequence[0].CodeValue) == ("KO", "113037")
    pointed = [item for item in note.ContentSequence if "ReferencedSOPSequence" in item]
    assert [item.ValueType for item in pointed] == ["IMAGE", "COMPOSITE"]
    assert [item.TextValue for item in note.ContentSequence if item.ValueType == "TEXT"] == ([reason] if reason else [])


def test_references_stand_by_study_and_series_each_once() -> None:
    other = Reference("1.9", "1.9.1", CT.sop_class, "1.9.1.1")
    first, second = documents.hierarchy([CT, other, SR, CT])
    assert (first.StudyInstanceUID, second.StudyInstanceUID) == ("1.2", "1.9")
    assert [len(each.ReferencedSOPSequence) for each in first.ReferencedSeriesSequence] == [1, 1]


def test_a_time_is_written_as_the_images_write_theirs() -> None:
    at = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
    assert documents.local_time(at, "+0930", None).strftime("%H%M%z") == "1730+0930"
    assert documents.local_time(at, "-0330", ZoneInfo("Europe/Zurich")).strftime("%H%M%z") == "0430-0330"
    assert documents.local_time(at, "", ZoneInfo("Europe/Zurich")).strftime("%H%M%z") == "0900+0100"


def test_text_that_the_images_character_set_does_not_hold_is_written_in_utf_8() -> None:
    note = documents.note(inherit(series()), [], AUTHOR, IDENTITY, ["Ärzte, 医師"])
    assert read(note, ("ISO_IR 100",)).SpecificCharacterSet == "ISO_IR 192"
    plain = documents.note(inherit(series()), [], AUTHOR, IDENTITY, ["Ärzte"])
    assert read(plain, ("ISO_IR 100",)).SpecificCharacterSet == "ISO_IR 100"
