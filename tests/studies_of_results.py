"""A ledger with images and real results of them, for tests of what happens to results afterwards."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset
from result_cases import CONTEXT, contract, findings_on, series
from sqlalchemy import select, true, update

from dicom_node.archive import characters, schema
from dicom_node.archive.database import Database
from dicom_node.archive.documents import part_10
from dicom_node.archive.files import ObjectStore, SegmentWriter
from dicom_node.archive.finding_rows import rows_of
from dicom_node.archive.header import read_header
from dicom_node.archive.index import Arrival, Index
from dicom_node.archive.ledger import Ledger
from dicom_node.archive.own_objects import Desk
from dicom_node.archive.parcels import Parcels
from dicom_node.archive.receipt import Receipt, file_meta
from dicom_node.archive.results import Outcome
from dicom_node.domain.identifiers import IMPLEMENTATION_VERSION_NAME
from dicom_node.domain.job import Claim, NewJob, Priority, SelectedSeries, job_key
from dicom_node.domain.output import Encoding
from dicom_node.domain.parcel import Artifact, ParcelState
from dicom_node.domain.profile import Companion, Profile
from dicom_node.errors import InputError
from workers.results.encode import encode
from workers.results.profiles import possible

RULE = "lungs"


def stored(dataset: Dataset, calling_ae: str = "PACS", received: datetime | None = None) -> bytes:
    """The file that the acceptor writes for an object."""
    whole = BytesIO(part_10(dataset, characters.declared(dataset), calling_ae))
    read = pydicom.dcmread(whole)
    end = BytesIO()
    pydicom.dcmwrite(end, Dataset(read), implicit_vr=False, little_endian=True)
    receipt = Receipt(calling_ae, "DICOMNODE", "127.0.0.1", "a-1", received or datetime.now(UTC))
    syntax = str(read.file_meta.TransferSyntaxUID)
    return (
        file_meta(str(dataset.SOPClassUID).encode(), str(dataset.SOPInstanceUID).encode(), syntax, receipt)
        + end.getvalue()
    )


@dataclass
class Clinic:
    """Images, jobs and parcels of one node."""

    database: Database
    data_dir: Path
    _writer: SegmentWriter | None = field(default=None)

    @property
    def desk(self) -> Desk:
        return Desk(ObjectStore(self.data_dir), "DICOMNODE")

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.database)

    @property
    def parcels(self) -> Parcels:
        return Parcels(self.database)

    def put(self, dataset: Dataset, calling_ae: str = "PACS", received: datetime | None = None) -> Arrival:
        """Store an object as the acceptor does, and read its header."""
        self._writer = self._writer or self.desk.store.writer("a0")
        reservation = self._writer.reserve()
        reservation.write([stored(dataset, calling_ae, received)])
        path = reservation.commit()
        return Arrival(self.desk.store.relative(path), read_header(path))

    def arrive(self, datasets: Sequence[Dataset] = (), **how: Any) -> list[Dataset]:
        """Images, of the usual series if none are given, arrive in one transaction."""
        images = list(datasets) or series()
        index = Index(self.database, self.data_dir)
        index.add([self.put(image, **how) for image in images])
        while index.settle():
            pass
        return images

    def plan(self, study_uid: str = "", **changes: Any) -> int:
        """A job on all current images, of a study if one is named; returns its number."""
        instance, owner = schema.instance, schema.series
        with self.database.read() as connection:
            statement = (
                select(
                    instance.c.id, instance.c.digest, owner.c.id.label("series"), owner.c.series_uid, owner.c.study_id
                )
                .join(owner, owner.c.id == instance.c.series_id)
                .join(schema.study, schema.study.c.id == owner.c.study_id)
                .where(instance.c.state == "current", owner.c.modality == "CT")
                .where(schema.study.c.study_uid == study_uid if study_uid else true())
                .order_by(instance.c.id)
            )
            rows = connection.execute(statement).all()
        chosen = SelectedSeries(
            "ct", rows[0].series, rows[0].series_uid, tuple(row.id for row in rows), tuple(row.digest for row in rows)
        )
        values: dict[str, Any] = {
            "study_id": rows[0].study_id,
            "key": job_key("1", [chosen], "digest", {}),
            "rule": RULE,
            "model": "ct_lung_density",
            "model_version": "0.1.0",
            "model_digest": "digest",
            "inputs": (chosen,),
            "parameters": {},
            "destinations": ("pacs", "reading"),
            "withheld": {},
            "explanation": {},
            "priority": Priority.STAT,
        }
        job_id = self.ledger.plan(NewJob(**{**values, **changes}))
        assert job_id is not None
        return job_id

    def claim(self, job_id: int) -> Claim:
        """A worker begins."""
        claim = self.ledger.claim(job_id, "box:1", 600)
        assert claim is not None
        return claim

    def commit(
        self,
        job_id: int,
        images: Sequence[Dataset],
        claim: Claim | None = None,
        profile: Profile = Profile.BINARY,
        profiles: Mapping[str, str] | None = None,
        companions: Sequence[Companion] = (),
        **changes: Any,
    ) -> None:
        """A worker ends with a Segmentation in this profile, report and companions; ``changes`` are of the findings."""
        claim = claim or self.claim(job_id)
        job = self.ledger.job(job_id)
        assert job is not None
        findings = findings_on(images, **changes)
        context = type(CONTEXT)(
            *(self.ledger.installation(), job.key, job.issue, profile, job.created_at, None, "DICOMNODE"),
            IMPLEMENTATION_VERSION_NAME,
        )
        made = []
        for each in encode(findings, contract(), images, context, Encoding(profile.upper()), companions):
            path = self.desk.store.write_result(
                f"{job.key[:2]}/{job.key}/{job.issue}-{claim.attempt}-{each.kind}.dcm", each.data
            )
            digest = hashlib.sha256(each.data).hexdigest()
            relative = self.desk.store.relative(path)
            uids = (each.sop_instance_uid, each.sop_class_uid, each.series_instance_uid, each.transfer_syntax_uid)
            made.append(Artifact(each.kind, *uids, digest, relative, len(each.data)))
        told = {"possible": [str(each) for each in possible(findings)], "notes": list(findings.notes)}
        told["companions"] = [str(each) for each in companions]
        self.ledger.commit(
            claim, Outcome(rows_of(findings), tuple(made), told, {}, {}, profile=profile, profiles=profiles or {})
        )

    def result(self, images: Sequence[Dataset] = (), **changes: Any) -> int:
        """Images arrive, and their result is there; returns the job's number."""
        given = self.arrive(images)
        job_id = self.plan(**changes)
        self.commit(job_id, given)
        return job_id

    def refuse(self, job_id: int, message: str = "the slices are too thick") -> None:
        """A worker cannot use the input."""
        error = InputError(message, reason="too-thick", remedy="send the thin series")
        self.ledger.fail(self.claim(job_id), error, again=False)

    def deliver(self, *destinations: str) -> None:
        """Everything that is due arrives there."""
        for parcel in self.parcels.all(states=(ParcelState.DUE,)):
            if parcel.destination in destinations:
                self.parcels.took(parcel.id, [made.sop_uid for made in parcel.artifacts])
                self.parcels.sent(parcel.id)

    def past(self, job_id: int, seconds: float = 60) -> None:
        """The time in which the job's result is of use is over."""
        then = datetime.now(UTC) - timedelta(seconds=seconds)
        with self.database.write() as connection:
            connection.execute(update(schema.job).where(schema.job.c.id == job_id).values(useful_until=then))

    def set_version(self, job_id: int, version: str) -> None:
        """The job was of this version of its model."""
        with self.database.write() as connection:
            row = update(schema.job).where(schema.job.c.id == job_id)
            connection.execute(row.values(model_version=version))

    def sent(self, purpose: str) -> dict[str, Dataset]:
        """Destination -> the first object of the parcel for this purpose, as it lies on the disk."""
        return {
            parcel.destination: pydicom.dcmread(self.data_dir / parcel.artifacts[0].path)
            for parcel in self.parcels.all()
            if parcel.purpose == purpose
        }

    def states(self, purpose: str = "result") -> list[tuple[str, str]]:
        """Destination and state of each parcel of this purpose."""
        return [(parcel.destination, str(parcel.state)) for parcel in self.parcels.all() if parcel.purpose == purpose]

    def standings(self) -> list[str]:
        """Of each set of result objects."""
        table = schema.result_set
        with self.database.read() as connection:
            rows = connection.execute(
                select(table.c.standing).where(table.c.purpose == "result").order_by(table.c.id)
            ).scalars()
            return [str(found) for found in rows]

    def events(self) -> list[str]:
        """Kinds of all events."""
        with self.database.read() as connection:
            return list(connection.execute(select(schema.event.c.kind).order_by(schema.event.c.id)).scalars())
