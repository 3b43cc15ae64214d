"""Changes since the earlier result → numbers and statements beside the measurements they are of, and its reference.

A change is a number with a code of its own in the unit of its measurement; what is said of it, a code. Both stand in
the group of the measurement. Detections that may be the same stand in comments: a proposal is no measurement.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import highdicom as hd
from pydicom.dataset import Dataset

from dicom_node.archive.documents import Reference, hierarchy
from dicom_node.domain.comparison import Change, Comparison
from dicom_node.domain.finding import Code, Findings, Measurement
from workers.results import codes, provenance
from workers.results.codes import coded


def of(findings: Findings, segments: tuple[int, ...]) -> list[Change]:
    """Changes of what was measured over these segments; over none: of values of the series."""
    told = findings.comparison.changes if findings.comparison else ()
    return [found for found in told if found.segments == segments and not found.tracking_uid]


def concept(found: Change) -> Code:
    """The change of a concept."""
    return Code(
        provenance.cut(f"CHG-{found.concept.value}", provenance.SHORT_STRING),
        codes.PRIVATE_SCHEME,
        provenance.cut(f"Change of {found.concept.meaning}", provenance.LONG_STRING),
    )


def number(found: Change) -> Measurement:
    """The change as a number."""
    percent = "" if found.percent is None else f" ({found.percent:+.1f} %)"
    limit = "no repeatability is stated"
    if found.limit is not None:
        limit = f"repeatability {found.limit:.4g} {found.unit.value}, {found.source}"
    method = f"Difference to {found.earlier:.6g} {found.unit.value} of the prior report{percent}; {limit}"
    name = f"change of {found.name}"
    return Measurement(name, concept(found), found.change, found.unit, found.segments, method=method)


def statements(findings: Findings, segments: tuple[int, ...]) -> Iterator[tuple[Code, Code]]:
    """Concept and answer of each change that something is said of."""
    for found in of(findings, segments):
        if found.verdict in codes.VERDICTS:
            yield concept(found), codes.VERDICTS[found.verdict]


def evaluations(findings: Findings, segments: tuple[int, ...]) -> list[Any]:
    """The same as content items."""
    return [
        hd.sr.QualitativeEvaluation(name=coded(name), value=coded(value))
        for name, value in statements(findings, segments)
    ]


def refer(document: Dataset, against: Comparison) -> None:
    """Name the prior report in the content of a report, and list it as other evidence (PS3.3 C.17.2.3)."""
    prior = against.prior
    item = hd.sr.CompositeContentItem(
        name=coded(codes.PRIOR_REPORT),
        referenced_sop_class_uid=prior.sop_class,
        referenced_sop_instance_uid=prior.sop_uid,
        relationship_type=hd.sr.RelationshipTypeValues.CONTAINS,
    )
    document.ContentSequence.append(item)
    document.PertinentOtherEvidenceSequence = hierarchy(
        [Reference(prior.study_uid, prior.series_uid, prior.sop_class, prior.sop_uid)]
    )
