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
    """A number with its unit; how it was taken stands in the parameters of its algorithm (TID 4019)."""
    algorithm = hd.sr.AlgorithmIdentification(
        name=f"{contract.name} {found.name}",
        version=contract.version,
        parameters=[found.method] if found.method else None,
    )
    return hd.sr.Measurement(
        name=coded(found.concept),
        value=float(found.value),
        unit=coded(found.unit),
        derivation=coded(found.derivation) if found.derivation else None,
        algorithm_id=algorithm,
    )


def no_number(found: Measurement) -> Any:
    """A measurement that gave no number, e.g. the density of no voxel.

    PS3.3 C.18.1 has a NUM without a value for it, on which highdicom's and other readers fail; so the measured concept
    is answered by the code that would qualify it (CID 42).
    """
    return hd.sr.QualitativeEvaluation(name=coded(found.concept), value=coded(codes.NOT_A_NUMBER))
