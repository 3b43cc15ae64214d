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
        RuleError: with file, line and key: no such rule, one without a model, a circle, or no such finding; likewise of
            what the models themselves ask of others.
    """
    rules = {rule.name: rule for rule in configuration.settings.rules}
    _check_needs(configuration, contracts)
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


def _check_needs(configuration: Configuration, contracts: Mapping[str, ModelContract]) -> None:
    """What models ask of others: findings that there are, and no circle."""
    for index, rule in enumerate(configuration.settings.rules):
        contract = contracts.get(rule.model or "")
        if contract is None:
            continue
        place = _place(configuration, index, "model", table="")
        if _needs_itself(contract.name, contracts):
            raise place.error(f"{contract.name} would wait for itself", "models may not need each other in a circle")
        for spec in contract.features:
            other = contracts.get(spec.model)
            if other is None:
                continue
            told = (*findings_of(other), *(each.name for each in other.measurements))
            if spec.finding not in told:
                raise place.error(
                    f"{contract.name} asks for {spec.name}, but {other.name} has no finding {spec.finding!r}",
                    f"it tells: {', '.join(told) or 'none'}",
                )


def _needs_itself(name: str, contracts: Mapping[str, ModelContract]) -> bool:
    seen: set[str] = set()
    ahead = list(contracts[name].needed_models)
    while ahead:
        at = ahead.pop()
        if at == name:
            return True
        if at not in seen and at in contracts:
            seen.add(at)
            ahead += contracts[at].needed_models
    return False


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


def _place(configuration: Configuration, index: int, key: str, table: str = "after") -> Place:
    path = ("rules", index, table, key) if table else ("rules", index, key)
    error = configuration.error(path, "")
    return Place(error.file, error.line, error.key or "")
