"""The planner: studies that changed x rules -> jobs, and parcels of what is sent on, each planned once.

A job is planned when a rule has chosen its series and that series (or the study, as the rule says) is whole. The
same selection is never planned twice, whatever else arrives in the study and whichever version of the model is
installed meanwhile; another selection follows the rule's ``late``.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from dicom_node.archive import decisions
from dicom_node.archive.database import Database
from dicom_node.archive.decisions import Undecided
from dicom_node.archive.ledger import Ledger
from dicom_node.domain.contract import ModelContract, Status
from dicom_node.domain.fitness import Needs
from dicom_node.domain.job import Job, JobState, NewJob, Priority, SelectedSeries, job_key
from dicom_node.domain.study import Readiness, SeriesView, StudyView, quiet_period
from dicom_node.jobs.forward import Forwarder
from dicom_node.jobs.missing import Watchman
from dicom_node.jobs.needed import needed
from dicom_node.jobs.prerequisite import LOOK_EVERY_S, prerequisite
from dicom_node.rules.explain import explain
from dicom_node.rules.match import Decision, RuleSet
from dicom_node.settings import RuleSettings, Settings

log = logging.getLogger(__name__)

AWAY_S = 5.0  # after so long without a pass another planner, or an earlier life of this one, has left studies waiting
AGAIN_S = 1.0
ARRIVING_S = 1.0  # since its last image: more is likely to come
ARRIVING_PAUSE_S = 2.0  # between looks at a study that is arriving, unless one of its series became whole
MOST_LOOKED_AT = 1000
CLOSED = "closed by"  # how the reason begins when a person has said that a study is whole


class Planner:
    """One pass looks at every study that changed."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        ledger: Ledger,
        rules: RuleSet,
        study_view: Callable[[int], StudyView],
    ) -> None:
        self._settings = settings
        self._database = database
        self._ledger = ledger
        self._rules = rules
        self._study_view = study_view
        self._forwarder = Forwarder(settings, database, self._waits)
        self._watchman = Watchman(settings, database, self._look_again)
        self._later: dict[int, datetime] = {}  # study -> when a rule's own quiet period ends
        self._looked: dict[int, tuple[float, int]] = {}  # study -> monotonic time; its whole series
        self._passed: float | None = None  # monotonic time of the last pass

    def tick(self) -> int:
        """Look at the studies that changed; returns how many jobs and forwardings were planned."""
        self._resume()
        now = datetime.now(UTC)
        for study_id in [study for study, due in self._later.items() if due <= now]:
            del self._later[study_id]
            self._looked.pop(study_id, None)
            decisions.look_again(self._database, study_id)
        planned = 0
        for seen in decisions.undecided(self._database):
            if self._is_arriving(seen, now):
                continue
            study = self._study_view(seen.study_id)
            made = self._rules.decide_all(study)
            outcomes = [self._apply(decision, study) for decision in made]
            owed = sum(self._forwarder.owed(decision, study) for decision in made)
            planned += sum(1 for outcome in outcomes if outcome.startswith("planned"))
            decisions.decided(self._database, seen, _summary(self._settings.rules, outcomes), owed)
        self._watchman.look_at_held(self._rules, self._study_view)
        return planned

    def _is_arriving(self, seen: Undecided, now: datetime) -> bool:
        """Whether nothing but more images can be new in a study that was looked at just now."""
        looked, whole = self._looked.get(seen.study_id, (0.0, -1))
        arriving = seen.open_since is not None and (now - seen.open_since).total_seconds() < ARRIVING_S
        if arriving and whole == seen.whole_series and time.monotonic() - looked < ARRIVING_PAUSE_S:
            return True
        self._looked[seen.study_id] = time.monotonic(), seen.whole_series
        while len(self._looked) > MOST_LOOKED_AT:
            self._looked.pop(next(iter(self._looked)))
        return False

    def _resume(self) -> None:
        """Have the rules look again at studies whose end of waiting stands in nobody's memory any more."""
        if self._passed is None or time.monotonic() - self._passed > AWAY_S:
            decisions.look_again_at_waiting(self._database)
            self._looked.clear()
        self._passed = time.monotonic()

    def _apply(self, decision: Decision, study: StudyView) -> str:
        rule = decision.rule.settings
        if not decision.matched:
            return self._watchman.judge(decision, study, f"not wanted: {decision.reason}")
        if decision.winner is None:
            return self._forwarder.apply(decision, study)
        for _, series in decision.chosen():
            waiting = self._waits(rule, study, series)
            if waiting:
                return self._watchman.judge(decision, study, f"waiting: {waiting}")
        return self._plan(decision, study)

    def _waits(self, rule: RuleSettings, study: StudyView, winner: SeriesView) -> str:
        """Why a chosen series may not be run yet; empty when it may."""
        completion = self._settings.completion
        if rule.trigger == "study":
            ready, reason, last = study.readiness == Readiness.READY, study.readiness_reason, study.last_received
            what, quiet_s = "the study", completion.study_quiet_seconds
        else:
            ready, reason = winner.readiness == Readiness.READY, winner.readiness_reason
            last = winner.last_received or study.last_received
            what, quiet_s = f"series {winner.series_instance_uid}", completion.quiet_seconds
        if not ready:
            return f"{what} is not whole yet" + (f" ({reason})" if reason else "")
        # Ready means quiet for the shortest time that any rule asks for; this one may ask for more.
        if rule.quiet_seconds is not None:
            quiet_s = rule.quiet_seconds
        elif rule.trigger == "series":
            quiet_s = quiet_period(last, winner.association_ended, quiet_s, completion.association_end_seconds)
        if reason.startswith(CLOSED):
            return ""
        left = quiet_s - (datetime.now(UTC) - last).total_seconds()
        if left > 0:
            self._look_again(study.id, left)
            return f"{decisions.RULE_WAITS} {quiet_s:g} s without new images"
        return ""

    def _look_again(self, study_id: int, seconds: float) -> None:
        due = datetime.fromtimestamp(datetime.now(UTC).timestamp() + seconds, tz=UTC)
        self._later[study_id] = min(due, self._later.get(study_id, due))

    def _selected(self, role: str, series: SeriesView) -> SelectedSeries:
        rows = decisions.selection(self._database, series.id)
        return SelectedSeries(
            role=role,
            series_id=series.id,
            series_uid=series.series_instance_uid,
            instances=tuple(row_id for row_id, _ in rows),
            digests=tuple(digest for _, digest in rows),
        )

    def _plan(self, decision: Decision, study: StudyView) -> str:
        rule, contract = decision.rule.settings, decision.rule.contract
        winner = decision.winner
        assert contract is not None and winner is not None  # noqa: S101  of a rule that has chosen a series
        selected = tuple(self._selected(role, series) for role, series in decision.chosen())
        if not all(digest for chosen in selected for digest in chosen.digests):  # a person was faster
            self._look_again(study.id, AGAIN_S)
            return f"{decisions.RULE_WAITS} the digests of its images"
        earlier = self._ledger.jobs(study_id=study.id, rule=rule.name)
        rejected = decisions.rejected(self._database, study.id)
        standing = [
            job
            for job in earlier
            if job.inputs  # else it stands for a result that could not be made
            and job.encodes is None
            and job.state not in (JobState.CANCELLED, JobState.SUPERSEDED)
            and not any(rejected.intersection(chosen.instances) for chosen in job.inputs)
        ]
        for job in standing:
            if _same_selection(job.inputs, selected):
                return f"job {job.id} {job.state}"
        if standing and rule.late == "ignore":
            return f"job {standing[0].id} {standing[0].state}; what came later is ignored, as the rule says"
        before = prerequisite(self._ledger, self._rules, decision, study, selected)
        needs = needed(self._database, self._rules, decision, study)
        if waits := before.waits or needs.waits:
            self._look_again(study.id, LOOK_EVERY_S)
            return f"waiting: {waits}"
        question = "; ".join(filter(None, (before.question, _question(rule, standing, selected))))
        priority, source = self._priority(rule, winner)
        destinations, withheld = self._destinations(rule, contract)
        job_id = self._ledger.plan(
            NewJob(
                study_id=study.id,
                key=job_key(study.study_instance_uid, selected, contract.digest, rule.parameters),
                rule=rule.name,
                model=contract.name,
                model_version=contract.version,
                model_digest=contract.digest,
                inputs=selected,
                parameters=rule.parameters,
                destinations=destinations,
                withheld=withheld,
                explanation=explain([decision])[0],
                priority=priority,
                priority_source=source,
                question=question,
                needs=Needs(contract.resources.gpu_memory_mb, frozenset((*contract.resources.labels, *rule.labels))),
                useful_until=_useful_until(rule, winner.last_received or study.last_received),
                gather_s=contract.gather_s,
                after_jobs=needs.jobs,
            )
        )
        if job_id is None:
            return "the same images were planned before"
        if question:
            return f"planned job {job_id}, which waits for a person: {question}"
        return _planned(job_id, contract, selected, needs.words)

    def _priority(self, rule: RuleSettings, winner: SeriesView) -> tuple[Priority, str]:
        """The more urgent of what the rule and the called AE title say; the order has its say in the ledger."""
        of_rule = Priority[rule.priority.upper()]
        called = self._settings.node.called_ae_priorities.get(winner.called_ae)
        if called is not None and Priority[called.upper()] < of_rule:
            return Priority[called.upper()], f"called AE title {winner.called_ae}"
        return of_rule, "rule"

    def _destinations(self, rule: RuleSettings, contract: ModelContract) -> tuple[tuple[str, ...], dict[str, str]]:
        """Who gets the results, and who does not and why."""
        withheld = {}
        for name in rule.send_to:
            peer = self._settings.peer(name)
            if peer and peer.clinical and contract.status == Status.RESEARCH and not rule.research_to_clinical:
                withheld[name] = f"{name} is a clinical peer and {contract.name} a research model"
        return tuple(name for name in rule.send_to if name not in withheld), withheld


