"""Variants in their one normal form: split into single alternatives, trimmed, aligned to the left.

A variant is (position of the first base, REF, ALT) on a chromosome, 1-based. Many spellings name the same haplotype;
the normal form is parsimonious and leftmost (Tan, Abecasis, Kang 2015, doi:10.1093/bioinformatics/btv112). Without the
reference sequence nothing can be shifted: then only substitutions of one base have a certain form.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

BASES = frozenset("ACGT")
_COMPLEMENT = str.maketrans("ACGT", "TGCA")
_WINDOW = 100  # bases fetched at a time when shifting


class Reference(Protocol):
    """The sequence of a genome build."""

    def fetch(self, chromosome: str, start: int, end: int) -> str:
        """Bases ``start`` to ``end`` (0-based, half open) in upper case; what is beyond the sequence is left out."""


@dataclass(frozen=True, slots=True, order=True)
class Variant:
    """One alternative allele."""

    chromosome: str  # 1-22, X, Y, MT
    position: int  # of the first base of REF, 1-based
    ref: str  # A, C, G, T in upper case
    alt: str

    @property
    def is_snv(self) -> bool:
        """Whether one base stands for another."""
        return len(self.ref) == len(self.alt) == 1

    def __str__(self) -> str:
        return f"chr{self.chromosome}:{self.position} {self.ref}>{self.alt}"


def is_sequence(allele: str) -> bool:
    """Whether an allele (in upper case) is spelt out in A, C, G, T: not symbolic, a breakend, ``*``, ``.`` or IUPAC."""
    return bool(allele) and BASES.issuperset(allele)


def complement(allele: str) -> str:
    """The allele as the other strand has it."""
    return allele.translate(_COMPLEMENT)[::-1]


def is_ambiguous(first: str, second: str) -> bool:
    """Whether the pair reads the same on both strands (A/T, C/G), so that a flip cannot be noticed."""
    return complement(first) == second


def split(chromosome: str, position: int, ref: str, alts: Sequence[str]) -> Iterator[tuple[int, Variant]]:
    """Each spelt-out alternative of a record by itself, with its number there (from 1); the others are dropped."""
    ref = ref.upper()
    if position < 1 or not is_sequence(ref):
        return
    for number, alt in enumerate(alts, start=1):
        alt = alt.upper()
        if is_sequence(alt) and alt != ref:
            yield number, Variant(chromosome, position, ref, alt)


def trim(variant: Variant) -> Variant:
    """Without the bases that REF and ALT share at their ends; one base of each stays."""
    ref, alt, position = variant.ref, variant.alt, variant.position
    while len(ref) > 1 and len(alt) > 1 and ref[-1] == alt[-1]:
        ref, alt = ref[:-1], alt[:-1]
    while len(ref) > 1 and len(alt) > 1 and ref[0] == alt[0]:
        ref, alt, position = ref[1:], alt[1:], position + 1
    return Variant(variant.chromosome, position, ref, alt)


def normalise(variant: Variant, reference: Reference | None) -> Variant:
    """The normal form; without a reference sequence, trimmed only."""
    if reference is None or variant.is_snv:
        return trim(variant)
    return _aligned(variant, reference)


def _aligned(variant: Variant, reference: Reference) -> Variant:
    """Shift to the left while REF and ALT end alike, then trim the left."""
    ref, alt, start = variant.ref, variant.alt, variant.position - 1
    window, window_start = "", start
    while ref[-1] == alt[-1]:
        if len(ref) > 1 and len(alt) > 1:
            ref, alt = ref[:-1], alt[:-1]
            continue
        if start == 0:
            break
        if start == window_start:
            window_start = max(0, start - _WINDOW)
            window = reference.fetch(variant.chromosome, window_start, start)
        before = window[start - 1 - window_start]
        if before not in BASES:  # an N of the reference stops the shift
            break
        ref, alt, start = before + ref[:-1], before + alt[:-1], start - 1
    while len(ref) > 1 and len(alt) > 1 and ref[0] == alt[0]:
        ref, alt, start = ref[1:], alt[1:], start + 1
    return Variant(variant.chromosome, start + 1, ref, alt)
