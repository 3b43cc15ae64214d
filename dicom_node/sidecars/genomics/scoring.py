"""A polygenic score of people: the weights of a table times the effect alleles that records count.

A variant counts in a person only where a record of their own says how many effect alleles there are. What no record
speaks of is *not called*: a file of variants alone does not say that the rest is as in the reference. Blocks of a gVCF
say so; the base that stands there is then read from the reference sequence.

Records may come in any order. What several records say of one variant is joined by a rule that has no order either:
two counts that differ are a conflict, and conflicts stay.
"""

from __future__ import annotations

import hashlib
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from dicom_node.sidecars.genomics.alleles import Reference, Variant, complement, is_ambiguous, is_sequence, normalise
from dicom_node.sidecars.genomics.assembly import CHROMOSOMES
from dicom_node.sidecars.genomics.scorefile import DOMINANT, RECESSIVE, Excluded, Table

_LONGEST_SHIFT = 1000  # bases between how a record spells an insertion or deletion, and its normal form


class Uncalled(IntEnum):
    """Why a variant has no count in a person; the higher of two stands, and a count above all but the last two."""

    NO_RECORD = -11
    ALLELES_DIFFER = -10  # records there have other alleles
    OTHER_ALLELE_UNKNOWN = -9  # in a reference block, and the score does not say what its effect allele stands against
    BASE_UNKNOWN = -8  # in a reference block, and no reference sequence to say which base
    FILTERED = -7  # FILTER is not PASS
    LOW_QUALITY = -6  # a reference block below the least GQ
    NOT_CALLED = -5  # ./.
    NOT_DIPLOID = -4
    CONFLICT = -3  # records that say different things
    MULTI_ALLELIC = -2  # several alternatives at one place


@dataclass(frozen=True, slots=True)
class Record:
    """A line of a VCF, as scores see it."""

    chromosome: str
    position: int  # 1-based
    end: int  # last base, inclusive; beyond REF for a reference block
    ref: str  # upper case
    alts: tuple[str, ...]  # upper case; without <NON_REF>, <*> and "."
    is_reference: bool  # no alternative but <NON_REF>, <*> or ".": a block, or a site that was looked at
    passed: bool  # FILTER is PASS or "."
    genotypes: tuple[tuple[int | None, ...], ...]  # allele numbers of each sample; () where there is no GT
    quality: tuple[int | None, ...]  # GQ (or RGQ) of each sample; None: not told


@dataclass(frozen=True, slots=True)
class ScoreResult:
    """A score of one person, or why there is none."""

    sum: float | None  # of weight times count; None: not reported
    used: int  # variants counted
    needed: int
    flipped: int  # of those used: given on the other strand
    why_not: Mapping[str, int]  # how many variants are not used, by reason
    digest: str  # SHA-256 of the variants used, as position and alleles
    reason: str  # why it is not reported; empty where it is

    @property
    def overlap(self) -> float:
        """Share of the variants that count."""
        return self.used / self.needed if self.needed else 0.0


def join(first: int, second: int) -> int:
    """What two records say of one variant: counts from 0, or ``Uncalled``. Commutative, associative, idempotent."""
    for sticky in (Uncalled.MULTI_ALLELIC, Uncalled.CONFLICT):
        if sticky in (first, second):
            return int(sticky)
    if first >= 0 and second >= 0 and first != second:
        return int(Uncalled.CONFLICT)
    return max(first, second)


