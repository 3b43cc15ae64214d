"""What other models and reports say of the study that a job is about: features of it, and its lesions.

A model's detections are candidates until a person accepts the result that holds them; a report's lesions until a person
has verified the report. Where both speak of the same lesion (Tracking Unique Identifier) the report counts.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC
from typing import Any
from zoneinfo import ZoneInfo

from dicom_node.archive import measured, needed
from dicom_node.archive.database import Database
from dicom_node.archive.files import ObjectStore
from dicom_node.archive.ledger import Ledger
from dicom_node.archive.measured import MeasuredGroup, MeasuredReport
from dicom_node.archive.needed import Acceptance, NeededJob, StoredReport
from dicom_node.domain.contract import ModelContract
from dicom_node.domain.feature import Feature, FeatureSpec, FeatureState, unfit
from dicom_node.domain.identifiers import result_uid
from dicom_node.domain.job import Job, JobState
from dicom_node.domain.lesion import Key, KnownLesion, LesionFeature, LesionSpec, Said
from dicom_node.errors import InputError

TRANSFORM = "imaging/1"
_SITE_OF_FINDING = ("363698007", "SCT")


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of a study beside the record of its patient."""

    values: tuple[Feature, ...]  # findings of other models
    lesions: tuple[KnownLesion, ...]
    trouble: str = ""  # what could not be read


class Imaging:
    """Reads what other jobs found, and the reports that a study holds."""

    def __init__(self, database: Database, store: ObjectStore, time_zone: str = "") -> None:
        self._database = database
        self._store = store
        self._ledger = Ledger(database)
        self._zone = ZoneInfo(time_zone) if time_zone else UTC
        self._installation: uuid.UUID | None = None

    def look(self, contract: ModelContract, study_id: int, patient_id: str, needs: Sequence[NeededJob]) -> Seen:
        """What the contract asks for, of a study. ``needs``: the jobs it waited for."""
        models = contract.needed_models
        if not models and contract.lesions is None:
            return Seen((), ())
        with self._database.read() as connection:
            done = {each.model: each.id for each in needed.done_of(connection, study_id, models)}
            accepted = {number: needed.acceptance(connection, number) for number in done.values()}
            stored = needed.reports(connection, study_id) if contract.lesions else ()
        asked = [spec for spec in contract.features if spec.model]
        values = tuple(self._finding(spec, done, needs) for spec in asked)
        if contract.lesions is None:
            return Seen(values, ())
        found = [
            lesion
            for model in contract.lesions.models
            if model in done
            for lesion in self._marked(contract.lesions, done[model], accepted[done[model]])
        ]
        read, trouble = self._reported(contract.lesions, stored, patient_id)
        return Seen(values, _each_once(found, read), trouble)

    def _finding(self, spec: FeatureSpec, done: Mapping[str, int], needs: Sequence[NeededJob]) -> Feature:
        absent = Feature(spec.name, None, spec.unit, FeatureState.MISSING)
        if spec.model not in done:
            return replace(absent, reason=_why_none(spec.model, needs))
        job = self._job(done[spec.model])
        rows = [row for row in self._ledger.findings(job.id) if row["name"] == spec.finding]
        row = next((row for row in rows if row["kind"] in ("class", "evaluation", "measurement")), None)
        source = {"source": f"job {job.id}", "version": f"{job.model} {job.model_version}"}
        known: dict[str, Any] = {**source, "effective_at": job.finished_at, "transform": f"{TRANSFORM}:{spec.finding}"}
        if row is None:
            return replace(absent, **known, reason=f"{spec.model} tells nothing of the name {spec.finding}")
        if row["state"] == "rejected":
            why = "a reader has rejected that result"
            return replace(absent, **known, state=FeatureState.REJECTED, reason=why)
        if row["kind"] == "measurement":
            made = replace(absent, **known, value=float(row["value"]), unit=row["unit"]["value"])
        elif row["presence"] == "not evaluated":
            return replace(absent, **known, reason=f"{spec.model} did not evaluate it: {row['reason']}")
        else:
            made = replace(absent, **known, value=row["presence"] == "present")
        fault = unfit(spec, made)
        return replace(made, state=FeatureState.REJECTED if fault else FeatureState.PRESENT, reason=fault)

    def _job(self, job_id: int) -> Job:
        job = self._ledger.job(job_id)
        assert job is not None  # noqa: S101  it was read just now, and jobs stay
        return job

    def _marked(self, spec: LesionSpec, job_id: int, accepted: Acceptance | None) -> list[KnownLesion]:
        """What a model marked: candidates, unless a reader has accepted the result."""
        job = self._job(job_id)
        rows = [row for row in self._ledger.findings(job_id) if row["kind"] == "detection"]
        confirmed = accepted.reader if accepted and accepted.accepted else ""
        reason = ""
        if not confirmed:
            said = f"{accepted.reader} has rejected the result" if accepted else "no reader has accepted the result"
            reason = f"it is a candidate of {job.model}, job {job_id}: {said}"
        known: dict[str, Any] = {"source": f"job {job_id}", "version": f"{job.model} {job.model_version}"}
        known["effective_at"] = job.finished_at
        found = []
        for row in rows:
            numbers = [
                (
                    _code(taken["concept"]),
                    float(taken["value"]),
                    str(taken["unit"]["value"]),
                    taken["concept"]["meaning"],
                )
                for taken in row["measurements"]
            ]
            answers = [(_SITE_OF_FINDING, _code(row["site"]), row["site"]["meaning"])] if row["site"] else []
            values = _values(spec, Said(numbers, answers), len(rows), known)
            found.append(
                KnownLesion(row["tracking_id"], row["tracking_uid"], f"job {job_id}", confirmed, reason, values)
            )
        return found

    def _reported(
        self, spec: LesionSpec, stored: Sequence[StoredReport], patient_id: str
    ) -> tuple[list[KnownLesion], str]:
        """What the reports of the study say, and what of them cannot be used."""
        found, trouble = [], []
        for each in stored:
            try:
                report = measured.read(self._store.absolute(each.path))
            except InputError as error:
                trouble.append(f"report {each.sop_uid} cannot be read: {error.message}")
                continue
            if patient_id and report.patient_id != patient_id.strip():
                trouble.append(f"report {each.sop_uid} names another patient than the images")
                continue
            found += self._of_report(spec, report)
        return found, "; ".join(trouble)

    def _of_report(self, spec: LesionSpec, report: MeasuredReport) -> list[KnownLesion]:
        groups = [group for group in report.groups if group.findings.intersection(spec.findings)]
        at = report.at.replace(tzinfo=self._zone) if report.at else None
        known = {"source": f"report {report.sop_uid}", "effective_at": at}
        reason = "" if report.verified_by else f"no person has verified report {report.sop_uid}"
        return [
            KnownLesion(
                tracking_id=group.tracking_id or f"{spec.name} {group.number}",
                tracking_uid=group.tracking_uid or self._uid(report, group),
                source=f"report {report.sop_uid}",
                confirmed=report.verified_by,
                reason=reason,
                values=_values(spec, group.said, len(groups), known),
            )
            for group in groups
        ]

    def _uid(self, report: MeasuredReport, group: MeasuredGroup) -> str:
        """Of a lesion that its report gives none: the same whenever it is read."""
        self._installation = self._installation or self._ledger.installation()
        return result_uid(self._installation, report.sop_uid, f"group {group.number}", 1, "")


