"""Which jobs a model needs the findings of: those that other rules run on the same study.

A job is planned once these are planned, and waits for their end in the ledger. Until then its study's outcome says what
the rule waits for.
"""

from __future__ import annotations

from dataclasses import dataclass

from dicom_node.archive.database import Database
from dicom_node.archive.decisions import RULE_WAITS
from dicom_node.archive.needed import newest_of
from dicom_node.domain.study import StudyView
from dicom_node.rules.match import Decision, RuleSet


@dataclass(frozen=True, slots=True)
class Needed:
    """What a decision's model needs of other jobs."""

    jobs: tuple[int, ...] = ()
    words: str = ""  # whose findings they are
    waits: str = ""  # why it cannot be planned yet


def needed(database: Database, rules: RuleSet, decision: Decision, study: StudyView) -> Needed:
    """The jobs on a study of the models that a decision's model asks for; of models that no rule runs on it: none."""
    contract = decision.rule.contract
    wanted = contract.needed_models if contract else ()
    jobs: list[int] = []
    models: list[str] = []
    for rule in rules.rules:
        if rule.contract is None or rule.contract.name not in wanted or rule.name == decision.rule.name:
            continue
        with database.read() as connection:
            newest = newest_of(connection, study.id, rule.name)
        if newest is not None:
            jobs.append(newest.id)
            models.append(rule.contract.name)
        elif rules.decide(study, rule).matched:
            return Needed(waits=f"{RULE_WAITS} the findings of rule {rule.name!r}")
    return Needed(tuple(jobs), "the findings of " + " and ".join(dict.fromkeys(models)) if models else "")
