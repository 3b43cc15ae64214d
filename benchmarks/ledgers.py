"""Ledgers of a chosen size: synthetic studies, taken in and settled by the code that does it in a node."""

from __future__ import annotations

import hashlib
import sqlite3
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import event, select

from dicom_node.archive import decisions, readiness
from dicom_node.archive.database import Database
from dicom_node.archive.index import Arrival, Index
from dicom_node.archive.ledger import Ledger
from dicom_node.archive.migrate import migrate
from dicom_node.archive.parcels import Parcels
from dicom_node.archive.readiness import Evidence
from dicom_node.archive.results import Outcome
from dicom_node.archive.schema import study
from dicom_node.domain.grid import ImagePlane
from dicom_node.domain.job import NewJob, SelectedSeries, job_key
from dicom_node.domain.parcel import Artifact
from dicom_node.domain.study import Header

SERIES = 4  # of a study
IMAGES = 50  # of a series
STUDY_OBJECTS = SERIES * IMAGES
OBJECTS_PER_SEGMENT = 256
PEER = "pacs"
RULE, MODEL = "chest CT: lungs", "ct_lung_density"


class FilledLedger:
    """A ledger and its index. ``fill`` is not durable, since nothing but its speed would change."""

    def __init__(self, data_dir: Path) -> None:
        data_dir.mkdir(parents=True, exist_ok=True)
        self._durable = True
        self.database = Database("sqlite", data_dir)
        event.listen(self.database.engine, "checkout", self._set_durability)
        migrate(self.database)
        self.index = Index(self.database, data_dir)
        self.ledger = Ledger(self.database)
        self.parcels = Parcels(self.database)
        self.studies = 0

    def fill(self, studies: int) -> None:
        """Add studies that are whole, decided upon, run, and delivered."""
        self._durable = False
        for number in range(studies):
            self.index.add(list(arrivals(number)))
            self._settle(number + 1)
        self._durable = True
        self.studies = studies

    def open_work(self) -> None:
        """What a busy node has under way: arriving studies, undecided ones, jobs to run, parcels to send."""
        self._durable = False
        for number in range(self.studies, self.studies + 60):
            self.index.add(list(arrivals(number, when=datetime.now(UTC)))[: STUDY_OBJECTS // 2])
        for study_id in range(self.studies + 21, self.studies + 61):
            self._make_whole(study_id)
        for study_id in range(self.studies + 31, self.studies + 61):
            self._plan(study_id)
        for _ in range(10):
            self._run()
        self.ledger.mark_published(self.ledger.to_publish(0.0))
        self._durable = True
        self.studies += 60

    def _settle(self, study_id: int) -> None:
        self._make_whole(study_id)
        self._plan(study_id)
        self._run()
        for parcel in self.parcels.due(PEER):
            self.parcels.took(parcel.id, [made.sop_uid for made in parcel.artifacts])
            self.parcels.sent(parcel.id, verify_after_s=0.0)
            self.parcels.present(parcel.id, "2 of 2 objects are there")

    def _make_whole(self, study_id: int) -> None:
        found = Evidence(True, "geometry", f"{IMAGES} slices without a gap, quiet for 30 s", datetime.now(UTC))
        readiness.close(self.database, study_id, found)

    def _plan(self, study_id: int) -> None:
        view = self.index.study_view(study_id)
        rows = decisions.selection(self.database, view.series[0].id)
        selected = SelectedSeries(
            "ct",
            view.series[0].id,
            view.series[0].series_instance_uid,
            tuple(row_id for row_id, _ in rows),
            tuple(digest for _, digest in rows),
        )
        key = job_key(view.study_instance_uid, [selected], "d" * 64, {})
        why = {"rule": RULE, "reason": "series 1 is the only match", "matched": True}
        new = NewJob(study_id, key, RULE, MODEL, "0.1.0", "d" * 64, (selected,), {}, (PEER,), {}, why)
        job_id = self.ledger.plan(new)
        with self.database.read() as connection:
            revision = connection.execute(select(study.c.revision).where(study.c.id == study_id)).scalar_one()
        decisions.decided(self.database, decisions.Undecided(study_id, revision), f"{RULE}: planned job {job_id}")

    def _run(self) -> None:
        job_id = self.ledger.next_queued()
        assert job_id is not None
        claim = self.ledger.claim(job_id, "box:4711", 60.0)
        assert claim is not None
        made = tuple(
            Artifact(
                kind, f"2.25.{uuid.uuid4().int}", "1.2.840.10008.5.1.4.1.1.66.4", "2.25.1", "1.2.840.10008.1.2.1",
                "a" * 64, f"results/{job_id}/{kind}.dcm", 48_000,
            )
            for kind in ("seg", "sr")
        )  # fmt: skip
        self.ledger.commit(claim, Outcome((), made, {}, {"infer": 2.6}, {"monai": "1.6.1"}))

    def _set_durability(self, connection: sqlite3.Connection, *_: object) -> None:
        connection.execute(f"PRAGMA synchronous={'FULL' if self._durable else 'OFF'}")


def arrivals(number: int, when: datetime | None = None) -> Iterator[Arrival]:
    """The images of the ``number``-th study, as they come from a scanner: series after series."""
    began = when or datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=60 * number)
    study = f"1.2.826.0.1.3680043.10.1.{number + 1}"
    for index in range(STUDY_OBJECTS):
        one = number * STUDY_OBJECTS + index
        header = _header(study, index, began + timedelta(milliseconds=10 * index))
        header = replace(header, patient_id=f"PAT{number // 2:07d}", association=f"a{number:015x}")
        path = f"objects/a0/{one // OBJECTS_PER_SEGMENT + 1:08d}/{one % OBJECTS_PER_SEGMENT:03d}.dcm"
        yield Arrival(path, header)


def _header(study: str, index: int, received: datetime) -> Header:
    which, image = divmod(index, IMAGES)
    series = f"{study}.{which + 1}"
    uid = f"{series}.{image + 1}"
    digest = hashlib.sha256(uid.encode()).hexdigest()
    position = (-180.0, -180.0, 2.5 * image)
    return Header(
        sop_instance_uid=uid,
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        study_instance_uid=study,
        series_instance_uid=series,
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        patient_id="",
        issuer="",
        modality="CT",
        attributes=_attributes(study, which, image),
        planes=(ImagePlane(512, 512, (0.7, 0.7), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0), position),),
        frames=1,
        digest=digest,
        pixel_digest=digest[::-1],
        size=526_000,
        peer="10.0.0.5",
        calling_ae="PACS",
        called_ae="DICOMNODE",
        association="",
        received_at=received,
    )


