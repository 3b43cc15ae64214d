"""The ladder: each rung decides alone, evidence that disagrees is refused."""

from __future__ import annotations

import pytest

from dicom_node.errors import GenomeError
from dicom_node.sidecars.genomics.assembly import CHROMOSOMES, FOREIGN_LENGTHS, LENGTHS, Build, chromosome
from dicom_node.sidecars.genomics.build import Contig, Matches, establish, from_contigs, from_header, from_positions

B37, B38 = Build.GRCH37, Build.GRCH38
NOTHING: dict[Build, Matches] = {}


def refusal(*arguments: object, **more: object) -> GenomeError:
    with pytest.raises(GenomeError) as refused:
        establish(*arguments, **more)  # type: ignore[arg-type]
    return refused.value


def test_no_length_is_that_of_two_assemblies() -> None:
    tables = [*LENGTHS.values(), *FOREIGN_LENGTHS.values()]
    pairs = [(name, length) for table in tables for name, length in table.items()]

    assert len(set(pairs)) == len(pairs) == 4 * 24
    assert all(list(table) == list(CHROMOSOMES[:24]) for table in tables)


@pytest.mark.parametrize(
    ("contig", "name"),
    [
        ("1", "1"),
        ("chr22", "22"),
        ("Chr7", "7"),
        ("chrX", "X"),
        ("chrM", "MT"),
        ("M", "MT"),
        ("MT", "MT"),
        ("NC_000001.11", "1"),
        ("NC_000023.10", "X"),
        ("NC_012920.1", "MT"),
        ("CM000686.2", "Y"),
        ("23", None),
        ("GL000192.1", None),
        ("chrUn_KI270302v1", None),
        ("HLA-A*01:01", None),
        ("", None),
    ],
)
def test_names_of_chromosomes(contig: str, name: str | None) -> None:
    assert chromosome(contig) == name


@pytest.mark.parametrize(
    ("contig", "build"),
    [
        pytest.param(Contig("chr1", 249250621), B37, id="length"),
        pytest.param(Contig("22", 50818468), B38, id="length of 38"),
        pytest.param(Contig("1", None, "6aef897c3d6ff0c78aff06ac189178dd"), B38, id="md5"),
        pytest.param(Contig("NC_000001.10"), B37, id="RefSeq"),
        pytest.param(Contig("CM000663.2"), B38, id="GenBank"),
    ],
)
def test_one_contig_tells_the_build(contig: Contig, build: Build) -> None:
    found = establish([contig], [], NOTHING, NOTHING)

    assert (found.build, found.rung, found.inferred) == (build, "contigs", False)


def test_the_mitochondrion_tells_nothing() -> None:
    assert from_contigs([Contig("chrM", 16571), Contig("MT", 16569)]) == (None, ())


@pytest.mark.parametrize(
    ("text", "build"),
    [
        ("file:///data/human_g1k_v37.fasta", B37),
        ("hg19.fa", B37),
        ("hs37d5", B37),
        ("NCBI build 37", B37),
        ("GRCh38_full_analysis_set_plus_decoy_hla.fa", B38),
        ("/ref/hg38.fa", B38),
    ],
)
def test_a_header_names_its_reference(text: str, build: Build) -> None:
    found = from_header([Contig("1", assembly="")], [text])

    assert found is not None
    assert (found.build, found.rung) == (build, "header")


def test_known_positions_tell_where_nothing_else_does() -> None:
    found = establish([Contig("22", 51174940)], [], {B37: Matches(835, 829), B38: Matches(835, 0)}, NOTHING)

    assert (found.build, found.rung, found.inferred) == (B37, "known positions", True)
    assert found.evidence == (
        "chr22 length 51174940 matches neither GRCh37 nor GRCh38; 829/835 known variants match GRCh37, 0 match GRCh38: "
        "using GRCh37 (inferred)"
    )


@pytest.mark.parametrize(
    "matches",
    [
        pytest.param({B37: Matches(100, 19), B38: Matches(100, 0)}, id="too few"),
        pytest.param({B37: Matches(1000, 30), B38: Matches(1000, 0)}, id="too small a share"),
        pytest.param({B37: Matches(100, 60), B38: Matches(100, 40)}, id="both fit"),
        pytest.param({B37: Matches(1000, 150), B38: Matches(1000, 20)}, id="the other fits beyond chance"),
        pytest.param({}, id="none known"),
    ],
)
def test_positions_that_do_not_tell(matches: dict[Build, Matches]) -> None:
    assert from_positions(matches) is None
    assert refusal([], [], matches, NOTHING).reason == "genome-build-unknown"


def test_the_reference_sequence_tells_last() -> None:
    found = establish([], [], NOTHING, {B37: Matches(500, 130), B38: Matches(500, 500)})
    assert (found.build, found.rung) == (B38, "reference sequence")

    both = {B37: Matches(500, 500), B38: Matches(500, 500)}
    assert refusal([], [], NOTHING, both).reason == "genome-build-unknown"
    assert refusal([], [], NOTHING, {B38: Matches(500, 500)}).reason == "genome-build-unknown"


@pytest.mark.parametrize(
    ("contigs", "references", "declared", "reason", "words"),
    [
        ([Contig("1", 249250621), Contig("2", 242193529)], [], None, "genome-build-mixed", "several builds"),
        ([Contig("1", 249250621), Contig("2", 1000)], [], None, "genome-build-mixed", "chr2 length 1000"),
        ([Contig("1", 249250621)], ["hg38.fa"], None, "genome-build-contradicts", "hg38.fa"),
        ([Contig("1", 249250621)], [], B38, "genome-build-contradicts", "declared"),
        ([], ["hg19 lifted to hg38"], None, "genome-build-contradicts", "hg19"),
        ([Contig("1", 248387328)], [], None, "genome-build-foreign", "T2T-CHM13v2.0"),
        ([Contig("chr1", 247249719)], [], B37, "genome-build-foreign", "hg18"),
        ([Contig("2", None, "1b22b98cdeb4a9304cb5d48026a85128")], [], None, "genome-build-mixed", "chromosome 1"),
        ([Contig("22", 51174940)], [], None, "genome-build-unknown", "51174940 matches neither"),
    ],
)
def test_what_disagrees_is_refused(
    contigs: list[Contig], references: list[str], declared: Build | None, reason: str, words: str
) -> None:
    refused = refusal(contigs, references, NOTHING, NOTHING, declared)

    assert refused.reason in (reason, "genome-build-mixed")
    assert words in str(refused)


def test_a_declared_build_stands_where_the_file_says_nothing() -> None:
    found = establish([Contig("22", 51174940)], [], NOTHING, NOTHING, B38)

    assert (found.build, found.rung) == (B38, "declared")
    assert refusal([], [], {B37: Matches(835, 829), B38: Matches(835, 0)}, NOTHING, B38).reason == (
        "genome-build-contradicts"
    )
