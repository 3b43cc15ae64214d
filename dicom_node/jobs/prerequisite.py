"""Whether what another rule's model found lets a job run: ``after`` of a rule.

While that is not known, nothing is planned. Where it is not what the rule asks for, or will never be known, the job
waits for a person's word, with what was found as its question.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dicom_node.archive import decisions
from dicom_node.archive.database import Database
from dicom_node.archive.decisions import RULE_WAITS
from dicom_node.archive.ledger import Ledger
from dicom_node.domain.job import UNFINISHED, Job, JobState, SelectedSeries
from dicom_node.domain.study import SeriesView, StudyView
from dicom_node.rules.match import Decision, RuleSet

LOOK_EVERY_S = 2.0


@dataclass(frozen=True, slots=True)
class Prerequisite:
    """What stands between a decision and its job; both empty: nothing."""

    waits: str = ""  # why it cannot be said yet
    question: str = ""  # what a person is to decide


MET = Prerequisite()


def prerequisite(
    ledger: Ledger, rules: RuleSet, decision: Decision, study: StudyView, selected: Sequence[SelectedSeries]
) -> Prerequisite:
    """What the rule's ``after`` makes of the findings on the same images."""
    after = decision.rule.settings.after
    if after is None:
        return MET
    other = rules.rule(after.rule)
    jobs = [
        job
        for job in ledger.jobs(study_id=study.id, rule=after.rule)
        if job.encodes is None
        and job.state not in (JobState.CANCELLED, JobState.SUPERSEDED)
        and _shares(job, selected, other.settings.late)
    ]
    if not jobs:
        decided = rules.decide(study, other)
        if decided.matched and any(
            series.id == chosen.series_id for _, series in decided.chosen() for chosen in selected
        ):
            return Prerequisite(waits=f"{RULE_WAITS} the findings of rule {after.rule!r}")
        return Prerequisite(question=f"rule {after.rule!r} does not look at these images; is it to run all the same?")
    newest = jobs[0]
    if newest.state in UNFINISHED:
        return Prerequisite(waits=f"{RULE_WAITS} the findings of job {newest.id} of rule {after.rule!r}")
    if newest.state != JobState.DONE:
        return Prerequisite(question=f"job {newest.id} of rule {after.rule!r} is {newest.state}; run all the same?")
    answers = [found for found in ledger.findings(newest.id) if found["kind"] in ("class", "evaluation")]
    if any(found["name"] == after.finding and found["presence"] == after.presence for found in answers):
        return MET
    return Prerequisite(
        question=f"{_told(answers, after.finding)} ({newest.model}, job {newest.id}); run all the same?"
    )


def told(
    database: Database, rules: RuleSet, decided: Sequence[Decision], study: StudyView
) -> dict[str, dict[str, str]]:
    """What ``after`` of rules makes of a study, for people: by the name of each rule that has one and is wanted.

    ``standing`` is met, waits or asks; ``words`` say why.
    """
    ledger, found = Ledger(database), {}
    for decision in decided:
        after = decision.rule.settings.after
        if after is None or not decision.matched:
            continue
        selected = [_selected(database, role, series) for role, series in decision.chosen()]
        before = prerequisite(ledger, rules, decision, study, selected)
        standing = "waits" if before.waits else "asks" if before.question else "met"
        met = f"rule {after.rule!r} found {after.finding} {after.presence}"
        asked = {"rule": after.rule, "finding": after.finding, "presence": str(after.presence)}
        found[decision.rule.name] = {**asked, "standing": standing, "words": before.waits or before.question or met}
    return found


def _selected(database: Database, role: str, series: SeriesView) -> SelectedSeries:
    rows = decisions.selection(database, series.id)
    return SelectedSeries(role, series.id, series.series_instance_uid, tuple(number for number, _ in rows))


def _shares(job: Job, selected: Sequence[SelectedSeries], late: str) -> bool:
    """Whether a job looked at a series of the selection: at the same images of it, or at earlier ones for good."""
    return any(
        had.series_id == chosen.series_id and (late == "ignore" or had.instances == chosen.instances)
        for had in job.inputs
        for chosen in selected
    )


def _told(answers: Sequence[Mapping[str, Any]], wanted: str) -> str:
    """What was found instead, in words."""
    present = [f"{found['concept']['meaning']} is present" for found in answers if found["presence"] == "present"]
    own = [f"{found['concept']['meaning']} is {found['presence']}" for found in answers if found["name"] == wanted]
    return ", ".join(present or own) or f"{wanted} was not answered"
