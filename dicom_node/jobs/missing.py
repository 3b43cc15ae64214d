"""Rules that want a study and get no job: once that is late it is put down as a job that failed, and told like one."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

from dicom_node.archive import missing
from dicom_node.archive.database import Database
from dicom_node.archive.decisions import WILL_TELL
from dicom_node.archive.missing import Missing
from dicom_node.domain.job import Priority
from dicom_node.domain.study import Readiness, StudyView
from dicom_node.errors import InputError
from dicom_node.jobs.notify import told_by
from dicom_node.rules.match import Decision, RuleSet
from dicom_node.rules.wish import wanted
from dicom_node.settings import RuleSettings, Settings

LOOK_EVERY_S = 10.0
_BY = "planner"


class Watchman:
    """Looks at what rules want and did not get. Harmless if doubled."""

    def __init__(self, settings: Settings, database: Database, look_again: Callable[[int, float], None]) -> None:
        """``look_again``: has the planner look at a study again after so many seconds."""
        self._database = database
        self._look_again = look_again
        self._longest_wait_s = settings.completion.maximum_wait_seconds
        self._told = {rule.name for rule in settings.rules if rule.model and told_by(rule)}
        self._settled: dict[int, int] = {}  # held study -> its revision when nothing more was to be told
        self._looked_at: float | None = None

    def judge(self, decision: Decision, study: StudyView, outcome: str) -> str:
        """What a rule's outcome without a job becomes: when somebody will be told of it, or that it is put down."""
        rule = decision.rule.settings
        if rule.name not in self._told or wanted(decision) is None:
            return outcome
        outcome = outcome if decision.matched else f"not run: {decision.reason}"
        # Where nothing fits a whole study there is nothing to wait for.
        at_once = study.readiness == Readiness.READY and not decision.matched
        due_s = self._due_s(rule, at_once=at_once)
        left_s = due_s - (datetime.now(UTC) - study.last_received).total_seconds()
        if left_s > 0:
            self._look_again(study.id, left_s)
            return f"{outcome}; {WILL_TELL} {due_s:g} s after the last image"
        self._put_down(decision, study)
        return f"{outcome}; that there is no result is told"

    def look_at_held(self, rules: RuleSet, study_view: Callable[[int], StudyView]) -> int:
        """Held studies are not planned: put down what rules want of those that have been held for too long."""
        now = time.monotonic()
        if not self._told or (self._looked_at is not None and now - self._looked_at < LOOK_EVERY_S):
            return 0
        self._looked_at = now
        found = missing.held(self._database)
        self._settled = {each.study_id: self._settled.get(each.study_id, -1) for each in found}
        return sum(
            self._look_at(each.study_id, each.revision, rules, study_view)
            for each in found
            if self._settled[each.study_id] != each.revision
        )

    def _look_at(self, study_id: int, revision: int, rules: RuleSet, study_view: Callable[[int], StudyView]) -> int:
        study = study_view(study_id)
        age_s = (datetime.now(UTC) - study.last_received).total_seconds()
        telling = [rule for rule in rules.rules if rule.name in self._told]
        due = [rule for rule in telling if self._due_s(rule.settings) <= age_s]
        decisions = [rules.decide(study, rule) for rule in due]
        if len(due) == len(telling):
            self._settled[study_id] = revision
        return sum(self._put_down(decision, study) for decision in decisions if wanted(decision) is not None)

    def _due_s(self, rule: RuleSettings, *, at_once: bool = False) -> float:
        """Seconds after the last image from which on the rule's result is missed."""
        if rule.useful_for is not None:
            return rule.useful_for
        return 0.0 if at_once else self._longest_wait_s

    def _put_down(self, decision: Decision, study: StudyView) -> bool:
        rule, contract = decision.rule.settings, decision.rule.contract
        assert contract is not None  # noqa: S101  only rules with a model are told
        lacking = Missing(
            study.id,
            study.study_instance_uid,
            rule.name,
            contract.name,
            contract.version,
            contract.digest,
            Priority[rule.priority.upper()],
        )
        return missing.put_down(self._database, lacking, _why(decision, study), _BY) is not None


def _why(decision: Decision, study: StudyView) -> InputError:
    if study.readiness == Readiness.HELD:
        return InputError(
            f"the study is held for a person: {study.readiness_reason}",
            reason="study-held",
            remedy="see what it waits for: dicom-node studies show",
        )
    if not decision.matched:
        return InputError(
            f"no series of the study fits the model: {decision.reason}",
            reason="no-series",
            remedy="send a series that fits, or correct the rule: dicom-node rules explain",
        )
    return InputError(
        f"the images are not whole yet: {study.readiness_reason or 'more are expected'}",
        reason="not-whole",
        remedy="have the rest sent, or take it as it is with: dicom-node studies close",
    )
