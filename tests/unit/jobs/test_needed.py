"""A model that needs other models' findings: planned after their jobs, and tied to them in the ledger."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from planner_bench import Bench, view

from dicom_node.archive import decisions, needed
from dicom_node.archive.database import Database
from dicom_node.archive.results import Outcome
from dicom_node.catalogue import Catalogue
from dicom_node.domain.job import Job, JobState
from dicom_node.errors import RuleError
from dicom_node.jobs.plan import Planner
from dicom_node.rules.match import RuleSet
from dicom_node.settings import Configuration, Settings, Source

RISK = {"name": "risk", "model": "ct_lung_risk", "all": ["instances >= 20"]}
DENSITY = {"name": "density", "model": "ct_lung_density", "all": ["instances >= 20"]}
NODULES = {"name": "nodules", "model": "ct_nodule_candidates", "all": ["instances >= 20"]}
BODY = {"BodyPartExamined": "CHEST"}


class Ward(Bench):
    """Rules of which one needs the findings of others."""

    def __init__(self, database: Database, *rules: dict[str, Any], **contracts: Any) -> None:
        super().__init__(database)
        settings = Settings.model_validate({"rules": list(rules)})
        catalogue = Catalogue.load(settings)
        known = {rule["model"]: catalogue.get(rule["model"]) for rule in rules} | contracts
        compiled = RuleSet.compile(Configuration(settings, Source(None, "")), known)
        self.planner = Planner(settings, self.database, self.ledger, compiled, lambda _: self.study)

    def job(self, rule: str) -> Job | None:
        found = self.ledger.jobs(rule=rule)
        return found[0] if found else None

    def needs(self, job: Job) -> list[str]:
        with self.database.read() as connection:
            return [each.model for each in needed.needed(connection, job.id)]


def test_it_is_planned_after_those_it_needs_and_waits_for_them(database: Database) -> None:
    ward = Ward(database, RISK, DENSITY, NODULES)
    assert ward.show(view(**BODY)) == 2
    assert f"risk: waiting: {decisions.RULE_WAITS} the findings of rule 'density'" in ward.outcome()
    assert ward.show(view(**BODY)) == 1
    risk = ward.job("risk")
    assert risk is not None and risk.state is JobState.WAITING
    assert ward.needs(risk) == ["ct_lung_density", "ct_nodule_candidates"]
    assert "which waits for the findings of ct_lung_density and ct_nodule_candidates" in ward.outcome()


def test_what_no_rule_runs_is_not_waited_for(database: Database) -> None:
    ward = Ward(database, RISK)
    assert ward.show(view(**BODY)) == 1
    risk = ward.job("risk")
    assert risk is not None and ward.needs(risk) == []


def test_of_a_job_that_was_superseded_the_one_that_took_over_is_waited_for(database: Database) -> None:
    ward = Ward(database, DENSITY, RISK)
    ward.show(view(**BODY))
    risk, first = ward.job("risk"), ward.job("density")
    assert risk is not None and first is not None
    claim = ward.ledger.claim(first.id, "a:1", 60.0)
    assert claim is not None
    ward.ledger.commit(claim, Outcome((), (), {}, {}, {}))
    ward.show(view(instances=40, **BODY))
    with ward.database.read() as connection:
        (now,) = needed.needed(connection, risk.id)
    newest = ward.job("density")
    assert newest is not None and now.id == newest.id != first.id
    assert now.comes


def test_models_that_need_each_other_are_refused_at_start(database: Database) -> None:
    catalogue = Catalogue.load(Settings.model_validate({}))
    risk, density = catalogue.get("ct_lung_risk"), catalogue.get("ct_lung_density")
    circle = replace(density, features=(replace(risk.features[-1], model="ct_lung_risk", finding="lung_cancer"),))
    with pytest.raises(RuleError, match="wait for itself"):
        Ward(database, RISK, DENSITY, ct_lung_density=circle)


def test_a_finding_that_there_is_not_is_refused_at_start(database: Database) -> None:
    risk = Catalogue.load(Settings.model_validate({})).get("ct_lung_risk")
    wrong = replace(risk, features=(*risk.features[:-1], replace(risk.features[-1], finding="fibrosis")))
    with pytest.raises(RuleError, match="has no finding 'fibrosis'"):
        Ward(database, RISK, DENSITY, ct_lung_risk=wrong)
