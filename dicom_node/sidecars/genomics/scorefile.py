"""Scoring files of the PGS Catalog (format 2.0), also harmonised ones, as compact tables.

Columns: https://www.pgscatalog.org/downloads/#dl_ftp_scoring. A harmonised file's ``hm_chr`` and ``hm_pos`` stand above
``chr_name`` and ``chr_position``, which may be in another build or none. Rows are additive, dominant or recessive
weights of one allele; a file with haplotypes, HLA types, interactions or weights per dosage is refused as a whole,
since its score without those rows is another score.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import math
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dicom_node.errors import GenomeError
from dicom_node.sidecars.genomics.alleles import is_ambiguous, is_sequence
from dicom_node.sidecars.genomics.assembly import AUTOSOMES, CODES, Build, build_of_text, chromosome

MOST_ROWS = 20_000_000
_LONGEST_LINE = 1 << 20  # characters

ADDITIVE, DOMINANT, RECESSIVE = 0, 1, 2


class Excluded(IntEnum):
    """Why a row is not used in anybody."""

    NO = 0
    NO_POSITION = 1  # none in this build
    NOT_AUTOSOMAL = 2
    STRAND_AMBIGUOUS = 3  # A/T or C/G
    NOT_SEQUENCE = 4  # alleles not spelt out: I, D, N
    OTHER_ALLELE_MISSING = 5  # of an insertion or deletion: it cannot be told which one it is
    REPEATED = 6  # the same position and alleles as another row


@dataclass(frozen=True, slots=True)
class Score:
    """What the head of a scoring file says."""

    id: str  # e.g. PGS000001
    trait: str
    weight_type: str
    build: Build  # of the positions in use
    harmonised: bool  # positions are those of the catalogue's harmonisation
    declared: int | None  # number of variants the file says the score has
    citation: str
    licence: str
    sha256: str  # of the file


@dataclass(frozen=True, slots=True)
class Table:
    """The rows, sorted by chromosome and position. Arrays have one element a row."""

    score: Score
    chromosome: npt.NDArray[np.uint8]  # code in ``assembly.CODES``; 0: none
    position: npt.NDArray[np.uint32]  # 1-based; 0: none
    effect: Sequence[str]  # effect allele
    other: Sequence[str]  # empty: the file does not say
    weight: npt.NDArray[np.float64]
    model: npt.NDArray[np.uint8]  # ADDITIVE, DOMINANT, RECESSIVE
    excluded: npt.NDArray[np.uint8]  # ``Excluded``

    def __len__(self) -> int:
        return len(self.weight)

    @property
    def needed(self) -> int:
        """How many variants the score has: by its rows, or by its head where that says more."""
        return max(len(self), self.score.declared or 0)


def read(file: Path) -> Table:
    """Read a scoring file, gzipped or not.

    Raises:
        GenomeError: not such a file, in no known build, or with rows that are not additive; names the line.
    """
    name = file.name
    try:
        with _opened(file) as (lines, digest):
            head, columns, first = _head(name, lines)
            rows = _Rows(name, columns, bool(head.get("hmpos_build")))
            for number, line in enumerate(lines, start=first):
                if line.strip():
                    rows.take(number, line)
            score = _score(name, head, columns, digest)
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise _unreadable(name, error) from error
    return rows.table(score)


def peek(file: Path) -> Score:
    """What the head of a scoring file says, without its rows.

    Raises:
        GenomeError: not such a file, or in no known build.
    """
    try:
        with _opened(file) as (lines, digest):
            head, columns, _ = _head(file.name, lines)
            return _score(file.name, head, columns, digest)
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise _unreadable(file.name, error) from error


def _unreadable(name: str, error: Exception) -> GenomeError:
    return GenomeError(f"{name}: the scoring file cannot be read: {error}", reason="score-unreadable")


@contextmanager
def _opened(file: Path) -> Iterator[tuple[Iterator[str], str]]:
    """Its lines, each of bounded length, and the SHA-256 of its bytes."""
    with file.open("rb") as raw:
        zipped = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        hashed = hashlib.file_digest(raw, "sha256").hexdigest()
        raw.seek(0)
        stream = gzip.GzipFile(fileobj=raw) if zipped else raw
        text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline=None)
        yield iter(lambda: text.readline(_LONGEST_LINE), ""), hashed


def _head(name: str, lines: Iterator[str]) -> tuple[Mapping[str, str], list[str], int]:
    head: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        if line.startswith("#"):
            key, sign, value = line.strip("#\r\n ").partition("=")
            if sign:
                head[key.strip().lower()] = value.strip()
        elif line.strip():
            columns = line.rstrip("\r\n").split("\t")
            missing = [column for column in ("effect_allele", "effect_weight") if column not in columns]
            if missing:
                raise _wrong(name, number, f"no column {missing[0]}: no scoring file of the PGS Catalog", "malformed")
            per_dosage = [column for column in columns if column.startswith("dosage_")]
            if per_dosage:
                raise _wrong(name, number, f"{per_dosage[0]}: weights per dosage are not additive", "not-additive")
            return head, columns, number + 1
    raise GenomeError(f"{name}: it has no rows", reason="score-malformed")


def _score(name: str, head: Mapping[str, str], columns: Sequence[str], sha256: str) -> Score:
    harmonised = bool(head.get("hmpos_build"))
    if harmonised and not {"hm_chr", "hm_pos"} <= set(columns):
        raise GenomeError(f"{name}: harmonised by its head, but without hm_chr and hm_pos", reason="score-malformed")
    told = head.get("hmpos_build") or head.get("genome_build", "")
    builds = build_of_text(told)
    if len(builds) != 1 or (not harmonised and not {"chr_name", "chr_position"} <= set(columns)):
        raise GenomeError(
            f"{name}: its positions are in no known build (genome_build {head.get('genome_build', 'not said')!r})",
            reason="score-build-unknown",
            remedy="take the harmonised file of the PGS Catalog: …_hmPOS_GRCh37.txt.gz or …_hmPOS_GRCh38.txt.gz",
        )
    number = head.get("variants_number", "")
    return Score(
        id=head.get("pgs_id") or name.split(".")[0],
        trait=head.get("trait_reported", ""),
        weight_type=head.get("weight_type", ""),
        build=next(iter(builds)),
        harmonised=harmonised,
        declared=int(number) if number.isdecimal() else None,
        citation=head.get("citation", ""),
        licence=head.get("license", ""),
        sha256=sha256,
    )


class _Rows:
    """Rows as they are read, column by column."""

    def __init__(self, name: str, columns: Sequence[str], harmonised: bool) -> None:
        self._name, self._width = name, len(columns)
        self._at = {column: index for index, column in enumerate(columns)}
        self._place = ("hm_chr", "hm_pos") if harmonised else ("chr_name", "chr_position")
        self._chromosome, self._position = array("B"), array("I")
        self._weight, self._model, self._excluded = array("d"), array("B"), array("B")
        self._effect: list[str] = []
        self._other: list[str] = []
        self._known: dict[str, str] = {}  # one object for each spelling

    def take(self, number: int, line: str) -> None:
        """One line."""
        cells = line.rstrip("\r\n").split("\t")
        if len(cells) > self._width or len(line) >= _LONGEST_LINE:
            raise _wrong(self._name, number, f"{len(cells)} cells where the header has {self._width}", "malformed")
        if len(self._weight) >= MOST_ROWS:
            raise _wrong(self._name, number, f"more than {MOST_ROWS} rows", "too-large")
        cells += [""] * (self._width - len(cells))
        self._refuse_complex(number, cells)
        effect, other = self._cell(cells, "effect_allele").upper(), self._cell(cells, "other_allele").upper()
        other = other or self._cell(cells, "hm_inferOtherAllele").upper()
        code, position = self._where(number, cells)
        self._chromosome.append(code)
        self._position.append(position)
        self._effect.append(self._known.setdefault(effect, effect))
        self._other.append(self._known.setdefault(other, other))
        self._weight.append(self._number(number, self._cell(cells, "effect_weight")))
        self._model.append(self._model_of(number, cells))
        self._excluded.append(self._why_not(code, effect, other))

    def table(self, score: Score) -> Table:
        """All rows in order; rows that repeat another one are excluded, and so is that one."""
        chromosomes, positions = np.frombuffer(self._chromosome, np.uint8), np.frombuffer(self._position, np.uint32)
        rank = {allele: number for number, allele in enumerate(sorted(self._known))}
        others, effects = (np.array([rank[a] for a in each], np.uint32) for each in (self._other, self._effect))
        order = np.lexsort((others, effects, positions, chromosomes))
        effect, other = [self._effect[row] for row in order], [self._other[row] for row in order]
        excluded = np.frombuffer(self._excluded, np.uint8)[order]
        chromosomes, positions = chromosomes[order], positions[order]
        _mark_repeated(chromosomes, positions, effect, other, excluded)
        weights, models = np.frombuffer(self._weight, np.float64)[order], np.frombuffer(self._model, np.uint8)[order]
        return Table(score, chromosomes, positions, effect, other, weights, models, excluded)

    def _cell(self, cells: Sequence[str], column: str) -> str:
        at = self._at.get(column)
        return cells[at].strip() if at is not None else ""

    def _refuse_complex(self, number: int, cells: Sequence[str]) -> None:
        for column in ("is_haplotype", "is_diplotype", "is_interaction"):
            if self._cell(cells, column).lower() == "true":
                raise _wrong(self._name, number, f"{column}: not an additive weight of one allele", "not-additive")
        kind = self._cell(cells, "variant_type")
        allele = self._cell(cells, "effect_allele")
        if "HLA" in kind.upper() or "HLA" in allele.upper() or kind.upper() in ("CNV", "APOE"):
            raise _wrong(self._name, number, f"{allele} ({kind or 'HLA'}) is no allele of one position", "not-additive")

    def _where(self, number: int, cells: Sequence[str]) -> tuple[int, int]:
        name, position = self._cell(cells, self._place[0]), self._cell(cells, self._place[1])
        if name in ("", "NA") or position in ("", "NA"):
            return 0, 0
        if not position.isdecimal() or not 0 < int(position) < 1 << 32:
            raise _wrong(self._name, number, f"{self._place[1]} {position!r} is not a position", "malformed")
        known = chromosome(name)
        return (CODES[known], int(position)) if known else (0, 0)

    def _number(self, number: int, text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise _wrong(self._name, number, f"effect_weight {text!r} is not a number", "malformed")
        return value

    def _model_of(self, number: int, cells: Sequence[str]) -> int:
        dominant = self._cell(cells, "is_dominant").lower() == "true"
        recessive = self._cell(cells, "is_recessive").lower() == "true"
        if dominant and recessive:
            raise _wrong(self._name, number, "both dominant and recessive", "malformed")
        return DOMINANT if dominant else RECESSIVE if recessive else ADDITIVE

    def _why_not(self, code: int, effect: str, other: str) -> Excluded:
        if not code:
            return Excluded.NO_POSITION
        if code > len(AUTOSOMES):
            return Excluded.NOT_AUTOSOMAL
        if not is_sequence(effect) or (other and not is_sequence(other)) or effect == other:
            return Excluded.NOT_SEQUENCE
        if other and is_ambiguous(effect, other):
            return Excluded.STRAND_AMBIGUOUS
        if len(effect) > 1 and not other:
            return Excluded.OTHER_ALLELE_MISSING
        return Excluded.NO


def _mark_repeated(
    chromosomes: npt.NDArray[np.uint8],
    positions: npt.NDArray[np.uint32],
    effect: Sequence[str],
    other: Sequence[str],
    excluded: npt.NDArray[np.uint8],
) -> None:
    alike = np.flatnonzero((chromosomes[1:] == chromosomes[:-1]) & (positions[1:] == positions[:-1]))
    groups: dict[tuple[int, int], set[int]] = {}
    for row in alike.tolist():
        groups.setdefault((int(chromosomes[row]), int(positions[row])), set()).update((row, row + 1))
    for rows in groups.values():
        for row in rows:
            pair = {effect[row], other[row]}
            if excluded[row] == Excluded.NO and any(
                row != twin and (pair == {effect[twin], other[twin]} or not other[row] or not other[twin])
                for twin in rows
            ):
                excluded[row] = Excluded.REPEATED


def _wrong(name: str, line: int, what: str, kind: str) -> GenomeError:
    return GenomeError(f"{name}: line {line}: {what}", reason=f"score-{kind}", remedy="the score is not computed")
