"""Human reference assemblies: lengths and checksums of their chromosomes, and the names chromosomes go by.

Lengths: the assembly reports of the Genome Reference Consortium (GCF_000001405.25, .40; NCBI36: .12) and of
T2T-CHM13v2.0 (GCF_009914755.1). No length of a chromosome 1-22, X or Y is the same in two of them: one contig tells.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

CHROMOSOMES = (*map(str, range(1, 23)), "X", "Y", "MT")
CODES: Mapping[str, int] = MappingProxyType({name: code for code, name in enumerate(CHROMOSOMES, start=1)})
AUTOSOMES = frozenset(map(str, range(1, 23)))


class Build(StrEnum):
    """An assembly that genomes are read in."""

    GRCH37 = "GRCh37"
    GRCH38 = "GRCh38"


def _lengths(text: str) -> Mapping[str, int]:
    return MappingProxyType(dict(zip(CHROMOSOMES, map(int, text.split()), strict=False)))


LENGTHS: Mapping[Build, Mapping[str, int]] = MappingProxyType(
    {
        Build.GRCH37: _lengths(
            "249250621 243199373 198022430 191154276 180915260 171115067 159138663 146364022 141213431 135534747 "
            "135006516 133851895 115169878 107349540 102531392 90354753 81195210 78077248 59128983 63025520 48129895 "
            "51304566 155270560 59373566"
        ),
        Build.GRCH38: _lengths(
            "248956422 242193529 198295559 190214555 181538259 170805979 159345973 145138636 138394717 133797422 "
            "135086622 133275309 114364328 107043718 101991189 90338345 83257441 80373285 58617616 64444167 46709983 "
            "50818468 156040895 57227415"
        ),
    }
)

# Assemblies that are told by name and refused.
FOREIGN_LENGTHS: Mapping[str, Mapping[str, int]] = MappingProxyType(
    {
        "NCBI36 (hg18)": _lengths(
            "247249719 242951149 199501827 191273063 180857866 170899992 158821424 146274826 140273252 135374737 "
            "134452384 132349534 114142980 106368585 100338915 88827254 78774742 76117153 63811651 62435964 46944323 "
            "49691432 154913754 57772954"
        ),
        "T2T-CHM13v2.0": _lengths(
            "248387328 242696752 201105948 193574945 182045439 172126628 160567428 146259331 150617247 134758134 "
            "135127769 133324548 113566686 101161492 99753195 96330374 84276897 80542538 61707364 66210255 45090682 "
            "51324926 154259566 62460029"
        ),
    }
)

# MD5 of the sequence in upper case (M5 of SAM, md5 of a VCF's contig line).
CHECKSUMS: Mapping[str, tuple[Build, str]] = MappingProxyType(
    {
        "1b22b98cdeb4a9304cb5d48026a85128": (Build.GRCH37, "1"),
        "a0d9851da00400dec1098a9255ac712e": (Build.GRCH37, "2"),
        "fdfd811849cc2fadebc929bb925902e5": (Build.GRCH37, "3"),
        "23dccd106897542ad87d2765d28a19a1": (Build.GRCH37, "4"),
        "6aef897c3d6ff0c78aff06ac189178dd": (Build.GRCH38, "1"),
        "f98db672eb0993dcfdabafe2a882905c": (Build.GRCH38, "2"),
        "76635a41ea913a405ded820447d067b0": (Build.GRCH38, "3"),
        "ce3e31103314a704255f3cd90369ecce": (Build.GRCH38, "Y"),
    }
)

# RefSeq accessions of the chromosomes: the version in GRCh37; in GRCh38 it is the next one.
_REFSEQ_37 = dict(
    zip(
        CHROMOSOMES,
        (10, 11, 11, 11, 9, 11, 13, 10, 11, 10, 9, 11, 10, 8, 9, 9, 10, 9, 9, 10, 8, 10, 10, 9),
        strict=False,
    )
)
_REFSEQ = re.compile(r"NC_0000(\d\d)\.(\d+)")
_GENBANK = re.compile(r"CM000(6\d\d)\.([12])")
_NAMED = {
    Build.GRCH37: re.compile(r"(?i)grch_?37|hg_?19|\bb37\b|hs37|human_g1k_v37|(?:ncbi|build)[ _]?37"),
    Build.GRCH38: re.compile(r"(?i)grch_?38|hg_?38|\bb38\b|hs38|(?:ncbi|build)[ _]?38"),
}


def chromosome(contig: str) -> str | None:
    """The chromosome a contig is ("chr1", "1", "NC_000001.11", "chrM" → "1", "1", "1", "MT"); None: none of the 25."""
    name = contig[3:] if contig[:3].lower() == "chr" else contig
    name = {"M": "MT", "x": "X", "y": "Y", "m": "MT", "mt": "MT"}.get(name, name)
    if name in CODES:
        return name
    accession = _accession(contig)
    if accession:
        return accession[0]
    return "MT" if contig.startswith("NC_012920.") else None


def build_of_name(contig: str) -> Build | None:
    """The build that a contig's name tells, where it is an accession."""
    accession = _accession(contig)
    return accession[1] if accession else None


def build_of_text(text: str) -> frozenset[Build]:
    """The builds that a text (a reference's path, an assembly's name) speaks of."""
    return frozenset(build for build, pattern in _NAMED.items() if pattern.search(text))


def _accession(contig: str) -> tuple[str, Build | None] | None:
    refseq = _REFSEQ.fullmatch(contig)
    if refseq and 1 <= int(refseq[1]) <= 24:
        name = CHROMOSOMES[int(refseq[1]) - 1]
        version = int(refseq[2]) - _REFSEQ_37[name]
        return name, {0: Build.GRCH37, 1: Build.GRCH38}.get(version)
    genbank = _GENBANK.fullmatch(contig)
    if genbank and 663 <= int(genbank[1]) <= 686:
        name = CHROMOSOMES[int(genbank[1]) - 663]
        return name, Build.GRCH37 if genbank[2] == "1" else Build.GRCH38
    return None
