"""Settings of genomes: the site's reference sequences, scores, ClinVar and genes, and what a reader may use."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from dicom_node.peer_settings import Section

BuildName = Literal["GRCh37", "GRCh38"]
SomeFile = Annotated[Path, Field(strict=False)]


class ScoreSettings(Section):
    """A polygenic score that is computed for every genome of its build."""

    file: SomeFile  # of the PGS Catalog, harmonised or in a named build
    part: bool = False  # it holds a part of the score's variants on purpose
    reference: SomeFile | None = None  # made by ``genomics reference``: gives z

    def anchored(self, folder: Path) -> ScoreSettings:
        """The same, with relative paths counted from ``folder``."""
        reference = self.reference and _anchored(self.reference, folder)
        return self.model_copy(update={"file": _anchored(self.file, folder), "reference": reference})


class GenomicsSettings(Section):
    """``[genomics]``."""

    sequences: dict[BuildName, SomeFile] = Field(default_factory=dict)  # FASTA with its .fai beside it
    annotations: dict[BuildName, SomeFile] = Field(default_factory=dict)  # Ensembl's GFF3, for bcftools csq
    clinvar: dict[BuildName, SomeFile] = Field(default_factory=dict)  # clinvar.vcf.gz as published
    hgnc: SomeFile | None = None  # hgnc_complete_set.txt, for the names of genes
    genes: tuple[str, ...] = Field(default=(), strict=False)  # the panel, by HGNC symbol
    scores: tuple[ScoreSettings, ...] = Field(default=(), strict=False)
    least_overlap: Annotated[float, Field(gt=0, le=1)] = 0.75  # share of a score's variants that must be called
    least_quality: Annotated[int, Field(ge=0)] = 20  # GQ of a reference block
    least_stars: Annotated[int, Field(ge=0, le=4)] = 1  # of a pathogenic classification that counts in a statement
    memory_mb: Annotated[int, Field(ge=200)] = 2000  # of a reader's process
    cpu_seconds: Annotated[int, Field(ge=1)] = 3600  # likewise

    @model_validator(mode="after")
    def _fit_together(self) -> GenomicsSettings:
        for build in self.annotations:
            if build not in self.sequences:
                raise ValueError(f"@annotations@consequences need the sequence too: set sequences.{build}")
        files = [score.file for score in self.scores]
        twice = next((file for file in files if files.count(file) > 1), None)
        if twice:
            raise ValueError(f"@scores@{twice} stands twice")
        return self

    def anchored(self, folder: Path) -> GenomicsSettings:
        """The same, with relative paths counted from ``folder``."""
        by_build = {
            key: {build: _anchored(file, folder) for build, file in getattr(self, key).items()}
            for key in ("sequences", "annotations", "clinvar")
        }
        scores = tuple(score.anchored(folder) for score in self.scores)
        return self.model_copy(
            update={**by_build, "scores": scores, "hgnc": self.hgnc and _anchored(self.hgnc, folder)}
        )


def _anchored(path: Path, folder: Path) -> Path:
    return (folder / path.expanduser()).resolve()
