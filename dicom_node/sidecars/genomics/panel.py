"""What ClinVar says of the variants that a person carries in a site's genes, and how far the rest was looked at.

A variant is the same one only where build, position, REF and ALT are the same; never by its rs number. Significance and
review status are ClinVar's own words; conflicting classifications stay conflicting. That a known pathogenic variant is
*not* carried is said only where a record says so.

Stars: https://www.ncbi.nlm.nih.gov/clinvar/docs/review_status/.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from dicom_node.errors import GenomeError
from dicom_node.sidecars.genomics.alleles import Reference, Variant, normalise, split
from dicom_node.sidecars.genomics.assembly import Build, build_of_text, chromosome
from dicom_node.sidecars.genomics.scoring import Record

_STARS = {
    "practice_guideline": 4,
    "reviewed_by_expert_panel": 3,
    "criteria_provided,_multiple_submitters,_no_conflicts": 2,
    "criteria_provided,_conflicting_classifications": 1,
    "criteria_provided,_conflicting_interpretations": 1,
    "criteria_provided,_single_submitter": 1,
}
_PATHOGENIC = frozenset({"Pathogenic", "Likely_pathogenic"})
_SYMBOL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class Known:
    """A ClinVar record."""

    id: str  # variation ID
    variant: Variant
    genes: tuple[str, ...]
    significance: str  # CLNSIG as it stands
    review: str  # CLNREVSTAT as it stands
    condition: str  # CLNDN

    @property
    def stars(self) -> int:
        """0 to 4."""
        return _STARS.get(self.review, 0)

    @property
    def is_pathogenic(self) -> bool:
        """Whether it is classified pathogenic or likely pathogenic, without conflict."""
        return bool(_PATHOGENIC.intersection(re.split(r"[|/,]", self.significance)))


@dataclass(frozen=True, slots=True)
class Extract:
    """ClinVar's records of some genes."""

    build: Build
    date: str  # ##fileDate
    genes: frozenset[str]
    known: tuple[Known, ...]


class Looked(IntEnum):
    """How far a place of a known variant was looked at in a person; the higher stands."""

    NO_RECORD = 0
    UNCERTAIN = 1  # not called, of low quality, or filtered
    REFERENCE = 2  # called, and not carried
    CARRIED = 3


@dataclass(frozen=True, slots=True)
class Carried:
    """A known variant in a person."""

    known: Known
    copies: int  # of the alternative
    ploidy: int
    passed: bool  # FILTER is PASS or "."


@dataclass(frozen=True, slots=True)
class GeneStatus:
    """What can be said of the known pathogenic variants of a gene in a person."""

    gene: str
    pathogenic: int  # known ones with enough stars
    carried: int
    reference: int  # called, and not carried
    not_called: int

    @property
    def statement(self) -> str | None:
        """ "carried", "not carried", or None where too little was looked at to say either."""
        if self.carried:
            return "carried"
        return "not carried" if self.pathogenic and not self.not_called else None


def read_clinvar(name: str, lines: Iterable[str], genes: frozenset[str], reference: Reference | None) -> Extract:
    """The records of ClinVar's VCF that name one of ``genes``.

    Raises:
        GenomeError: it is not ClinVar's VCF, or in no known build.
    """
    head: dict[str, str] = {}
    known: list[Known] = []
    for number, line in enumerate(lines, start=1):
        if line.startswith("##"):
            key, _, value = line[2:].rstrip("\r\n").partition("=")
            head.setdefault(key, value)
        elif not line.startswith("#"):
            found = _known(name, number, line, genes, reference)
            if found:
                known.append(found)
    builds = build_of_text(head.get("reference", ""))
    if "clinvar" not in head.get("source", "").lower() or len(builds) != 1:
        raise GenomeError(
            f"{name}: not ClinVar's VCF: ##source is {head.get('source', 'absent')}, ##reference "
            f"{head.get('reference', 'absent')}",
            reason="clinvar-unusable",
            remedy="take clinvar.vcf.gz of the build as it is published",
        )
    return Extract(next(iter(builds)), head.get("fileDate", ""), genes, tuple(known))


def check_genes(genes: Iterable[str]) -> frozenset[str]:
    """The symbols of a panel.

    Raises:
        GenomeError: one is none, e.g. a date that a spreadsheet made of it.
    """
    symbols = frozenset(genes)
    for symbol in sorted(symbols):
        if not _SYMBOL.fullmatch(symbol) or is_date(symbol):
            raise GenomeError(f"{symbol!r} is no gene symbol", reason="gene-unknown")
    return symbols


def is_date(symbol: str) -> bool:
    """Whether a spreadsheet has turned a symbol (MARCH1, SEPT2, DEC1) into a date."""
    return (
        re.fullmatch(r"(?i)\d{1,2}[-. ](mar|sep|sept|dec|oct|apr|feb|nov)|\d{4}-\d\d-\d\d.*|4\d{4}", symbol) is not None
    )


