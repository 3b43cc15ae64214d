"""Objects of ours under another patient, study or order: what changes, and what must not."""

from __future__ import annotations

from datetime import UTC, datetime
from io import BytesIO

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from studies_of_results import Clinic

from dicom_node.archive.documents import Reference
from dicom_node.archive.rewriting import Rewriting, rewritten

AT = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)


@pytest.fixture
def files(clinic: Clinic) -> dict[str, bytes]:
    """Kind -> file of a result."""
    job = clinic.result()
    return {made.kind: (clinic.data_dir / made.path).read_bytes() for made in clinic.ledger.artifacts(job)}


def plan(files: dict[str, bytes], **corrected: str) -> Rewriting:
    read = [pydicom.dcmread(BytesIO(data)) for data in files.values()]
    old = list(dict.fromkeys(str(each[key].value) for each in read for key in ("SOPInstanceUID", "SeriesInstanceUID")))
    uids = {uid: f"2.25.900{number}" for number, uid in enumerate(old)}
    return Rewriting(corrected, uids, "merged", "pacs", "DICOMNODE", AT)


def written(data: bytes, wanted: Rewriting, **how: bool) -> Dataset:
    _, made = rewritten(data, wanted, **how)
    return pydicom.dcmread(BytesIO(made))


def all_uids(dataset: Dataset) -> set[str]:
    return {str(element.value) for element in dataset.iterall() if element.VR == "UI"}


def test_identity_and_uids_change_and_nothing_that_was_found(files: dict[str, bytes]) -> None:
    wanted = plan(files, PatientID="P2", PatientName="Ström^Åsa")
    for kind, data in files.items():
        before, after = pydicom.dcmread(BytesIO(data)), written(data, wanted)
        assert (after.PatientID, str(after.PatientName)) == ("P2", "Ström^Åsa")
        assert after.SpecificCharacterSet == "ISO_IR 192"
        assert after.SOPInstanceUID == wanted.uids[before.SOPInstanceUID] == after.file_meta.MediaStorageSOPInstanceUID
        assert not all_uids(after) & wanted.uids.keys(), kind
        assert after.file_meta.TransferSyntaxUID == before.file_meta.TransferSyntaxUID
    segmentation = written(files["seg"], wanted)
    first = pydicom.dcmread(BytesIO(files["seg"]))
    assert segmentation.PixelData == first.PixelData
    assert [item.TrackingUID for item in segmentation.SegmentSequence] == [
        item.TrackingUID for item in first.SegmentSequence
    ]
    assert segmentation.FrameOfReferenceUID == first.FrameOfReferenceUID


def test_what_it_said_before_and_who_changed_it_stand_in_it(files: dict[str, bytes]) -> None:
    after = written(files["sr"], plan(files, PatientID="P2", IssuerOfPatientID="HOSP"))
    (told,) = after.OriginalAttributesSequence
    (values,) = told.ModifiedAttributesSequence
    assert (values.PatientID, str(values.IssuerOfPatientID or "")) == ("SYN-1", "")
    assert (told.ReasonForTheAttributeModification, told.ModifyingSystem) == ("CORRECT", "DICOMNODE")
    equipment = after.ContributingEquipmentSequence[-1]
    assert equipment.PurposeOfReferenceCodeSequence[0].CodeValue == "109103"
    assert "PatientID, IssuerOfPatientID, as told by pacs: merged" in equipment.ContributionDescription


def test_a_study_that_moved_takes_its_references_along(files: dict[str, bytes]) -> None:
    before = pydicom.dcmread(BytesIO(files["sr"]))
    after = written(files["sr"], plan(files, StudyInstanceUID="1.2.99", AccessionNumber="A-9"))
    evidence = {item.StudyInstanceUID for item in after.CurrentRequestedProcedureEvidenceSequence}
    assert (after.StudyInstanceUID, evidence) == ("1.2.99", {"1.2.99"})
    assert {item.AccessionNumber for item in after.ReferencedRequestSequence} == {"A-9"}
    (told,) = after.OriginalAttributesSequence
    assert told.ModifiedAttributesSequence[0].StudyInstanceUID == before.StudyInstanceUID


def test_a_report_names_the_one_it_replaces(files: dict[str, bytes]) -> None:
    base = plan(files, PatientID="P2")
    earlier = Reference("1.2", "1.2.3", "1.2.840.10008.5.1.4.1.1.88.34", next(iter(base.uids)))
    wanted = Rewriting(base.corrected, base.uids, "merged", "pacs", "DICOMNODE", AT, [earlier])
    (study,) = written(files["sr"], wanted, is_report=True).PredecessorDocumentsSequence
    named = study.ReferencedSeriesSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID
    assert named == earlier.sop_uid  # as it was sent, not as it is called now
    assert "PredecessorDocumentsSequence" not in written(files["seg"], wanted)


def test_what_is_no_dicom_is_refused(files: dict[str, bytes]) -> None:
    with pytest.raises(InvalidDicomError):
        rewritten(b"no DICOM at all", plan(files, PatientID="P2"))
