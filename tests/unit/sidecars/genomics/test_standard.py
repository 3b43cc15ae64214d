"""z against a named reference: over exactly its variants, or not at all."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from genomes import row, score

from dicom_node.errors import GenomeError
from dicom_node.sidecars.genomics import scorefile, standard
from dicom_node.sidecars.genomics.scoring import Scoring

ROWS = [row(10 * at, "G", "A", at / 4) for at in range(1, 9)]


def scoring(folder: Path, counts: list[list[int]]) -> Scoring:
    made = Scoring(scorefile.read(score(folder / "s.txt", ROWS)), len(counts))
    made.counts[:] = counts
    return made


@pytest.fixture
def cohort(tmp_path: Path) -> Scoring:
    counts = np.random.default_rng(5).integers(0, 3, (200, len(ROWS)))
    counts[17, 3] = -5
    return scoring(tmp_path, counts.tolist())


@pytest.mark.parametrize("name", ["r.tsv", "r.tsv.gz"])
def test_a_reference_is_written_and_read(cohort: Scoring, tmp_path: Path, name: str) -> None:
    made = standard.measure(cohort, "PILOT", "volunteers of 2026")

    standard.write(tmp_path / name, made)

    assert standard.read(tmp_path / name) == made
    assert (made.people, len(made.variants)) == (200, 7)


def test_mean_and_spread_are_of_the_sums(cohort: Scoring) -> None:
    made = standard.measure(cohort, "PILOT", "volunteers")

    called = [0, 1, 2, 4, 5, 6, 7]
    sums = cohort.counts[:, called].astype(float) @ cohort.table.weight[called]
    assert made.mean == pytest.approx(float(sums.mean()))
    assert made.sd == pytest.approx(float(sums.std(ddof=1)))
    zs = [standard.stand(made, cohort, at, least_overlap=0.5, part=False).z for at in range(200)]
    assert np.mean([z for z in zs if z is not None]) == pytest.approx(0, abs=1e-9)


def test_one_variant_that_is_not_called_makes_no_z(cohort: Scoring) -> None:
    made = standard.measure(cohort, "PILOT", "volunteers")
    cohort.counts[0, 0] = -11

    standing = standard.stand(made, cohort, 0, least_overlap=0.5, part=False)

    assert standing == standard.Standing(None, "1 of the 7 variants of the reference are not called")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"score_id": "PGS1"}, "the reference is of PGS1"),
        ({"score_sha256": "00"}, "another scoring file"),
        ({"variants": frozenset({(1, 10, "G", "A"), (2, 10, "G", "A")})}, "the scoring file has not"),
        ({"variants": frozenset({(1, 10, "G", "A")})}, "covers 1 of 8 variants, too few"),
    ],
)
def test_another_reference_gives_no_z(cohort: Scoring, changes: dict[str, object], why: str) -> None:
    made = dataclasses.replace(standard.measure(cohort, "PILOT", "volunteers"), **changes)  # type: ignore[arg-type]

    standing = standard.stand(made, cohort, 0, least_overlap=0.5, part=False)

    assert standing.z is None
    assert why in standing.reason


def test_few_or_equal_people_make_no_reference(tmp_path: Path) -> None:
    with pytest.raises(GenomeError, match="99 samples are too few"):
        standard.measure(scoring(tmp_path, [[1] * 8] * 99), "FEW", "")
    with pytest.raises(GenomeError, match="no variant of PGS999999 differs"):
        standard.measure(scoring(tmp_path, [[1] * 8] * 100), "SAME", "")


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("#sd=", "#spread=", "#sd= is missing"),
        ("#build=GRCh37", "#build=hg18", "build 'hg18'"),
        ("#people=200", "#people=9", "100 people or more"),
        ("#people=200", "#people=many", "are numbers"),
        ("\n1\t10\tG\tA", "\n1\tten\tG\tA", "line 10 is no variant"),
    ],
)
def test_a_broken_reference_is_refused(cohort: Scoring, tmp_path: Path, old: str, new: str, why: str) -> None:
    file = tmp_path / "r.tsv"
    standard.write(file, standard.measure(cohort, "PILOT", "volunteers"))
    file.write_text(file.read_text().replace(old, new))

    with pytest.raises(GenomeError, match=r"r\.tsv") as refused:
        standard.read(file)

    assert why in str(refused.value)
