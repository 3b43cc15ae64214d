"""Genome files opened by htslib: VCF, BCF and gVCF, with or without an index. Only the reader's process imports this.

htslib takes more than the specification allows, and some of it is guesswork; what is not certain is refused here, and
what it cannot parse is found again in the text, to name the line.
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pysam

from dicom_node.errors import GenomeError
from dicom_node.sidecars.genomics.assembly import chromosome
from dicom_node.sidecars.genomics.build import Contig
from dicom_node.sidecars.genomics.faults import first_fault
from dicom_node.sidecars.genomics.scoring import Record

_ANY_ALTERNATIVE = frozenset({"<NON_REF>", "<*>", "<X>", "."})  # "whatever else there might be"
_SPANNING = frozenset({"<*:DEL>"})  # the asterisk of VCF 4.1
_LONGEST_LINE = 1 << 26
_CERTAIN = 0.1  # that a dosage may be off a whole number, and still be a call: PLINK 2's --hard-call-threshold
_FEW = 8  # samples that are parsed all, whichever are wanted


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of itself."""

    version: str  # VCFv4.2
    contigs: tuple[Contig, ...]
    references: tuple[str, ...]  # ##reference and its like
    samples: tuple[str, ...]


@dataclass(slots=True)
class Counts:
    """What was read; filled while records go by."""

    records: int = 0
    not_passed: int = 0  # FILTER other than PASS and "."
    symbolic: int = 0  # records with structural or other symbolic alternatives
    blocks: int = 0  # records without alternatives: reference blocks, or sites that were looked at
    elsewhere: int = 0  # on contigs that are none of the 25 chromosomes


class Fasta:
    """A reference sequence that has its index beside it."""

    def __init__(self, file: Path) -> None:
        if not Path(f"{file}.fai").is_file():
            raise GenomeError(
                f"{file.name}: no index beside the reference sequence",
                reason="reference-sequence",
                remedy=f"make it once with: samtools faidx {file}",
            )
        try:
            self._file = pysam.FastaFile(str(file))
        except (OSError, ValueError) as error:
            raise GenomeError(
                f"{file.name}: the reference sequence cannot be read: {error}", reason="reference-sequence"
            ) from error
        self.contigs = tuple(map(Contig, self._file.references, self._file.lengths))
        self._names = {known: name for name in self._file.references if (known := chromosome(name))}

    def fetch(self, chromosome: str, start: int, end: int) -> str:
        """Bases ``start`` to ``end`` (0-based, half open) in upper case; empty where there is no such chromosome."""
        name = self._names.get(chromosome)
        return self._file.fetch(name, max(0, start), end).upper() if name and end > start else ""


class Genome:
    """One pass over a genome file, restricted to some of its samples.

    ``samples`` are those of the file that are wanted; their order in every record is that of ``self.samples``.
    """

    def __init__(self, file: Path, samples: Sequence[str] | None = None) -> None:
        if "##idx##" in file.name:
            raise GenomeError(f"{file.name}: htslib takes that name for two files; rename it", reason="genome-name")
        self._path = file
        try:
            self._file = pysam.VariantFile(str(file))
        except NotImplementedError as error:  # htslib finds no way back in it
            raise GenomeError(
                f"{file.name}: it is compressed by gzip; bgzip is what genomes are compressed by",
                reason="genome-not-bgzip",
                remedy=f"zcat {file.name} | bgzip > NEW.vcf.gz",
            ) from error
        except (OSError, ValueError) as error:
            raise _refused(file, error) from error
        self.header = _header(self._file.header)
        wanted = None if samples is None else set(samples)
        self.samples = tuple(name for name in self.header.samples if wanted is None or name in wanted)
        if "GT" not in self._file.header.formats:
            self._file.header.formats.add("GT", 1, "String", "Genotype")
        self._columns: tuple[int, ...] | None = None
        if self.samples != self.header.samples:
            if len(self.header.samples) > _FEW:
                self._file.subset_samples(list(self.samples))
            else:  # htslib then checks that every line has as many columns as the header
                self._columns = tuple(self.header.samples.index(name) for name in self.samples)

    def records(self, counts: Counts) -> Iterator[tuple[str, int, int, pysam.VariantRecord]]:
        """Chromosome, first and last base (1-based, inclusive) and the line itself, for what lies on a chromosome.

        Raises:
            GenomeError: the file is broken; names the line where it is text.
        """
        names: dict[int, str | None] = {}
        with closing(self._file):
            lines = iter(self._file)
            while True:
                try:
                    line = next(lines)
                except StopIteration:
                    return
                except (OSError, ValueError) as error:
                    raise _refused(self._path, error, records=counts.records) from error
                counts.records += 1
                if line.rid not in names:
                    names[line.rid] = chromosome(line.chrom)
                name = names[line.rid]
                if name is None:
                    counts.elsewhere += 1
                elif line.pos > 0:  # 0 is the telomere
                    yield name, line.pos, max(line.stop, line.pos), line

    def record(self, name: str, position: int, end: int, line: pysam.VariantRecord) -> Record:
        """A line, as ``records`` yields it, as scores and panels see it.

        Raises:
            GenomeError: a genotype names an allele that the record has not.
        """
        every = line.samples.values()
        samples = every if self._columns is None else [every[at] for at in self._columns]
        return _record(name, position, end, line, samples, self._path)


