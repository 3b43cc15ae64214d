"""What the reader's process is told to do, and what it answers: plain records that travel as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dicom_node.sidecars.genomics.assembly import Build


@dataclass(frozen=True, slots=True)
class ScoreOrder:
    """A scoring file to compute."""

    file: Path
    part: bool = False  # it holds a part of its score on purpose
    standard: Path | None = None  # the named reference for z


@dataclass(frozen=True, slots=True)
class Limits:
    """What a reader's process may use."""

    memory_mb: int = 2000  # private memory
    cpu_seconds: int = 3600
    wall_seconds: float = 7200.0
    written_mb: int = 20_000  # any one file in its scratch folder


@dataclass(frozen=True, slots=True)
class Order:
    """A genome file, and what is wanted of it."""

    file: Path
    samples: tuple[str, ...]  # that the manifest names; empty: all of the file, for a cohort
    scores: tuple[ScoreOrder, ...] = ()
    sequences: Mapping[str, Path] | None = None  # build → FASTA
    annotations: Mapping[str, Path] | None = None  # build → GFF3 of Ensembl
    clinvar: Mapping[str, Path] | None = None  # build → clinvar.vcf.gz
    genes: tuple[str, ...] = ()  # the panel
    declared: str | None = None  # build, where the file does not tell
    least_overlap: float = 0.75
    least_quality: int = 20  # GQ of a reference block
    least_stars: int = 1  # of a pathogenic classification that counts in a statement
    population: str = ""  # of a cohort that a named reference is made of
    name: str = ""  # of that reference
    output: str = ""  # file in the scratch folder that the reference is written to

    def as_json(self) -> dict[str, Any]:
        """As it travels."""
        told = asdict(self)
        for score in told["scores"]:
            score.update(file=str(score["file"]), standard=str(score["standard"] or ""))
        for key in ("sequences", "annotations", "clinvar"):
            told[key] = {build: str(file) for build, file in (told[key] or {}).items()}
        return told | {"file": str(self.file)}

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Order:
        """The record that ``as_json`` wrote."""
        scores = tuple(
            ScoreOrder(Path(s["file"]), s["part"], Path(s["standard"]) if s["standard"] else None)
            for s in told["scores"]
        )
        files = {
            key: {build: Path(file) for build, file in told[key].items()}
            for key in ("sequences", "annotations", "clinvar")
        }
        lists = {key: tuple(told[key]) for key in ("samples", "genes")}
        return cls(**{**told, **files, **lists, "file": Path(told["file"]), "scores": scores})

    def of_build(self, files: Mapping[str, Path] | None, build: Build) -> Path | None:
        """The file for a build, where the site has one."""
        return (files or {}).get(str(build))
