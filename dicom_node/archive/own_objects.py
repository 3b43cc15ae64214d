"""What objects of our own are written from: the images and results of a job, read from their files."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pydicom
from pydicom.dataset import Dataset
from sqlalchemy import Connection, func, select

from dicom_node.archive.documents import Author, Identity, Reference, local_time, part_10
from dicom_node.archive.files import ObjectStore
from dicom_node.archive.inheritance import Inheritance, inherit
from dicom_node.archive.schema import artifact, installation, instance, result_set, series, study
from dicom_node.archive.truth import Truth, corrected, series_of
from dicom_node.domain.identifiers import result_uid
from dicom_node.domain.parcel import UNSEEN, Artifact, Purpose
from dicom_node.domain.study import InstanceState
from dicom_node.errors import HeaderError
from dicom_node.settings import Settings

_FIRST_SERIES_NUMBER = 900_000  # those of results lie below
_SERIES_NUMBERS = 90_000


@dataclass(frozen=True, slots=True)
class Desk:
    """Where and in whose name this node writes."""

    store: ObjectStore
    station: str  # our AE title
    zone: ZoneInfo | None = None  # the site's; None: the machine's

    @classmethod
    def of(cls, settings: Settings) -> Desk:
        """That of a node."""
        node = settings.node
        return cls(ObjectStore(node.data_dir), node.ae_title, ZoneInfo(node.time_zone) if node.time_zone else None)


@dataclass(frozen=True, slots=True)
class Occasion:
    """A job as its notices and withdrawals need it."""

    row: Any  # of the table of jobs
    author: Author
    inherited: Inheritance  # of its images, with what was corrected since
    images: tuple[Reference, ...]
    results: tuple[Reference, ...]  # of its result objects


def occasion(connection: Connection, desk: Desk, row: Any, set_id: int | None = None) -> Occasion:
    """Read what there is of a job; of its result objects those of one set, or those that count somewhere.

    Raises:
        HeaderError: none of its images can be read.
    """
    study_uid = connection.execute(select(study.c.study_uid).where(study.c.id == row.study_id)).scalar_one()
    chosen = sorted({number for selected in row.inputs.values() for number in selected["instances"]})
    chosen = chosen or one_of_each_series(connection, row.study_id)
    images = []
    first: Dataset | None = None
    for start in range(0, len(chosen), 500):
        statement = (
            select(instance.c.sop_uid, instance.c.sop_class, instance.c.path, series.c.series_uid)
            .join(series, series.c.id == instance.c.series_id)
            .where(instance.c.id.in_(chosen[start : start + 500]))
            .order_by(instance.c.id)
        )
        for found in connection.execute(statement):
            images.append(Reference(study_uid, found.series_uid, found.sop_class, found.sop_uid))
            first = first or _header(desk, found.path)
    for path in _result_paths(connection, row.id) if first is None else ():
        first = first or _header(desk, path)  # a result bears the same attributes
    if first is None:
        raise HeaderError(f"no image of job {row.id} can be read", remedy="dicom-node check --deep names lost files")
    truth = Truth.of(connection, row.study_id, series_of(row.inputs))
    uuid = connection.execute(select(installation.c.uuid)).scalar_one()
    return Occasion(
        row=row,
        author=Author(UUID(uuid), desk.station),
        inherited=corrected(inherit([first]), truth),
        images=tuple(images),
        results=_results(connection, row.id, truth.study_uid or study_uid, set_id),
    )


def identity(found: Occasion, purpose: str, description: str, at: datetime, zone: ZoneInfo | None) -> Identity:
    """The object for one purpose of a job's issue: the same UIDs however often it is written."""
    row = found.row

    def uid(output: str) -> str:
        return result_uid(found.author.installation, row.key, f"{purpose}/{output}", row.issue, purpose)

    number = _FIRST_SERIES_NUMBER + int(uid("series-number").removeprefix("2.25.")) % _SERIES_NUMBERS
    return Identity(
        uid("instance"), uid("series"), number, description, local_time(at, found.inherited.utc_offset, zone)
    )


def keep(desk: Desk, row: Any, kind: str, dataset: Dataset, character_set: Sequence[str]) -> Artifact:
    """Write an object durably; see :func:`keep_file`."""
    return keep_file(desk, row, kind, dataset, part_10(dataset, character_set, desk.station))


def keep_file(desk: Desk, row: Any, kind: str, dataset: Dataset, data: bytes) -> Artifact:
    """Write ``data``, the Part 10 file of a data set, durably.

    It is named by its content, so that a half-done attempt never stands in the way.

    Raises:
        OSError: the disk is full or fails.
    """
    digest = hashlib.sha256(data).hexdigest()
    path = desk.store.write_result(f"{row.key[:2]}/{row.key}/{row.issue}-{kind}-{digest[:16]}.dcm", data)
    return Artifact(
        kind=kind,
        sop_uid=str(dataset.SOPInstanceUID),
        sop_class=str(dataset.SOPClassUID),
        series_uid=str(dataset.SeriesInstanceUID),
        transfer_syntax=str(dataset.file_meta.TransferSyntaxUID),
        digest=digest,
        path=desk.store.relative(path),
        size=len(data),
    )


def _results(connection: Connection, job_id: int, study_uid: str, set_id: int | None) -> tuple[Reference, ...]:
    statement = (
        select(artifact)
        .join(result_set, result_set.c.id == artifact.c.result_set_id)
        .where(result_set.c.job_id == job_id)
        .order_by(artifact.c.id)
    )
    if set_id is None:
        statement = statement.where(result_set.c.purpose == Purpose.RESULT, result_set.c.standing.not_in(UNSEEN))
    else:
        statement = statement.where(result_set.c.id == set_id)
    rows = connection.execute(statement).all()
    return tuple(Reference(study_uid, made.series_uid, made.sop_class, made.sop_uid) for made in rows)


def one_of_each_series(connection: Connection, study_id: int) -> list[int]:
    """What stands for a study of which nothing was chosen."""
    first = select(func.min(instance.c.id)).join(series, series.c.id == instance.c.series_id)
    ours = (InstanceState.CURRENT, InstanceState.CONFLICT)
    found = first.where(series.c.study_id == study_id, instance.c.state.in_(ours)).group_by(series.c.id)
    return sorted(connection.execute(found).scalars())


def _result_paths(connection: Connection, job_id: int) -> list[str]:
    made = select(artifact.c.path).join(result_set, result_set.c.id == artifact.c.result_set_id)
    return list(connection.execute(made.where(result_set.c.job_id == job_id).order_by(artifact.c.id)).scalars())


def _header(desk: Desk, path: str) -> Dataset | None:
    try:
        return pydicom.dcmread(desk.store.absolute(path), stop_before_pixels=True)
    except (OSError, pydicom.errors.InvalidDicomError):
        return None