def _planned(job_id: int, contract: ModelContract, selected: Sequence[SelectedSeries], needs: str) -> str:
    """What became of a decision, in words."""
    if contract.gather_s is not None:
        return f"planned job {job_id}, which waits for " + (needs or "the patient's record")
    series = " and ".join(each.series_uid for each in selected)
    log.info("job %d planned: %s on series %s", job_id, contract.name, series)
    return f"planned job {job_id} on series {series}"


def _useful_until(rule: RuleSettings, last_received: datetime) -> datetime | None:
    return None if rule.useful_for is None else last_received + timedelta(seconds=rule.useful_for)


def _same_selection(earlier: tuple[SelectedSeries, ...], selected: tuple[SelectedSeries, ...]) -> bool:
    return {(e.role, e.series_id, e.instances) for e in earlier} == {
        (s.role, s.series_id, s.instances) for s in selected
    }


def _question(rule: RuleSettings, earlier: Sequence[Job], selected: Sequence[SelectedSeries]) -> str:
    """What a person is to decide before a result is replaced; empty when it may be without asking."""
    replaced = next((job for job in earlier if job.state == JobState.DONE), None)
    if replaced is None:
        return ""
    had = sum(len(series.instances) for series in replaced.inputs)
    now = sum(len(series.instances) for series in selected)
    change = f"job {replaced.id} had {had} images, now there are {now}"
    known = {series.series_id for series in replaced.inputs}
    if others := [series.series_uid for series in selected if series.series_id not in known]:
        change += f" in another series, {', '.join(others)}"
    if rule.late == "ask":
        return f"{change}; is its result to be replaced?"
    age_s = (datetime.now(UTC) - replaced.created_at).total_seconds()
    if rule.useful_for is not None and age_s > rule.useful_for:
        return f"{change}; after more than {rule.useful_for:g} s, is its result to be replaced?"
    return ""


def _summary(rules: tuple[RuleSettings, ...], outcomes: list[str]) -> str:
    if not rules:
        return "no rule wants it: there are no rules"
    lines = [f"{rule.name}: {outcome}" for rule, outcome in zip(rules, outcomes, strict=True)]
    if all(outcome.startswith("not wanted") for outcome in outcomes):
        return "no rule wants it; " + "; ".join(lines)
    return "; ".join(lines)
