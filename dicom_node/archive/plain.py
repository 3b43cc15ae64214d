"""Records of the ledger as plain data: dict, list, str, int, float, bool and None, times as ISO 8601 in UTC.

These are the keys of ``--json`` and of the API; ``docs/json.md`` lists them.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from dicom_node.archive.events import Event
from dicom_node.archive.open_items import OpenItem
from dicom_node.domain.job import Job
from dicom_node.domain.parcel import Artifact, Parcel

_ERROR_KEYS = ("reason", "message", "remedy")


def time(at: datetime | None) -> str | None:
    """``2026-03-01T08:15:30.120Z``."""
    return None if at is None else at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def seconds(start: datetime | None, end: datetime | None) -> float | None:
    """Seconds between two times, to the millisecond."""
    return None if start is None or end is None else round((end - start).total_seconds(), 3)


def error(given: Mapping[str, Any] | None) -> dict[str, str] | None:
    """What went wrong, without traceback and output, which may be long."""
    return None if not given else {key: str(given.get(key, "")) for key in _ERROR_KEYS}


def failure(given: Mapping[str, Any] | None, data_dir: str) -> dict[str, Any] | None:
    """All that was kept of an attempt that failed; ``input`` once there will be no other: series and absolute paths."""
    if not given:
        return None
    kept = {key: str(given.get(key) or "") for key in ("traceback", "output")}
    read = [
        {**chosen, "paths": [f"{data_dir}/{path}" for path in chosen["paths"]]} for chosen in given.get("input", ())
    ]
    return {**kept, "input": read}


def job(record: Job) -> dict[str, Any]:
    """A job without its findings."""
    return {
        "id": record.id,
        "study_uid": record.study_uid,
        "state": str(record.state),
        "rule": record.rule,
        "model": record.model,
        "model_version": record.model_version,
        "issue": record.issue,
        "priority": record.priority.name.lower(),
        "attempt": record.attempt,
        "excused": record.excused,
        "owner": record.owner,
        "progress": record.progress,
        "inputs": [
            {"role": chosen.role, "series_uid": chosen.series_uid, "instances": len(chosen.instances)}
            for chosen in record.inputs
        ],
        "parameters": dict(record.parameters),
        "destinations": list(record.destinations),
        "withheld": dict(record.withheld),
        "created_at": time(record.created_at),
        "started_at": time(record.started_at),
        "finished_at": time(record.finished_at),
        "queued_seconds": seconds(record.created_at, record.started_at),
        "run_seconds": seconds(record.started_at, record.finished_at),
        "timings": dict(record.timings),
        "versions": dict(record.versions),
        "error": error(record.error),
        "supersedes": record.supersedes,
        "question": record.question,
        "priority_source": record.priority_source,
        "needs": {"gpu_memory_mb": record.needs.gpu_memory_mb, "labels": sorted(record.needs.labels)},
        "useful_until": time(record.useful_until),
        "encodes": None if record.encodes is None else dict(record.parameters),
    }


def parcel(record: Parcel) -> dict[str, Any]:
    """A delivery."""
    return {
        "id": record.id,
        "study_uid": record.study_uid,
        "job": record.job_id,
        "model": record.model,
        "rule": record.rule,
        "destination": record.destination,
        "state": str(record.state),
        "tries": record.tries,
        "next_try": time(record.next_try),
        "created_at": time(record.created_at),
        "sent_at": time(record.sent_at),
        "error": error(record.error),
        "objects": [made.sop_uid for made in record.artifacts],
        "taken": sorted(record.taken),
        "verification": record.verification,
        "purpose": record.purpose and str(record.purpose),
        "record": record.record,
        "profile": record.profile,
    }


def open_item(record: OpenItem) -> dict[str, Any]:
    """A matter of the work list."""
    return {
        "id": record.id,
        "kind": record.kind,
        "study_uid": record.study_uid,
        "job": record.job_id,
        "reason": record.reason,
        "remedy": record.remedy,
        "created_at": time(record.created_at),
    }


def artifact(record: Artifact, data_dir: str) -> dict[str, Any]:
    """A result object, with its absolute path."""
    return {
        "kind": record.kind,
        "sop_uid": record.sop_uid,
        "sop_class": record.sop_class,
        "series_uid": record.series_uid,
        "transfer_syntax": record.transfer_syntax,
        "size": record.size,
        "sha256": record.digest,
        "path": f"{data_dir}/{record.path}",
    }


def event(record: Event) -> dict[str, Any]:
    """An entry of the history."""
    return {
        "at": time(record.at),
        "kind": record.kind,
        "by": record.by,
        "job": record.job_id,
        "parcel": record.parcel_id,
        "detail": dict(record.detail),
    }


def evidence(readiness: Mapping[str, Any]) -> dict[str, str]:
    """By what a series or study counts as whole, or why it does not; empty texts where nothing is known."""
    at = readiness.get("at")
    return {
        "by": str(readiness.get("by", "")),
        "reason": str(readiness.get("reason", "")),
        "remedy": str(readiness.get("remedy", "")),
        "at": (time(datetime.fromisoformat(at)) or "") if at else "",
    }


def study_attributes(attributes: Mapping[str, Any]) -> dict[str, str]:
    """What people know a study by. The patient's name is left out: the ID is enough to find a study."""
    return {
        "patient_id": _text(attributes.get("PatientID")),
        "accession_number": _text(attributes.get("AccessionNumber")),
        "study_date": _text(attributes.get("StudyDate")),
        "description": _text(attributes.get("StudyDescription")),
    }


def series_attributes(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """What people know a series by; ``number`` is an integer or null."""
    number = attributes.get("SeriesNumber")
    return {
        "number": int(number) if isinstance(number, int | float) else None,
        "description": _text(attributes.get("SeriesDescription")),
        "body_part": _text(attributes.get("BodyPartExamined")),
    }


def _text(value: Any) -> str:
    if value is None:
        return ""
    return "\\".join(str(item) for item in value) if isinstance(value, list | tuple) else str(value)
