"""A genome or a table of expression comes in: read, matched to its patients, kept with what it says.

What is kept as a document is the reading: facts of the file, its digest, the build and its evidence, and all results.
The file itself stays where the site keeps it. A new file of the same sample takes the old one's place.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from dicom_node.archive.features import Features, keep
from dicom_node.archive.files import ObjectStore
from dicom_node.domain.feature import Feature
from dicom_node.errors import GenomeError
from dicom_node.genomics_settings import BuildName, GenomicsSettings
from dicom_node.sidecars.genomics import expression, extract, manifest, process
from dicom_node.sidecars.genomics.manifest import Entry
from dicom_node.sidecars.genomics.order import Limits, Order, ScoreOrder
from dicom_node.sidecars.genomics.panel import check_genes

GENOME, EXPRESSION = "genome", "expression"  # kinds of documents


@dataclass(frozen=True, slots=True)
class Kept:
    """What came of one sample."""

    entry: Entry
    known: bool  # the same was here before
    changed: int  # features that are new, or say something else than before
    features: tuple[Feature, ...]


@dataclass(frozen=True, slots=True)
class Imported:
    """What came of a file."""

    file: Path
    reading: Mapping[str, Any]  # as the reader answered; of a table of expression, its facts
    kept: tuple[Kept, ...]
    unnamed: tuple[str, ...]  # samples of the file that the manifest does not name: nothing of them was read


class Intake:
    """Takes files in; what they are read with, and the limits, come from the settings."""

    def __init__(self, settings: GenomicsSettings, features: Features, store: ObjectStore) -> None:
        self._settings, self._features, self._store = settings, features, store

    def genome(self, file: Path, manifest_file: Path, declared: str | None = None) -> Imported:
        """Read a VCF, BCF or gVCF.

        Raises:
            GenomeError: it is refused as a whole; nothing is kept.
            ConfigurationError: pysam is not installed.
        """
        file = _there(file)
        entries = manifest.read(manifest_file)
        settings = self._settings
        order = order_of(settings, file, tuple(entry.sample for entry in entries), declared)
        reading = process.read(order, limits_of(settings))
        chosen = manifest.chosen(entries, reading["all_samples"], file.name)
        told = {entry.sample: self._consequences(file, entry.sample, reading["build"]["build"]) for entry in chosen}
        kept = [
            self._keep(entry, GENOME, file, _of_sample(reading, entry.sample, told[entry.sample]), features)
            for entry in chosen
            for features in [extract.of_genome(reading, entry.sample, told[entry.sample][0])]
        ]
        return Imported(file, reading, tuple(kept), _others(reading["all_samples"], chosen))

    def table(self, file: Path, manifest_file: Path, unit: expression.Unit, taken_at: datetime) -> Imported:
        """Read a table of gene expression.

        Raises:
            GenomeError: it is refused as a whole; nothing is kept.
        """
        file = _there(file)
        entries = manifest.read(manifest_file)
        try:
            with file.open("rb") as stream:
                sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
            with file.open(encoding="utf-8-sig") as lines:
                samples, _, _ = expression.samples_of(file.name, lines)
            chosen = manifest.chosen(entries, samples, file.name)
            with file.open(encoding="utf-8-sig") as lines:
                wanted = [entry.sample for entry in chosen]
                found = expression.read(file.name, lines, wanted, unit, self._genes())
        except (OSError, UnicodeDecodeError) as error:
            raise GenomeError(f"{file.name}: it cannot be read: {error}", reason="expression-malformed") from error
        by_sample = {each.sample: each for each in found}
        kept = []
        for entry in chosen:
            features = extract.of_expression(by_sample[entry.sample], sha256, taken_at)
            values = {feature.name: feature.value for feature in features}
            told = {"sha256": sha256, "sample": entry.sample, "taken_at": taken_at.isoformat(), "values": values}
            kept.append(self._keep(entry, EXPRESSION, file, told, features))
        reading = {"sha256": sha256, "all_samples": samples, "unit": unit}
        return Imported(file, reading, tuple(kept), _others(samples, chosen))

    def _keep(self, entry: Entry, kind: str, file: Path, told: Mapping[str, Any], features: Sequence[Feature]) -> Kept:
        data = json.dumps(told, indent=1, sort_keys=True).encode()
        document = keep(self._store, kind, file.name, data, self._features.vault)
        identity = self._features.identity(entry.issuer, entry.patient_id)
        prefix = extract.source_of("vcf" if kind == GENOME else "expression", entry.sample, "")
        said = {feature.source for feature in features}
        before = {f.source for f in self._features.of_patient(identity) if f.source.startswith(prefix)}
        gone = dict.fromkeys(before - said, f"{file.name} does not say it any more")
        taken = self._features.take(identity, document, features, gone=gone)
        return Kept(entry, taken.known, taken.features, tuple(features))

    def _consequences(self, file: Path, sample: str, build: str) -> tuple[list[dict[str, Any]] | None, str]:
        """Consequences in the site's genes, or None and why there are none; a refusal refuses them alone."""
        settings = self._settings
        sequence, annotation = (_by_build(files).get(build) for files in (settings.sequences, settings.annotations))
        if sequence is None or annotation is None or not settings.genes:
            return None, "no sequence and annotation of this build, or no genes, are configured"
        try:
            found = process.consequences(file, sample, sequence, annotation, settings.genes, limits_of(settings))
        except GenomeError as error:
            return None, str(error)
        return found, ""

    def _genes(self) -> expression.Genes:
        panel = check_genes(self._settings.genes)
        if not panel:
            raise GenomeError(
                "no genes are configured, so nothing would be taken from the table",
                reason="gene-unknown",
                remedy="name them: genomics.genes",
            )
        table = self._settings.hgnc
        with table.open(encoding="utf-8") if table else nullcontext() as lines:
            return expression.Genes(panel, lines)


