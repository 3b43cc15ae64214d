"""Whether a series lies within what a model holds for, and what is told where it does not: "not evaluated", by name."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from dicom_node.domain.contract import ModelContract
from dicom_node.domain.finding import Classification, Code, Presence
from dicom_node.domain.output import MaskOutput, Output, ValueOutput
from workers.inference.evaluations import misfits
from workers.inference.volume import Volume

_DAYS_PER_YEAR = 365.25


def outside(contract: ModelContract, volume: Volume) -> str:
    """Why the model does not hold for this patient or acquisition, in words; empty where it does.

    Patient's Age (0010,1010) is reckoned from the dates of birth and study where it is not given.
    """
    bounds = (*contract.population, *contract.protocol)
    attributes = volume.agreed({bound.keyword for bound in bounds} | {"PatientBirthDate", "StudyDate"})
    if "PatientAge" not in attributes:
        attributes |= _age(attributes)
    found = list(misfits(bounds, attributes))
    return f"Outside what the model holds for: {'; '.join(found)}" if found else ""


def not_evaluated(contract: ModelContract, reason: str) -> tuple[Classification, ...]:
    """The answer "not evaluated" for everything the model would have told, each concept of an output once."""
    told: list[Classification] = []
    for output in contract.outputs:
        for concept, name in _concepts(contract, output):
            told.append(Classification(name, output.name, concept, Presence.NOT_EVALUATED, None, None, reason))
    for evaluation in contract.evaluations:
        told.append(
            Classification(
                evaluation.name,
                "evaluations",
                evaluation.concept,
                Presence.NOT_EVALUATED,
                None,
                evaluation.site,
                reason,
                evaluation.source,
            )
        )
    return tuple(told)


def _concepts(contract: ModelContract, output: Output) -> Iterator[tuple[Code, str]]:
    """Concepts that an output tells of, each once, with a name."""
    named: list[tuple[Code, str]] = []
    if isinstance(output, MaskOutput):
        named = [(segment.type, segment.name) for segment in contract.segments if segment.name in output.segments]
    elif isinstance(output, ValueOutput):
        named = [(value.concept, value.name) for value in output.values]
    else:
        named = [(spec.concept, spec.name) for spec in output.classes]
    yield from {concept: (concept, name) for concept, name in reversed(named)}.values()


def _age(attributes: dict[str, Any]) -> dict[str, Any]:
    try:
        born, seen = (datetime.strptime(attributes[key], "%Y%m%d") for key in ("PatientBirthDate", "StudyDate"))  # noqa: DTZ007
    except (KeyError, ValueError, TypeError):
        return {}
    return {"PatientAge": (seen - born).days / _DAYS_PER_YEAR}
