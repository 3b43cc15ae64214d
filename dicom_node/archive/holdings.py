"""What of the archive is shown to others: objects that count, and results of ours that count. Only reads.

Superseded revisions, objects in conflict, rejected or hidden ones are not among them; of results only those of current
result sets. Results that came back from the PACS are shown once: as what we made.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, and_, exists, func, or_, select

from dicom_node.archive.database import Database, among
from dicom_node.archive.schema import artifact, instance, job, result_set, series, study
from dicom_node.domain.parcel import Purpose
from dicom_node.domain.study import InstanceState

# Modality (0008,0060) of what this node makes, by SOP class: PS3.3 fixes it for all but the last three.
MODALITY_OF_RESULT: Mapping[str, str] = {
    "1.2.840.10008.5.1.4.1.1.66.4": "SEG",
    "1.2.840.10008.5.1.4.1.1.66.7": "SEG",
    "1.2.840.10008.5.1.4.1.1.88.11": "SR",
    "1.2.840.10008.5.1.4.1.1.88.22": "SR",
    "1.2.840.10008.5.1.4.1.1.88.33": "SR",
    "1.2.840.10008.5.1.4.1.1.88.34": "SR",
    "1.2.840.10008.5.1.4.1.1.88.59": "KO",
    "1.2.840.10008.5.1.4.1.1.11.1": "PR",
    "1.2.840.10008.5.1.4.1.1.104.1": "DOC",
    "1.2.840.10008.5.1.4.1.1.7": "OT",
    "1.2.840.10008.5.1.4.1.1.30": "OT",
}
_BATCH = 500
_SHOWN_PURPOSES = (Purpose.RESULT, Purpose.NOTICE, Purpose.ASSESSMENT)


@dataclass(frozen=True, slots=True)
class Held:
    """An object that is shown."""

    study_uid: str
    series_uid: str
    sop_uid: str
    sop_class: str
    transfer_syntax: str
    path: str  # relative to the data directory
    size: int  # bytes of the file
    frames: int  # 0: no image, or not known before its file is read


@dataclass(frozen=True, slots=True)
class HeldSeries:
    """A series with what is shown of it."""

    study_uid: str
    series_uid: str
    modality: str
    instances: int
    first: str  # path of one of its objects
    attributes: Mapping[str, Any]  # plain values by keyword; empty for a series of ours


@dataclass(frozen=True, slots=True)
class HeldStudy:
    """A study with its series."""

    study_uid: str
    attributes: Mapping[str, Any]  # plain values by keyword
    series: tuple[HeldSeries, ...]


@dataclass(frozen=True, slots=True)
class Narrowing:
    """What the database itself can leave out of a search for studies; empty: nothing."""

    study_uids: Collection[str] = ()
    patient_id: str = ""
    accession_number: str = ""
    dates: tuple[str, str] = ("", "")  # first and last study date, YYYYMMDD
    modalities: Collection[str] = ()  # that one of its series must be of
    series_uids: Collection[str] = ()  # one of which it must have
    sop_uids: Collection[str] = ()


class Holdings:
    """Asks the ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def objects(self, study_uid: str, series_uid: str = "", sop_uid: str = "") -> list[Held]:
        """What is shown of a study, a series or an instance, in the order of series and instance numbers."""
        named = [(study.c.study_uid, study_uid), (series.c.series_uid, series_uid), (instance.c.sop_uid, sop_uid)]
        received = _received().where(*(column == uid for column, uid in named if uid))
        order = (series.c.id, instance.c.instance_number, instance.c.id)
        with self._database.read() as connection:
            found = [Held(*row) for row in connection.execute(received.order_by(*order))]
            if sop_uid and found:
                return found
            named = [(study.c.study_uid, study_uid), (artifact.c.series_uid, series_uid), (artifact.c.sop_uid, sop_uid)]
            ours = _ours().where(*(column == uid for column, uid in named if uid))
            made = connection.execute(ours.order_by(artifact.c.id)).all()
        return found + [_made(row) for row in made if _stays(row)]

    def studies(self, narrowing: Narrowing, at_once: int = _BATCH) -> Iterator[HeldStudy]:
        """Studies that may be meant, the one that changed last first; those of which nothing is shown are left out."""
        columns = (study.c.id, study.c.study_uid, study.c.attributes, study.c.last_received)
        statement = select(*columns).where(*_narrowed(narrowing))
        statement = statement.order_by(study.c.last_received.desc(), study.c.id.desc()).limit(at_once)
        last: Any = None
        while True:
            page = statement if last is None else statement.where(_after(last))
            with self._database.read() as connection:
                rows = connection.execute(page).all()
            held = self._series({int(row.id): str(row.study_uid) for row in rows})
            for row in rows:
                if held[row.id]:
                    yield HeldStudy(row.study_uid, row.attributes, tuple(held[row.id]))
            if len(rows) < at_once:
                return
            last = rows[-1]

    def _series(self, studies: Mapping[int, str]) -> dict[int, list[HeldSeries]]:
        """Series of each study of a page, by its row."""
        found: dict[int, list[HeldSeries]] = {row_id: [] for row_id in studies}
        first = func.min(instance.c.id).label("first")
        counted = (
            select(instance.c.series_id, func.count().label("instances"), first)
            .join(series, series.c.id == instance.c.series_id)
            .where(series.c.study_id.in_(studies), instance.c.state == InstanceState.CURRENT)
            .group_by(instance.c.series_id)
            .subquery()
        )
        columns = (series.c.study_id, series.c.series_uid, series.c.modality, series.c.attributes, counted.c.instances)
        received = (
            select(*columns, instance.c.path)
            .join(counted, counted.c.series_id == series.c.id)
            .join(instance, instance.c.id == counted.c.first)
            .order_by(series.c.id)
        )
        with self._database.read() as connection:
            for row in connection.execute(received):
                uid = studies[row.study_id]
                counts = (row.series_uid, row.modality, row.instances, row.path, row.attributes)
                found[row.study_id].append(HeldSeries(uid, *counts))
            ours = connection.execute(_ours(study.c.id).where(study.c.id.in_(studies)).order_by(artifact.c.id)).all()
        for row_id, made in _by_series([row for row in ours if _stays(row)]):
            found[row_id].append(made)
        return found


