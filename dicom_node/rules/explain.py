"""Decisions told: as plain data for ``--json``, and as lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from dicom_node.domain.study import SeriesView
from dicom_node.rules.attributes import Place, Unknown, Value, attribute
from dicom_node.rules.language import Outcome
from dicom_node.rules.match import ConditionResult, Decision, RankValue, SeriesVerdict, described, shown

MARKS = {Outcome.TRUE: "yes", Outcome.FALSE: "no ", Outcome.UNKNOWN: "?  "}


def explain(decisions: Iterable[Decision]) -> list[dict[str, Any]]:
    """One entry per rule: every series with each condition's value, and why it won, lost or does not match.

    Only dict, list, str, float, int, bool and None: ready for JSON.
    """
    return [_decision(decision) for decision in decisions]


def render(decisions: Iterable[Decision], after: Mapping[str, str] = MappingProxyType({})) -> str:
    """The same as lines of text; ``after``: what stands between a rule and its job, by the name of the rule."""
    lines = [line for decision in decisions for line in _lines_of_decision(decision, after.get(decision.rule.name, ""))]
    return "\n".join(lines) if lines else "there are no rules"


def _decision(decision: Decision) -> dict[str, Any]:
    contract = decision.rule.contract
    return {
        "rule": decision.rule.name,
        "model": contract.name if contract else None,
        "model_version": contract.version if contract else None,
        "send_to": list(decision.rule.settings.send_to),
        "matched": decision.matched,
        "winner": decision.winner.series_instance_uid if decision.winner else None,
        "reason": decision.reason,
        "series": [_verdict(verdict, _standing(decision, verdict)) for verdict in decision.verdicts],
        "further": [
            {
                "role": other.rule.role.name if other.rule.role else None,
                "winner": other.winner.series_instance_uid if other.winner else None,
                "reason": other.reason,
                "series": [_verdict(verdict, _standing(other, verdict)) for verdict in other.verdicts],
            }
            for other in decision.further
        ],
    }


def _verdict(verdict: SeriesVerdict, standing: str) -> dict[str, Any]:
    return {
        "series_instance_uid": verdict.series.series_instance_uid,
        "series_number": _known(verdict.series, "SeriesNumber"),
        "series_description": _known(verdict.series, "SeriesDescription"),
        "instances": verdict.series.instances,
        "verdict": standing,
        "reason": verdict.reason,
        "conditions": [_condition(result) for result in verdict.conditions],
        "rank": [_rank(rank) for rank in verdict.rank],
    }


def _standing(decision: Decision, verdict: SeriesVerdict) -> str:
    if verdict.series is decision.winner:
        return "won"
    if decision.rule.contract is None and verdict.matched:
        return "sent on"
    return "lost" if verdict.matched else "no match"


def _condition(result: ConditionResult) -> dict[str, Any]:
    return {
        "list": result.list,
        "condition": result.text,
        "outcome": result.outcome.value,
        "values": {name: _listed(value) for name, value in result.values.items()},
        "unknown": list(result.unknown),
    }


def _rank(rank: RankValue) -> dict[str, Any]:
    return {"prefer": rank.preference.text, "value": _listed(rank.value), "known": not isinstance(rank.value, Unknown)}


def _known(series: SeriesView, name: str) -> Any:
    """Value of an attribute, None where it has none that can be shown."""
    value = attribute(name, Place(None, None, name)).read(series)
    return None if isinstance(value, Unknown) else value


def _listed(value: Value | bool | Unknown) -> Any:
    if isinstance(value, tuple):
        return [_listed(item) for item in value]
    return value.value if isinstance(value, Unknown) else value


def _lines_of_decision(decision: Decision, after: str) -> list[str]:
    lines = [f"rule {decision.rule.name!r}: {_answer(decision)}: {decision.reason}"]
    lines += [f"  after: {after}"] if after else []
    for verdict in decision.verdicts:
        lines.append(f"  {_title(verdict.series)}: {verdict.reason}")
        width = max(len(name) for name in ("prefer", *(result.list for result in verdict.conditions)))
        for result in verdict.conditions:
            values = f"  ({described(result.values)})" if result.values else ""
            lines.append(f"    {MARKS[result.outcome]} {result.list:{width}}  {result.text}{values}")
        lines += [
            f"    {'':3} {'prefer':{width}}  {rank.preference.text}: {shown(rank.value)}" for rank in verdict.rank
        ]
    return lines


def _answer(decision: Decision) -> str:
    contract = decision.rule.contract
    if contract is not None:
        return f"{contract.name} {'runs' if decision.matched else 'does not run'}"
    return f"sends on to {', '.join(decision.rule.settings.send_to)}" if decision.matched else "sends nothing on"


def _title(series: SeriesView) -> str:
    known = [_known(series, name) for name in ("SeriesNumber", "Modality", "SeriesDescription")]
    words = [shown(value) for value in known if value is not None]
    return " ".join(["series", *words, f"[{series.series_instance_uid}]", f"{series.instances} instances"])
