"""Gathering: the features that a model asks for reach its job, by a deadline, or the job runs and the report says why.

One pass looks at every job that waits. It goes on as soon as everything is there, or its time has passed. What it is
given is what counted at that moment; nothing that was effective later, nothing of a record that may be another's.

A job that needs other jobs' findings waits until they have ended, however long this node takes for them; for one that
waits for a person itself, no longer than the contract says.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from dicom_node.archive import gathering, needed, renewals
from dicom_node.archive.database import Database
from dicom_node.archive.features import Features
from dicom_node.archive.files import ObjectStore
from dicom_node.archive.gathering import Gathering
from dicom_node.archive.renewals import Given
from dicom_node.archive.replacements import Model, Replacement
from dicom_node.archive.replacements import replace as replace_result
from dicom_node.archive.subjects import Subject
from dicom_node.domain.contract import ModelContract
from dicom_node.domain.feature import AGE, BIRTH_DATE, Feature, FeatureSpec, FeatureState, age_at, choose
from dicom_node.domain.fitness import Needs
from dicom_node.domain.job import UNFINISHED
from dicom_node.domain.lesion import KnownLesion
from dicom_node.domain.polygenic import Polygenic
from dicom_node.ehr_settings import EhrSettings
from dicom_node.sidecars.imaging import Imaging, Seen
from dicom_node.sidecars.matching import Match, match

log = logging.getLogger(__name__)

ASK_AGAIN_S = 30.0  # after a server did not answer
RENEW_EVERY_S = 30.0
RENEW_DAYS = 30.0  # after a result, in which what comes later may change it
NOTHING = Seen((), ())


class Gatherer:
    """A stage of the node.

    ``ask``: has the servers of the record asked, by issuer, number and names of features; tells what went wrong.
    ``renewing``: rules whose results are made anew where what they were given has changed.
    """

    def __init__(
        self,
        settings: EhrSettings,
        database: Database,
        contracts: Mapping[str, ModelContract],
        ask: Callable[[str, str, Collection[str]], str] | None = None,
        time_zone: str = "",
        renewing: Collection[str] = (),
    ) -> None:
        self._settings = settings
        self._database = database
        self._contracts = contracts
        self._features = Features(database)
        self._renewing = tuple(renewing)
        self._renewed_at: float | None = None  # monotonic
        self._compared: dict[int, datetime] = {}  # job -> the change that made no difference to it
        self._imaging = Imaging(database, ObjectStore(database.data_dir), time_zone)
        self._ask = ask
        self._asked: dict[int, tuple[float, str]] = {}  # job -> when (monotonic) to ask again, and what went wrong

    def tick(self) -> int:
        """Look at the jobs that wait; returns how many were given what there is."""
        waiting = gathering.waiting(self._database)
        jobs = {each.job_id for each in waiting}
        self._asked = {job_id: asked for job_id, asked in self._asked.items() if job_id in jobs}
        given = sum(self._look(each) for each in waiting)
        now = time.monotonic()
        if self._renewing and (self._renewed_at is None or now - self._renewed_at > RENEW_EVERY_S):
            self._renewed_at = now
            self.renew()
        return given

    def renew(self) -> int:
        """Have results made anew that were given other values, or lesions, than they would be now; how many."""
        changed = renewals.changed(self._database, self._renewing, RENEW_DAYS)
        return sum(self._renew(each) for each in changed if self._compared.get(each.job_id) != each.changed_at)

    def _renew(self, had: Given) -> bool:
        contract = self._contracts.get(had.model)
        if contract is None:
            return False
        at = datetime.now(UTC)
        waiting = gathering.again(self._database, had)
        told = self._settings
        subject = gathering.subject_of(self._database, had.study_id, told.default_issuer, told.deidentified_from)
        values = self._values(asked(contract, waiting), subject, self._match(waiting, subject), at)
        seen = self._imaging.look(contract, had.study_id, subject.patient_id, ())
        differing = _differing(had.features, (*values, *seen.values), seen.lesions)
        if not differing:
            self._compared[had.job_id] = had.changed_at
            return False
        needs = Needs(contract.resources.gpu_memory_mb, frozenset(contract.resources.labels))
        model = Model(contract.name, contract.version, contract.digest, needs)
        order = Replacement(had.job_id, f"other inputs are known now: {', '.join(differing)}", gather=True)
        job_id, new = replace_result(self._database, order, model, "gather")
        if new:
            log.info("job %d replaces the result of job %d: other inputs are known", job_id, had.job_id)
        return new

    def _look(self, waiting: Gathering) -> bool:
        contract = self._contracts.get(waiting.model)
        if contract is None:
            if waiting.over:
                reason = f"{waiting.model} is no model of the node's rules any more"
                return self._give(waiting, (), Match(False, reason), datetime.now(UTC))
            return False
        if words := _waits(waiting):
            gathering.tell(self._database, waiting, words)
            return False
        told = self._settings
        subject = gathering.subject_of(self._database, waiting.study_id, told.default_issuer, told.deidentified_from)
        trouble = self._trouble(waiting.job_id, subject, contract)
        at = datetime.now(UTC)
        found = self._match(waiting, subject)
        values = self._values(asked(contract, waiting), subject, found, at)
        complete = all(value.state is FeatureState.PRESENT for value in values)
        if not complete and not waiting.over:
            gathering.tell(self._database, waiting, f"{needed.WAITS} the patient's record")
            return False
        seen = self._imaging.look(contract, waiting.study_id, subject.patient_id, waiting.needs)
        trouble = "; ".join(filter(None, (trouble, seen.trouble)))
        return self._give(waiting, values, found, at, trouble, seen)

    def _trouble(self, job_id: int, subject: Subject, contract: ModelContract) -> str:
        """Ask the servers, once if all goes well; what went wrong, in words."""
        if self._ask is None or subject.identity_removed or not (subject.issuer and subject.patient_id):
            return ""
        again, trouble = self._asked.get(job_id, (0.0, ""))
        if time.monotonic() >= again:
            names = {spec.name for spec in contract.features if not spec.model}
            trouble = self._ask(subject.issuer, subject.patient_id, names)
            self._asked[job_id] = (time.monotonic() + ASK_AGAIN_S if trouble else math.inf), trouble
        return trouble

    def _match(self, waiting: Gathering, subject: Subject) -> Match:
        if waiting.divided:
            return Match(False, "the images belong to several patients or studies")
        records = [record for identity in subject.identities for record in self._features.records(identity)]
        return match(subject, records)

    def _values(
        self, asked: Sequence[FeatureSpec], subject: Subject, found: Match, at: datetime
    ) -> tuple[Feature, ...]:
        if not found.matched:
            return tuple(_missing(spec, found.reason) for spec in asked)
        names = {spec.name for spec in asked} | {BIRTH_DATE}
        told = [each for identity in subject.identities for each in self._features.of_patient(identity, names)]
        if AGE in names and (births := [each for each in told if each.name == BIRTH_DATE]):
            told.append(age_at(births[-1], at))
        return tuple(choose(spec, told, at) for spec in asked)

    def _give(
        self,
        waiting: Gathering,
        values: tuple[Feature, ...],
        found: Match,
        at: datetime,
        trouble: str = "",
        seen: Seen = NOTHING,
    ) -> bool:
        told = found.as_json() | {"trouble": trouble}
        values = (*values, *seen.values)
        given = gathering.freeze(self._database, waiting.job_id, values, told, at, seen.lesions)
        if given:
            present = sum(value.state is FeatureState.PRESENT for value in values)
            log.info("job %d has %d of %d features", waiting.job_id, present, len(values))
        return given


def asked(contract: ModelContract, waiting: Gathering) -> tuple[FeatureSpec, ...]:
    """What is asked of record and genome: by the contract, and by the rule's polygenic score."""
    own = tuple(spec for spec in contract.features if not spec.model)
    polygenic = Polygenic.of(waiting.parameters)
    return (*own, polygenic.spec) if polygenic else own


