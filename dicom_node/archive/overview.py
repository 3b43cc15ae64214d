"""All studies at a glance, and the counters above them. Only reads; plain data."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, CompoundSelect, Connection, Table, exists, func, or_, select, union

from dicom_node.archive import open_items, plain
from dicom_node.archive.accounting import account
from dicom_node.archive.database import Database, db_now
from dicom_node.archive.forwarding import SUPERSEDED
from dicom_node.archive.schema import identity, instance, job, parcel, result_set, series, study
from dicom_node.domain.job import UNFINISHED, JobState
from dicom_node.domain.parcel import ParcelState, Purpose
from dicom_node.domain.standing import JobBrief, ParcelBrief, standing
from dicom_node.domain.study import InstanceState, Readiness


class Show(StrEnum):
    """Which studies a list shows."""

    ALL = "all"
    ATTENTION = "attention"  # something failed, is held, or waits for a person
    WORKING = "working"  # something is to come yet
    DONE = "done"  # neither


def studies(
    database: Database,
    *,
    limit: int = 50,
    offset: int = 0,
    find: str = "",
    show: Show = Show.ALL,
    study_ids: Sequence[int] | None = None,
) -> tuple[list[dict[str, Any]], int]:
    """One page of studies, the one that changed last first, and how many there are in all.

    ``find``: only studies with this Patient ID, Accession Number or Study Instance UID; ``show``: only those.
    """
    wanted = _shown(show)
    if study_ids is not None:
        wanted.append(study.c.id.in_(study_ids))
    if find:
        wanted.append(study.c.id.in_(_meant(find)))
    newest_first = select(study).where(*wanted).order_by(study.c.last_received.desc(), study.c.id.desc())
    with database.read() as connection:
        total = int(connection.execute(select(func.count(study.c.id)).where(*wanted)).scalar_one())
        rows = connection.execute(newest_first.limit(limit).offset(offset)).all()
        ids = [row.id for row in rows]
        sizes, jobs, parcels = _sizes(connection, ids), _jobs(connection, ids), _parcels(connection, ids)
        items = open_items.counts(connection, ids)
    found = [_study(row, sizes.get(row.id, {}), jobs[row.id], parcels[row.id]) for row in rows]
    return [{**each, "open_items": items.get(each["id"], 0)} for each in found], total


def matching(database: Database, text: str) -> tuple[tuple[int, str], ...]:
    """Row id and Study Instance UID of every study that a person may mean by ``text``.

    A Study Instance UID names one study. A row id, an accession number and a Patient ID may be equal by chance, so
    all studies that fit are given: whoever asks must not be shown another patient.
    """
    row_id = int(text) if text.isascii() and text.isdigit() and len(text) < 19 else -1
    columns = select(study.c.id, study.c.study_uid).order_by(study.c.id)
    with database.read() as connection:
        found = connection.execute(columns.where(study.c.study_uid == text)).all()
        if not found:
            found = connection.execute(columns.where(or_(study.c.id == row_id, study.c.id.in_(_meant(text))))).all()
    return tuple((int(row.id), str(row.study_uid)) for row in found)


def counters(database: Database) -> dict[str, Any]:
    """Numbers for the dashboard and for ``/metrics``; ``docs/json.md`` lists the keys."""
    oldest = select(func.min(job.c.created_at), db_now()).where(job.c.state == JobState.QUEUED)
    instances = account(database)
    with database.read() as connection:
        first_queued, now = connection.execute(oldest).one()
        return {
            "studies": _by_state(connection, study.c.state),
            "instances": dict(instances.by_state),
            "jobs": _by_state(connection, job.c.state),
            "parcels": _by_state(connection, parcel.c.state),
            "unaccounted": instances.unaccounted,
            "open_items": sum(open_items.counts(connection).values()),
            "oldest_queued_seconds": plain.seconds(first_queued, now) or 0.0,
        }


def unusable(database: Database, limit: int = 20) -> tuple[list[dict[str, Any]], int]:
    """Objects that were stored and cannot be used, the newest first, and how many there are in all."""
    rejected = instance.c.state == InstanceState.REJECTED
    columns = (instance.c.path, instance.c.reason, instance.c.calling_ae, instance.c.received_at)
    statement = select(*columns).where(rejected).order_by(instance.c.id.desc()).limit(limit)
    with database.read() as connection:
        count = connection.execute(select(func.count()).select_from(instance).where(rejected)).scalar_one()
        rows = connection.execute(statement).all()
    return [{**row._mapping, "received_at": plain.time(row.received_at)} for row in rows], int(count)


def _meant(text: str) -> CompoundSelect[int]:
    """Row ids of the studies that a person may mean by ``text``: a union, so that each part uses its own index."""
    return union(
        select(study.c.id).where(study.c.study_uid == text),
        select(study.c.id).where(study.c.patient_id == text),
        select(study.c.id).where(study.c.accession_number == text),
        select(study.c.id).join(identity, identity.c.id == study.c.identity_id).where(identity.c.patient_id == text),
    )


def _shown(show: Show) -> list[ColumnElement[bool]]:
    def has(table: Table, *which: ColumnElement[bool]) -> ColumnElement[bool]:
        return exists().where(table.c.study_id == study.c.id, *which)

    attention = or_(
        study.c.state == Readiness.HELD,
        has(job, job.c.state.in_((JobState.FAILED, JobState.QUARANTINED))),
        has(job, job.c.state == JobState.WAITING, job.c.question != ""),
        has(parcel, parcel.c.state.in_((ParcelState.REFUSED, ParcelState.HELD))),
        has(parcel, parcel.c.state == ParcelState.DUE, parcel.c.tries > 0),
    )
    working = or_(
        study.c.state == Readiness.OPEN,
        has(job, job.c.state.in_(UNFINISHED)),
        has(parcel, parcel.c.state == ParcelState.DUE),
    )
    which = {Show.ATTENTION: [attention], Show.WORKING: [working], Show.DONE: [~attention, ~working]}
    return which.get(show, [])


def _by_state(connection: Connection, state: ColumnElement[Any]) -> dict[str, int]:
    rows = connection.execute(select(state, func.count()).group_by(state).order_by(state)).all()
    return {str(name): int(count) for name, count in rows}


def _study(row: Any, size: dict[str, Any], jobs: Sequence[JobBrief], parcels: Sequence[ParcelBrief]) -> dict[str, Any]:
    told = standing(Readiness(row.state), row.readiness, row.outcome, jobs, parcels)
    return {
        "id": row.id,
        "study_uid": row.study_uid,
        **plain.study_attributes(row.attributes),
        "modalities": sorted(size.get("modalities", ())),
        "series": size.get("series", 0),
        "instances": size.get("instances", 0),
        "standing": str(told.stand),
        "standing_words": told.words,
        "first_received": plain.time(row.first_received),
        "last_received": plain.time(row.last_received),
    }


def _sizes(connection: Connection, ids: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Series, instances and modalities of each study. Results of ours that came back belong to no series."""
    rows = connection.execute(
        select(series.c.study_id, series.c.modality, func.count(), func.sum(series.c.instances))
        .where(series.c.study_id.in_(ids), series.c.instances > 0)
        .group_by(series.c.study_id, series.c.modality)
    ).all()
    sizes: dict[int, dict[str, Any]] = defaultdict(lambda: {"modalities": set(), "series": 0, "instances": 0})
    for study_id, modality, count, instances in rows:
        size = sizes[study_id]
        size["modalities"].add(modality)
        size["series"] += int(count)
        size["instances"] += int(instances or 0)
    return sizes


