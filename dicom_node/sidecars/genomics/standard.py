"""Named references: how a score is spread in a population, over a fixed set of variants.

A sum of weights says nothing by itself. A reference gives mean and standard deviation of the sum *over its own
variants* in a named population; a person's z is taken over exactly these, or not at all. The file is text, gzipped or
not: a head of ``#key=value`` lines, then a line for each variant with chromosome, position, effect and other allele.
"""

from __future__ import annotations

import gzip
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dicom_node.errors import GenomeError
from dicom_node.sidecars.genomics.assembly import CODES, Build
from dicom_node.sidecars.genomics.scorefile import Excluded, Table
from dicom_node.sidecars.genomics.scoring import Scoring

LEAST_PEOPLE = 100
_KEYS = ("reference", "population", "pgs_id", "score_sha256", "build", "people", "mean", "sd")
COLUMNS = "chromosome\tposition\teffect_allele\tother_allele"


@dataclass(frozen=True, slots=True)
class Standard:
    """A named reference."""

    name: str
    population: str  # whom it is made of, as declared; never inferred
    score_id: str
    score_sha256: str  # of the scoring file it was computed with
    build: Build
    people: int
    mean: float  # of the sum over ``variants``
    sd: float
    variants: frozenset[tuple[int, int, str, str]]  # chromosome's code, position, effect, other


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a person stands in a reference's population."""

    z: float | None
    reason: str  # why there is none


def read(file: Path) -> Standard:
    """Read a reference.

    Raises:
        GenomeError: it is none, or of too few people.
    """
    try:
        with gzip.open(file, "rt", encoding="utf-8") if file.suffix == ".gz" else file.open(encoding="utf-8") as lines:
            return _parsed(file.name, lines)
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise GenomeError(f"{file.name}: the reference cannot be read: {error}", reason="reference") from error


def write(file: Path, standard: Standard) -> None:
    """Write a reference, in a form that ``read`` takes and whose bytes depend on nothing else."""
    head = (
        standard.name,
        standard.population,
        standard.score_id,
        standard.score_sha256,
        str(standard.build),
        str(standard.people),
        repr(standard.mean),
        repr(standard.sd),
    )
    names = {code: name for name, code in CODES.items()}
    lines = [f"#{key}={value}" for key, value in zip(_KEYS, head, strict=True)]
    lines.append(COLUMNS)
    lines += [
        f"{names[code]}\t{position}\t{effect}\t{other}" for code, position, effect, other in sorted(standard.variants)
    ]
    data = ("\n".join(lines) + "\n").encode()
    file.write_bytes(gzip.compress(data, mtime=0) if file.suffix == ".gz" else data)


def measure(scoring: Scoring, name: str, population: str) -> Standard:
    """The reference that the samples of a cohort make: over the variants called in every one of them.

    Raises:
        GenomeError: too few people, or nothing that spreads.
    """
    table, people = scoring.table, len(scoring.counts)
    if people < LEAST_PEOPLE:
        raise GenomeError(
            f"{people} samples are too few for a reference; {LEAST_PEOPLE} are the least", reason="reference-too-small"
        )
    rows = np.flatnonzero((scoring.counts >= 0).all(axis=0))
    sums = np.array([scoring.sum_over(sample, rows) for sample in range(people)], np.float64)
    sd = float(sums.std(ddof=1))
    if not len(rows) or not sd > 0:
        raise GenomeError(f"no variant of {table.score.id} differs in them", reason="reference-empty")
    variants = frozenset(_key(table, row) for row in rows.tolist())
    score = table.score
    return Standard(name, population, score.id, score.sha256, score.build, people, float(sums.mean()), sd, variants)


def stand(standard: Standard, scoring: Scoring, sample: int, *, least_overlap: float, part: bool) -> Standing:
    """Where a sample stands, or why that cannot be said."""
    table = scoring.table
    if (standard.score_id, standard.build) != (table.score.id, table.score.build):
        return Standing(None, f"the reference is of {standard.score_id} in {standard.build}")
    if standard.score_sha256 != table.score.sha256:
        return Standing(None, "the reference was computed with another scoring file of that name")
    rows = rows_of(standard, table)
    needed = len(table) if part else table.needed
    if len(rows) != len(standard.variants):
        return Standing(None, "the reference has variants that the scoring file has not")
    if len(rows) < least_overlap * needed:
        return Standing(None, f"the reference covers {len(rows):,} of {needed:,} variants, too few")
    total = scoring.sum_over(sample, rows)
    if total is None:
        absent = int(np.count_nonzero(scoring.counts[sample][rows] < 0))
        return Standing(None, f"{absent:,} of the {len(rows):,} variants of the reference are not called")
    return Standing((total - standard.mean) / standard.sd, "")


def rows_of(standard: Standard, table: Table) -> npt.NDArray[np.intp]:
    """The usable rows of a table that a reference is made of, in the table's order."""
    usable = np.flatnonzero(table.excluded == Excluded.NO).tolist()
    return np.array([row for row in usable if _key(table, row) in standard.variants], np.intp)


def _key(table: Table, row: int) -> tuple[int, int, str, str]:
    return int(table.chromosome[row]), int(table.position[row]), table.effect[row], table.other[row]


def _parsed(name: str, lines: Iterator[str]) -> Standard:
    head: dict[str, str] = {}
    variants = []
    for number, line in enumerate(lines, start=1):
        text = line.rstrip("\n")
        if text.startswith("#"):
            key, _, value = text[1:].partition("=")
            head[key] = value
        elif text != COLUMNS:
            cells = text.split("\t")
            if len(cells) != 4 or cells[0] not in CODES or not cells[1].isdecimal():
                raise _wrong(name, f"line {number} is no variant")
            variants.append((CODES[cells[0]], int(cells[1]), cells[2], cells[3]))
    missing = [key for key in _KEYS if not head.get(key)]
    if missing:
        raise _wrong(name, f"#{missing[0]}= is missing")
    if head["build"] not in set(Build):
        raise _wrong(name, f"build {head['build']!r} is none of {', '.join(Build)}")
    try:
        people, mean, sd = int(head["people"]), float(head["mean"]), float(head["sd"])
    except ValueError as error:
        raise _wrong(name, f"people, mean and sd are numbers: {error}") from error
    if people < LEAST_PEOPLE or not math.isfinite(mean) or not 0 < sd < math.inf or not variants:
        raise _wrong(name, f"it needs {LEAST_PEOPLE} people or more, a spread and its variants")
    return Standard(
        head["reference"],
        head["population"],
        head["pgs_id"],
        head["score_sha256"],
        Build(head["build"]),
        people,
        mean,
        sd,
        frozenset(variants),
    )


def _wrong(name: str, what: str) -> GenomeError:
    return GenomeError(
        f"{name}: no reference: {what}", reason="reference", remedy="make it with: dicom-node genomics reference"
    )
