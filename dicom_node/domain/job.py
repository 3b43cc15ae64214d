"""Jobs: one run of one model on one selection of a study's images.

waiting -> queued -> running -> done
              ^         |-----> failed        the input cannot be used; a person must act
              |---------|-----> quarantined   it failed as often as it may
cancelled, superseded: it is no longer wanted
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Any

from dicom_node.domain.fitness import NO_NEEDS, Needs


class JobState(StrEnum):
    """Where a job stands."""

    WAITING = "waiting"  # for a person's word, for another job's findings, or for features
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    QUARANTINED = "quarantined"
    CANCELLED = "cancelled"
    SUPERSEDED = "superseded"


UNFINISHED = (JobState.WAITING, JobState.QUEUED, JobState.RUNNING)


class Priority(IntEnum):
    """Order of the queue; the smaller goes first."""

    STAT = 0
    URGENT = 1
    ROUTINE = 2


# Requested Procedure Priority (0040,1003), PS3.3 C.4.11: defined terms.
_REQUESTED = {
    "STAT": Priority.STAT,
    "HIGH": Priority.URGENT,
    "ROUTINE": Priority.ROUTINE,
    "MEDIUM": Priority.ROUTINE,
    "LOW": Priority.ROUTINE,
}


def requested_priority(term: str) -> Priority | None:
    """What a Requested Procedure Priority means here; None where it is empty or no defined term."""
    return _REQUESTED.get(term.strip().upper())


@dataclass(frozen=True, slots=True)
class SelectedSeries:
    """The images chosen for one input role of a model."""

    role: str
    series_id: int
    series_uid: str
    instances: tuple[int, ...]  # row ids, ascending
    digests: tuple[str, ...] = ()  # of the data sets, in the order of ``instances``

    def as_json(self) -> dict[str, Any]:
        """What the ledger keeps."""
        return {"series": self.series_id, "series_uid": self.series_uid, "instances": list(self.instances)}

    @classmethod
    def from_json(cls, role: str, value: Mapping[str, Any]) -> SelectedSeries:
        """The selection the ledger kept; digests are not kept beside the key."""
        return cls(role, value["series"], value["series_uid"], tuple(value["instances"]))


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job as it is planned."""

    study_id: int
    key: str
    rule: str
    model: str
    model_version: str
    model_digest: str
    inputs: tuple[SelectedSeries, ...]
    parameters: Mapping[str, Any]
    destinations: tuple[str, ...]  # names of peers that get the results
    withheld: Mapping[str, str]  # name of peer -> why it does not
    explanation: Mapping[str, Any]  # of the rules
    priority: Priority = Priority.ROUTINE
    issue: int = 1
    question: str = ""  # it waits until a person has answered; empty: it is queued at once
    priority_source: str = "rule"  # who said so
    needs: Needs = NO_NEEDS  # of its worker
    useful_until: datetime | None = None  # a result is late from then on
    gather_s: float | None = None  # how long its model's features are waited for at most; None: it asks for none
    after_jobs: tuple[int, ...] = ()  # whose findings it needs


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to work on a job, until the lease runs out or another attempt begins."""

    job_id: int
    attempt: int
    owner: str  # host:pid


@dataclass(frozen=True, slots=True)
class Job:
    """A job as the ledger has it."""

    id: int
    site_id: int
    study_id: int
    study_uid: str
    key: str
    issue: int
    state: JobState
    rule: str
    model: str
    model_version: str
    model_digest: str
    inputs: tuple[SelectedSeries, ...]
    parameters: Mapping[str, Any]
    destinations: tuple[str, ...]
    withheld: Mapping[str, str]
    explanation: Mapping[str, Any]
    priority: Priority
    attempt: int
    excused: int  # attempts that do not count: infrastructure failed, not the job
    owner: str | None
    progress: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    error: Mapping[str, Any] | None  # reason, message, remedy, traceback, output
    timings: Mapping[str, float] = field(default_factory=dict)  # stage -> seconds
    versions: Mapping[str, str] = field(default_factory=dict)
    supersedes: int | None = None  # the job whose result this one replaces
    question: str = ""  # what a waiting job needs a person's word on
    priority_source: str = "rule"  # who said so
    needs: Needs = NO_NEEDS  # of its worker
    useful_until: datetime | None = None  # a result is late from then on
    gather_until: datetime | None = None  # when it no longer waits for features; None: it does not
    features: Mapping[str, Any] | None = None  # what it was given: at, match, values (domain.feature.Feature)
    encodes: int | None = None  # the result set that it encodes anew; none: it runs its model


def job_key(study_uid: str, inputs: Sequence[SelectedSeries], model_digest: str, parameters: Mapping[str, Any]) -> str:
    """SHA-256 that is equal exactly when study content, model and parameters are.

    The order in which images arrived does not matter; what other series the study holds does not either.
    """
    content = {
        "study": study_uid,
        "inputs": {selected.role: sorted(selected.digests) for selected in inputs},
        "model": model_digest,
        "parameters": dict(parameters),
    }
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
