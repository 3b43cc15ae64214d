"""A merge and a split in a real PACS, while a model runs and after its result was delivered.

Orthanc keeps what it is sent. A correction there is played as the PACS would show it: the same objects, with the same
UIDs, under another patient, order or study; or, with its own split, under new UIDs.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any

import pydicom
import pytest
from deliveries import Bench
from peers import Orthanc
from pydicom.dataset import Dataset
from sqlalchemy import update
from studies_of_results import Clinic

from dicom_node.archive import identities, open_items, schema
from dicom_node.archive.accounting import account
from dicom_node.archive.documents import part_10
from dicom_node.archive.identities import IdentityEvent, Kind, Patient
from dicom_node.delivery.review import MOST_DOUBTS, Review
from dicom_node.domain.parcel import ParcelState
from dicom_node.jobs.correct import Corrector
from dicom_node.settings import DeliverySettings, NodeSettings, PeerSettings, Settings

pytestmark = pytest.mark.peer

OTHER_STUDY = "1.2.826.0.1.3680043.8.498.77"


class Hospital:
    """A node and its PACS, which sent it the images."""

    def __init__(self, clinic: Clinic, orthanc: Orthanc, **entry: Any) -> None:
        self.clinic, self.orthanc = clinic, orthanc
        address = {"ae_title": orthanc.aet, "host": "127.0.0.1", "port": orthanc.dicom_port}
        peer = PeerSettings(name="pacs", **{**address, **entry})
        delivery = DeliverySettings(verify_after_seconds=0, timeout_seconds=20, first_pause_seconds=0.6)
        self.settings = Settings(node=NodeSettings(data_dir=clinic.data_dir), peers=(peer,), delivery=delivery)
        self.bench = Bench(clinic.database, self.settings)
        self.images = clinic.arrive(calling_ae=orthanc.aet)
        for image in self.images:
            orthanc.request("POST", "/instances", part_10(image, ["ISO_IR 192"], "PACS"))

    @property
    def study_uid(self) -> str:
        return str(self.images[0].StudyInstanceUID)

    def start(self) -> Any:
        """A worker begins; what it ends with."""
        job_id = self.clinic.plan(destinations=("pacs",))
        claim = self.clinic.claim(job_id)
        return lambda: self.clinic.commit(job_id, self.images, claim)

    def change(self, alter: Callable[[Dataset], None], modalities: tuple[str, ...] = ()) -> None:
        """The PACS shows its objects otherwise from now on; all of them, or those of some modalities."""
        held = [each for each in self.orthanc.instances() if not modalities or each.modality in modalities]
        files = [pydicom.dcmread(BytesIO(self.orthanc.download(each.id))) for each in held]
        for each in held:
            self.orthanc.request("DELETE", f"/instances/{each.id}")
        for dataset in files:
            alter(dataset)
            whole = BytesIO()
            dataset.save_as(whole)
            self.orthanc.request("POST", "/instances", whole.getvalue())

    def deliver(self) -> None:
        """The courier does all it can, and the corrector."""
        corrector = Corrector(self.settings, self.clinic.database)
        for _ in range(4):
            corrector.tick()
            self.bench.run(2)

    def review(self) -> None:
        """A day after delivery the PACS is asked, as often as it takes until its answer counts."""
        table, then = schema.parcel, datetime.now(UTC) - timedelta(days=1.5)
        with self.clinic.database.write() as connection:
            arrived = update(table).where(table.c.sent_at.is_not(None))
            connection.execute(arrived.values(sent_at=then, reviewed_at=None))
        review = Review(self.settings, self.bench.parcels, self.bench.destinations, again_s=-1.0)
        for _ in range(MOST_DOUBTS):
            review.tick()

    def results(self) -> list[Dataset]:
        """The reports and segmentations in the PACS that nobody has rejected."""
        held = [pydicom.dcmread(BytesIO(self.orthanc.download(each.id))) for each in self.orthanc.instances()]
        rejected = {
            str(item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
            for each in held
            if each.Modality == "KO"
            for item in each.ContentSequence
            if "ReferencedSOPSequence" in item
        }
        return [each for each in held if each.Modality in ("SR", "SEG") and each.SOPInstanceUID not in rejected]

    def assert_exactly_one(self, **expected: str) -> list[Dataset]:
        """One segmentation and one report, which say that; all is accounted for."""
        found = self.results()
        assert sorted(each.Modality for each in found) == ["SEG", "SR"]
        for each in found:
            assert {keyword: str(each.get(keyword)) for keyword in expected} == expected
        assert account(self.clinic.database).unaccounted == 0
        return found


@pytest.fixture
def hospital(clinic: Clinic, orthanc: Orthanc) -> Hospital:
    return Hospital(clinic, orthanc, on_difference="reissue", on_gone="cancel", rejection_notes=True)


def merge(dataset: Dataset) -> None:
    dataset.PatientID, dataset.PatientName = "P-NEW", "Right^Person"


def move(dataset: Dataset) -> None:
    merge(dataset)
    dataset.StudyInstanceUID, dataset.AccessionNumber = OTHER_STUDY, "A-NEW"


def tracking_uids(dataset: Dataset) -> list[str]:
    return [str(item.TrackingUID) for item in dataset.SegmentSequence]


def now(kind: Kind, **told: Any) -> IdentityEvent:
    return IdentityEvent("E1", "hl7:ADT1", datetime.now(UTC), kind, **told)


def test_what_fits_is_sent_as_it_is(hospital: Hospital) -> None:
    hospital.start()()
    hospital.deliver()
    hospital.assert_exactly_one(PatientID="SYN-1", StudyInstanceUID=hospital.study_uid)
    (parcel,) = hospital.clinic.parcels.all()
    assert (parcel.state, parcel.record) == (ParcelState.PRESENT, "its record says the same")


def test_a_merge_in_the_pacs_while_the_model_runs(hospital: Hospital) -> None:
    commit = hospital.start()
    hospital.change(merge)
    commit()
    hospital.deliver()
    seg, sr = sorted(
        hospital.assert_exactly_one(PatientID="P-NEW", StudyInstanceUID=hospital.study_uid),
        key=lambda each: str(each.Modality),
    )
    assert hospital.clinic.states() == [("pacs", "cancelled"), ("pacs", "present")]
    first = pydicom.dcmread(hospital.clinic.data_dir / hospital.clinic.parcels.all()[0].artifacts[0].path)
    assert tracking_uids(seg) == tracking_uids(first)
    assert seg.PixelData == first.PixelData
    (before,) = sr.OriginalAttributesSequence
    assert before.ModifiedAttributesSequence[0].PatientID == "SYN-1"
    assert "told by pacs" in sr.ContributingEquipmentSequence[-1].ContributionDescription
    assert "PredecessorDocumentsSequence" not in sr  # nobody has seen the first one


def test_without_leave_to_write_anew_it_is_held_and_a_person_decides(clinic: Clinic, orthanc: Orthanc) -> None:
    hospital = Hospital(clinic, orthanc)
    commit = hospital.start()
    hospital.change(merge)
    commit()
    hospital.deliver()
    assert hospital.results() == []
    (parcel,) = clinic.parcels.all()
    assert parcel.state == ParcelState.HELD
    assert parcel.error["reason"] == "record-differs"
    assert "PatientID is 'P-NEW'" in parcel.error["message"]
    clinic.parcels.release(parcel.id, "admin")
    hospital.deliver()
    assert len(hospital.results()) == 2


def test_a_merge_that_is_told_after_delivery(hospital: Hospital) -> None:
    hospital.start()()
    hospital.deliver()
    hospital.change(merge)
    told = now(Kind.MERGE, patient=Patient("SYN-1"), into=Patient("P-NEW"), values={"PatientName": "Right^Person"})
    assert identities.take(hospital.clinic.database, told, "test") == (1,)
    assert identities.take(hospital.clinic.database, told, "test") is None
    hospital.deliver()
    found = hospital.assert_exactly_one(PatientID="P-NEW", StudyInstanceUID=hospital.study_uid)
    (report,) = [each for each in found if each.Modality == "SR"]
    old = report.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert old.ReferencedSOPInstanceUID in {each.sop_instance_uid for each in hospital.orthanc.instances()}
    assert hospital.clinic.standings() == ["reissued", "current"]
    assert len({str(each["PatientID"]) for each in patients(hospital.orthanc)}) == 1


def test_images_that_are_moved_to_another_study_while_the_model_runs(hospital: Hospital) -> None:
    commit = hospital.start()
    hospital.change(move)
    commit()
    hospital.deliver()
    found = hospital.assert_exactly_one(PatientID="P-NEW", StudyInstanceUID=OTHER_STUDY, AccessionNumber="A-NEW")
    (report,) = [each for each in found if each.Modality == "SR"]
    assert {str(item.StudyInstanceUID) for item in report.CurrentRequestedProcedureEvidenceSequence} == {OTHER_STUDY}
    assert hospital.orthanc.studies() == [OTHER_STUDY]


def test_a_study_that_the_pacs_splits_while_the_model_runs(hospital: Hospital) -> None:
    commit = hospital.start()
    other = copy.deepcopy(hospital.images[0])
    other.SeriesInstanceUID, other.SOPInstanceUID = "1.2.3.4.77", "1.2.3.4.77.1"
    hospital.orthanc.request("POST", "/instances", part_10(other, ["ISO_IR 192"], "PACS"))
    (series,) = [
        each["ID"]
        for each in hospital.orthanc.get("/series?expand")
        if each["MainDicomTags"]["SeriesInstanceUID"] == hospital.images[0].SeriesInstanceUID
    ]
    study = hospital.orthanc.get(f"/series/{series}/study")["ID"]
    hospital.orthanc.request("POST", f"/studies/{study}/split", {"Series": [series], "Synchronous": True})
    commit()
    hospital.deliver()
    assert hospital.results() == []  # the images have new UIDs: whoever moved them sends them again
    (parcel,) = hospital.clinic.parcels.all()
    assert (parcel.state, parcel.error["reason"]) == (ParcelState.CANCELLED, "images-gone")
    assert account(hospital.clinic.database).unaccounted == 0


def test_a_split_that_is_told_after_delivery(hospital: Hospital) -> None:
    hospital.start()()
    hospital.deliver()
    hospital.change(move, ("CT",))
    moved = now(
        Kind.MOVE,
        into=Patient("P-NEW"),
        study_uid=hospital.study_uid,
        series_uids=(str(hospital.images[0].SeriesInstanceUID),),
        values={"StudyInstanceUID": OTHER_STUDY, "AccessionNumber": "A-NEW", "PatientName": "Right^Person"},
    )
    assert identities.take(hospital.clinic.database, moved, "test") == (1,)
    hospital.deliver()
    hospital.assert_exactly_one(PatientID="P-NEW", StudyInstanceUID=OTHER_STUDY, AccessionNumber="A-NEW")


def test_a_merge_that_nobody_told_is_found_the_day_after(hospital: Hospital) -> None:
    hospital.start()()
    hospital.deliver()
    hospital.change(merge)
    hospital.review()
    assert hospital.clinic.states() == [("pacs", "cancelled"), ("pacs", "due")]
    hospital.deliver()
    found = hospital.assert_exactly_one(PatientID="P-NEW", StudyInstanceUID=hospital.study_uid)
    (report,) = [each for each in found if each.Modality == "SR"]
    assert "told by pacs" in report.ContributingEquipmentSequence[-1].ContributionDescription
    assert hospital.clinic.standings() == ["reissued", "current"]
    hospital.review()
    hospital.deliver()
    hospital.assert_exactly_one(PatientID="P-NEW", StudyInstanceUID=hospital.study_uid)
    assert not open_items.listed(hospital.clinic.database)


def test_images_that_the_pacs_has_deleted_are_told_the_day_after(hospital: Hospital) -> None:
    hospital.start()()
    hospital.deliver()
    for each in hospital.orthanc.instances():
        if each.modality == "CT":
            hospital.orthanc.request("DELETE", f"/instances/{each.id}")
    hospital.review()
    hospital.review()
    (item,) = open_items.listed(hospital.clinic.database)
    assert (item.kind, item.remedy.split(":")[0]) == ("images-gone", "take the result back")
    assert hospital.clinic.states() == [("pacs", "present")], "a person decides what becomes of the result"


def test_a_dicomweb_server_is_asked_by_qido(clinic: Clinic, orthanc: Orthanc) -> None:
    orthanc.stop()
    url = orthanc.serve_dicomweb()
    orthanc.start()
    web = {"kind": "dicomweb", "url": url, "ae_title": "", "host": "", "port": 0}
    hospital = Hospital(clinic, orthanc, on_difference="reissue", **web)
    commit = hospital.start()
    hospital.change(move)
    commit()
    hospital.deliver()
    hospital.assert_exactly_one(PatientID="P-NEW", StudyInstanceUID=OTHER_STUDY, AccessionNumber="A-NEW")


def patients(orthanc: Orthanc) -> list[dict[str, str]]:
    return [each["MainDicomTags"] for each in orthanc.get("/patients?expand")]
