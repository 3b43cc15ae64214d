"""Rules against a study: every series judged, the best of those that match chosen."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from dicom_node.domain.contract import InputRole, ModelContract
from dicom_node.domain.study import SeriesView, StudyView
from dicom_node.errors import RuleError
from dicom_node.rules import prerequisite
from dicom_node.rules.attributes import Attribute, Place, Unknown, Value, attribute
from dicom_node.rules.language import Condition, Outcome, compile_condition
from dicom_node.settings import Configuration, RuleSettings

ListName = Literal["all", "any", "none", "role", "contract"]
_OF_MODELS = frozenset(
    {"prefer", "late", "priority", "research_to_clinical", "parameters", "useful_for", "labels", "after"}
)
_OF_FORWARDING = frozenset({"forward", "sop_classes", "send_hours"})


@dataclass(frozen=True, slots=True)
class ConditionResult:
    """One condition on one series."""

    text: str
    list: ListName  # role: modality and slices of the model's input; contract: its conditions
    outcome: Outcome
    values: Mapping[str, Value | Unknown]  # of every name in the condition
    unknown: tuple[str, ...]  # names that had no value


@dataclass(frozen=True, slots=True)
class Preference:
    """One criterion of choice: ``smallest KEYWORD``, ``largest KEYWORD``, or a condition, where true comes first."""

    text: str
    order: Literal["smallest", "largest", "true"]
    subject: Attribute | Condition

    def rank(self, series: SeriesView) -> RankValue:
        """What the series shows under this criterion."""
        if isinstance(self.subject, Attribute):
            value = self.subject.read(series)
            return RankValue(self, value if not isinstance(value, tuple) else Unknown.MALFORMED)
        outcome = self.subject.evaluate(series).outcome
        return RankValue(self, Unknown.ABSENT if outcome is Outcome.UNKNOWN else outcome is Outcome.TRUE)


@dataclass(frozen=True, slots=True)
class RankValue:
    """What a series shows under a preference. Unknown ranks last."""

    preference: Preference
    value: float | str | bool | Unknown


@dataclass(frozen=True, slots=True)
class SeriesVerdict:
    """What a rule says about one series."""

    series: SeriesView
    matched: bool
    conditions: tuple[ConditionResult, ...]
    reason: str  # in words
    rank: tuple[RankValue, ...]  # empty unless matched


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule that was checked: its model is known, its conditions are compiled."""

    settings: RuleSettings
    contract: ModelContract | None  # none: it sends on what arrives
    role: InputRole | None  # the series the model needs
    conditions: tuple[tuple[ListName, Condition], ...]
    preferences: tuple[Preference, ...]  # the rule's, then the model's
    further: tuple[Rule, ...] = ()  # one per other series the model needs, with the model's conditions alone

    @property
    def name(self) -> str:
        """Name of the rule in the configuration."""
        return self.settings.name


@dataclass(frozen=True, slots=True)
class Decision:
    """What a rule says about a study."""

    rule: Rule
    matched: bool
    winner: SeriesView | None  # the series the model is to run on
    verdicts: tuple[SeriesVerdict, ...]  # the winner, then the other matches from best to worst, then the rest
    reason: str
    forwarded: tuple[SeriesView, ...] = ()  # of a rule without a model: every series that matches
    further: tuple[Decision, ...] = ()  # on the other series the model needs

    def chosen(self) -> tuple[tuple[str, SeriesView], ...]:
        """Role and series of each input; empty where the model is not to run."""
        decisions = (self, *self.further) if self.matched else ()
        return tuple((d.rule.role.name, d.winner) for d in decisions if d.winner and d.rule.role)


