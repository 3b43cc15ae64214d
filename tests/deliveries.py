"""Deliveries in tests: parcels in a ledger, and a peer that does as it is told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from sqlalchemy import insert, update
from stories import Writer

from dicom_node.archive import events
from dicom_node.archive.database import Database, db_now
from dicom_node.archive.parcels import Parcels
from dicom_node.archive.schema import artifact, parcel
from dicom_node.delivery.commit import Committer
from dicom_node.delivery.destination import Destinations, Paid
from dicom_node.delivery.kinds import kinds_of_destinations
from dicom_node.delivery.lane import Lane
from dicom_node.delivery.verify import Verifier
from dicom_node.domain.parcel import Parcel
from dicom_node.domain.record import StudyRecord, Subject
from dicom_node.domain.sending import OutgoingObject, SendOutcome
from dicom_node.errors import PeerError
from dicom_node.settings import DeliverySettings, NodeSettings, PeerSettings, Settings

Answer = Callable[[OutgoingObject], str]
LOST = ("lost", "aborted", "stalled", "no-answer")


@dataclass
class ScriptedPeer:
    """Answers each object with a reason, empty for Success; keeps what it took unless it is forgetful."""

    answer: Answer = lambda each: ""
    unreachable: bool = False
    forgetful: bool = False
    cannot_tell: str = ""  # reason of the error that C-FIND ends with
    associations: list[list[str]] = field(default_factory=list)  # what each was opened for
    held: set[str] = field(default_factory=set)
    record: Callable[[Subject], tuple[StudyRecord, ...] | None] = lambda subject: ()  # of the images of a result
    questions: list[Subject] = field(default_factory=list)  # for its record

    looks_by = "C-FIND"

    def send(
        self, peer: PeerSettings, objects: Sequence[OutgoingObject], paid: Paid
    ) -> Generator[SendOutcome, None, None]:
        if self.unreachable:
            raise PeerError(f"{peer.name}: connection refused", reason="refused", remedy="start it")
        self.associations.append([each.sop_instance_uid for each in objects])
        left = iter(objects)
        for each in left:
            reason = self.answer(each)
            if not reason and not self.forgetful:
                self.held.add(each.sop_instance_uid)
            yield SendOutcome(each.sop_instance_uid, None, not reason, reason, reason)
            if reason in LOST:
                yield from (SendOutcome(other.sop_instance_uid, None, False, reason, "not-sent") for other in left)

    def holds(self, peer: PeerSettings, objects: Sequence[OutgoingObject]) -> frozenset[str]:
        if self.cannot_tell:
            raise PeerError(f"{peer.name}: {self.cannot_tell}", reason=self.cannot_tell)
        return frozenset(self.held)

    def records(self, peer: PeerSettings, subject: Subject, within_s: float) -> tuple[StudyRecord, ...] | None:
        self.questions.append(subject)
        return self.record(subject)

    def close(self) -> None:
        """Nothing is kept open."""


@dataclass
class Bench:
    """A ledger with parcels to ``pacs`` and ``other``."""

    database: Database
    settings: Settings
    scripted: ScriptedPeer | None = None  # None: whoever listens at the port of the peer, or the folder
    same_association_s: float = 0.5
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def parcels(self) -> Parcels:
        return Parcels(self.database)

    @property
    def peer(self) -> ScriptedPeer:
        """The one that does as it is told."""
        assert self.scripted is not None
        return self.scripted

    @cached_property
    def destinations(self) -> Destinations:
        """All kinds, or the scripted peer alone."""
        return {"dicom": self.scripted} if self.scripted else kinds_of_destinations(self.settings)

    @property
    def committer(self) -> Committer:
        verifier = Verifier(self.settings, self.parcels, self.destinations)
        return Committer(self.settings, self.parcels, verifier, self.same_association_s)

    @property
    def lane(self) -> Lane:
        return Lane(self.settings, self.parcels, self.destinations, self.committer, self.stop)

    def add(self, destination: str = "pacs", objects: int = 2, size: int = 2048) -> int:
        """A due parcel of new results: CT images ``2.25.<job>.<n>`` of about ``size`` bytes."""
        with self.database.write() as connection:
            writer = Writer(connection)
            number = len(self.parcels.all()) + 1
            study = writer.study(number)
            job = writer.job(study, 1, "done")
            result_set = writer.result(job)
            connection.execute(artifact.delete().where(artifact.c.result_set_id == result_set))
            for n in range(objects):
                made = {"sop_uid": f"2.25.{job}.{n}", "sop_class": CTImageStorage, "series_uid": f"2.25.{job}"}
                made |= {"transfer_syntax": ExplicitVRLittleEndian, "digest": "0", "size": 3, "kind": "seg"}
                path = f"{job}.{n}.dcm"
                connection.execute(insert(artifact).values(site_id=1, result_set_id=result_set, path=path, **made))
                write_image(self.settings.node.data_dir / path, made, f"1.2.826.0.1.{number}", size)
            return writer.parcel(study, result_set, "due", destination=destination)

    def parcel(self, parcel_id: int) -> Parcel:
        """How it stands."""
        return next(found for found in self.parcels.all() if found.id == parcel_id)

    def told(self, parcel_id: int) -> list[str]:
        """What happened to it."""
        return [each.kind for each in events.since(self.database, 0) if each.parcel_id == parcel_id]

    def run(self, passes: int = 1) -> None:
        """The lane of ``pacs``, so many times, each time after all pauses are over."""
        for _ in range(passes):
            with self.database.write() as connection:
                connection.execute(update(parcel).values(next_try=db_now()))
                connection.execute(update(parcel).where(parcel.c.verify_at.is_not(None)).values(verify_at=db_now()))
            self.lane.run("pacs")


def bench_in(database: Database, data_dir: Path, *ports: int, peers: Sequence[PeerSettings] = ()) -> Bench:
    """Looks for what was sent come at once. With the ports or entries of real peers, it is sent to these."""
    real = bool(ports or peers)
    peers = tuple(peers) or tuple(
        PeerSettings(name=name, ae_title=name.upper(), host="127.0.0.1", port=port)
        for name, port in zip(("pacs", "other"), (*ports, 104, 104), strict=False)
    )
    delivery = DeliverySettings(verify_after_seconds=0, timeout_seconds=2)
    settings = Settings(node=NodeSettings(data_dir=data_dir), peers=peers, delivery=delivery)
    return Bench(database, settings, None if real else ScriptedPeer())


def write_image(path: Path, made: dict[str, Any], study_uid: str, size: int) -> None:
    """A file of a CT image with these UIDs, of about ``size`` bytes."""
    image = Dataset()
    image.SOPClassUID, image.SOPInstanceUID = made["sop_class"], made["sop_uid"]
    image.StudyInstanceUID, image.SeriesInstanceUID = study_uid, made["series_uid"]
    image.PatientID, image.PatientName, image.Modality, image.InstanceNumber = "P1", "Doe^Jane", "CT", 1
    image.Rows, image.Columns, image.SamplesPerPixel, image.PixelRepresentation = 1024, size // 2048, 1, 0
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, 16, 15
    image.PhotometricInterpretation = "MONOCHROME2"
    image.PixelData = bytes(size)
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = made["transfer_syntax"]
    dcmwrite(path, image, enforce_file_format=True)
