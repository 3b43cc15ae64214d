"""Scores: what counts, what does not, and that neither order nor strand nor spelling changes it."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from genomes import InMemory, record, row, score
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dicom_node.sidecars.genomics import scorefile
from dicom_node.sidecars.genomics.alleles import complement
from dicom_node.sidecars.genomics.scoring import Record, Scoring, Uncalled, join

PAIRS = [("A", "C"), ("A", "G"), ("C", "A"), ("C", "T"), ("G", "A"), ("G", "T"), ("T", "C"), ("T", "G")]
SAID = st.sampled_from([0, 1, 2, *map(int, Uncalled)])
files = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def counted(folder: Path, rows: list[dict[str, object]], records: list[Record], **more: object) -> Scoring:
    table = scorefile.read(score(folder / "score.txt", rows))
    scoring = Scoring(table, 1, **more)  # type: ignore[arg-type]
    for each in records:
        scoring.see(each)
    return scoring


@given(SAID, SAID, SAID)
def test_what_records_say_is_joined_without_order(first: int, second: int, third: int) -> None:
    assert join(first, second) == join(second, first)
    assert join(join(first, second), third) == join(first, join(second, third))
    assert join(first, first) == first


def test_the_sum_is_weight_times_effect_alleles(tmp_path: Path) -> None:
    rows = [row(10, "G", "A", 0.5), row(20, "C", "T", -0.25), row(30, "A", "G", 2.0)]
    records = [
        record(10, "A", ("G",), (0, 1)),  # one effect allele
        record(20, "C", ("T",), (0, 1)),  # the effect allele is REF: one
        record(30, "A", ("G",), (1, 1)),  # none
    ]

    result = counted(tmp_path, rows, records).result(0, least_overlap=0.75)

    assert result.sum == pytest.approx(0.5 - 0.25)
    assert (result.used, result.needed, result.flipped, result.why_not) == (3, 3, 0, {})


def test_dominant_and_recessive_weights(tmp_path: Path) -> None:
    rows = [
        row(10, "G", "A", 1.0, is_dominant="True", is_recessive="False"),
        row(20, "G", "A", 10.0, is_dominant="False", is_recessive="True"),
        row(30, "G", "A", 100.0, is_dominant="False", is_recessive="True"),
    ]
    records = [record(at, "A", ("G",), genotype) for at, genotype in ((10, (1, 1)), (20, (0, 1)), (30, (1, 1)))]

    assert counted(tmp_path, rows, records).result(0, least_overlap=1).sum == 101.0


@given(data=st.data())
@files
def test_neither_order_nor_strand_nor_orientation_changes_a_score(data: st.DataObject, tmp_path: Path) -> None:
    pairs = data.draw(st.lists(st.sampled_from(PAIRS), min_size=4, max_size=12))
    genotypes = data.draw(st.lists(st.sampled_from([(0, 0), (0, 1), (1, 0), (1, 1)]), min_size=12, max_size=12))
    rows = [row(10 * at, effect, other, at / 8) for at, (effect, other) in enumerate(pairs, start=1)]
    records = [record(10 * at, b, (a,), g) for at, ((a, b), g) in enumerate(zip(pairs, genotypes, strict=False), 1)]
    before = counted(tmp_path, rows, records).result(0, least_overlap=1)

    rng = random.Random(data.draw(st.integers(0, 99)))
    turned = [
        {**r, "effect_allele": complement(str(r["effect_allele"])), "other_allele": complement(str(r["other_allele"]))}
        if rng.random() < 0.5
        else r
        for r in rows
    ]
    swapped = [
        record(r.position, r.alts[0], (r.ref,), tuple(1 - (a or 0) for a in r.genotypes[0]))
        if rng.random() < 0.5
        else r
        for r in records
    ]
    rng.shuffle(turned)
    rng.shuffle(swapped)
    after = counted(tmp_path, turned, swapped).result(0, least_overlap=1)

    assert before.used == after.used == len(pairs)
    assert after.sum == pytest.approx(before.sum, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("pair", [("A", "T"), ("T", "A"), ("C", "G"), ("G", "C")])
def test_what_may_be_on_either_strand_does_not_count(tmp_path: Path, pair: tuple[str, str]) -> None:
    result = counted(tmp_path, [row(10, *pair, 1.0)], [record(10, pair[0], (pair[1],))]).result(0, least_overlap=0.75)

    assert result.sum is None
    assert result.why_not == {"strand ambiguous": 1}


@pytest.mark.parametrize(
    ("said", "why"),
    [
        pytest.param([], "no record", id="absent is not the reference"),
        pytest.param([record(10, "A", ("G",), (None, None))], "not called", id="./."),
        pytest.param([record(10, "A", ("G",), (0, None))], "not called", id="0/."),
        pytest.param([record(10, "A", ("G",), ())], "not called", id="no GT"),
        pytest.param([record(10, "A", ("G",), (1,))], "not diploid", id="haploid"),
        pytest.param([record(10, "A", ("G",), (0, 0, 1))], "not diploid", id="triploid"),
        pytest.param([record(10, "A", ("G",), passed=False)], "filtered", id="FILTER"),
        pytest.param([record(10, "A", ("G", "T"))], "multi allelic", id="two alternatives"),
        pytest.param([record(10, "A", ("G",)), record(10, "A", ("T",))], "multi allelic", id="two split alternatives"),
        pytest.param([record(10, "A", ("G", "*"))], "multi allelic", id="a deletion spans it"),
        pytest.param([record(10, "A", ("G",), (0, 1)), record(10, "A", ("G",), (1, 1))], "conflict", id="contrary"),
        pytest.param([record(10, "C", ("A",), (0, 0))], "alleles differ", id="other alleles"),
        pytest.param([record(10, "T", ("A",), (0, 0))], "alleles differ", id="a pair of either strand"),
        pytest.param([record(10, "AT", ("A",))], "no record", id="a deletion starts here"),
        pytest.param([record(10, "A", ("<DEL>",))], "no record", id="a structural variant"),
        pytest.param([record(9, "N", end=12)], "not called", id="a block that carries something"),
        pytest.param([record(9, "C", genotype=(0, 0), end=12)], "base unknown", id="a block without a sequence"),
        pytest.param([record(9, "C", genotype=(0, 0), end=12, quality=(5,))], "low quality", id="a poor block"),
        pytest.param([record(9, "C", genotype=(0, 0), end=12, passed=False)], "filtered", id="a filtered block"),
    ],
)
def test_why_a_variant_does_not_count(tmp_path: Path, said: list[Record], why: str) -> None:
    result = counted(tmp_path, [row(10, "G", "A", 1.0)], said).result(0, least_overlap=0.75)

    assert result.why_not == {why: 1}
    assert result.sum is None
    assert "PGS999999 needs 1 variants, 0 usable (0.0 %), below 75 %: not reported" in result.reason


def test_blocks_of_a_gvcf_count_as_the_reference(tmp_path: Path) -> None:
    rows = [row(10, "G", "A", 1.0), row(11, "C", "T", 10.0), row(12, "T", "G", 100.0), row(13, "C", "A", 1000.0)]
    block = record(10, "A", genotype=(0, 0), end=13, quality=(30,))
    bases = InMemory(chr1="NNNNNNNNNACAA")  # at 10 A, 11 C, 12 A: T of T/G on the other strand; 13 A

    scoring = counted(tmp_path, rows, [block], reference=bases)

    assert scoring.counts.tolist() == [[0, 2, 2, 0]]
    result = scoring.result(0, least_overlap=1)
    assert (result.sum, result.flipped) == (220.0, 1)


def test_the_first_base_of_a_block_is_told_by_the_record(tmp_path: Path) -> None:
    scoring = counted(tmp_path, [row(10, "G", "A", 1.0)], [record(10, "A", genotype=(0, 0), end=90)])

    assert scoring.counts.tolist() == [[0]]


def test_a_good_record_stands_above_a_filtered_one_in_any_order(tmp_path: Path) -> None:
    said = [record(10, "A", ("G",), (1, 1)), record(10, "A", ("G",), (0, 1), passed=False)]

    for records in (said, said[::-1]):
        assert counted(tmp_path, [row(10, "G", "A", 1.0)], records).counts.tolist() == [[2]]


def test_insertions_and_deletions_count_by_their_normal_form(tmp_path: Path) -> None:
    bases = "ACCGAAAAAATCCGT"
    rows = [row(8, "AA", "A", 1.0), row(13, "C", "CG", 10.0)]
    #  ins of A in the run, spelt at its end; deletion of the G after 13
    records = [record(4, "G", ("GA",), (0, 1)), record(13, "CG", ("C",), (1, 1))]

    scoring = counted(tmp_path, rows, records, reference=InMemory(chr1=bases))

    assert scoring.counts.tolist() == [[1, 2]]


def test_without_the_sequence_they_count_where_they_are_spelt_likewise(tmp_path: Path) -> None:
    rows = [row(8, "AA", "A", 1.0), row(13, "C", "CG", 10.0), row(20, "GT", "G", 100.0), row(30, "GT", "G", 1000.0)]
    records = [
        record(4, "G", ("GA",), (0, 1)),  # the first, spelt otherwise
        record(13, "CGG", ("CG",), (1, 1)),  # the second, with one base more
        record(20, "G", ("GT",), (0, 1)),
        record(30, "G", genotype=(0, 0), end=40),  # a block: G or GT may be the reference
    ]

    scoring = counted(tmp_path, rows, records)

    assert scoring.counts.tolist() == [[Uncalled.NO_RECORD, 2, 1, Uncalled.BASE_UNKNOWN]]


def test_a_score_of_which_the_file_holds_a_part_is_not_reported_unless_that_is_meant(tmp_path: Path) -> None:
    file = score(tmp_path / "s.txt", [row(10, "G", "A", 1.0)], head={"variants_number": "50"})
    scoring = Scoring(scorefile.read(file), 1)
    scoring.see(record(10, "A", ("G",), (1, 1)))

    whole, part = (scoring.result(0, least_overlap=0.75, part=part) for part in (False, True))

    assert (whole.sum, whole.needed, whole.why_not) == (None, 50, {"not in the scoring file": 49})
    assert (part.sum, part.needed) == (2.0, 1)


def test_the_digest_is_of_the_variants_used(tmp_path: Path) -> None:
    rows = [row(10, "G", "A", 1.0), row(20, "G", "A", 1.0)]
    one, both = ([record(at, "A", ("G",)) for at in places] for places in ((10,), (10, 20)))
    digests = {counted(tmp_path, rows, said).result(0, least_overlap=0.1).digest for said in (one, both, both[::-1])}

    assert len(digests) == 2


def test_a_missing_sample_makes_no_sum_over_fixed_rows(tmp_path: Path) -> None:
    scoring = counted(tmp_path, [row(10, "G", "A", 1.0), row(20, "G", "A", 2.0)], [record(20, "A", ("G",))])

    assert scoring.sum_over(0, np.array([1])) == 2.0
    assert scoring.sum_over(0, np.array([0, 1])) is None
