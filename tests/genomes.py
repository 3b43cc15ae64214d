"""Small genomes, references and scores that tests make, and what they say without our code."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from dicom_node.sidecars.genomics.scoring import Record

CHR1_37, CHR1_38 = 249250621, 248956422
CONTIG_37 = f"##contig=<ID=1,length={CHR1_37}>"
GT = '##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">'


class InMemory:
    """A reference sequence in memory: ``alleles.Reference``."""

    def __init__(self, **chromosomes: str) -> None:
        self._bases = {name.removeprefix("chr"): bases for name, bases in chromosomes.items()}

    def fetch(self, chromosome: str, start: int, end: int) -> str:
        return self._bases.get(chromosome, "")[max(0, start) : end]


def vcf(
    file: Path,
    records: Iterable[str],
    samples: Sequence[str] = ("S1",),
    *,
    header: Sequence[str] = (CONTIG_37, GT),
    version: str = "VCFv4.2",
) -> Path:
    """Write a VCF; in ``records`` spaces stand for tabs."""
    names = ["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO"]
    names += ["FORMAT", *samples] if samples else []
    lines = [f"##fileformat={version}", *header, "\t".join(names), *(record.replace(" ", "\t") for record in records)]
    file.write_text("\n".join(lines) + "\n")
    return file


def score(
    file: Path,
    rows: Iterable[Mapping[str, object]],
    *,
    head: Mapping[str, str] | None = None,
) -> Path:
    """Write a scoring file of the PGS Catalog, format 2.0."""
    told = {"format_version": "2.0", "pgs_id": "PGS999999", "genome_build": "GRCh37"} | dict(head or {})
    written = list(rows)
    columns = list(dict.fromkeys(column for row in written for column in row))
    lines = [f"#{key}={value}" for key, value in told.items()]
    lines.append("\t".join(columns))
    lines += ["\t".join(str(row.get(column, "")) for column in columns) for row in written]
    file.write_text("\n".join(lines) + "\n")
    return file


def row(
    position: int, effect: str, other: str, weight: float, chromosome: str = "1", **more: object
) -> dict[str, object]:
    """A row of a scoring file."""
    told = {"chr_name": chromosome, "chr_position": position, "effect_allele": effect, "other_allele": other}
    return {**told, "effect_weight": weight, **more}


def haplotype(bases: str, position: int, ref: str, alt: str) -> str:
    """The sequence that a variant makes of ``bases``; ``position`` is 1-based."""
    assert bases[position - 1 : position - 1 + len(ref)] == ref
    return bases[: position - 1] + alt + bases[position - 1 + len(ref) :]


def exome(file: Path, records: int, *, seed: int = 1) -> Path:
    """Write a VCF of one sample: substitutions and some small insertions, spread over chromosomes 1 to 22."""
    from dicom_node.sidecars.genomics.assembly import LENGTHS, Build

    rng = random.Random(seed)
    chosen = {name: length for name, length in LENGTHS[Build.GRCH37].items() if name.isdecimal()}
    total = sum(chosen.values())
    fields = ("AD:R", "DP:1", "GQ:1", "PL:G")
    with file.open("w") as out:
        out.write("##fileformat=VCFv4.2\n")
        out.writelines(f"##contig=<ID={name},length={length}>\n" for name, length in chosen.items())
        out.write(GT + "\n")
        for field in fields:
            name, number = field.split(":")
            out.write(f'##FORMAT=<ID={name},Number={number},Type=Integer,Description="{name}">\n')
        for name in ("AC", "AN", "DP"):
            out.write(f'##INFO=<ID={name},Number=1,Type=Integer,Description="{name}">\n')
        out.write("\t".join(["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT", "S1"]) + "\n")
        for name, length in chosen.items():
            for position in sorted(rng.sample(range(10_000, length), round(records * length / total))):
                ref, alt = rng.sample("ACGT", 2)
                alt = alt if rng.random() < 0.9 else ref + alt
                genotype = rng.choice(("0/1", "0/1", "1/1"))
                said = f"{genotype}:12,20:32:99:500,0,300"
                cells = [name, position, ".", ref, alt, 500, "PASS", "AC=1;AN=2;DP=32", "GT:AD:DP:GQ:PL", said]
                out.write("\t".join(map(str, cells)) + "\n")
    return file


def record(
    position: int, ref: str, alts: Sequence[str] = (), genotype: tuple[int | None, ...] = (0, 1), **more: object
) -> Record:
    """A call of one sample on chromosome 1."""
    told: dict[str, object] = {
        "chromosome": "1",
        "position": position,
        "end": position + len(ref) - 1,
        "ref": ref,
        "alts": tuple(alts),
        "is_reference": not alts,
        "passed": True,
        "genotypes": (genotype,),
        "quality": (None,),
    }
    return Record(**{**told, **more})  # type: ignore[arg-type]
