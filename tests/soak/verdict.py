"""What became of every study: in the ledger, in the node's files and in the PACS."""

from __future__ import annotations

import io
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from pydicom import dcmread
from soak.clinic import Clinic
from soak.hospital import ATTEMPTS, Hospital
from sqlalchemy import func, select

from dicom_node.archive.accounting import unaccounted
from dicom_node.archive.database import Database
from dicom_node.archive.schema import artifact, instance, job, parcel, result_set, study
from dicom_node.domain.job import JobState
from dicom_node.domain.parcel import ParcelState
from dicom_node.domain.study import InstanceState, Origin

KINDS = {"seg", "sr", "ko", "sc"}
ARRIVED = (ParcelState.PRESENT, ParcelState.COMMITTED)


@dataclass
class Verdict:
    """Counts; every list of ``faults`` must be empty."""

    studies: int
    results: int  # objects of ours in the PACS
    came_back: int  # of them, in our index as our own
    again: int  # jobs that ran more than once
    unaccounted: int
    faults: dict[str, list[str]] = field(default_factory=dict)

    @property
    def good(self) -> bool:
        """Whether every promise was kept."""
        return not any(self.faults.values()) and self.unaccounted == 0

    def __str__(self) -> str:
        told = (
            f"{self.studies} studies, {self.results} result objects in the PACS, {self.came_back} came back, "
            f"{self.again} jobs ran more than once, {self.unaccounted} unaccounted"
        )
        return told + "".join(f"\n  {what}: {len(those)}, {those[:3]}" for what, those in self.faults.items() if those)


def settled(database: Database, clinic: Clinic) -> bool:
    """Whether every study has come to its end: a job that is over, and parcels that arrived."""
    over = (JobState.DONE, JobState.QUARANTINED)
    planned = (
        select(study.c.study_uid)
        .join(job, job.c.study_id == study.c.id)
        .group_by(study.c.study_uid)
        .having(func.sum(job.c.state.in_(over).cast(instance.c.frames.type)) == func.count())
    )
    waiting = select(func.count()).select_from(parcel).where(parcel.c.state.not_in(ARRIVED))
    with database.read() as connection:
        ended = set(connection.execute(planned).scalars())
        return ended >= clinic.images.keys() and connection.execute(waiting).scalar_one() == 0


def judge(hospital: Hospital, clinic: Clinic) -> Verdict:
    """Compare what was sent with what stands in the ledger, in the node's files and in the PACS."""
    database, found = hospital.database(), defaultdict[str, list[str]](list)
    joined = select(study.c.study_uid, job.c.id, job.c.rule, job.c.state, job.c.attempt, job.c.error, job.c.excused)
    with database.read() as connection:
        jobs = connection.execute(joined.join(job, job.c.study_id == study.c.id)).all()
        made = connection.execute(
            select(result_set.c.job_id, result_set.c.standing, artifact)
            .join(artifact, artifact.c.result_set_id == result_set.c.id)
            .order_by(artifact.c.id)
        ).all()
        rows = connection.execute(select(instance.c.sop_uid, instance.c.state, instance.c.origin)).all()
    by_study, by_job = defaultdict(list), defaultdict(list)
    for each in jobs:
        by_study[each.study_uid].append(each)
    for each in made:
        by_job[each.job_id].append(each)
    for study_uid in clinic.images:
        rules = Counter(each.rule for each in by_study[study_uid])
        if not rules or max(rules.values()) > 1:
            found["studies with other than one job of a rule"].append(f"{study_uid}: {dict(rules)}")
        for each in by_study[study_uid]:
            _judge_job(each, by_job[each.id], study_uid == clinic.poison, found)
    results = _judge_pacs(hospital, made, found)
    own = {row.sop_uid for row in rows if row.origin == Origin.OWN_RESULT}
    _judge_index(clinic, rows, own, found)
    found["results that did not come back"] = sorted({each.sop_uid for each in made} - own)
    return Verdict(
        studies=len(clinic.images),
        results=results,
        came_back=len(own),
        again=sum(each.attempt > 1 for each in jobs if each.study_uid != clinic.poison),
        unaccounted=unaccounted(database),
        faults=dict(found),
    )


def _judge_job(row: object, made: list[object], poison: bool, found: dict[str, list[str]]) -> None:
    told = f"job {row.id} {row.state}, attempt {row.attempt}, excused {row.excused}: {row.error}"
    if poison:
        error = row.error or {}
        if row.state != JobState.QUARANTINED or made or not error.get("message") or not error.get("input"):
            found["the poisonous study is not quarantined with its reason"].append(told)
        if row.attempt - row.excused < ATTEMPTS:
            found["the poisonous study was given up too soon"].append(told)
    elif row.state != JobState.DONE:
        found["jobs that gave nothing"].append(told)
    elif Counter(each.kind for each in made) != Counter(KINDS) or {each.standing for each in made} != {"current"}:
        found["jobs without each result exactly once"].append(f"{told} {[(e.kind, e.standing) for e in made]}")


def _judge_pacs(hospital: Hospital, made: list[object], found: dict[str, list[str]]) -> int:
    """Each result is there once, and reads as the file in the archive does; nothing else of ours is there."""
    wanted = {each.sop_uid: each for each in made}
    held = defaultdict(list)
    for each in hospital.pacs.get("/instances?expand"):
        held[each["MainDicomTags"]["SOPInstanceUID"]].append(each["ID"])
    for uid, artifact_row in wanted.items():
        if len(held[uid]) != 1:
            found["results not exactly once in the PACS"].append(f"{uid}: {len(held[uid])} times")
            continue
        ours = dcmread(hospital.node.folder / "data" / artifact_row.path)
        theirs = dcmread(io.BytesIO(hospital.pacs.download(held[uid][0])))
        if ours != theirs:
            found["results that differ from the file in the archive"].append(uid)
    strange = [
        uid
        for series in hospital.pacs.get("/series?expand")
        if series["MainDicomTags"].get("Modality") in ("SEG", "SR", "KO", "OT")
        for entry in series["Instances"]
        if (uid := hospital.pacs.get(f"/instances/{entry}")["MainDicomTags"]["SOPInstanceUID"]) not in wanted
    ]
    found["results in the PACS that the ledger does not know"] += strange
    return sum(len(held[uid]) for uid in wanted)


def _judge_index(clinic: Clinic, rows: list[object], own: set[str], found: dict[str, list[str]]) -> None:
    """What was acknowledged is indexed, once as current."""
    current = Counter(row.sop_uid for row in rows if row.state == InstanceState.CURRENT and row.sop_uid not in own)
    sent = {str(image.SOPInstanceUID) for images in clinic.images.values() for image in images} | clinic.states
    found["acknowledged but not indexed exactly once"] = sorted(uid for uid in sent if current[uid] != 1)
    bad = (InstanceState.REJECTED, InstanceState.CONFLICT)
    found["rejected or in conflict"] = sorted(row.sop_uid for row in rows if row.state in bad)