@dataclass(frozen=True, slots=True)
class RuleSet:
    """All rules of a configuration, in its order."""

    rules: tuple[Rule, ...]

    @classmethod
    def compile(cls, configuration: Configuration, contracts: Mapping[str, ModelContract]) -> RuleSet:
        """Check every rule. ``contracts`` maps model names to their contracts.

        Raises:
            RuleError: with file, line and key: an unknown model, or a condition that is wrong.
        """
        rules = configuration.settings.rules
        compiled = tuple(_compile_rule(configuration, index, rule, contracts) for index, rule in enumerate(rules))
        prerequisite.check(configuration, contracts)
        return cls(compiled)

    def rule(self, name: str) -> Rule:
        """The rule of that name.

        Raises:
            RuleError: there is none.
        """
        found = next((rule for rule in self.rules if rule.name == name), None)
        if found is None:
            known = ", ".join(repr(rule.name) for rule in self.rules) or "none"
            raise RuleError(f"there is no rule {name!r}", remedy=f"known rules: {known}")
        return found

    def decide(self, study: StudyView, rule: Rule) -> Decision:
        """Judge every series of ``study``. The order of its series changes nothing."""
        if rule.contract is None:
            return _forwarding(rule, [_judge(rule, series) for series in study.series])
        first = _choose(rule, study.series)
        chosen: list[Decision] = [first]
        for role in rule.further if first.winner else ():
            taken = {decision.winner.id for decision in chosen if decision.winner}
            other = _choose(role, [series for series in study.series if series.id not in taken], beside=first.winner)
            if other.winner is None:
                reason = f"there is no series for {_role_of(role)}: {other.reason}"
                return Decision(rule, False, None, first.verdicts, reason)
            chosen.append(other)
        told = "; ".join([first.reason, *(f"{_role_of(other.rule)}: {other.reason}" for other in chosen[1:])])
        return Decision(rule, first.matched, first.winner, first.verdicts, told, further=tuple(chosen[1:]))

    def decide_all(self, study: StudyView) -> tuple[Decision, ...]:
        """The decision of every rule, in the order of the configuration."""
        return tuple(self.decide(study, rule) for rule in self.rules)


def _choose(rule: Rule, series: Sequence[SeriesView], beside: SeriesView | None = None) -> Decision:
    """The best series for one role; ``beside`` is that of the first role, with which it must share its frame."""
    verdicts = [_judge(rule, each) if _in_frame(each, beside) else _elsewhere(each) for each in series]
    matching = _ordered(verdict for verdict in verdicts if verdict.matched)
    others = sorted((verdict for verdict in verdicts if not verdict.matched), key=_nearest_first)
    ranked = tuple(_placed(matching, position) for position in range(len(matching)))
    winner = ranked[0].series if ranked else None
    reason = _reason_to_choose(ranked) if ranked else _reason_to_refuse(others)
    return Decision(rule, winner is not None, winner, (*ranked, *others), reason)


def _role_of(rule: Rule) -> str:
    return rule.role.name if rule.role else ""


def _in_frame(series: SeriesView, beside: SeriesView | None) -> bool:
    """Whether both lie in one frame of reference, as far as their headers tell."""
    frames = [each.attributes.get("FrameOfReferenceUID") for each in (series, beside) if each]
    return len({frame for frame in frames if frame}) < 2


def _elsewhere(series: SeriesView) -> SeriesVerdict:
    return SeriesVerdict(series, False, (), "no match: it lies in another frame of reference than the first input", ())


def described(values: Mapping[str, Value | Unknown]) -> str:
    """Names and values in words: ``SliceThickness 5, KVP varies``."""
    return ", ".join(f"{name} {shown(value)}" for name, value in values.items())


