"""What variants do to the genes of a panel, by ``bcftools csq``.

The method: Danecek, McCarthy 2017, doi:10.1093/bioinformatics/btx100.

Runs in the reader's process, which writes nowhere but to its scratch folder. Each variant is judged alone
(``--local-csq``): calls are seldom phased, and a haplotype that is guessed is none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pysam
import pysam.bcftools
from pysam.utils import SamtoolsError

from dicom_node.errors import GenomeError
from dicom_node.sidecars.genomics.calls import passed

_SILENT = frozenset({"intron", "non_coding", "intergenic", "synonymous", "5_prime_utr", "3_prime_utr"})
_BITS_OF_WORD = 30  # of an integer of FORMAT/BCSQ: two for each consequence, one a haplotype


def consequences(
    file: Path, sample: str, sequence: Path, annotation: Path, genes: frozenset[str], scratch: Path
) -> list[dict[str, Any]]:
    """The consequences that a sample's variants have in ``genes``, those that change nothing of a protein left out.

    Raises:
        GenomeError: ``bcftools csq`` refuses the file, the sequence or the annotation.
    """
    written = scratch / "csq.bcf"
    options = ["--local-csq", "--samples", sample, "--fasta-ref", str(sequence), "--gff-annot", str(annotation)]
    try:
        pysam.bcftools.csq(*options, "-O", "b", "-o", str(written), str(file), catch_stdout=False)
        with pysam.VariantFile(str(written)) as annotated:
            return list(_of_genes(annotated, sample, genes))
    except (SamtoolsError, OSError, ValueError) as error:
        told = " ".join(str(error).split())[-300:]
        raise GenomeError(f"{file.name}: bcftools csq: {told}", reason="consequences-refused") from error


def _of_genes(annotated: pysam.VariantFile, sample: str, genes: frozenset[str]) -> Iterator[dict[str, Any]]:
    for line in annotated:
        told = line.info.get("BCSQ")
        if not told:
            continue
        column = line.samples[sample]
        for at, text in enumerate(told):
            cells = text.split("|")
            kinds = cells[0].lstrip("*").split("&")
            copies = _copies(column.get("BCSQ"), at)
            if len(cells) < 4 or cells[1] not in genes or not copies or _SILENT.issuperset(kinds):
                continue
            yield {
                "gene": cells[1],
                "transcript": cells[2],
                "biotype": cells[3],
                "consequence": "&".join(kinds),
                "protein": cells[5] if len(cells) > 5 else "",
                "place": f"{line.chrom}:{line.pos} {line.ref}>{','.join(line.alts or ())}",
                "copies": copies,
                "passed": passed(line),
            }


def _copies(words: int | Sequence[int | None] | None, at: int) -> int:
    """How many haplotypes have the consequence with the number ``at``."""
    values = (words,) if isinstance(words, int) else tuple(words or ())
    word, bit = divmod(2 * at, _BITS_OF_WORD)
    value = values[word] if word < len(values) else None
    return ((value or 0) >> bit & 3).bit_count()
