"""Tables of gene expression: genes down, samples across; counts of reads, or transcripts per million (TPM).

A gene is known by its HGNC number, an Ensembl gene, or its symbol; the HGNC's own table, which the site supplies, also
knows the symbols it had before. What a spreadsheet made of a symbol (1-Mar) is refused with its line. Counts are given
on as counts per million of their sample.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from dicom_node.errors import GenomeError
from dicom_node.sidecars.genomics.panel import is_date

Unit = Literal["counts", "tpm"]
MILLION = 1_000_000.0
_TPM_TOLERANCE = 0.01
_DESCRIPTIVE = frozenset({"description", "gene_name", "gene_symbol", "gene_biotype", "transcript_id(s)", "length"})


@dataclass(frozen=True, slots=True)
class Gene:
    """A gene of the HGNC."""

    id: str  # HGNC:1100; empty: without the HGNC's table
    symbol: str


@dataclass(frozen=True, slots=True)
class Expression:
    """Genes of a panel in one sample."""

    sample: str
    unit: str  # "tpm", or "cpm": counts per million
    total: float  # of all genes of the table, in the table's unit
    values: Mapping[Gene, float]


class Genes:
    """Names that stand for a gene of the panel."""

    def __init__(self, panel: frozenset[str], hgnc: Iterable[str] | None = None) -> None:
        """``hgnc``: the lines of ``hgnc_complete_set.txt``; without, only the symbols of the panel itself are known.

        Raises:
            GenomeError: not that table, or a gene of the panel is not in it.
        """
        self._by_name: dict[str, Gene | None] = {}  # None: stands for several
        if hgnc is None:
            self._by_name = {symbol: Gene("", symbol) for symbol in panel}
            return
        former: list[tuple[str, Gene]] = []
        found = set()
        for row in csv.DictReader(hgnc, delimiter="\t"):
            if not {"hgnc_id", "symbol"} <= set(row):
                raise GenomeError("not the HGNC's complete set: no columns hgnc_id and symbol", reason="hgnc-unusable")
            gene = Gene(row["hgnc_id"], row["symbol"])
            former += [(name, gene) for name in (row.get("prev_symbol") or "").strip('"').split("|") if name]
            if gene.symbol in panel:
                found.add(gene.symbol)
            for name in (gene.symbol, gene.id, row.get("ensembl_gene_id") or ""):
                if name:
                    self._by_name[name] = gene
        if panel - found:
            raise GenomeError(
                f"no approved symbol of the HGNC: {', '.join(sorted(panel - found))}",
                reason="gene-unknown",
                remedy="name the genes in genomics.genes by their approved symbols",
            )
        for name, gene in former:
            before = self._by_name.get(name, gene)
            if before is None or before.symbol != name:  # an approved symbol stands above a former one
                self._by_name[name] = gene if before == gene else None
        self._by_name = {name: gene for name, gene in self._by_name.items() if gene is None or gene.symbol in panel}

    def find(self, name: str) -> Gene | None:
        """The gene of the panel that a row's name stands for; None: none, or several."""
        if name.startswith("ENSG"):
            name = name.partition(".")[0]  # its version
        return self._by_name.get(name)


def samples_of(name: str, lines: Iterator[str]) -> tuple[list[str], list[int], str]:
    """Samples, their columns and the delimiter, from the head of a table; takes its lines.

    Raises:
        GenomeError: no such head.
    """
    for line in lines:
        if line.startswith("#1.2"):  # GCT: the next line has the table's size
            next(lines, "")
        elif not line.startswith("#") and line.strip():
            delimiter = "\t" if "\t" in line else ","
            cells = next(csv.reader([line], delimiter=delimiter))
            columns = [at for at, cell in enumerate(cells) if at and cell.strip().lower() not in _DESCRIPTIVE]
            samples = [cells[at].strip() for at in columns]
            if not samples or len(set(samples)) != len(samples) or not all(samples):
                raise _wrong(name, "its head has no samples, or one of them twice")
            return samples, columns, delimiter
    raise _wrong(name, "it is empty")


def read(name: str, lines: Iterator[str], wanted: Sequence[str], unit: Unit, genes: Genes) -> tuple[Expression, ...]:
    """The panel's genes in each wanted sample of a table; without its comment lines, the head is line 1.

    Raises:
        GenomeError: not such a table, values that are no counts or TPM, or a gene twice; names the line.
    """
    samples, columns, delimiter = samples_of(name, lines)
    chosen = [(sample, at) for sample, at in zip(samples, columns, strict=True) if sample in set(wanted)]
    totals = dict.fromkeys((sample for sample, _ in chosen), 0.0)
    values: dict[str, dict[Gene, float]] = {sample: {} for sample, _ in chosen}
    for number, cells in enumerate(csv.reader(lines, delimiter=delimiter), start=2):
        if not cells:
            continue
        if len(cells) <= max(columns):
            raise _wrong(name, f"line {number}: {len(cells)} cells, too few")
        gene_name = cells[0].strip()
        if is_date(gene_name):
            raise _wrong(name, f"line {number}: {gene_name!r} is a date that a spreadsheet made of a gene's symbol")
        gene = genes.find(gene_name)
        for sample, at in chosen:
            value = _value(name, number, cells[at], unit)
            totals[sample] += value
            if gene is not None:
                if gene in values[sample]:
                    raise _wrong(name, f"line {number}: {gene.symbol} stands twice")
                values[sample][gene] = value
    return tuple(_expression(name, sample, unit, totals[sample], values[sample]) for sample, _ in chosen)


def _expression(name: str, sample: str, unit: Unit, total: float, values: Mapping[Gene, float]) -> Expression:
    if unit == "tpm":
        if abs(total - MILLION) > _TPM_TOLERANCE * MILLION:
            raise _wrong(
                name, f"the TPM of {sample} add up to {total:,.0f}, not to 1,000,000: no TPM, or not all genes"
            )
        return Expression(sample, "tpm", total, dict(values))
    if total <= 0:
        raise _wrong(name, f"{sample} has no counts")
    return Expression(sample, "cpm", total, {gene: value / total * MILLION for gene, value in values.items()})


def _value(name: str, number: int, text: str, unit: Unit) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise _wrong(name, f"line {number}: {text!r} is not a number")
    if value < 0:
        raise _wrong(name, f"line {number}: {text} is negative: logarithms are neither counts nor TPM")
    if unit == "counts" and value != math.floor(value):
        raise _wrong(name, f"line {number}: {text} is no count of reads")
    return value


def _wrong(name: str, what: str) -> GenomeError:
    return GenomeError(f"{name}: {what}", reason="expression-malformed", remedy="nothing was read")
