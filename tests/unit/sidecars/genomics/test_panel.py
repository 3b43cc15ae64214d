"""ClinVar's word on the genes of a panel: the same variant or none, and absence only where it was looked."""

from __future__ import annotations

import genomes
import pytest
from genomes import InMemory

from dicom_node.errors import GenomeError
from dicom_node.sidecars.genomics.panel import Extract, Known, PanelWatch, check_genes, read_clinvar
from dicom_node.sidecars.genomics.scoring import Record

HEAD = ["##fileformat=VCFv4.1", "##fileDate=2026-10-01", "##source=ClinVar", "##reference=GRCh37", "#CHROM\tPOS"]
EXPERT, SINGLE = "reviewed_by_expert_panel", "criteria_provided,_single_submitter"
NONE, CONFLICTING = "no_assertion_criteria_provided", "criteria_provided,_conflicting_classifications"


def entry(at: int, ref: str, alt: str, significance: str, review: str, gene: str = "BRCA1:672", id: str = "") -> str:
    info = f"CLNSIG={significance};CLNREVSTAT={review};CLNDN=Cancer;GENEINFO={gene}"
    return "\t".join(["1", str(at), id or f"V{at}", ref, alt, ".", ".", info])


def extract(*entries: str, genes: tuple[str, ...] = ("BRCA1",), bases: str = "") -> Extract:
    reference = InMemory(chr1=bases) if bases else None
    return read_clinvar("clinvar.vcf", [*HEAD, *entries], frozenset(genes), reference)


def record(position: int, ref: str, *alts: str, genotype: tuple[int | None, ...] = (0, 1), **more: object) -> Record:
    return genomes.record(position, ref, alts, genotype, **more)


def watched(found: Extract, *records: Record, bases: str = "") -> PanelWatch:
    watch = PanelWatch(found, 1, reference=InMemory(chr1=bases) if bases else None)
    for each in records:
        if watch.wants(each.chromosome, each.position, each.end):
            watch.see(each)
    return watch


def statement(watch: PanelWatch, least_stars: int = 1) -> str | None:
    (status,) = watch.statuses(0, least_stars=least_stars)
    return status.statement


def test_records_of_the_panel_are_taken_as_they_stand() -> None:
    found = extract(
        entry(10, "A", "G", "Pathogenic", EXPERT),
        entry(20, "A", "G", "Benign", SINGLE, gene="TP53:7157"),
        entry(30, "A", "G", "Conflicting_classifications_of_pathogenicity", CONFLICTING, gene="NBR2:1|BRCA1:672"),
        entry(40, "A", ".", "Pathogenic", EXPERT),
    )

    assert (found.build, found.date) == ("GRCh37", "2026-10-01")
    assert [(known.id, known.stars, known.is_pathogenic, known.genes) for known in found.known] == [
        ("V10", 3, True, ("BRCA1",)),
        ("V30", 1, False, ("BRCA1",)),
    ]


@pytest.mark.parametrize(
    ("review", "stars"),
    [
        ("practice_guideline", 4),
        (EXPERT, 3),
        ("criteria_provided,_multiple_submitters,_no_conflicts", 2),
        (SINGLE, 1),
        (CONFLICTING, 1),
        (NONE, 0),
        ("no_classification_provided", 0),
        ("", 0),
    ],
)
def test_stars(review: str, stars: int) -> None:
    assert extract(entry(10, "A", "G", "Pathogenic", review)).known[0].stars == stars


@pytest.mark.parametrize(
    ("significance", "pathogenic"),
    [
        ("Pathogenic", True),
        ("Likely_pathogenic", True),
        ("Pathogenic/Likely_pathogenic", True),
        ("Pathogenic|drug_response", True),
        ("Pathogenic/Likely_pathogenic/Pathogenic,_low_penetrance", True),
        ("Conflicting_classifications_of_pathogenicity", False),
        ("Conflicting_interpretations_of_pathogenicity|other", False),
        ("Uncertain_significance", False),
        ("Likely_benign", False),
    ],
)
def test_what_is_pathogenic(significance: str, pathogenic: bool) -> None:
    assert extract(entry(10, "A", "G", significance, SINGLE)).known[0].is_pathogenic is pathogenic


