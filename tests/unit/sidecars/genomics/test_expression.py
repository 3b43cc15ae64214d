"""Tables of gene expression: counts and TPM, genes by whatever name, and the errors tables have."""

from __future__ import annotations

import pytest

from dicom_node.errors import GenomeError
from dicom_node.sidecars.genomics.expression import Gene, Genes, read

HGNC = (
    "hgnc_id\tsymbol\tprev_symbol\talias_symbol\tensembl_gene_id\n"
    "HGNC:1100\tBRCA1\t\tRNF53\tENSG00000012048\n"
    "HGNC:26077\tMARCHF1\tMARCH1\t\tENSG00000145416\n"
    'HGNC:5\tNEW1\t"OLD|SHARED"\t\tENSG05\n'
    "HGNC:6\tNEW2\tSHARED|BRCA1\t\tENSG06\n"
).splitlines(keepends=True)
PANEL = frozenset({"BRCA1", "MARCHF1", "NEW1"})
GENES = Genes(PANEL, HGNC)
BRCA1 = Gene("HGNC:1100", "BRCA1")


def table(text: str, *samples: str, unit: str = "counts", genes: Genes = GENES) -> dict[str, dict[str, float]]:
    found = read("t.tsv", iter(text.splitlines(keepends=True)), samples or ("S1",), unit, genes)  # type: ignore[arg-type]
    return {each.sample: {gene.symbol: value for gene, value in each.values.items()} for each in found}


@pytest.mark.parametrize(
    ("name", "symbol"),
    [
        ("BRCA1", "BRCA1"),
        ("HGNC:1100", "BRCA1"),
        ("ENSG00000012048", "BRCA1"),
        ("ENSG00000012048.23", "BRCA1"),
        ("MARCH1", "MARCHF1"),
        ("OLD", "NEW1"),
        ("SHARED", None),
        ("NEW2", None),
        ("RNF53", None),
        ("TP53", None),
    ],
)
def test_names_of_genes(name: str, symbol: str | None) -> None:
    found = GENES.find(name)

    assert (found.symbol if found else None) == symbol


def test_counts_become_counts_per_million() -> None:
    text = "gene\tS1\tS2\nBRCA1\t30\t1\nOTHER\t70\t999999\n"

    assert table(text, "S2", "S1") == {"S1": {"BRCA1": 300_000.0}, "S2": {"BRCA1": 1.0}}


def test_tpm_stay_as_they_are() -> None:
    text = "gene,description,S1\nBRCA1,of chromosome 17,12.5\nOTHER,,999987.5\n"

    assert table(text, unit="tpm") == {"S1": {"BRCA1": 12.5}}


def test_a_gct() -> None:
    text = "#1.2\n2\t1\nName\tDescription\tS1\nENSG00000012048.23\tBRCA1\t10\nENSG0\tX\t90\n"

    assert table(text) == {"S1": {"BRCA1": 100_000.0}}


def test_without_the_hgnc_symbols_count_as_written() -> None:
    genes = Genes(PANEL)

    assert genes.find("BRCA1") == Gene("", "BRCA1")
    assert genes.find("MARCH1") is None


@pytest.mark.parametrize(
    ("text", "unit", "why"),
    [
        pytest.param("gene\tS1\n1-Mar\t5\n", "counts", "line 2: '1-Mar' is a date", id="a spreadsheet's date"),
        pytest.param("gene\tS1\nBRCA1\t5\nHGNC:1100\t6\n", "counts", "line 3: BRCA1 stands twice", id="twice"),
        pytest.param("gene\tS1\nBRCA1\t-1.5\n", "tpm", "logarithms", id="logarithms"),
        pytest.param("gene\tS1\nBRCA1\t5.5\n", "counts", "no count of reads", id="a fraction"),
        pytest.param("gene\tS1\nBRCA1\tNA\n", "counts", "'NA' is not a number", id="no number"),
        pytest.param("gene\tS1\nBRCA1\tinf\n", "tpm", "not a number", id="infinite"),
        pytest.param("gene\tS1\nBRCA1\t5\n", "tpm", "add up to 5, not to 1,000,000", id="a part of the TPM"),
        pytest.param("gene\tS1\nBRCA1\t0\n", "counts", "S1 has no counts", id="nothing"),
        pytest.param("gene\tS1\tS2\nBRCA1\t5\n", "counts", "line 2: 2 cells", id="a cell too few"),
        pytest.param("gene\tS1\tS1\nBRCA1\t5\t6\n", "counts", "twice", id="a sample twice"),
        pytest.param("", "counts", "empty", id="empty"),
        pytest.param("gene\n", "counts", "no samples", id="no samples"),
    ],
)
def test_what_is_refused(text: str, unit: str, why: str) -> None:
    with pytest.raises(GenomeError, match=r"t\.tsv") as refused:
        table(text, unit=unit)

    assert why in str(refused.value)


def test_a_panel_must_be_known_to_the_hgnc() -> None:
    with pytest.raises(GenomeError, match="no approved symbol of the HGNC: MARCH1"):
        Genes(frozenset({"BRCA1", "MARCH1"}), HGNC)
    with pytest.raises(GenomeError, match="complete set"):
        Genes(PANEL, ["a\tb\n", "1\t2\n"])
