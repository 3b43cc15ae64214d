"""What a genome file says of its samples: one pass, or two where its build is told by known positions alone.

Runs in the reader's process. The answer is plain data, ready for JSON.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from dicom_node.errors import GenomeError
from dicom_node.sidecars.genomics import scorefile, standard
from dicom_node.sidecars.genomics.alleles import is_sequence
from dicom_node.sidecars.genomics.assembly import Build
from dicom_node.sidecars.genomics.build import Contig, Established, Matches, establish, from_contigs, from_header
from dicom_node.sidecars.genomics.calls import Counts, Fasta, Genome, passed
from dicom_node.sidecars.genomics.order import Order, ScoreOrder
from dicom_node.sidecars.genomics.panel import Extract, PanelWatch, check_genes, read_clinvar
from dicom_node.sidecars.genomics.scoring import Scoring

_COMPARED_FIRST, _COMPARED_EVERY = 2000, 100  # records whose REF is compared with the reference sequence
_ENOUGH_COMPARED = 2000  # to tell the build by it


@dataclass(frozen=True, slots=True)
class _Scored:
    """A scoring file of the order: its table, or why there is none."""

    order: ScoreOrder
    score: scorefile.Score | None
    scoring: Scoring | None
    refused: GenomeError | None


def read(order: Order) -> dict[str, Any]:
    """Facts of the file, and what scores, panel and counts say of each wanted sample.

    Raises:
        GenomeError: the file, its build or the site's own files cannot be used.
    """
    with _utf8(order.file):
        return _read(order)


@contextmanager
def _utf8(file: Path) -> Iterator[None]:
    try:
        yield
    except UnicodeDecodeError as error:
        raise GenomeError(f"{file.name}: its text is not UTF-8: {error}", reason="genome-malformed") from error


def _read(order: Order) -> dict[str, Any]:
    before = order.file.stat()
    with order.file.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    genome = Genome(order.file, order.samples)
    facts = {"sha256": sha256, "version": genome.header.version, "all_samples": list(genome.header.samples)}
    if not genome.samples:
        return facts | {"samples": []}
    heads = [_peeked(score) for score in order.scores]
    sequences = {build: Fasta(file) for build, file in (order.sequences or {}).items()}
    _check_sequences(order, sequences)
    established = _established(order, genome, heads, sequences)
    fasta = sequences.get(str(established.build))
    scored = [_loaded(order, head, len(genome.samples), established.build, fasta) for head in heads]
    extract = _extract(order, established.build, fasta)
    watch = (
        PanelWatch(extract, len(genome.samples), reference=fasta, least_quality=order.least_quality)
        if extract
        else None
    )
    counts = Counts()
    _pass(genome, order.file, counts, [each.scoring for each in scored if each.scoring], watch, fasta)
    after = order.file.stat()
    if (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size):
        raise GenomeError(f"{order.file.name}: it was changed while it was read", reason="genome-changed")
    return facts | {
        "samples": list(genome.samples),
        "build": asdict(established),
        "counts": asdict(counts),
        "scores": [_score_answer(each, len(genome.samples), order) for each in scored],
        "panel": _panel_answer(extract, watch, len(genome.samples), order) if extract and watch else None,
    }


def measure(order: Order) -> dict[str, Any]:
    """Make a named reference of a cohort, for the one score of the order; written to ``order.output``.

    Raises:
        GenomeError: the cohort or the scoring file cannot be used.
    """
    genome = Genome(order.file)
    head = _peeked(order.scores[0])
    if head.refused:
        raise head.refused
    sequences = {build: Fasta(file) for build, file in (order.sequences or {}).items()}
    established = _established(order, genome, [head], sequences)
    fasta = sequences.get(str(established.build))
    scored = _loaded(order, head, len(genome.samples), established.build, fasta)
    if scored.scoring is None or scored.score is None:
        raise GenomeError(
            f"{head.order.file.name}: its positions are in {head.score.build if head.score else '?'}, the cohort is in "
            f"{established.build}",
            reason="score-build-differs",
        )
    counts = Counts()
    with _utf8(order.file):
        _pass(genome, order.file, counts, [scored.scoring], None, fasta)
    made = standard.measure(scored.scoring, order.name, order.population)
    standard.write(Path(order.output), made)
    return {
        "people": made.people,
        "mean": made.mean,
        "sd": made.sd,
        "variants": len(made.variants),
        "needed": scored.scoring.table.needed,
        "pgs_id": made.score_id,
        "build": str(made.build),
        "records": counts.records,
    }


def _pass(
    genome: Genome,
    file: Path,
    counts: Counts,
    scorings: Sequence[Scoring],
    watch: PanelWatch | None,
    fasta: Fasta | None,
) -> None:
    """Every record once."""
    compared = 0
    for name, position, end, line in genome.records(counts):
        if not passed(line):
            counts.not_passed += 1
        alts = line.alts
        if not alts or alts[0] in ("<NON_REF>", "<*>"):
            counts.blocks += 1
        elif any(alt[:1] == "<" and alt not in ("<NON_REF>", "<*>") for alt in alts):
            counts.symbolic += 1
        if fasta and (counts.records <= _COMPARED_FIRST or counts.records % _COMPARED_EVERY == 0):
            compared += 1
            _compare(fasta, name, position, line.ref or "", file)
        wanting = [scoring for scoring in scorings if scoring.wants(name, position, end)]
        panel_wants = watch is not None and watch.wants(name, position, end)
        if wanting or panel_wants:
            record = genome.record(name, position, end, line)
            for scoring in wanting:
                scoring.see(record)
            if watch is not None and panel_wants:
                watch.see(record)


def _compare(fasta: Fasta, name: str, position: int, ref: str, file: Path) -> None:
    there = fasta.fetch(name, position - 1, position - 1 + len(ref))
    if there and is_sequence(there) and is_sequence(ref.upper()) and there != ref.upper():
        raise GenomeError(
            f"{file.name}: reference allele mismatch at {name}:{position}: the sequence has {there[:20]}, the file "
            f"{ref[:20]}",
            reason="genome-reference-mismatch",
            remedy="it was aligned to another sequence than the one configured; nothing was read",
        )


def _established(order: Order, genome: Genome, heads: Sequence[_Scored], sequences: Mapping[str, Fasta]) -> Established:
    header = genome.header
    declared = Build(order.declared) if order.declared else None
    told = from_contigs(header.contigs)[0] or from_header(header.contigs, header.references)
    positions: Mapping[Build, Matches] = {}
    agreements: Mapping[Build, Matches] = {}
    if told is None:
        positions = _known_positions(order, heads)
        agreements = _agreements(order, sequences)
    try:
        return establish(header.contigs, header.references, positions, agreements, declared)
    except GenomeError as error:
        raise GenomeError(f"{order.file.name}: {error}", reason=error.reason, remedy=error.remedy) from error


def _known_positions(order: Order, heads: Sequence[_Scored]) -> dict[Build, Matches]:
    """How many variants of the site's scores, by build, the file has where that build has them."""
    probes: dict[Build, list[Scoring]] = {}
    for head in heads:
        if head.score:
            table = scorefile.read(head.order.file)
            probes.setdefault(head.score.build, []).append(Scoring(table, 0))
    seen: set[str] = set()
    genome = Genome(order.file, order.samples)
    for name, position, end, line in genome.records(Counts()):
        seen.add(name)
        wanting = [s for group in probes.values() for s in group if s.wants(name, position, end)]
        if wanting:
            record = replace(genome.record(name, position, end, line), genotypes=(), quality=())
            for scoring in wanting:
                scoring.see(record)
    return {
        build: Matches(sum(s.known_on(seen) for s in group), sum(int(s.matched.sum()) for s in group))
        for build, group in probes.items()
    }


