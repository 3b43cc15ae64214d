"""Statements on whether something is there, by published cut-offs, where the acquisition fits their protocol."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dicom_node.domain.contract import EvaluationSpec, ModelContract, ProtocolBound
from dicom_node.domain.finding import Evaluation, Measurement, Presence

_AGE = re.compile(r"(\d{3})([DWMY])")
_PER_YEAR = {"D": 365.25, "W": 52.18, "M": 12.0, "Y": 1.0}


def evaluate(
    contract: ModelContract, measurements: Sequence[Measurement], attributes: Mapping[str, Any]
) -> tuple[Evaluation, ...]:
    """Answer each evaluation of the contract: present, absent, or not evaluated with the reason.

    ``attributes`` maps DICOM keywords to what all images of the series agree on: text, number, or a list of them. An
    attribute that is not there fits no bound: what is not known to fit does not fit.
    """
    return tuple(_evaluated(contract, wanted, measurements, attributes) for wanted in contract.evaluations)


def _evaluated(
    contract: ModelContract, wanted: EvaluationSpec, measurements: Sequence[Measurement], attributes: Mapping[str, Any]
) -> Evaluation:
    segments = contract.segment_numbers(wanted.of)
    decisive = next((m for m in measurements if m.name == wanted.measurement and m.segments == segments), None)
    obstacles = [*_missing(contract, wanted, measurements), *misfits(wanted.protocol, attributes)]
    if decisive is None or obstacles:
        presence = Presence.NOT_EVALUATED
        reason = "; ".join(obstacles) or f"{wanted.measurement} was not measured"
    else:
        present = decisive.value >= wanted.present_from
        presence = Presence.PRESENT if present else Presence.ABSENT
        limit = f"{'at or above' if present else 'below'} the cut-off of {wanted.present_from:g}"
        unit = decisive.unit.value
        reason = f"{decisive.concept.meaning} is {decisive.value:.1f} {unit}, {limit} {unit}"
    return Evaluation(
        name=wanted.name,
        concept=wanted.concept,
        presence=presence,
        site=wanted.site,
        segments=segments,
        reason=reason,
        source=wanted.source,
    )


def _missing(contract: ModelContract, wanted: EvaluationSpec, measurements: Sequence[Measurement]) -> Iterator[str]:
    """Segments that hold nothing: a statement on several together would be one on the rest."""
    measured = {m.segments for m in measurements if m.name == wanted.measurement}
    alone = {group for spec in contract.measurements if spec.name == wanted.measurement for group in spec.of}
    for name in wanted.of:
        if (name,) in alone and contract.segment_numbers((name,)) not in measured:
            label = next(segment.label for segment in contract.segments if segment.name == name)
            yield f"{label} was not found"


def misfits(protocol: Sequence[ProtocolBound], attributes: Mapping[str, Any]) -> Iterator[str]:
    """What of an acquisition does not fit a protocol, in words."""
    for bound in protocol:
        value = attributes.get(bound.keyword)
        items = value if isinstance(value, list | tuple) else [value]
        items = [item for item in items if item is not None and item != ""]
        if bound.absent:
            if items:
                yield f"{bound.keyword} is {_shown(items)}, and must be absent"
        elif not items and bound.unknown_fits:
            continue
        elif not items:
            yield f"{bound.keyword} is not given, or differs between the images"
        else:
            misfit = _out_of_range(bound, items) or _wrong_pattern(bound, items)
            if misfit:
                yield f"{bound.keyword} is {_shown(items)}, {misfit}"


def _out_of_range(bound: ProtocolBound, items: Sequence[Any]) -> str:
    if bound.at_least is None and bound.at_most is None:
        return ""
    numbers = [_years(item) for item in items]
    if not all(isinstance(number, int | float) for number in numbers):
        return "which is no number"
    unit = " years" * (numbers != items)
    if bound.at_least is not None and min(numbers) < bound.at_least:
        return f"less than {bound.at_least:g}{unit}"
    if bound.at_most is not None and max(numbers) > bound.at_most:
        return f"more than {bound.at_most:g}{unit}"
    return ""


def _years(item: Any) -> Any:
    """An Age String (PS3.5 6.2, such as 018M) in years; anything else as it is."""
    age = _AGE.fullmatch(item) if isinstance(item, str) else None
    return int(age[1]) / _PER_YEAR[age[2]] if age else item


def _wrong_pattern(bound: ProtocolBound, items: Sequence[Any]) -> str:
    text = "\\".join(str(item) for item in items)  # as DICOM writes several values
    if bound.matching is not None and re.search(bound.matching, text) is None:
        return "none of those that it holds for"
    if bound.not_matching is not None and re.search(bound.not_matching, text) is not None:
        return "one of those that it does not hold for"
    return ""


def _shown(items: Sequence[Any]) -> str:
    return "\\".join(f"{item:g}" if isinstance(item, int | float) else str(item) for item in items)