def _waits(waiting: Gathering) -> str:
    """Whose findings a job still waits for, in words; empty: for none."""
    open_ = [each for each in waiting.needs if each.state in UNFINISHED and (each.comes or not waiting.over)]
    return f"{needed.WAITS} " + ", ".join(f"job {each.id} of {each.model}" for each in open_) if open_ else ""


def _differing(had: Mapping[str, Any], values: Sequence[Feature], lesions: Sequence[KnownLesion]) -> list[str]:
    """Names of what a job was given otherwise; that a patient has grown older is no difference."""
    before = {each["name"]: (each["value"], each["state"]) for each in had["values"]}
    now = {each.name: (each.value, str(each.state)) for each in values}
    names = [name for name in now if name != AGE and before.get(name) != now[name]]
    told = [_substance(KnownLesion.from_json(each)) for each in had.get("lesions", ())]
    return [*names, *(["lesions"] if told != [_substance(each) for each in lesions] else [])]


def _substance(lesion: KnownLesion) -> tuple[object, ...]:
    values = tuple((value.name, value.value, str(value.state)) for value in lesion.values)
    return lesion.tracking_uid, lesion.confirmed, values


def _missing(spec: FeatureSpec, reason: str) -> Feature:
    return Feature(spec.name, None, spec.unit, FeatureState.MISSING, reason=reason)