def shown(value: Value | bool | Unknown) -> str:
    """A value in words: numbers without a superfluous point, text as it is."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    return "\\".join(shown(item) for item in value) if isinstance(value, tuple) else str(value)


def _compile_rule(
    configuration: Configuration, index: int, rule: RuleSettings, contracts: Mapping[str, ModelContract]
) -> Rule:
    _check_keys(configuration, index, rule)
    contract = None if rule.model is None else contracts.get(rule.model)
    if contract is None and rule.model is not None:
        known = ", ".join(sorted(contracts)) or "none"
        place = _place(configuration, ("rules", index, "model"))
        raise place.error(f"there is no model {rule.model!r} (known: {known})", "see: dicom-node models list")
    of_role = _conditions_of_role(contract, 0) if contract else []
    lists: tuple[tuple[ListName, Sequence[str]], ...] = (("all", rule.all), ("any", rule.any), ("none", rule.none))
    of_rule = [
        (name, compile_condition(text, _place(configuration, ("rules", index, name, position))))
        for name, texts in lists
        for position, text in enumerate(texts)
    ]
    preferences = [
        _preference(text, _place(configuration, ("rules", index, "prefer", position)))
        for position, text in enumerate(rule.prefer)
    ]
    if contract is None:
        return Rule(rule, None, None, tuple(of_rule), tuple(preferences))
    preferences += _preferences_of_role(contract, 0)
    further = tuple(
        Rule(
            rule,
            contract,
            contract.inputs[at],
            tuple(_conditions_of_role(contract, at)),
            tuple(_preferences_of_role(contract, at)),
        )
        for at in range(1, len(contract.inputs))
    )
    return Rule(rule, contract, contract.inputs[0], (*of_role, *of_rule), tuple(preferences), further)


def _check_keys(configuration: Configuration, index: int, rule: RuleSettings) -> None:
    """Refuse keys that do nothing: a rule runs a model, or sends on what arrives."""
    place = _place(configuration, ("rules", index))
    if rule.model is None and not rule.send_to:
        raise place.error(
            "the rule has neither model nor send_to",
            "name a model to be run, or peers in send_to that what arrives is sent on to",
        )
    meaningless = _OF_MODELS if rule.model is None else _OF_FORWARDING
    for key in sorted(rule.model_fields_set & meaningless):
        told = "without a model" if rule.model is None else "with a model"
        raise _place(configuration, ("rules", index, key)).error(f"has no meaning in a rule {told}", "leave it out")
    if rule.model is not None and rule.trigger == "arrival":
        place = _place(configuration, ("rules", index, "trigger"))
        raise place.error("a model needs a series or study that is whole, not 'arrival'", "use 'series' or 'study'")
    if rule.forward == "study" and rule.trigger != "study":
        place = _place(configuration, ("rules", index, "forward"))
        raise place.error("'study' is sent on once the study is whole", 'add trigger = "study"')


def _place(configuration: Configuration, path: Sequence[str | int]) -> Place:
    error = configuration.error(path, "")
    return Place(error.file, error.line, error.key or "")


def _contract_place(contract: ModelContract, key: str) -> Place:
    return Place(contract.folder / "model.toml", None, key)


def _conditions_of_role(contract: ModelContract, at: int) -> list[tuple[ListName, Condition]]:
    """What the model asks of the series of one of its inputs."""
    role = contract.inputs[at]
    texts: list[tuple[ListName, str, str]] = []
    if role.modality:
        texts.append(("role", "modality", f"Modality == {json.dumps(role.modality)}"))
    if role.minimum_slices > 1:
        least = role.minimum_slices  # slices are instances, or the frames of one
        frames = f"has(NumberOfFrames) && NumberOfFrames >= {least}"
        texts.append(("role", "minimum_slices", f"instances >= {least} || {frames}"))
    texts += [("contract", f"conditions[{n}]", text) for n, text in enumerate(role.conditions, start=1)]
    return [
        (name, compile_condition(text, _contract_place(contract, f"inputs[{at + 1}].{key}")))
        for name, key, text in texts
    ]


def _preferences_of_role(contract: ModelContract, at: int) -> list[Preference]:
    return [
        _preference(text, _contract_place(contract, f"inputs[{at + 1}].prefer[{position}]"))
        for position, text in enumerate(contract.inputs[at].prefer, start=1)
    ]


def _preference(text: str, place: Place) -> Preference:
    written = re.fullmatch(r"\s*(smallest|largest)\s+(\S+)\s*", text)
    if not written:
        return Preference(text, "true", compile_condition(text, place))
    subject = attribute(written[2], place)
    if subject.kind.item is not None:
        raise place.error(f"{subject} has no order", "prefer an attribute that has one value")
    return Preference(text.strip(), "smallest" if written[1] == "smallest" else "largest", subject)


def _judge(rule: Rule, series: SeriesView) -> SeriesVerdict:
    results = tuple(_result(name, condition, series) for name, condition in rule.conditions)
    found = faults(results)
    if found:
        return SeriesVerdict(series, False, results, "no match: " + "; ".join(found), ())
    ranks = tuple(preference.rank(series) for preference in rule.preferences)
    return SeriesVerdict(series, True, results, "matches", ranks)


def _result(name: ListName, condition: Condition, series: SeriesView) -> ConditionResult:
    found = condition.evaluate(series)
    return ConditionResult(condition.text, name, found.outcome, found.values, found.unknown)


def faults(results: Sequence[ConditionResult]) -> list[str]:
    """Why a series does not match; empty when it does."""
    found = []
    of_any = [result for result in results if result.list == "any"]
    for result in results:
        if result.list == "none" and result.outcome is Outcome.TRUE:
            found.append(f"{result.text} is true, and in none ({described(result.values)})")
        elif result.list not in ("any", "none") and result.outcome is not Outcome.TRUE:
            found.append(f"{result.text} is {result.outcome} ({described(result.values)})")
    if of_any and all(result.outcome is not Outcome.TRUE for result in of_any):
        found.append("none of any is true: " + "; ".join(f"{r.text} ({described(r.values)})" for r in of_any))
    return found


def _forwarding(rule: Rule, verdicts: Sequence[SeriesVerdict]) -> Decision:
    """What a rule without a model sends on: every series that matches."""
    matching = sorted((v for v in verdicts if v.matched), key=lambda v: v.series.series_instance_uid)
    others = sorted((v for v in verdicts if not v.matched), key=_nearest_first)
    chosen = tuple(verdict.series for verdict in matching)
    if not chosen:
        return Decision(rule, False, None, tuple(others), _reason_to_refuse(others))
    reason = ", ".join(_named(series) for series in chosen) + (" match" if len(chosen) > 1 else " matches")
    if rule.settings.forward == "study":
        reason += ", so the whole study is sent on"
    return Decision(rule, True, None, (*matching, *others), reason, chosen)


def _ordered(matching: Iterable[SeriesVerdict]) -> list[SeriesVerdict]:
    """Best first. Stable sorts from the last criterion to the first; unknown values go last under each."""
    ordered = sorted(matching, key=lambda verdict: (-verdict.series.instances, verdict.series.series_instance_uid))
    for index in reversed(range(len(ordered[0].rank) if ordered else 0)):
        preference = ordered[0].rank[index].preference
        known = [verdict for verdict in ordered if not isinstance(verdict.rank[index].value, Unknown)]
        unknown = [verdict for verdict in ordered if isinstance(verdict.rank[index].value, Unknown)]
        known.sort(key=lambda verdict: verdict.rank[index].value, reverse=preference.order != "smallest")
        ordered = known + unknown
    return ordered


def _nearest_first(verdict: SeriesVerdict) -> tuple[int, str]:
    return len(faults(verdict.conditions)), verdict.series.series_instance_uid


def _placed(matching: Sequence[SeriesVerdict], position: int) -> SeriesVerdict:
    verdict = matching[position]
    if position > 0:
        reason = "lost: " + _difference(verdict, matching[0])
    elif len(matching) == 1:
        reason = "won: the only match"
    else:
        reason = f"won: best of {len(matching)} matches"
    return SeriesVerdict(verdict.series, True, verdict.conditions, reason, verdict.rank)


def _difference(loser: SeriesVerdict, winner: SeriesVerdict) -> str:
    """The first criterion under which the two differ, seen from the loser."""
    for lost, won in zip(loser.rank, winner.rank, strict=True):
        if lost.value == won.value or (isinstance(lost.value, Unknown) and isinstance(won.value, Unknown)):
            continue
        subject = lost.preference.subject
        name = subject.name if isinstance(subject, Attribute) else subject.text
        if isinstance(lost.value, Unknown) or isinstance(won.value, bool):
            told = "unknown" if isinstance(lost.value, Unknown) and isinstance(won.value, bool) else shown(lost.value)
            return f"{name} {told}, {shown(won.value)} for the winner"
        sign = ">" if lost.preference.order == "smallest" else "<"
        return f"{name} {shown(lost.value)} {sign} {shown(won.value)} of the winner"
    if loser.series.instances != winner.series.instances:
        return f"instances {loser.series.instances} < {winner.series.instances} of the winner"
    return "equal in all that counts; the winner's Series Instance UID comes first"


def _reason_to_choose(ranked: Sequence[SeriesVerdict]) -> str:
    chosen = _named(ranked[0].series)
    if len(ranked) == 1:
        return f"{chosen} is the only match"
    return f"{chosen} is the best of {len(ranked)} matches; {_named(ranked[1].series)} {ranked[1].reason}"


def _reason_to_refuse(others: Sequence[SeriesVerdict]) -> str:
    if not others:
        return "the study has no series"
    nearest = others[0]
    return f"none of {len(others)} series matches; nearest is {_named(nearest.series)}, {nearest.reason}"


def _named(series: SeriesView) -> str:
    number = series.attributes.get("SeriesNumber")
    return f"series {shown(number)}" if isinstance(number, float) else f"series {series.series_instance_uid}"