def order_of(settings: GenomicsSettings, file: Path, samples: tuple[str, ...], declared: str | None = None) -> Order:
    """What the reader is told, by the site's settings."""
    return Order(
        file=file,
        samples=samples,
        scores=tuple(ScoreOrder(score.file, score.part, score.reference) for score in settings.scores),
        sequences=_by_build(settings.sequences),
        annotations=_by_build(settings.annotations),
        clinvar=_by_build(settings.clinvar),
        genes=settings.genes,
        declared=declared,
        least_overlap=settings.least_overlap,
        least_quality=settings.least_quality,
        least_stars=settings.least_stars,
    )


def _by_build(files: Mapping[BuildName, Path]) -> dict[str, Path]:
    return {str(build): file for build, file in files.items()}


def limits_of(settings: GenomicsSettings) -> Limits:
    """What a reader's process may use, by the site's settings."""
    return Limits(settings.memory_mb, settings.cpu_seconds, 2.0 * settings.cpu_seconds)


def _of_sample(
    reading: Mapping[str, Any], sample: str, consequences: tuple[list[dict[str, Any]] | None, str]
) -> dict[str, Any]:
    """The reading as it concerns one sample: what is kept of a patient says nothing of another one."""
    at = reading["samples"].index(sample)
    told = {key: reading[key] for key in ("sha256", "version", "build", "counts")}
    told["sample"] = sample
    told["scores"] = [score | {"results": score["results"][at : at + 1]} for score in reading["scores"]]
    panel = reading["panel"]
    told["panel"] = panel and {**panel, "samples": panel["samples"][at : at + 1]}
    told["consequences"], told["no_consequences"] = consequences
    return told


def _others(samples: Sequence[str], chosen: Sequence[Entry]) -> tuple[str, ...]:
    named = {entry.sample for entry in chosen}
    return tuple(sample for sample in samples if sample not in named)


def _there(file: Path) -> Path:
    if not file.is_file():
        raise GenomeError(f"{file}: there is no such file", reason="genome-unreadable")
    return file.resolve()