def _jobs(connection: Connection, ids: Sequence[int]) -> dict[int, list[JobBrief]]:
    statement = select(job.c.study_id, job.c.state, job.c.model, job.c.progress, job.c.error, job.c.question)
    rows = connection.execute(statement.where(job.c.study_id.in_(ids)).order_by(job.c.id)).all()
    jobs: dict[int, list[JobBrief]] = defaultdict(list)
    for row in rows:
        brief = JobBrief(
            JobState(row.state), row.model, row.progress, (row.error or {}).get("message", ""), row.question
        )
        jobs[row.study_id].append(brief)
    return jobs


def _parcels(connection: Connection, ids: Sequence[int]) -> dict[int, list[ParcelBrief]]:
    """Parcels of the results, and of received images, that count."""
    columns = parcel.c.study_id, parcel.c.state, parcel.c.destination, parcel.c.tries, parcel.c.error, parcel.c.rule
    rows = connection.execute(
        select(*columns)
        .outerjoin(result_set, result_set.c.id == parcel.c.result_set_id)
        .where(parcel.c.study_id.in_(ids), func.coalesce(result_set.c.standing, "current") == "current")
        .where(func.coalesce(result_set.c.purpose, Purpose.RESULT) == Purpose.RESULT)
        .order_by(parcel.c.id)
    ).all()
    parcels: dict[int, list[ParcelBrief]] = defaultdict(list)
    for row in rows:
        if row.error != SUPERSEDED:
            parcels[row.study_id].append(brief_of(row.state, row.destination, row.tries, row.error, row.rule))
    return parcels


def brief_of(
    state: str, destination: str, tries: int, error: Mapping[str, Any] | None, rule: str | None
) -> ParcelBrief:
    """What counts of a parcel for where its study stands."""
    message = str((error or {}).get("message", ""))
    return ParcelBrief(ParcelState(state), destination, tries, message, "images" if rule else "results")
