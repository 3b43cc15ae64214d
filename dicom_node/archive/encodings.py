"""Results in another encoding: what a destination refuses, or another one gets from the start, is encoded anew.

A result set is never changed. One of another profile stands beside it, made from the same findings by a worker that
needs no GPU: the set says what is to be encoded and for whom, and a job of its own, which names the set, has it done.
So it is claimed, repeated, fenced and shown as every job is, and a set is encoded once, whatever dies.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, select, update

from dicom_node.archive import events
from dicom_node.archive.attempts import DONE, attempt_of
from dicom_node.archive.database import Database, db_now
from dicom_node.archive.results import Outcome, add_parcels, artifact_of, insert_artifacts, insert_set
from dicom_node.archive.schema import artifact, finding, job, parcel, result_set
from dicom_node.domain.job import Claim, JobState
from dicom_node.domain.parcel import REISSUED, SPARE, UNSEEN, Artifact, ParcelState, Purpose
from dicom_node.domain.profile import Companion, Profile, base_of
from dicom_node.errors import Fenced

ENCODED, TO_ENCODE = "encoded", "to encode"
OTHER_PROFILE = "other-profile"  # why a parcel is not sent any more
_KEPT = (
    *("site_id", "study_id", "issue", "rule", "model", "model_version", "model_digest", "inputs", "priority"),
    *("priority_source", "features_digest"),
)


@dataclass(frozen=True, slots=True)
class Order:
    """What a worker is to encode."""

    job_id: int  # whose findings
    profile: Profile
    findings: tuple[Mapping[str, Any], ...]  # kind and content, in the order in which they were found
    notes: tuple[str, ...]
    kept: Mapping[str, Artifact]  # what of them stands in objects: masks, probabilities, numbers (of a map)
    companions: tuple[Companion, ...]  # what is encoded beside


def spread(connection: Connection, row: Any, set_id: int, outcome: Outcome) -> None:
    """See to the destinations that get another profile than the set that a job has just handed in."""
    for profile, made in outcome.spares.items():
        to = [name for name in row.destinations if outcome.gets(name) == profile]
        standing = "current" if to else SPARE
        insert_set(connection, row, made, to, outcome.manifest, profile=profile, standing=standing)
    done = {outcome.profile, *outcome.spares, ""}
    for profile in sorted({outcome.gets(name) for name in row.destinations} - done):
        to = [name for name in row.destinations if outcome.gets(name) == profile]
        request(connection, row.id, Profile(profile), to, row.owner)
    for name in row.destinations:
        if not outcome.gets(name):
            _refuse(connection, row, set_id, name)


def request(connection: Connection, job_id: int, profile: Profile, destinations: Sequence[str], by: str) -> None:
    """Have the results of a job sent to destinations in another profile, and encoded in it if they are not yet."""
    row = connection.execute(select(job).where(job.c.id == job_id).with_for_update()).one()
    found = [each for each in sets_of(connection, job_id) if base_of(each.profile) is profile]
    ours = [each for each in found if not each.manifest.get("for")]  # others were written for one destination
    if not ours:
        manifest = {"to": list(destinations)}
        made = insert_set(connection, row, (), (), manifest, profile=profile)
        connection.execute(update(result_set).where(result_set.c.id == made).values(state=TO_ENCODE))
        _plan(connection, row, made, profile, destinations, by)
        return
    newest = ours[-1]
    if newest.standing not in ("current", *UNSEEN):
        return  # superseded or withdrawn: nobody gets it any more
    chosen = update(result_set).where(result_set.c.id == newest.id)
    if newest.state == TO_ENCODE:
        to = sorted({*newest.manifest["to"], *destinations})
        connection.execute(chosen.values(manifest={**newest.manifest, "to": to}))
        return
    connection.execute(chosen.values(standing="current"))
    _add_missing_parcels(connection, row, newest.id, destinations)


def order(database: Database, set_id: int) -> Order | None:
    """What is to be encoded; None: it is, or nobody wants it any more."""
    with database.read() as connection:
        set_ = connection.execute(select(result_set).where(result_set.c.id == set_id)).one()
        profile = base_of(set_.profile)
        if set_.state != TO_ENCODE or set_.standing != "current" or profile is None:
            return None
        rows = connection.execute(select(finding).where(finding.c.job_id == set_.job_id).order_by(finding.c.id)).all()
        kept = _kept(connection, set_.job_id)
        first = sets_of(connection, set_.job_id)[0]
    return Order(
        job_id=set_.job_id,
        profile=profile,
        findings=tuple({"kind": each.kind, "content": each.content} for each in rows),
        notes=tuple(first.manifest.get("notes", ())),
        kept=kept,
        companions=tuple(Companion(name) for name in first.manifest.get("companions", ())),
    )


def _kept(connection: Connection, job_id: int) -> dict[str, Artifact]:
    """The objects that hold what a job found and the ledger does not: as they were encoded first, not as corrected."""
    statement = (
        select(artifact, result_set.c.profile)
        .join(result_set, result_set.c.id == artifact.c.result_set_id)
        .where(result_set.c.job_id == job_id, result_set.c.purpose == Purpose.RESULT)
        .where(artifact.c.kind.in_(("seg", "pm")), result_set.c.profile.in_(tuple(Profile)))
        .order_by(artifact.c.id)
    )
    found: dict[str, Artifact] = {}
    for row in connection.execute(statement):
        shares = "probabilities" if row.profile == Profile.FRACTIONAL else "masks"
        found.setdefault("numbers" if row.kind == "pm" else shares, artifact_of(row))
    return found


def commit(database: Database, claim: Claim, artifacts: Sequence[Artifact], timings: Mapping[str, float]) -> JobState:
    """Hand in a set that was encoded, and its parcels, in one transaction; the state of the job that encoded it.

    No artifacts: nobody wants it any more.

    Raises:
        Fenced: the job is no longer this attempt's; nothing was written.
    """
    with database.write() as connection:
        row = connection.execute(DONE, {**attempt_of(claim), "timed": dict(timings), "made_by": {}}).first()
        if row is None:
            raise Fenced(f"job {claim.job_id} is no longer attempt {claim.attempt} of {claim.owner}")
        chosen = result_set.c.id == row.encodes
        set_ = connection.execute(select(result_set).where(chosen).with_for_update()).one()
        if not artifacts or set_.state != TO_ENCODE or set_.standing != "current":
            values = {"state": JobState.SUPERSEDED, "progress": "nobody wants it any more"}
            connection.execute(update(job).where(job.c.id == row.id).values(**values))
            return JobState.SUPERSEDED
        to = list(set_.manifest["to"])
        first = sets_of(connection, set_.job_id)[0]
        manifest = {key: value for key, value in first.manifest.items() if key not in _OF_A_CORRECTION}
        connection.execute(update(result_set).where(chosen).values(state=ENCODED, manifest=manifest))
        insert_artifacts(connection, row, set_.id, artifacts)
        _add_missing_parcels(connection, row, set_.id, to)
        step_back(connection, set_.job_id)
        detail = {"profile": set_.profile, "of_job": set_.job_id, "to": to}
        events.record(connection, "result encoded", claim.owner, detail, study_id=row.study_id, job_id=claim.job_id)
    return JobState.DONE


_OF_A_CORRECTION = ("corrected", "of", "for", "study_uid", "reason", "source", "to")


def sets_of(connection: Connection, job_id: int) -> list[Any]:
    """The result sets of a job, whatever they count for; the one that its worker handed in first."""
    where = (result_set.c.job_id == job_id, result_set.c.purpose == Purpose.RESULT)
    return list(connection.execute(select(result_set).where(*where).order_by(result_set.c.id)).all())


def _plan(
    connection: Connection, row: Any, set_id: int, profile: Profile, destinations: Sequence[str], by: str
) -> None:
    """The job that encodes a set: as urgent as the one that made the findings, and without its needs."""
    values = {
        **{name: getattr(row, name) for name in _KEPT},
        "key": hashlib.sha256(f"encode\n{row.key}\n{profile}".encode()).hexdigest(),
        "state": JobState.QUEUED,
        "parameters": {"profile": str(profile), "of_job": row.id},
        "destinations": list(destinations),
        "withheld": {},
        "explanation": [],
        "attempt": 0,
        "excused": 0,
        "progress": "",
        "run_after": db_now(),
        "created_at": db_now(),
        "timings": {},
        "versions": {},
        "encodes": set_id,
    }
    job_id = int(connection.execute(insert(job).values(values).returning(job.c.id)).scalar_one())
    detail = {"encodes": str(profile), "of_job": row.id, "for": list(destinations)}
    events.record(connection, "job planned", by, detail, study_id=row.study_id, job_id=job_id)


def _add_missing_parcels(connection: Connection, row: Any, set_id: int, destinations: Sequence[str]) -> None:
    known = set(connection.execute(select(parcel.c.destination).where(parcel.c.result_set_id == set_id)).scalars())
    add_parcels(connection, row, set_id, [name for name in destinations if name not in known])


def step_back(connection: Connection, job_id: int) -> None:
    """Sets that every destination of theirs has refused do not count any more once another one is encoded."""
    sets = [each for each in sets_of(connection, job_id) if each.standing == "current" and each.state == ENCODED]
    for each in sets:
        rows = connection.execute(select(parcel.c.state, parcel.c.error).where(parcel.c.result_set_id == each.id)).all()
        refused = [row for row in rows if (row.error or {}).get("reason") == OTHER_PROFILE]
        if len(sets) > 1 and refused and all(row.state == ParcelState.CANCELLED for row in rows):
            connection.execute(update(result_set).where(result_set.c.id == each.id).values(standing=REISSUED))


def _refuse(connection: Connection, row: Any, set_id: int, destination: str) -> None:
    """A destination that takes no encoding in which the findings can be told: a person must say what it gets."""
    add_parcels(connection, row, set_id, [destination])
    error = {
        "reason": "no-profile",
        "message": f"{destination} takes no encoding in which these findings can be told: segments that overlap fit "
        "into no label map, and only models that keep probabilities have them",
        "remedy": f'add "binary" to results of {destination} in the settings, or have what is there sent: '
        "dicom-node parcels retry",
    }
    chosen = (parcel.c.result_set_id == set_id, parcel.c.destination == destination)
    connection.execute(update(parcel).where(*chosen).values(state=ParcelState.REFUSED, error=error))