class PanelWatch:
    """Known variants looked for in the samples of a file, record by record, in any order of records."""

    def __init__(
        self, extract: Extract, samples: int, *, reference: Reference | None = None, least_quality: int = 20
    ) -> None:
        self._extract, self._reference, self._least_quality = extract, reference, least_quality
        self._by_variant: dict[Variant, int] = {entry.variant: at for at, entry in enumerate(extract.known)}
        by_chromosome: dict[str, list[tuple[int, int]]] = {}
        for at, entry in enumerate(extract.known):
            by_chromosome.setdefault(entry.variant.chromosome, []).append((entry.variant.position, at))
        self._places = {name: sorted(places) for name, places in by_chromosome.items()}
        self._has_indels = any(not entry.variant.is_snv for entry in extract.known)
        self.looked = [bytearray(len(extract.known)) for _ in range(samples)]
        self.carried: list[dict[int, Carried]] = [{} for _ in range(samples)]

    def wants(self, chromosome: str, position: int, end: int) -> bool:
        """Whether a record may say something of a known variant."""
        places = self._places.get(chromosome)
        if not places:
            return False
        first = bisect_left(places, (position, -1))
        return (first < len(places) and places[first][0] <= end) or (self._has_indels and self._near(places, position))

    def see(self, record: Record) -> None:
        """Note what one record says."""
        if record.is_reference:
            self._see_block(record)
            return
        for number, variant in split(record.chromosome, record.position, record.ref, record.alts):
            at = self._by_variant.get(normalise(variant, self._reference))
            if at is not None:
                self._see_known(at, number, record)

    def statuses(self, sample: int, *, least_stars: int) -> tuple[GeneStatus, ...]:
        """Each gene's pathogenic variants in a sample."""
        counts = {gene: [0, 0, 0] for gene in self._extract.genes}
        for at, entry in enumerate(self._extract.known):
            if not entry.is_pathogenic or entry.stars < least_stars:
                continue
            looked = self.looked[sample][at]
            carried = looked == Looked.CARRIED and self.carried[sample][at].passed
            for gene in entry.genes:
                counts[gene][0 if carried else 1 if looked == Looked.REFERENCE else 2] += 1
        return tuple(GeneStatus(gene, sum(count), *count) for gene, count in sorted(counts.items()))

    def _near(self, places: Sequence[tuple[int, int]], position: int, reach: int = 1000) -> bool:
        first = bisect_left(places, (position - reach, -1))
        return first < len(places) and places[first][0] <= position + reach

    def _see_block(self, record: Record) -> None:
        places = self._places.get(record.chromosome, [])
        for position, at in places[
            bisect_left(places, (record.position, -1)) : bisect_right(places, (record.end, len(self._extract.known)))
        ]:
            whole = position + len(self._extract.known[at].variant.ref) - 1 <= record.end
            for sample, genotype in enumerate(record.genotypes):
                quality = record.quality[sample]
                sure = bool(genotype) and record.passed and (quality is None or quality >= self._least_quality)
                self._note(
                    sample, at, Looked.REFERENCE if sure and whole and not _other(genotype) else Looked.UNCERTAIN
                )

    def _see_known(self, at: int, number: int, record: Record) -> None:
        for sample, genotype in enumerate(record.genotypes):
            copies = sum(1 for allele in genotype if allele == number)
            if copies:
                self.carried[sample][at] = Carried(self._extract.known[at], copies, len(genotype), record.passed)
                self._note(sample, at, Looked.CARRIED)
            else:
                sure = bool(genotype) and record.passed and None not in genotype
                self._note(sample, at, Looked.REFERENCE if sure else Looked.UNCERTAIN)

    def _note(self, sample: int, at: int, said: Looked) -> None:
        self.looked[sample][at] = max(self.looked[sample][at], said)


def _other(genotype: Sequence[int | None]) -> bool:
    return any(allele != 0 for allele in genotype)


def _known(name: str, number: int, line: str, genes: frozenset[str], reference: Reference | None) -> Known | None:
    at = line.find("GENEINFO=")
    if at < 0:
        return None
    of = tuple(gene.partition(":")[0] for gene in line[at + 9 :].partition(";")[0].strip().split("|"))
    named = tuple(gene for gene in of if gene in genes)
    if not named:
        return None
    cells = line.rstrip("\r\n").split("\t")
    if len(cells) < 8 or not cells[1].isdecimal():
        raise GenomeError(f"{name}: line {number}: no record of a VCF", reason="clinvar-unusable")
    where = chromosome(cells[0])
    found = next(iter(split(where, int(cells[1]), cells[3], cells[4].split(","))), None) if where else None
    if found is None:
        return None
    info = _info(cells[7])
    return Known(
        cells[2],
        normalise(found[1], reference),
        named,
        info.get("CLNSIG", "not_provided"),
        info.get("CLNREVSTAT", ""),
        info.get("CLNDN", ""),
    )


def _info(text: str) -> Mapping[str, str]:
    return {key: value for key, _, value in (entry.partition("=") for entry in text.split(";"))}
