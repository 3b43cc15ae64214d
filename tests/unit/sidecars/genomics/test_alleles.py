"""One normal form for each haplotype."""

from __future__ import annotations

import pytest
from genomes import InMemory, haplotype
from hypothesis import assume, given
from hypothesis import strategies as st

from dicom_node.sidecars.genomics.alleles import (
    Variant,
    complement,
    is_ambiguous,
    normalise,
    split,
    trim,
)

BASES = st.text("ACGT", min_size=1, max_size=6)
REPEATS = st.lists(st.tuples(st.text("ACGT", min_size=1, max_size=4), st.integers(1, 6)), min_size=3, max_size=12).map(
    lambda parts: "".join(unit * times for unit, times in parts)
)


@st.composite
def placed(draw: st.DrawFn) -> tuple[str, Variant]:
    """A sequence with repeats, and a variant of it."""
    bases = draw(REPEATS)
    start = draw(st.integers(0, len(bases) - 1))
    ref = bases[start : start + draw(st.integers(1, 8))]
    alt = draw(BASES)
    assume(alt != ref)
    return bases, Variant("1", start + 1, ref, alt)


@given(placed())
def test_the_normal_form_makes_the_same_haplotype(case: tuple[str, Variant]) -> None:
    bases, variant = case

    form = normalise(variant, InMemory(chr1=bases))

    wanted = haplotype(bases, variant.position, variant.ref, variant.alt)
    assert haplotype(bases, form.position, form.ref, form.alt) == wanted


@given(placed())
def test_normalising_twice_changes_nothing(case: tuple[str, Variant]) -> None:
    bases, variant = case
    reference = InMemory(chr1=bases)

    form = normalise(variant, reference)

    assert normalise(form, reference) == form
    assert trim(form) == form


@given(placed(), st.integers(0, 5), st.integers(0, 5))
def test_every_spelling_of_a_haplotype_has_one_form(case: tuple[str, Variant], left: int, right: int) -> None:
    bases, variant = case
    start, end = variant.position - 1, variant.position - 1 + len(variant.ref)
    before, after = bases[max(0, start - left) : start], bases[end : end + right]
    longer = Variant("1", variant.position - len(before), before + variant.ref + after, before + variant.alt + after)
    reference = InMemory(chr1=bases)

    assert normalise(longer, reference) == normalise(variant, reference)


@pytest.mark.parametrize(
    ("position", "ref", "alt", "form"),
    [
        pytest.param(9, "A", "AA", (4, "G", "GA"), id="an insertion into a run of A"),
        pytest.param(8, "AA", "A", (4, "G", "GA"), id="a deletion from it"),
        pytest.param(2, "CCG", "CCT", (4, "G", "T"), id="a substitution with its surroundings"),
    ],
)
def test_by_hand(position: int, ref: str, alt: str, form: tuple[int, str, str]) -> None:
    found = normalise(Variant("1", position, ref, alt), InMemory(chr1="ACCGAAAAAAT"))

    expected = Variant("1", *form) if form[1] != "G" or len(ref) != 2 else Variant("1", 4, "GA", "G")
    assert found == expected


def test_the_beginning_of_a_chromosome_stops_the_shift() -> None:
    assert normalise(Variant("1", 3, "AA", "A"), InMemory(chr1="AAAAT")) == Variant("1", 1, "AA", "A")


def test_alternatives_are_taken_apart_and_what_is_not_spelt_out_is_dropped() -> None:
    found = list(split("1", 5, "a", ("C", "*", "<DEL>", "AN[1:9[", "at", "A", ".")))

    assert found == [(1, Variant("1", 5, "A", "C")), (5, Variant("1", 5, "A", "AT"))]
    assert not list(split("1", 0, "A", ("C",)))
    assert not list(split("1", 5, "R", ("C",)))


@given(BASES, BASES)
def test_the_other_strand_of_the_other_strand_is_the_first(first: str, second: str) -> None:
    assert complement(complement(first)) == first
    assert is_ambiguous(first, second) == is_ambiguous(second, first)


def test_what_reads_the_same_on_both_strands() -> None:
    pairs = {(a, b) for a in "ACGT" for b in "ACGT" if is_ambiguous(a, b)}

    assert pairs == {("A", "T"), ("T", "A"), ("C", "G"), ("G", "C")}
    assert is_ambiguous("AC", "GT")
