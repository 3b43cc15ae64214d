"""A study's story: what arrived, what the rules decided, what ran, what was found, where it went. Only reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, select

from dicom_node.archive import events, plain
from dicom_node.archive.database import Database
from dicom_node.archive.forwarding import SUPERSEDED
from dicom_node.archive.ledger import Ledger
from dicom_node.archive.overview import brief_of
from dicom_node.archive.parcels import Parcels
from dicom_node.archive.schema import instance, result_set, series, study
from dicom_node.domain.job import Job
from dicom_node.domain.parcel import Parcel, ParcelState, Purpose
from dicom_node.domain.standing import JobBrief, Standing, standing
from dicom_node.domain.study import InstanceState, Readiness

SHOWN_UNITS = {"[hnsf'U]": "HU"}  # UCUM units that people write differently
_LONGEST_LIST_OF_PROBLEMS = 50


def story(database: Database, study_id: int) -> dict[str, Any]:
    """Everything about one study as plain data; ``docs/json.md`` lists the keys."""
    ledger = Ledger(database)
    jobs = tuple(reversed(ledger.jobs(study_id=study_id)))
    parcels = Parcels(database).all(study_id=study_id)
    with database.read() as connection:
        row = connection.execute(select(study).where(study.c.id == study_id)).one()
        seen = connection.execute(select(series).where(series.c.study_id == study_id).order_by(series.c.id)).all()
        problems = _problems(connection, study_id)
        results = _results(connection, [found.id for found in jobs])
    told = _standing(row, jobs, [sent for sent in parcels if _counts(sent, results)])
    return {
        "id": row.id,
        "study_uid": row.study_uid,
        **plain.study_attributes(row.attributes),
        "standing": str(told.stand),
        "standing_words": told.words,
        "state": row.state,
        "evidence": plain.evidence(row.readiness),
        "decision": row.outcome,
        "first_received": plain.time(row.first_received),
        "last_received": plain.time(row.last_received),
        "series": [_series(found) for found in _by_number(seen)],
        "problems": problems,
        "jobs": [_job(ledger, found, results.get(found.id), str(database.data_dir)) for found in jobs],
        "parcels": [plain.parcel(sent) for sent in parcels],
        "stages": _stages(row, jobs, parcels),
    }


def job_story(database: Database, job_id: int) -> dict[str, Any] | None:
    """One job with its findings, result objects, failure and history; None when there is no such job."""
    ledger = Ledger(database)
    record = ledger.job(job_id)
    if record is None:
        return None
    with database.read() as connection:
        result = _results(connection, [job_id]).get(job_id)
    told = _job(ledger, record, result, str(database.data_dir))
    told["failure"] = plain.failure(record.error, str(database.data_dir))
    return {**told, "events": [entry for entry in history(database, record.study_id) if entry["job"] == job_id]}


def history(database: Database, study_id: int) -> list[dict[str, Any]]:
    """What happened to a study, oldest first."""
    return [plain.event(found) for found in events.history(database, study_id)]


def _standing(row: Any, jobs: Sequence[Job], parcels: Sequence[Parcel]) -> Standing:
    return standing(
        Readiness(row.state),
        row.readiness,
        row.outcome,
        [JobBrief(found.state, found.model, found.progress, _message(found.error), found.question) for found in jobs],
        [brief_of(sent.state, sent.destination, sent.tries, sent.error, sent.rule) for sent in parcels],
    )


def _counts(sent: Parcel, results: Mapping[int, str]) -> bool:
    """Whether nothing newer has replaced what is in a parcel."""
    if sent.job_id is None:
        return sent.error != SUPERSEDED
    return sent.purpose == Purpose.RESULT and results.get(sent.job_id) == "current"


def _message(error: Mapping[str, Any] | None) -> str:
    return str(error.get("message", "")) if error else ""


def _by_number(rows: Sequence[Any]) -> list[Any]:
    def order(row: Any) -> tuple[float, int]:
        number = plain.series_attributes(row.attributes)["number"]
        return (float("inf") if number is None else number, row.id)

    return sorted(rows, key=order)


def _series(row: Any) -> dict[str, Any]:
    return {
        "id": row.id,
        "series_uid": row.series_uid,
        "modality": row.modality,
        **plain.series_attributes(row.attributes),
        "instances": row.instances,
        "origin": row.origin,
        "state": row.state,
        "evidence": plain.evidence(row.readiness),
        "peer": row.peer,
        "calling_ae": row.calling_ae,
        "called_ae": row.called_ae,
        "first_received": plain.time(row.first_received),
        "last_received": plain.time(row.last_received),
    }


def _problems(connection: Connection, study_id: int) -> list[dict[str, Any]]:
    """Objects of this study that were stored and cannot be used, and why."""
    statement = (
        select(instance.c.sop_uid, instance.c.state, instance.c.reason, instance.c.path)
        .where(instance.c.study_id == study_id)
        .where(instance.c.state.in_((InstanceState.REJECTED, InstanceState.CONFLICT, InstanceState.HIDDEN)))
        .order_by(instance.c.id)
        .limit(_LONGEST_LIST_OF_PROBLEMS)
    )
    return [dict(row._mapping) for row in connection.execute(statement)]


def _results(connection: Connection, job_ids: Sequence[int]) -> dict[int, str]:
    """Job -> what its newest result set counts for: current, superseded, withdrawn."""
    statement = select(result_set.c.job_id, result_set.c.standing).where(
        result_set.c.job_id.in_(job_ids), result_set.c.purpose == Purpose.RESULT
    )
    rows = connection.execute(statement.order_by(result_set.c.id)).all()
    return {int(row.job_id): str(row.standing) for row in rows}


def _job(ledger: Ledger, record: Job, result: str | None, data_dir: str) -> dict[str, Any]:
    found = ledger.findings(record.id)
    return {
        **plain.job(record),
        "chosen": _chosen(record.explanation),
        "result": result,
        "segments": [_segment(content) for content in found if content["kind"] == "segment"],
        "measurements": [_measurement(content, found) for content in found if content["kind"] == "measurement"],
        "evaluations": [_evaluation(content) for content in found if content["kind"] == "evaluation"],
        "classes": [_class(content) for content in found if content["kind"] == "class"],
        "detections": [_detection(content) for content in found if content["kind"] == "detection"],
        "artifacts": [plain.artifact(made, data_dir) for made in ledger.artifacts(record.id)],
    }


def _chosen(explanation: Any) -> list[str]:
    """Why these series, in short: one line per decision of the rules that were recorded with the job."""
    decisions = explanation if isinstance(explanation, list) else [explanation]
    return [str(decision["reason"]) for decision in decisions if isinstance(decision, Mapping) and "reason" in decision]


def _segment(content: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "number": content["number"],
        "label": content["label"],
        "color": list(content["color"]),
        "tracking_uid": content["tracking_uid"],
        "state": content["state"],
    }


def _measurement(content: Mapping[str, Any], found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    labels = {other["number"]: other["label"] for other in found if other["kind"] == "segment"}
    return {
        "name": content["name"],
        "meaning": _in_words(content),
        "of": [labels.get(number, str(number)) for number in content["segments"]],
        "value": content["value"],
        "unit": content["unit"]["value"],
        "unit_shown": SHOWN_UNITS.get(content["unit"]["value"], content["unit"]["value"]),
        "method": content.get("method", ""),
        "uncertainty": content.get("uncertainty"),
        "state": content["state"],
    }


def _in_words(content: Mapping[str, Any]) -> str:
    """What was measured: the concept, and how it was derived where that tells it from others of the same concept."""
    derivation = content.get("derivation")
    concept = str(content["concept"]["meaning"])
    return f"{concept}, {derivation['meaning']}" if derivation else concept


def _evaluation(content: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": content["name"],
        "meaning": content["concept"]["meaning"],
        "presence": content["presence"],
        "reason": content["reason"],
        "source": content.get("source", ""),
        "state": content["state"],
    }


def _class(content: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": content["name"],
        "output": content["output"],
        "meaning": content["concept"]["meaning"],
        "presence": content["presence"],
        "probability": content["probability"],
        "reason": content["reason"],
        "source": content["source"],
        "state": content["state"],
    }


def _detection(content: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "number": content["number"],
        "output": content["output"],
        "meaning": content["concept"]["meaning"],
        "score": content["score"],
        "points": [list(point) for point in content["points"]],
        "measurements": [_measurement({**taken, "state": content["state"]}, ()) for taken in content["measurements"]],
        "tracking_uid": content["tracking_uid"],
        "state": content["state"],
    }


def _stages(row: Any, jobs: Sequence[Job], parcels: Sequence[Parcel]) -> list[dict[str, Any]]:
    """How long each stage took, in the order of the study's way; of the last job that ended, and of its parcels."""
    ended = [found for found in jobs if found.finished_at is not None]
    stages = [{"stage": "reception", "seconds": plain.seconds(row.first_received, row.last_received)}]
    if not ended:
        return stages + _forwarding(parcels)
    last = ended[-1]
    stages += [
        {"stage": "completion and rules", "seconds": plain.seconds(row.last_received, last.created_at)},
        {"stage": "queue", "seconds": plain.seconds(last.created_at, last.started_at)},
        {"stage": "worker", "seconds": plain.seconds(last.started_at, last.finished_at)},
    ]
    stages += [{"stage": f"worker: {name}", "seconds": round(took, 3)} for name, took in last.timings.items()]
    stages += [
        {"stage": f"delivery: {sent.destination}", "seconds": plain.seconds(last.finished_at, sent.sent_at)}
        for sent in parcels
        if sent.job_id == last.id and sent.state != ParcelState.HELD
    ]
    return stages + _forwarding(parcels)


def _forwarding(parcels: Sequence[Parcel]) -> list[dict[str, Any]]:
    """From the first parcel of received objects for a destination to the last Success there."""
    destinations = dict.fromkeys(sent.destination for sent in parcels if sent.job_id is None)
    stages = []
    for name in destinations:
        of_it = [sent for sent in parcels if sent.job_id is None and sent.destination == name]
        times = [sent.sent_at for sent in of_it if sent.sent_at is not None]
        if times:
            first = min(sent.created_at for sent in of_it)
            stages.append({"stage": f"delivery: {name} (images)", "seconds": plain.seconds(first, max(times))})
    return stages