def _received() -> Select[Any]:
    columns = (study.c.study_uid, series.c.series_uid, instance.c.sop_uid, instance.c.sop_class)
    return (
        select(*columns, instance.c.transfer_syntax, instance.c.path, instance.c.size, instance.c.frames)
        .join(series, series.c.id == instance.c.series_id)
        .join(study, study.c.id == series.c.study_id)
        .where(instance.c.state == InstanceState.CURRENT)
    )


def _ours(*more: Any) -> Select[Any]:
    columns = (study.c.study_uid, artifact.c.series_uid, artifact.c.sop_uid, artifact.c.sop_class)
    return (
        select(*columns, artifact.c.transfer_syntax, artifact.c.path, artifact.c.size, result_set.c.manifest, *more)
        .join(result_set, result_set.c.id == artifact.c.result_set_id)
        .join(job, job.c.id == result_set.c.job_id)
        .join(study, study.c.id == job.c.study_id)
        .where(result_set.c.standing == "current", result_set.c.purpose.in_(_SHOWN_PURPOSES))
    )


def _made(row: Any) -> Held:
    return Held(
        row.study_uid, row.series_uid, row.sop_uid, row.sop_class, row.transfer_syntax, row.path, row.size, frames=0
    )


def _stays(row: Any) -> bool:
    """Whether a result was written for the study of its images; some are rewritten for one that they were moved to."""
    moved = (row.manifest or {}).get("study_uid")
    return not moved or moved == row.study_uid


def _by_series(rows: Sequence[Any]) -> Iterator[tuple[int, HeldSeries]]:
    grouped: dict[tuple[int, str], list[Any]] = {}
    for row in rows:
        grouped.setdefault((row.id, row.series_uid), []).append(row)
    for (row_id, series_uid), made in grouped.items():
        modality = MODALITY_OF_RESULT.get(made[0].sop_class, "OT")
        yield row_id, HeldSeries(made[0].study_uid, series_uid, modality, len(made), made[0].path, {})


def _after(last: Any) -> Any:
    """Studies that come after this one in the order of a search."""
    same = and_(study.c.last_received == last.last_received, study.c.id < last.id)
    return or_(study.c.last_received < last.last_received, same)


def _narrowed(narrowing: Narrowing) -> list[Any]:
    wanted: list[Any] = []
    if narrowing.study_uids:
        wanted.append(among(study.c.study_uid, narrowing.study_uids))
    for column, value in (
        (study.c.patient_id, narrowing.patient_id),
        (study.c.accession_number, narrowing.accession_number),
    ):
        if value:  # where the images differ the column is empty, and the objects themselves are looked at
            wanted.append(or_(column == value[:255], column.is_(None)))
    day = study.c.attributes["StudyDate"].as_string()
    for bound, compare in zip(narrowing.dates, (day.__ge__, day.__le__), strict=True):
        if bound:
            wanted.append(or_(compare(bound), day.is_(None)))
    if narrowing.modalities:
        wanted.append(_of_modality(narrowing.modalities))
    if narrowing.series_uids:
        of_study, chosen = series.c.study_id == study.c.id, narrowing.series_uids
        wanted.append(or_(exists().where(of_study, among(series.c.series_uid, chosen)), _result(series_uids=chosen)))
    if narrowing.sop_uids:
        chosen = narrowing.sop_uids
        received = exists().where(instance.c.study_id == study.c.id, among(instance.c.sop_uid, chosen))
        wanted.append(or_(received, _result(sop_uids=chosen)))
    return wanted


def _of_modality(modalities: Collection[str]) -> Any:
    received = exists().where(series.c.study_id == study.c.id, series.c.modality.in_(modalities))
    classes = [uid for uid, modality in MODALITY_OF_RESULT.items() if modality in modalities]
    return or_(received, _result(classes=classes)) if classes else received


def _result(*, series_uids: Collection[str] = (), sop_uids: Collection[str] = (), classes: Collection[str] = ()) -> Any:
    """Whether a study has a result of these series, instances or classes."""
    made = (
        select(artifact.c.id)
        .join(result_set, result_set.c.id == artifact.c.result_set_id)
        .join(job, job.c.id == result_set.c.job_id)
        .where(job.c.study_id == study.c.id)
    )
    for column, chosen in (
        (artifact.c.series_uid, series_uids),
        (artifact.c.sop_uid, sop_uids),
        (artifact.c.sop_class, classes),
    ):
        if chosen:
            made = made.where(among(column, chosen))
    return made.exists()
