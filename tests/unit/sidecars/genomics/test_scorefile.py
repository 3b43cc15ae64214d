"""Scoring files: what is read, and what is refused with its line."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest
from genomes import row, score

from dicom_node.errors import GenomeError
from dicom_node.sidecars.genomics import scorefile
from dicom_node.sidecars.genomics.assembly import Build
from dicom_node.sidecars.genomics.scorefile import Excluded


def refusal(file: Path) -> GenomeError:
    with pytest.raises(GenomeError) as refused:
        scorefile.read(file)
    assert file.name in str(refused.value)
    return refused.value


def test_rows_are_sorted_and_keep_what_they_say(tmp_path: Path) -> None:
    file = score(
        tmp_path / "s.txt",
        [row(30, "G", "A", 3.0, "2"), row(20, "T", "C", 2.0), row(10, "AT", "", 1.0), row(5, "a", "g", 0.5, "X")],
        head={"trait_reported": "Height", "variants_number": "4", "weight_type": "beta"},
    )

    table = scorefile.read(file)

    assert table.chromosome.tolist() == [1, 1, 2, 23]
    assert table.position.tolist() == [10, 20, 30, 5]
    assert list(table.effect) == ["AT", "T", "G", "A"]
    assert table.weight.tolist() == [1.0, 2.0, 3.0, 0.5]
    assert table.excluded.tolist() == [Excluded.OTHER_ALLELE_MISSING, 0, 0, Excluded.NOT_AUTOSOMAL]
    assert (table.score.id, table.score.trait, table.score.build, table.needed) == (
        "PGS999999",
        "Height",
        Build.GRCH37,
        4,
    )
    assert scorefile.peek(file) == table.score


def test_harmonised_positions_stand_above_the_authors(tmp_path: Path) -> None:
    rows = [row(111, "G", "A", 1.0, "9", hm_chr="2", hm_pos="222"), row(5, "G", "A", 1.0, hm_chr="", hm_pos="")]
    file = score(tmp_path / "s.txt", rows, head={"genome_build": "NR", "HmPOS_build": "GRCh38"})

    table = scorefile.read(file)

    assert (table.score.build, table.score.harmonised) == (Build.GRCH38, True)
    assert list(zip(table.chromosome.tolist(), table.position.tolist(), strict=True)) == [(0, 0), (2, 222)]
    assert table.excluded.tolist() == [Excluded.NO_POSITION, 0]


def test_an_allele_that_is_inferred_counts_as_the_other(tmp_path: Path) -> None:
    table = scorefile.read(score(tmp_path / "s.txt", [row(5, "G", "", 1.0, hm_inferOtherAllele="A")]))

    assert list(table.other) == ["A"]


def test_rows_that_repeat_each_other_do_not_count(tmp_path: Path) -> None:
    rows = [row(5, "G", "A", 1.0), row(5, "A", "G", 2.0), row(5, "G", "T", 4.0), row(6, "G", "A", 8.0)]

    table = scorefile.read(score(tmp_path / "s.txt", rows))

    found = list(zip(table.position.tolist(), table.effect, table.other, table.excluded.tolist(), strict=True))
    assert found == [
        (5, "A", "G", Excluded.REPEATED),
        (5, "G", "A", Excluded.REPEATED),
        (5, "G", "T", Excluded.NO),
        (6, "G", "A", Excluded.NO),
    ]


@pytest.mark.parametrize(
    ("rows", "head", "reason", "words"),
    [
        pytest.param([row(5, "G", "A", 1.0)], {"genome_build": "NR"}, "score-build-unknown", "'NR'", id="no build"),
        pytest.param([row(5, "G", "A", 1.0)], {"genome_build": "NCBI36"}, "score-build-unknown", "NCBI36", id="hg18"),
        pytest.param([{"rsID": "rs1", "effect_weight": 1}], {}, "score-malformed", "effect_allele", id="no allele"),
        pytest.param([], {}, "score-malformed", "no rows", id="no rows"),
        pytest.param(
            [row(5, "G", "A", 1.0, dosage_1_weight=2)], {}, "score-not-additive", "dosage_1_weight", id="dose"
        ),
        pytest.param(
            [row(5, "G", "A", 1.0, is_haplotype="FALSE"), row(6, "G", "A", 1.0, is_haplotype="TRUE")],
            {},
            "score-not-additive",
            "line 6: is_haplotype",
            id="haplotype",
        ),
        pytest.param(
            [row(5, "G", "A", 1.0, is_interaction="True")], {}, "score-not-additive", "line 5", id="interacts"
        ),
        pytest.param([row(5, "HLA-B*27:05", "", 1.0)], {}, "score-not-additive", "HLA-B*27:05", id="HLA"),
        pytest.param([row(5, "G", "A", 1.0), {"effect_allele": "G"}], {}, "score-malformed", "line 6", id="no weight"),
        pytest.param(
            [{**row(5, "G", "A", 1.0), "effect_weight": "nan"}], {}, "score-malformed", "'nan'", id="not a number"
        ),
        pytest.param([{**row(5, "G", "A", 1.0), "chr_position": "5e6"}], {}, "score-malformed", "'5e6'", id="position"),
        pytest.param(
            [row(5, "G", "A", 1.0, is_dominant="True", is_recessive="True")], {}, "score-malformed", "both", id="both"
        ),
    ],
)
def test_what_is_refused(
    tmp_path: Path, rows: list[dict[str, object]], head: dict[str, str], reason: str, words: str
) -> None:
    refused = refusal(score(tmp_path / "s.txt", rows, head=head))

    assert refused.reason == reason
    assert words in str(refused)


def test_files_that_are_none(tmp_path: Path) -> None:
    empty, cut, binary = tmp_path / "empty.txt", tmp_path / "cut.txt.gz", tmp_path / "binary.txt"
    empty.touch()
    good = score(tmp_path / "s.txt", [row(at, "G", "A", 1.0) for at in range(1, 2000)]).read_bytes()
    cut.write_bytes(gzip.compress(good)[:-200])
    binary.write_bytes(b"\xff\xfe" + os.urandom(64))

    assert {refusal(file).reason for file in (empty, cut, binary, tmp_path / "absent")} <= {
        "score-malformed",
        "score-unreadable",
    }


def test_a_zipped_file_is_the_same(tmp_path: Path) -> None:
    file = score(tmp_path / "s.txt", [row(5, "G", "A", 1.0)])
    zipped = tmp_path / "s.txt.gz"
    zipped.write_bytes(gzip.compress(file.read_bytes()))

    assert scorefile.read(zipped).position.tolist() == scorefile.read(file).position.tolist()
