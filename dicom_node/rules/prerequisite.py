"""``after`` of a rule: another rule whose model must have told something before. Checked as a whole, once."""

from __future__ import annotations

from collections.abc import Mapping

from dicom_node.domain.contract import ModelContract
from dicom_node.domain.output import ClassOutput, RegionOutput
from dicom_node.rules.attributes import Place
from dicom_node.settings import Configuration, RuleSettings


def check(configuration: Configuration, contracts: Mapping[str, ModelContract]) -> None:
    """Check ``after`` of every rule.

    Raises:
        RuleError: with file, line and key: no such rule, one without a model, a circle, or no such finding.
    """
    rules = {rule.name: rule for rule in configuration.settings.rules}
    for index, rule in enumerate(configuration.settings.rules):
        if rule.after is None:
            continue
        other = rules.get(rule.after.rule)
        if other is None or other.model is None:
            known = ", ".join(repr(name) for name, each in rules.items() if each.model and name != rule.name) or "none"
            what = f"no rule is named {rule.after.rule!r}" if other is None else f"rule {other.name!r} runs no model"
            raise _place(configuration, index, "rule").error(what, f"rules that run a model: {known}")
        if _circular(rule, rules):
            raise _place(configuration, index, "rule").error(
                f"{rule.name!r} would wait for itself", "break the circle of after"
            )
        told = findings_of(contracts[other.model])
        if rule.after.finding not in told:
            raise _place(configuration, index, "finding").error(
                f"{other.model} has no finding {rule.after.finding!r}", f"it tells: {', '.join(told) or 'none'}"
            )


def findings_of(contract: ModelContract) -> tuple[str, ...]:
    """Names of what a model answers with present or absent."""
    classes = [
        spec.name
        for output in contract.outputs
        if isinstance(output, ClassOutput | RegionOutput)
        for spec in output.classes
    ]
    return (*classes, *(evaluation.name for evaluation in contract.evaluations))


def _circular(rule: RuleSettings, rules: Mapping[str, RuleSettings]) -> bool:
    seen, at = {rule.name}, rule.after
    while at is not None and at.rule in rules:
        if at.rule in seen:
            return True
        seen.add(at.rule)
        at = rules[at.rule].after
    return False


def _place(configuration: Configuration, index: int, key: str) -> Place:
    error = configuration.error(("rules", index, "after", key), "")
    return Place(error.file, error.line, error.key or "")
