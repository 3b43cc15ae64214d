"""Content items that several kinds of groups of a report are made of."""

from __future__ import annotations

from typing import Any

import highdicom as hd

from dicom_node.domain.contract import ModelContract
from dicom_node.domain.finding import Code, Measurement
from workers.results import codes
from workers.results.codes import coded

_CONTAINS = hd.sr.RelationshipTypeValues.CONTAINS


def text(name: Code, value: str) -> Any:
    """A text that its container holds."""
    return hd.sr.TextContentItem(name=coded(name), value=value, relationship_type=_CONTAINS)


def site(where: Code, modifier: Code | None) -> Any:
    """A finding site with its side or another modifier."""
    if modifier is None:
        return hd.sr.FindingSite(coded(where))
    if modifier.value in codes.LATERALITIES:
        return hd.sr.FindingSite(coded(where), laterality=coded(modifier))
    return hd.sr.FindingSite(coded(where), topographical_modifier=coded(modifier))


def measurement(found: Measurement, contract: ModelContract) -> Any:
    """A number with its unit; how it was taken and how sure it is stands in its algorithm's parameters (TID 4019)."""
    told = [found.method, found.uncertainty.method if found.uncertainty else ""]
    algorithm = hd.sr.AlgorithmIdentification(
        name=f"{contract.name} {found.name}",
        version=contract.version,
        parameters=[words for words in told if words] or None,
    )
    return hd.sr.Measurement(
        name=coded(found.concept),
        value=float(found.value),
        unit=coded(found.unit),
        derivation=coded(found.derivation) if found.derivation else None,
        algorithm_id=algorithm,
        properties=_uncertainty(found) if found.uncertainty else None,
    )


def _uncertainty(found: Measurement) -> Any:
    """How far above and below the value its interval reaches, in its own unit (TID 310).

    The class of highdicom is told of them item by item: it would write them without a unit.
    """
    properties = hd.sr.MeasurementProperties()
    for name, width in widths(found).items():
        properties.append(
            hd.sr.NumContentItem(
                name=coded(name),
                value=width,
                unit=coded(found.unit),
                relationship_type=hd.sr.RelationshipTypeValues.HAS_PROPERTIES,
            )
        )
    return properties


def widths(found: Measurement) -> dict[Code, float]:
    """How far the interval of a measurement reaches above and below its value."""
    told = found.uncertainty
    if told is None:
        return {}
    return {codes.UPPER_UNCERTAINTY: told.high - found.value, codes.LOWER_UNCERTAINTY: found.value - told.low}


def no_number(found: Measurement) -> Any:
    """A measurement that gave no number, e.g. the density of no voxel.

    PS3.3 C.18.1 has a NUM without a value for it, on which highdicom's and other readers fail; so the measured concept
    is answered by the code that would qualify it (CID 42).
    """
    return hd.sr.QualitativeEvaluation(name=coded(found.concept), value=coded(codes.NOT_A_NUMBER))