def _each_once(marked: Sequence[KnownLesion], reported: Sequence[KnownLesion]) -> tuple[KnownLesion, ...]:
    """Each lesion once, the word of a person before that of a model, and the last report before earlier ones."""
    found = {lesion.tracking_uid: lesion for lesion in marked}
    for lesion in reported:
        earlier = found.get(lesion.tracking_uid)
        if earlier is None or lesion.confirmed or not earlier.confirmed:
            found[lesion.tracking_uid] = lesion
    return tuple(found.values())


def _why_none(model: str, needs: Sequence[NeededJob]) -> str:
    job = next((each for each in needs if each.model == model), None)
    if job is None:
        return f"no rule runs {model} on these images"
    if job.state is JobState.WAITING:
        return f"job {job.id} of {model} waits for a person: {job.question}"
    return f"job {job.id} of {model} is {job.state}"


def _values(spec: LesionSpec, said: Said, count: int, known: Mapping[str, Any]) -> tuple[Feature, ...]:
    return tuple(_value(asked, said, count, known) for asked in spec.features)


def _value(asked: LesionFeature, said: Said, count: int, known: Mapping[str, Any]) -> Feature:
    """What is asked of a lesion, of what its source says."""
    spec = asked.spec
    transform = f"{TRANSFORM}:{spec.name}"
    made = Feature(spec.name, None, spec.unit, FeatureState.MISSING, transform=transform, **known)
    if asked.counted:
        return _fitting(spec, replace(made, value=float(count)))
    if asked.answers:
        answered = {
            value
            for concept, answer, _ in said.answers
            for key, value in asked.answers
            if key == answer and (not asked.codes or concept in asked.codes)
        }
        if len(answered) > 1:
            return replace(made, state=FeatureState.CONFLICT, reason="it is answered in two ways")
        return _fitting(spec, replace(made, value=answered.pop())) if answered else replace(made, reason="not told")
    return _number(asked, said, made)


def _number(asked: LesionFeature, said: Said, made: Feature) -> Feature:
    factors = dict(asked.units)
    told = [(value, unit) for concept, value, unit, _ in said.numbers if concept in asked.codes]
    if not told:
        return replace(made, reason="not measured")
    usable = [value * factors[unit] for value, unit in told if unit in factors]
    if not usable:
        units = ", ".join(sorted({unit for _, unit in told}))
        return replace(made, state=FeatureState.REJECTED, reason=f"its unit is {units}, not {', '.join(factors)}")
    # Of several lengths under the codes that are asked for, the longest is the longest diameter.
    return _fitting(asked.spec, replace(made, value=max(usable)))


def _fitting(spec: FeatureSpec, made: Feature) -> Feature:
    fault = unfit(spec, made)
    return replace(made, state=FeatureState.REJECTED if fault else FeatureState.PRESENT, reason=fault)


def _code(told: Mapping[str, Any]) -> Key:
    return str(told["value"]), str(told["scheme"])
