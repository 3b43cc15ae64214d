"""Features from what the reader answers: one for each score, z, gene and consequence, also where there is no value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from dicom_node.domain.feature import Feature, FeatureState
from dicom_node.domain.finding import Code
from dicom_node.sidecars.genomics.expression import Expression

TRANSFORM = "genomics/1"


def of_genome(
    reading: Mapping[str, Any], sample: str, consequences: Sequence[Mapping[str, Any]] | None
) -> list[Feature]:
    """What a genome says of a sample. A genome holds at all times: no feature has a time.

    ``reading``: the reader's answer. ``consequences``: those of this sample; None: not asked for.
    """
    at = reading["samples"].index(sample)
    said = _Said(sample, reading["sha256"])
    features = [feature for score in reading["scores"] for feature in _of_score(said, score, at)]
    panel = reading.get("panel")
    if panel:
        features += [_of_gene(said, status, panel["clinvar_date"]) for status in panel["samples"][at]["genes"]]
    if consequences is not None:
        features += _of_consequences(said, consequences)
    return features


def of_expression(expression: Expression, sha256: str, taken_at: datetime) -> list[Feature]:
    """What a table of expression says of a sample that was taken at ``taken_at``."""
    return [
        Feature(
            name=f"{expression.unit}_{gene.symbol.lower()}",
            value=value,
            unit="{TPM}" if expression.unit == "tpm" else "{CPM}",
            state=FeatureState.PRESENT,
            code=Code(gene.id, "HGNC", gene.symbol) if gene.id else None,
            effective_at=taken_at,
            source=source_of("expression", expression.sample, gene.id or gene.symbol),
            version=sha256,
            transform=f"{TRANSFORM}:{expression.unit}",
            status="final",
        )
        for gene, value in sorted(expression.values.items(), key=lambda item: item[0].symbol)
    ]


def source_of(kind: str, sample: str, what: str) -> str:
    """How a feature names its source, without its version: a new file of the same sample takes its place."""
    return f"{kind}:{sample}#{what}"


class _Said:
    """Makes features of one sample of one file."""

    def __init__(self, sample: str, sha256: str) -> None:
        self._sample, self._sha256 = sample, sha256

    def feature(
        self, name: str, value: float | str | None, what: str, transform: str, reason: str, *, unit: str = ""
    ) -> Feature:
        state = FeatureState.PRESENT if value is not None else FeatureState.MISSING
        return Feature(
            name=name,
            value=value,
            unit=unit,
            state=state,
            source=source_of("vcf", self._sample, what),
            version=self._sha256,
            transform=f"{TRANSFORM}:{transform}",
            status="final",
            reason=reason,
        )


def _of_score(said: _Said, score: Mapping[str, Any], at: int) -> Iterator[Feature]:
    """The sum and its z; a score in the other build says nothing, since the same one may be there in this build."""
    head = score["score"]
    if head is None or (not score["results"] and not score["refused"]):
        return
    name = head["id"].lower()
    if score["refused"]:
        for kind in ("sum", "z"):
            yield said.feature(f"{name}_{kind}", None, f"{head['id']}/{kind}", "pgs", score["refused"]["message"])
        return
    result = score["results"][at]
    how = f"pgs {head['sha256'][:12]}, {result['used']} of {result['needed']} variants"
    yield said.feature(f"{name}_sum", result["sum"], f"{head['id']}/sum", how, result["reason"], unit="1")
    standard = score["standard"]
    if standard and result["z"] is not None:
        how += f", z in {standard['name']} ({standard['population']}, n = {standard['people']})"
    yield said.feature(f"{name}_z", result["z"], f"{head['id']}/z", how, result["no_z"], unit="1")


def _of_gene(said: _Said, status: Mapping[str, Any], date: str) -> Feature:
    reason = ""
    if status["statement"] is None:
        reason = (
            f"{status['not_called']} of {status['pathogenic']} known pathogenic variants are not called: not assumed "
            "to be as in the reference"
            if status["pathogenic"]
            else f"ClinVar of {date} knows no pathogenic variant of this gene with enough stars"
        )
    gene = status["gene"]
    name = f"pathogenic_{gene.lower()}"
    return said.feature(name, status["statement"], f"clinvar/{gene}", f"clinvar {date}", reason)


def _of_consequences(said: _Said, consequences: Sequence[Mapping[str, Any]]) -> Iterator[Feature]:
    """What a genome's variants do to a gene; of genes without any nothing is said, since they may not be covered."""
    by_gene: dict[str, set[str]] = {}
    for found in consequences:
        if found["passed"]:
            by_gene.setdefault(found["gene"], set()).add(found["consequence"])
    for gene, kinds in sorted(by_gene.items()):
        yield said.feature(f"consequence_{gene.lower()}", ", ".join(sorted(kinds)), f"csq/{gene}", "bcftools csq", "")