def _agreements(order: Order, sequences: Mapping[str, Fasta]) -> dict[Build, Matches]:
    """How many reference alleles stand in the sequence of each build."""
    if len(sequences) < len(Build):
        return {}
    found = dict.fromkeys(sequences, 0)
    compared = 0
    for name, position, _, line in Genome(order.file, order.samples[:1]).records(Counts()):
        ref = (line.ref or "").upper()
        there = {build: fasta.fetch(name, position - 1, position - 1 + len(ref)) for build, fasta in sequences.items()}
        if is_sequence(ref) and all(map(is_sequence, there.values())):
            compared += 1
            for build, bases in there.items():
                found[build] += bases == ref
        if compared == _ENOUGH_COMPARED:
            break
    return {Build(build): Matches(compared, number) for build, number in found.items()}


def _check_sequences(order: Order, sequences: Mapping[str, Fasta]) -> None:
    for build, fasta in sequences.items():
        told, _ = from_contigs([Contig(contig.name, contig.length) for contig in fasta.contigs])
        if told and str(told.build) != build:
            file = (order.sequences or {})[build]
            raise GenomeError(
                f"{file.name} is configured as {build}; {told.evidence}, which is {told.build}",
                reason="reference-sequence",
            )


def _peeked(order: ScoreOrder) -> _Scored:
    try:
        return _Scored(order, scorefile.peek(order.file), None, None)
    except GenomeError as error:
        return _Scored(order, None, None, error)


