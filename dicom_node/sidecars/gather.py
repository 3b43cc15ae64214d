"""Gathering: the features that a model asks for reach its job, by a deadline, or the job runs and the report says why.

One pass looks at every job that waits. It goes on as soon as everything is there, or its time has passed. What it is
given is what counted at that moment; nothing that was effective later, nothing of a record that may be another's.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
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


class Gatherer:
    """A stage of the node. ``ask``: has the servers of the record asked for what a model wants of a patient."""

    def __init__(
        self,
        settings: EhrSettings,
        database: Database,
        contracts: Mapping[str, ModelContract],
        ask: Callable[[Subject, ModelContract], None] | None = None,
    ) -> None:
        self._settings = settings
        self._database = database
        self._contracts = contracts
        self._features = Features(database)
        self._ask = ask
        self._asked: set[int] = set()  # jobs for which the servers were asked

    def tick(self) -> int:
        """Look at the jobs that wait; returns how many were given what there is."""
        waiting = gathering.waiting(self._database)
        self._asked &= {each.job_id for each in waiting}
        return sum(self._look(each) for each in waiting)

    def _look(self, waiting: Gathering) -> bool:
        contract = self._contracts.get(waiting.model)
        if contract is None:
            if waiting.over:
                reason = f"{waiting.model} is no model of the node's rules any more"
                return self._give(waiting, (), Match(False, reason), datetime.now(UTC))
            return False
        subject = gathering.subject_of(self._database, waiting.study_id, self._settings.default_issuer)
        if self._ask is not None and waiting.job_id not in self._asked and not subject.identity_removed:
            self._asked.add(waiting.job_id)
            self._ask(subject, contract)
        at = datetime.now(UTC)
        found = self._match(waiting, subject)
        values = self._values(contract, subject, found, at)
        if all(value.state is FeatureState.PRESENT for value in values) or waiting.over:
            return self._give(waiting, values, found, at)
        return False

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

    def _give(self, waiting: Gathering, values: tuple[Feature, ...], found: Match, at: datetime) -> bool:
        given = gathering.freeze(self._database, waiting.job_id, values, found.as_json(), at)
        if given:
            present = sum(value.state is FeatureState.PRESENT for value in values)
            log.info("job %d has %d of %d features", waiting.job_id, present, len(values))
        return given


def _missing(spec: FeatureSpec, reason: str) -> Feature:
    return Feature(spec.name, None, spec.unit, FeatureState.MISSING, reason=reason)