def test_a_carrier() -> None:
    watch = watched(extract(entry(10, "A", "G", "Pathogenic", EXPERT)), record(10, "A", "C", "G", genotype=(0, 2)))

    (carried,) = watch.carried[0].values()
    assert (carried.known.id, carried.copies, carried.ploidy, carried.passed) == ("V10", 1, 2, True)
    assert statement(watch) == "carried"
    assert statement(watch, least_stars=4) is None


@pytest.mark.parametrize(
    ("records", "said"),
    [
        pytest.param([], None, id="nothing: absent is not the reference"),
        pytest.param([record(10, "A", "C")], None, id="another alternative: this one may stand in a record of its own"),
        pytest.param([record(11, "A", "G")], None, id="another position"),
        pytest.param([record(10, "A", "G", genotype=(0, 0))], "not carried", id="called as the reference"),
        pytest.param([record(10, "A", "G", genotype=(None, None))], None, id="not called"),
        pytest.param([record(10, "A", "G", genotype=(0, 0), passed=False)], None, id="a filtered call"),
        pytest.param([record(10, "A", "G", passed=False)], None, id="a filtered carrier is no statement"),
        pytest.param([record(5, "C", genotype=(0, 0), end=15)], "not carried", id="in a reference block"),
        pytest.param([record(5, "C", genotype=(0, 0), end=15, quality=(3,))], None, id="in a poor block"),
        pytest.param([record(5, "C", genotype=(), end=15)], None, id="a block without genotypes"),
        pytest.param([record(5, "C", genotype=(0, 0), end=9)], None, id="a block that ends before"),
    ],
)
def test_that_nothing_is_carried_is_said_only_where_it_was_looked(records: list[Record], said: str | None) -> None:
    assert statement(watched(extract(entry(10, "A", "G", "Pathogenic", EXPERT)), *records)) == said


def test_one_place_that_was_not_looked_at_is_enough_to_say_nothing() -> None:
    found = extract(entry(10, "A", "G", "Pathogenic", EXPERT), entry(20, "A", "G", "Pathogenic", EXPERT))
    watch = watched(found, record(10, "A", "G", genotype=(0, 0)))

    (status,) = watch.statuses(0, least_stars=1)
    assert (status.statement, status.pathogenic, status.reference, status.not_called) == (None, 2, 1, 1)


def test_a_gene_without_known_pathogenic_variants_has_no_statement() -> None:
    assert statement(watched(extract(entry(10, "A", "G", "Benign", EXPERT)))) is None


def test_another_spelling_is_the_same_variant() -> None:
    bases = "ACCGAAAAAATCC"
    found = extract(entry(4, "GA", "G", "Pathogenic", EXPERT), bases=bases)

    assert statement(watched(found, record(9, "AA", "A"), bases=bases)) == "carried"
    assert statement(watched(found, record(4, "G", genotype=(0, 0), end=12), bases=bases)) == "not carried"
    assert statement(watched(found, record(4, "G", genotype=(0, 0), end=4), bases=bases)) is None


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param(["##source=dbSNP", "##reference=GRCh37"], id="another source"),
        pytest.param(["##source=ClinVar"], id="no build"),
        pytest.param([*HEAD, "1\tx\tV\tA\tG\t.\t.\tGENEINFO=BRCA1:672"], id="a broken line"),
    ],
)
def test_what_is_not_clinvar_is_refused(lines: list[str]) -> None:
    with pytest.raises(GenomeError) as refused:
        read_clinvar("c.vcf", lines, frozenset({"BRCA1"}), None)

    assert refused.value.reason == "clinvar-unusable"
    assert "c.vcf" in str(refused.value)


@pytest.mark.parametrize("symbol", ["", "BRCA 1", "1-Mar", "2-Sep", "2026-03-01", "44256", "a;b"])
def test_what_is_no_gene(symbol: str) -> None:
    with pytest.raises(GenomeError, match="no gene symbol"):
        check_genes(["BRCA1", symbol])


def test_known_is_a_record_of_its_own() -> None:
    assert isinstance(extract(entry(10, "A", "G", "Pathogenic", EXPERT)).known[0], Known)
    assert check_genes(["HLA-A", "TP53", "C9orf72", "MT-ND1"])
