"""What a finished job leaves in the ledger: findings, a result set, its artifacts, and parcels to deliver."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select, update

from dicom_node.archive import events
from dicom_node.archive.database import db_now
from dicom_node.archive.schema import artifact, finding, job, parcel, result_set
from dicom_node.archive.truth import Truth, series_of
from dicom_node.domain.parcel import Artifact, ParcelState, Purpose
from dicom_node.domain.profile import Profile

_INSERT_SET = insert(result_set).values(created_at=db_now()).returning(result_set.c.id)
_INSERT_PARCEL = insert(parcel).values(next_try=db_now(), created_at=db_now())
_OLDER = select(job.c.id).where(
    job.c.study_id == bindparam("study"), job.c.rule == bindparam("of_rule"), job.c.id < bindparam("newer")
)
_REPLACED = (
    update(result_set)
    .where(result_set.c.job_id.in_(_OLDER), result_set.c.standing == "current", result_set.c.purpose == Purpose.RESULT)
    .values(standing="superseded")
    .returning(result_set.c.id, result_set.c.job_id)
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an attempt hands in."""

    findings: tuple[Mapping[str, Any], ...]  # kind, name, content, tracking_uid
    artifacts: tuple[Artifact, ...]
    manifest: Mapping[str, Any]
    timings: Mapping[str, float]  # stage -> seconds
    versions: Mapping[str, str]
    profile: str = Profile.BINARY  # of ``artifacts``
    profiles: Mapping[str, str] = field(default_factory=dict)  # destination -> its own; empty: none can tell it
    spares: Mapping[str, tuple[Artifact, ...]] = field(default_factory=dict)  # profile -> the same findings in it

    def gets(self, destination: str) -> str:
        """The profile that a destination gets; empty: it takes none that these findings can be told in."""
        return self.profiles.get(destination, self.profile)


def artifact_of(row: Any) -> Artifact:
    """A row of the table of artifacts as a record."""
    return Artifact(
        row.kind, row.sop_uid, row.sop_class, row.series_uid, row.transfer_syntax, row.digest, row.path, row.size
    )


def insert_result(connection: Connection, row: Any, outcome: Outcome) -> int:
    """Findings, result set, artifacts, and a parcel for each destination that gets this profile; id of the set.

    Older result sets step back.
    """
    _step_back(connection, row)
    if outcome.findings:
        common = {"site_id": row.site_id, "job_id": row.id, "state": "proposed"}
        connection.execute(insert(finding), [{**common, **found} for found in outcome.findings])
    to = [name for name in row.destinations if outcome.gets(name) == outcome.profile]
    return insert_set(connection, row, outcome.artifacts, to, outcome.manifest, profile=outcome.profile)


def insert_set(
    connection: Connection,
    row: Any,
    artifacts: Sequence[Artifact],
    destinations: Sequence[str],
    manifest: Mapping[str, Any],
    *,
    profile: str,
    purpose: Purpose = Purpose.RESULT,
    standing: str = "current",
) -> int:
    """Objects made for a job (a row of ``job``), and a parcel of them for each destination; id of their set."""
    if purpose is not Purpose.RESULT and "study_uid" not in manifest:  # written where its study is now
        moved = Truth.of(connection, row.study_id, series_of(row.inputs)).study_uid
        manifest = {**manifest, "study_uid": moved} if moved else manifest
    new_set = {
        "site_id": row.site_id,
        "job_id": row.id,
        "profile": profile,
        "state": "encoded",
        "standing": standing,
        "manifest": dict(manifest),
        "purpose": purpose,
    }
    set_id = int(connection.execute(_INSERT_SET, new_set).scalar_one())
    if artifacts:
        insert_artifacts(connection, row, set_id, artifacts)
        add_parcels(connection, row, set_id, destinations)
    return set_id


def insert_artifacts(connection: Connection, row: Any, set_id: int, artifacts: Sequence[Artifact]) -> None:
    """The objects of a result set."""
    common = {"site_id": row.site_id, "result_set_id": set_id}
    connection.execute(insert(artifact), [{**common, **asdict(made)} for made in artifacts])


def add_parcels(connection: Connection, row: Any, set_id: int, destinations: Sequence[str]) -> None:
    """A parcel of a result set of a job (a row of ``job``) for each destination."""
    common = {"site_id": row.site_id, "study_id": row.study_id, "result_set_id": set_id}
    common |= {"state": ParcelState.DUE, "tries": 0}
    if destinations:
        connection.execute(_INSERT_PARCEL, [{**common, "destination": each} for each in destinations])


def _step_back(connection: Connection, row: Any) -> None:
    """Results of older jobs of this rule on this study are replaced, and neither sent nor looked for any more."""
    which = {"study": row.study_id, "of_rule": row.rule, "newer": row.id}
    found = connection.execute(_REPLACED, which).all()
    old = [int(each.id) for each in found]
    if not old:
        return
    for job_id in sorted({int(each.job_id) for each in found}):
        events.record(
            connection, "result superseded", row.owner, {"by_job": row.id}, study_id=row.study_id, job_id=job_id
        )
    connection.execute(
        update(parcel)
        .where(parcel.c.result_set_id.in_(old), parcel.c.state == ParcelState.DUE)
        .values(state=ParcelState.HELD, error={"reason": "superseded", "message": "a newer result replaces it"})
    )
    # What is looked for and not found is sent again: never a result that is replaced.
    connection.execute(
        update(parcel)
        .where(parcel.c.result_set_id.in_(old), parcel.c.state == ParcelState.SENT)
        .values(verify_at=None, verification="not looked for: a newer result replaces it")
    )
