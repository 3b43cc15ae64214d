"""A rule that runs only after another's finding: planned, waiting, or a question to a person."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from planner_bench import Bench, view

from dicom_node.archive import decisions
from dicom_node.archive.database import Database
from dicom_node.archive.results import Outcome
from dicom_node.catalogue import Catalogue
from dicom_node.domain.job import Job, JobState
from dicom_node.errors import InputError
from dicom_node.jobs.plan import Planner
from dicom_node.jobs.prerequisite import told
from dicom_node.rules.explain import render
from dicom_node.rules.match import RuleSet
from dicom_node.settings import Configuration, Settings, Source

FIRST = {"name": "first", "model": "ct_lung_density", "all": ["instances >= 20"]}
SECOND = {
    "name": "second",
    "model": "ct_lung_density",
    "all": ["instances >= 20"],
    "parameters": {"second": 1},  # the same model on the same images is another job with these alone
    "after": {"rule": "first", "finding": "emphysema", "presence": "absent"},
}


class Pair(Bench):
    """The second rule runs after the first has found no emphysema."""

    def __init__(self, database: Database, first: dict[str, Any] | None = None) -> None:
        super().__init__(database)
        # The rule that asks stands first, so that it is looked at before there is a job it could wait for.
        settings = Settings.model_validate({"rules": [SECOND, {**FIRST, **(first or {})}]})
        contracts = {"ct_lung_density": Catalogue.load(settings).get("ct_lung_density")}
        self.rules = RuleSet.compile(Configuration(settings, Source(None, "")), contracts)
        self.planner = Planner(settings, self.database, self.ledger, self.rules, lambda _: self.study)

    def first_tells(self, presence: str) -> Job:
        (queued,) = self.ledger.jobs(rule="first", states=(JobState.QUEUED,))
        claim = self.ledger.claim(queued.id, "a:1", 60.0)
        assert claim is not None
        concept = {"value": "87433001", "scheme": "SCT", "meaning": "Pulmonary emphysema"}
        content = {"name": "emphysema", "presence": presence, "concept": concept}
        row = {"kind": "evaluation", "name": "emphysema", "tracking_uid": None, "content": content}
        self.ledger.commit(claim, Outcome((row,), (), {}, {}, {}))
        return queued

    def second(self) -> Job | None:
        found = self.ledger.jobs(rule="second")
        return found[0] if found else None


@pytest.fixture
def pair(database: Database) -> Pair:
    return Pair(database)


def test_it_waits_for_the_finding_and_then_runs(pair: Pair) -> None:
    assert pair.show(view()) == 1
    assert pair.second() is None
    assert f"second: waiting: {decisions.RULE_WAITS} the findings of rule 'first'" in pair.outcome()
    assert pair.show(view()) == 0
    assert "the findings of job" in pair.outcome()
    pair.first_tells("absent")
    assert pair.show(view()) == 1
    ran = pair.second()
    assert ran is not None
    assert (ran.state, ran.question) == (JobState.QUEUED, "")


def test_people_are_told_what_stands_between_a_rule_and_its_job(pair: Pair) -> None:
    def shown() -> tuple[str, str]:
        after = told(pair.database, pair.rules, pair.rules.decide_all(pair.study), pair.study)
        assert list(after) == ["second"]
        return after["second"]["standing"], after["second"]["words"]

    pair.show(view())
    assert shown() == ("waits", f"{decisions.RULE_WAITS} the findings of job 1 of rule 'first'")
    pair.first_tells("absent")
    assert shown() == ("met", "rule 'first' found emphysema absent")


def test_people_are_told_when_it_will_ask(pair: Pair) -> None:
    pair.show(view())
    pair.first_tells("present")
    after = told(pair.database, pair.rules, pair.rules.decide_all(pair.study), pair.study)["second"]
    assert (after["standing"], after["words"].startswith("Pulmonary emphysema is present")) == ("asks", True)
    lines = render(pair.rules.decide_all(pair.study), {"second": "asks"}).splitlines()
    (line,) = [line for line in lines if "after" in line]
    assert line == "  after: asks"


@pytest.mark.parametrize("presence", ["present", "not evaluated"])
def test_another_finding_holds_it_for_a_person(pair: Pair, presence: str) -> None:
    pair.show(view())
    first = pair.first_tells(presence)
    assert pair.show(view()) == 1
    held = pair.second()
    assert held is not None
    assert held.state == JobState.WAITING
    assert held.question == (f"Pulmonary emphysema is {presence} (ct_lung_density, job {first.id}); run all the same?")
    assert pair.show(view()) == 0


def test_a_job_that_gave_nothing_holds_it_too(pair: Pair) -> None:
    pair.show(view())
    (queued,) = pair.ledger.jobs(rule="first")
    claim = pair.ledger.claim(queued.id, "a:1", 60.0)
    assert claim is not None
    pair.ledger.fail(claim, InputError("no"), again=False, excused=False)
    assert pair.show(view()) == 1
    held = pair.second()
    assert held is not None
    assert held.question == f"job {queued.id} of rule 'first' is failed; run all the same?"


def test_images_that_the_other_rule_does_not_want_are_asked_about(database: Database) -> None:
    pair = Pair(database, {"all": ["instances >= 1000"]})
    assert pair.show(view()) == 1
    held = pair.second()
    assert held is not None
    assert held.question == "rule 'first' does not look at these images; is it to run all the same?"


@pytest.mark.parametrize("late", ["supersede", "ignore"])
def test_more_images_need_a_finding_on_them(database: Database, late: str) -> None:
    pair = Pair(database, {"late": late})
    pair.show(view())
    pair.first_tells("absent")
    pair.show(view())
    assert pair.second() is not None
    pair.show(replace(view(), instances=31))
    newest = pair.second()
    assert newest is not None
    # Where the first rule looks again, the second waits for it; where it never will, its finding stands.
    assert len(newest.inputs[0].instances) == (30 if late == "supersede" else 31)