def _loaded(order: Order, head: _Scored, samples: int, build: Build, fasta: Fasta | None) -> _Scored:
    """The table of a score that is in the file's build; one in the other build stays unread."""
    if head.score is None or head.score.build is not build:
        return head
    try:
        table = scorefile.read(head.order.file)
    except GenomeError as error:
        return _Scored(head.order, head.score, None, error)
    scoring = Scoring(table, samples, reference=fasta, least_quality=order.least_quality)
    return _Scored(head.order, table.score, scoring, None)


def _score_answer(scored: _Scored, samples: int, order: Order) -> dict[str, Any]:
    score, refused = scored.score, scored.refused
    answer: dict[str, Any] = {
        "file": scored.order.file.name,
        "part": scored.order.part,
        "score": asdict(score) if score else None,
        "refused": {"reason": refused.reason, "message": str(refused)} if refused else None,
        "results": [],
        "standard": None,
    }
    if scored.scoring is None:
        return answer
    reference = _standard(scored.order.standard)
    if isinstance(reference, standard.Standard):
        answer["standard"] = {
            "name": reference.name,
            "population": reference.population,
            "people": reference.people,
            "mean": reference.mean,
            "sd": reference.sd,
        }
    for sample in range(samples):
        result = scored.scoring.result(sample, least_overlap=order.least_overlap, part=scored.order.part)
        z, why = _stand(reference, scored.scoring, sample, result.reason, order.least_overlap, scored.order.part)
        answer["results"].append(asdict(result) | {"overlap": result.overlap, "z": z, "no_z": why})
    return answer


def _standard(file: Path | None) -> standard.Standard | str:
    if file is None:
        return "no named reference is configured"
    try:
        return standard.read(file)
    except GenomeError as error:
        return str(error)


def _stand(
    reference: standard.Standard | str, scoring: Scoring, sample: int, reason: str, least_overlap: float, part: bool
) -> tuple[float | None, str]:
    if reason or isinstance(reference, str):
        return None, reason or str(reference)
    standing = standard.stand(reference, scoring, sample, least_overlap=least_overlap, part=part)
    return standing.z, standing.reason


def _extract(order: Order, build: Build, fasta: Fasta | None) -> Extract | None:
    file = order.of_build(order.clinvar, build)
    if file is None or not order.genes:
        return None
    try:
        with _text(file) as lines:
            extract = read_clinvar(file.name, lines, check_genes(order.genes), fasta)
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise GenomeError(f"{file.name}: ClinVar cannot be read: {error}", reason="clinvar-unusable") from error
    if extract.build is not build:
        raise GenomeError(f"{file.name} is configured as {build} and is of {extract.build}", reason="clinvar-unusable")
    return extract


@contextmanager
def _text(file: Path) -> Iterator[Iterator[str]]:
    with file.open("rb") as raw:
        zipped = raw.read(2) == b"\x1f\x8b"
        raw.seek(0, os.SEEK_SET)
        yield iter(io.TextIOWrapper(gzip.GzipFile(fileobj=raw) if zipped else raw, "utf-8"))


def _panel_answer(extract: Extract, watch: PanelWatch, samples: int, order: Order) -> dict[str, Any]:
    return {
        "clinvar_date": extract.date,
        "known": len(extract.known),
        "samples": [
            {
                "carried": [
                    {
                        "clinvar_id": carried.known.id,
                        "variant": asdict(carried.known.variant),
                        "genes": list(carried.known.genes),
                        "significance": carried.known.significance,
                        "review": carried.known.review,
                        "stars": carried.known.stars,
                        "pathogenic": carried.known.is_pathogenic,
                        "condition": carried.known.condition,
                        "copies": carried.copies,
                        "ploidy": carried.ploidy,
                        "passed": carried.passed,
                    }
                    for _, carried in sorted(watch.carried[sample].items())
                ],
                "genes": [
                    asdict(status) | {"statement": status.statement}
                    for status in watch.statuses(sample, least_stars=order.least_stars)
                ],
            }
            for sample in range(samples)
        ],
    }