def _record(
    name: str,
    position: int,
    end: int,
    line: pysam.VariantRecord,
    samples: Sequence[pysam.VariantRecordSample],
    file: Path,
) -> Record:
    alts = line.alts or ()
    real = tuple("*" if alt in _SPANNING else alt.upper() for alt in alts if alt not in _ANY_ALTERNATIVE)
    is_reference = not real
    genotypes = tuple(sample.allele_indices or () for sample in samples)
    if any(None in genotype and any(a is not None for a in genotype) for genotype in genotypes):
        _check_numbers(line, len(alts), file)
    if "DS" in line.format and len(alts) == len(real) == 1:
        genotypes = tuple(map(_called, samples, genotypes))
    quality: tuple[int | None, ...] = (None,) * len(genotypes)
    if is_reference:
        key = next((key for key in ("GQ", "RGQ") if key in line.format), None)
        if key:
            quality = tuple(_whole(sample.get(key)) for sample in samples)
    ref = (line.ref or "").upper()
    return Record(name, position, end, ref, real, is_reference, passed(line), genotypes, quality)


def _called(sample: pysam.VariantRecordSample, genotype: tuple[int | None, ...]) -> tuple[int | None, ...]:
    """A sample's genotype; where it has none, that of its dosage of the only alternative, if that is near enough."""
    if genotype and None not in genotype:
        return genotype
    told = sample.get("DS")
    dosage = told[0] if isinstance(told, tuple) and told else told
    if not isinstance(dosage, int | float) or not -_CERTAIN <= dosage <= 2 + _CERTAIN:
        return genotype
    carried = round(dosage)
    return tuple(int(at < carried) for at in (1, 0)) if abs(dosage - carried) <= _CERTAIN else genotype


def passed(line: pysam.VariantRecord) -> bool:
    """Whether FILTER is PASS, or filters were not applied."""
    keys = line.filter.keys()
    return not keys or "PASS" in keys


def _whole(value: object) -> int | None:
    if isinstance(value, tuple):
        value = value[0] if value else None
    return int(value) if isinstance(value, int | float) else None


def _check_numbers(line: pysam.VariantRecord, alternatives: int, file: Path) -> None:
    """htslib reads a number beyond the alternatives as "not called"; the text still has it."""
    cells = str(line).rstrip("\n").split("\t")
    at = cells[8].split(":").index("GT")
    for cell in cells[9:]:
        text = cell.split(":")[at]
        for number in text.replace("|", "/").split("/"):
            if number.isdecimal() and int(number) > alternatives:
                raise GenomeError(
                    f"{file.name}: {line.chrom}:{line.pos}: GT {text} names allele {number}, and there are "
                    f"{alternatives} alternatives; file rejected",
                    reason="genome-malformed",
                )


def _header(header: pysam.VariantHeader) -> Header:
    contigs = []
    for record in header.records:
        if record.type == "CONTIG":
            told = dict(record.items())
            length = str(told.get("length", ""))
            contigs.append(
                Contig(
                    str(told.get("ID", "")),
                    int(length) if length.isdecimal() else None,
                    str(told.get("md5", told.get("M5", ""))).strip('"'),
                    str(told.get("assembly", "")).strip('"'),
                )
            )
    references = tuple(
        str(record.value)
        for record in header.records
        if record.type == "GENERIC" and str(record.key).lower() in ("reference", "source_genome_reference", "assembly")
    )
    return Header(str(header.version), tuple(contigs), references, tuple(header.samples))


def _refused(file: Path, error: Exception, records: int | None = None) -> GenomeError:
    """Why htslib does not take a file, with the line where it is text."""
    if file.stat().st_size == 0:
        return GenomeError(f"{file.name}: it is empty", reason="genome-empty")
    fault = _fault_in_text(file)
    if fault:
        return GenomeError(f"{file.name}: {fault}; file rejected", reason="genome-malformed")
    what = str(error).replace(str(file), file.name)
    if records is None:
        return GenomeError(f"{file.name}: no VCF or BCF that can be read ({what})", reason="genome-unreadable")
    return GenomeError(f"{file.name}: broken after {records:,} records ({what}); file rejected", reason="genome-broken")


def _fault_in_text(file: Path) -> str:
    try:
        with file.open("rb") as raw:
            zipped = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            text = io.TextIOWrapper(gzip.GzipFile(fileobj=raw) if zipped else raw, "utf-8", errors="replace")
            return first_fault(iter(lambda: text.readline(_LONGEST_LINE), ""))
    except (OSError, EOFError, gzip.BadGzipFile) as error:
        return f"its compressed data end or break: {error}"