def _attributes(study: str, series: int, image: int) -> dict[str, object]:
    """Of a CT image, about as many as scanners send."""
    number = int(study.rpartition(".")[2])
    constant = {f"ScanOptions{name}": f"value {name}" for name in range(24)}
    return constant | {
        "PatientID": f"PAT{(number - 1) // 2:07d}",
        "PatientName": f"Doe^Jane{number // 2}",
        "PatientBirthDate": "19600101",
        "PatientSex": "F",
        "AccessionNumber": f"ACC{number:07d}",
        "StudyInstanceUID": study,
        "StudyDate": "20260301",
        "StudyTime": "101500",
        "StudyDescription": "CT chest",
        "SeriesInstanceUID": f"{study}.{series + 1}",
        "SeriesDescription": f"Lung {series}",
        "SeriesNumber": float(series + 1),
        "Modality": "CT",
        "BodyPartExamined": "CHEST",
        "Manufacturer": "SYNTHETIC",
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "ImageOrientationPatient": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0],
        "PixelSpacing": [0.7, 0.7],
        "SliceThickness": 2.5,
        "KVP": 120.0,
        "ConvolutionKernel": "B70f",
        "SOPInstanceUID": f"{study}.{series + 1}.{image + 1}",
        "InstanceNumber": float(image + 1),
        "ImagePositionPatient": [-180.0, -180.0, 2.5 * image],
        "SliceLocation": 2.5 * image,
        "AcquisitionTime": f"1015{image:02d}",
    }
