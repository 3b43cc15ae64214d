"""Gathering: the features that a model asks for reach its job, by a deadline, or the job runs and the report says why.

One pass looks at every job that waits. It goes on as soon as everything is there, or its time has passed. What it is
given is what counted at that moment; nothing that was effective later, nothing of a record that may be another's.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime

from dicom_node.archive import gathering
from dicom_node.archive.database import Database
from dicom_node.archive.features import Features
from dicom_node.archive.gathering import Gathering
from dicom_node.archive.subjects import Subject
from dicom_node.domain.contract import ModelContract
from dicom_node.domain.feature import AGE, BIRTH_DATE, Feature, FeatureSpec, FeatureState, age_at, choose
from dicom_node.ehr_settings import EhrSettings
from dicom_node.sidecars.matching import Match, match

log = logging.getLogger(__name__)

ASK_AGAIN_S = 30.0  # after a server did not answer


class Gatherer:
    """A stage of the node.

    ``ask``: has the servers of the record asked, by issuer, number and names of features; tells what went wrong.
    """

    def __init__(
        self,
        settings: EhrSettings,
        database: Database,
        contracts: Mapping[str, ModelContract],
        ask: Callable[[str, str, Collection[str]], str] | None = None,
    ) -> None:
        self._settings = settings
        self._database = database
        self._contracts = contracts
        self._features = Features(database)
        self._ask = ask
        self._asked: dict[int, tuple[float, str]] = {}  # job -> when (monotonic) to ask again, and what went wrong

    def tick(self) -> int:
        """Look at the jobs that wait; returns how many were given what there is."""
        waiting = gathering.waiting(self._database)
        jobs = {each.job_id for each in waiting}
        self._asked = {job_id: asked for job_id, asked in self._asked.items() if job_id in jobs}
        return sum(self._look(each) for each in waiting)

    def _look(self, waiting: Gathering) -> bool:
        contract = self._contracts.get(waiting.model)
        if contract is None:
            if waiting.over:
                reason = f"{waiting.model} is no model of the node's rules any more"
                return self._give(waiting, (), Match(False, reason), datetime.now(UTC))
            return False
        subject = gathering.subject_of(self._database, waiting.study_id, self._settings.default_issuer)
        trouble = self._trouble(waiting.job_id, subject, contract)
        at = datetime.now(UTC)
        found = self._match(waiting, subject)
        values = self._values(contract, subject, found, at)
        if all(value.state is FeatureState.PRESENT for value in values) or waiting.over:
            return self._give(waiting, values, found, at, trouble)
        return False

    def _trouble(self, job_id: int, subject: Subject, contract: ModelContract) -> str:
        """Ask the servers, once if all goes well; what went wrong, in words."""
        if self._ask is None or subject.identity_removed or not (subject.issuer and subject.patient_id):
            return ""
        again, trouble = self._asked.get(job_id, (0.0, ""))
        if time.monotonic() >= again:
            trouble = self._ask(subject.issuer, subject.patient_id, {spec.name for spec in contract.features})
            self._asked[job_id] = (time.monotonic() + ASK_AGAIN_S if trouble else math.inf), trouble
        return trouble

    def _match(self, waiting: Gathering, subject: Subject) -> Match:
        if waiting.divided:
            return Match(False, "the images belong to several patients or studies")
        records = [record for identity in subject.identities for record in self._features.records(identity)]
        return match(subject, records)

    def _values(self, contract: ModelContract, subject: Subject, found: Match, at: datetime) -> tuple[Feature, ...]:
        if not found.matched:
            return tuple(_missing(spec, found.reason) for spec in contract.features)
        names = {spec.name for spec in contract.features} | {BIRTH_DATE}
        told = [each for identity in subject.identities for each in self._features.of_patient(identity, names)]
        if AGE in names and (births := [each for each in told if each.name == BIRTH_DATE]):
            told.append(age_at(births[-1], at))
        return tuple(choose(spec, told, at) for spec in contract.features)

    def _give(
        self, waiting: Gathering, values: tuple[Feature, ...], found: Match, at: datetime, trouble: str = ""
    ) -> bool:
        told = found.as_json() | {"trouble": trouble}
        given = gathering.freeze(self._database, waiting.job_id, values, told, at)
        if given:
            present = sum(value.state is FeatureState.PRESENT for value in values)
            log.info("job %d has %d of %d features", waiting.job_id, present, len(values))
        return given


def _missing(spec: FeatureSpec, reason: str) -> Feature:
    return Feature(spec.name, None, spec.unit, FeatureState.MISSING, reason=reason)