class Scoring:
    """Counts of one table in the samples of a file, record by record.

    ``counts`` has the axes (sample, row of the table), int8: 0 to 2, or ``Uncalled``. The memory is that of the table
    and one byte a row and sample, however long the file.
    """

    def __init__(
        self, table: Table, samples: int, *, reference: Reference | None = None, least_quality: int = 20
    ) -> None:
        self.table = table
        self.counts: npt.NDArray[np.int8] = np.full((samples, len(table)), Uncalled.NO_RECORD, np.int8)
        self.flipped = np.zeros(len(table), np.bool_)
        self.matched = np.zeros(len(table), np.bool_)  # some record has both alleles of the row
        self._reference, self._least_quality = reference, least_quality
        usable = np.flatnonzero(table.excluded == Excluded.NO)
        codes = table.chromosome[usable]
        self._rows: dict[str, array[int]] = {}
        self._positions: dict[str, array[int]] = {}
        self._indels: dict[Variant, list[tuple[int, bool]]] = {}  # normal form → rows, and whether ALT is the effect
        self._forms: dict[int, list[tuple[Variant, bool]]] = {}  # the same by row
        self._indel_places: dict[str, list[int]] = {}
        for code in np.unique(codes).tolist():
            rows = usable[codes == code]
            name = CHROMOSOMES[code - 1]
            self._rows[name] = array("q", rows.tolist())
            self._positions[name] = array("q", table.position[rows].tolist())
        self._index_indels()

    def wants(self, chromosome: str, position: int, end: int) -> bool:
        """Whether a record from ``position`` to ``end`` (1-based, inclusive) may say something of a row."""
        positions = self._positions.get(chromosome)
        if positions is None:
            return False
        return _has(positions, position, end) or _has(
            self._indel_places.get(chromosome, ()), position - _LONGEST_SHIFT, end + _LONGEST_SHIFT
        )

    def known_on(self, chromosomes: Iterable[str]) -> int:
        """How many usable rows lie on these chromosomes."""
        return sum(len(self._rows.get(name, ())) for name in chromosomes)

    def see(self, record: Record) -> None:
        """Count what one record says."""
        positions = self._positions.get(record.chromosome)
        if positions is None:
            return
        first = bisect_left(positions, record.position)
        last = record.end if record.is_reference else record.position + len(record.ref) - 1
        if first < len(positions) and positions[first] <= last:
            for at in range(first, bisect_right(positions, last)):
                self._see_row(self._rows[record.chromosome][at], positions[at], record)
        if self._indels and not record.is_reference:
            self._see_indel(record)

    def result(self, sample: int, *, least_overlap: float, part: bool = False) -> ScoreResult:
        """The score of a sample (by its number), if enough of its variants are called.

        ``part``: the table is known to be a part of its score, and its rows alone count as needed.
        """
        counts = self.counts[sample]
        used = np.flatnonzero(counts >= 0)
        needed = len(self.table) if part else self.table.needed
        why_not = self._why_not(counts)
        if needed > len(self.table):
            why_not["not in the scoring file"] = needed - len(self.table)
        reason = ""
        if not needed or len(used) < least_overlap * needed:
            share = 100 * len(used) / needed if needed else 0.0
            reason = (
                f"{self.table.score.id} needs {needed:,} variants, {len(used):,} usable ({share:.1f} %), "
                f"below {100 * least_overlap:g} %: not reported"
            )
        total = None if reason else float(np.dot(self.table.weight[used], self._doses(counts, used)))
        flipped = int(np.count_nonzero(self.flipped[used]))
        return ScoreResult(total, len(used), needed, flipped, why_not, self.digest(used), reason)

    def sum_over(self, sample: int, rows: npt.NDArray[np.intp]) -> float | None:
        """The sum over certain rows; None where one of them is not called."""
        counts = self.counts[sample]
        if (counts[rows] < 0).any():
            return None
        return float(np.dot(self.table.weight[rows], self._doses(counts, rows)))

    def digest(self, rows: npt.NDArray[np.intp]) -> str:
        """SHA-256 of variants by position and alleles, for rows in the table's order."""
        table, digest = self.table, hashlib.sha256()
        for row in rows.tolist():
            pair = f"{table.chromosome[row]}:{table.position[row]}:{table.effect[row]}:{table.other[row]}\n"
            digest.update(pair.encode())
        return digest.hexdigest()

    def _doses(self, counts: npt.NDArray[np.int8], rows: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
        doses = counts[rows].astype(np.float64)
        models = self.table.model[rows]
        doses[models == DOMINANT] = doses[models == DOMINANT] >= 1
        doses[models == RECESSIVE] = doses[models == RECESSIVE] == 2
        return doses

    def _why_not(self, counts: npt.NDArray[np.int8]) -> dict[str, int]:
        found: dict[str, int] = {}
        for excluded in Excluded:
            number = int(np.count_nonzero(self.table.excluded == excluded))
            if excluded and number:
                found[_words(excluded.name)] = number
        usable = counts[self.table.excluded == Excluded.NO]
        for uncalled in Uncalled:
            number = int(np.count_nonzero(usable == uncalled))
            if number:
                found[_words(uncalled.name)] = number
        return found

    def _note(self, row: int, sample: int, said: int) -> None:
        before = int(self.counts[sample, row])
        if before != said:
            self.counts[sample, row] = join(before, said)

    def _see_row(self, row: int, position: int, record: Record) -> None:
        effect, other = self.table.effect[row], self.table.other[row]
        if len(effect) > 1 or len(other) > 1:
            if record.is_reference:
                self._see_indel_in_block(row, record)
            return
        if record.is_reference:
            self._see_block(row, effect, other, position, record)
        elif position == record.position:
            self._see_site(row, effect, other, record)

    def _see_site(self, row: int, effect: str, other: str, record: Record) -> None:
        """A record with alternatives, at the position of a substitution."""
        if len(record.ref) > 1 or not any(len(alt) == 1 for alt in record.alts):
            return  # an insertion, deletion or block substitution that starts here: no statement on this base
        way = _orient(effect, other, record.ref, record.alts[0]) if len(record.alts) == 1 else None
        if way is not None:
            self.matched[row] = True
            self.flipped[row] |= way[1]
        fits = record.ref in (effect, other, complement(effect), complement(other))
        for sample, genotype in enumerate(record.genotypes):
            fault = _genotype_fault(record, genotype)
            if fault is not None:
                said = int(fault)
            elif len(record.alts) > 1 or any(allele is not None and allele > 1 for allele in genotype):
                said = int(Uncalled.MULTI_ALLELIC)
            elif way is None:  # in split records, another alternative is carried at this place
                said = int(Uncalled.MULTI_ALLELIC if fits and any(genotype) else Uncalled.ALLELES_DIFFER)
            else:
                said = sum(1 for allele in genotype if allele == way[0])
            self._note(row, sample, said)

    def _base(self, record: Record, position: int) -> str:
        """The reference base at a position of a block; empty where it is not known."""
        base = record.ref[position - record.position : position - record.position + 1]
        if not is_sequence(base) and self._reference is not None:
            base = self._reference.fetch(record.chromosome, position - 1, position)
        return base if is_sequence(base) else ""

    def _see_block(self, row: int, effect: str, other: str, position: int, record: Record) -> None:
        """A site without alternatives, or a block of them, over the position of a substitution."""
        base = self._base(record, position)
        for sample, genotype in enumerate(record.genotypes):
            fault = self._block_fault(record, sample, genotype)
            if fault is not None:
                said = int(fault)
            elif not base:
                said = int(Uncalled.BASE_UNKNOWN)
            elif not other:
                said = int(Uncalled.OTHER_ALLELE_UNKNOWN)
            elif base in (effect, complement(effect)):
                said = 2
            else:
                said = 0 if base in (other, complement(other)) else int(Uncalled.ALLELES_DIFFER)
            self.flipped[row] |= said >= 0 and base not in (effect, other)
            self._note(row, sample, said)

    def _block_fault(self, record: Record, sample: int, genotype: Sequence[int | None]) -> Uncalled | None:
        fault = _genotype_fault(record, genotype)
        if fault is None and any(genotype):
            fault = Uncalled.NOT_CALLED  # something else than the reference, and it is not said what
        quality = record.quality[sample]
        if fault is None and quality is not None and quality < self._least_quality:
            fault = Uncalled.LOW_QUALITY
        return fault

    def _index_indels(self) -> None:
        """Insertions and deletions by their normal form, read both ways: the effect allele may be REF or ALT.

        Without the reference sequence, they count where a record spells them likewise; trimmed, but not aligned.
        """
        for name, rows in self._rows.items():
            for row in rows:
                effect, other = self.table.effect[row], self.table.other[row]
                if len(effect) == len(other) == 1:
                    continue
                position = int(self.table.position[row])
                for ref, alt, alt_is_effect in ((other, effect, True), (effect, other, False)):
                    end = position - 1 + len(ref)
                    if self._reference is None or self._reference.fetch(name, position - 1, end) == ref:
                        form = normalise(Variant(name, position, ref, alt), self._reference)
                        self._indels.setdefault(form, []).append((row, alt_is_effect))
                        self._forms.setdefault(row, []).append((form, alt_is_effect))
        for form in self._indels:
            self._indel_places.setdefault(form.chromosome, []).append(form.position)
        for places in self._indel_places.values():
            places.sort()

    def _see_indel(self, record: Record) -> None:
        for number, alt in enumerate(record.alts, start=1):
            if not (is_sequence(record.ref) and is_sequence(alt)) or len(record.ref) == len(alt) == 1:
                continue
            form = normalise(Variant(record.chromosome, record.position, record.ref, alt), self._reference)
            for row, alt_is_effect in self._indels.get(form, ()):
                self.matched[row] = True
                for sample, genotype in enumerate(record.genotypes):
                    fault = _genotype_fault(record, genotype)
                    if fault is None and len(record.alts) > 1:
                        fault = Uncalled.MULTI_ALLELIC
                    carried = sum(1 for allele in genotype if allele == number)
                    count = carried if alt_is_effect else 2 - carried
                    self._note(row, sample, count if fault is None else int(fault))

    def _see_indel_in_block(self, row: int, record: Record) -> None:
        """A block that spans the whole REF of a deletion or insertion says that it is not carried."""
        ways = self._forms.get(row, [])
        for sample, genotype in enumerate(record.genotypes):
            fault = self._block_fault(record, sample, genotype)
            if fault is not None:
                said = int(fault)
            elif len(ways) != 1 or not _spans(record, ways[0][0]):
                said = int(Uncalled.BASE_UNKNOWN)
            else:
                said = 0 if ways[0][1] else 2
            self._note(row, sample, said)


def _has(positions: Sequence[int], start: int, end: int) -> bool:
    """Whether one of some sorted positions is from ``start`` to ``end``."""
    first = bisect_left(positions, start)
    return first < len(positions) and positions[first] <= end


def _spans(record: Record, variant: Variant) -> bool:
    return record.position <= variant.position and variant.position + len(variant.ref) - 1 <= record.end


def _genotype_fault(record: Record, genotype: Sequence[int | None]) -> Uncalled | None:
    if not genotype or any(allele is None for allele in genotype):
        return Uncalled.NOT_CALLED
    if not record.passed:
        return Uncalled.FILTERED
    return Uncalled.NOT_DIPLOID if len(genotype) != 2 else None


def _orient(effect: str, other: str, ref: str, alt: str) -> tuple[int, bool] | None:
    """Which allele (0 REF, 1 ALT) is the effect allele, and whether by way of the other strand; None: neither fits."""
    if len(ref) != 1 or len(alt) != 1 or not is_sequence(ref + alt) or is_ambiguous(ref, alt):
        return None
    for flipped in (False, True):
        if flipped and not other:
            break  # with one allele a flip cannot be told from another variant
        first, second = (complement(effect), complement(other)) if flipped else (effect, other)
        if first == alt and second in (ref, ""):
            return 1, flipped
        if first == ref and second in (alt, ""):
            return 0, flipped
    return None


def _words(name: str) -> str:
    return name.lower().replace("_", " ")
