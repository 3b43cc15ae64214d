"""Settings of the patients' record: whose numbers are whose, what is taken from it, and where it is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator

from dicom_node.peer_settings import Section


class IdentifierSettings(Section):
    """A system that numbers patients, and the issuer by which images name it."""

    system: Annotated[str, Field(min_length=1)]  # FHIR identifier.system, or HL7 assigning authority (CX-4)
    issuer: Annotated[str, Field(min_length=1, max_length=64)]  # Issuer of Patient ID (0010,0021)


class EhrSettings(Section):
    """``[ehr]``."""

    identifiers: tuple[IdentifierSettings, ...] = Field(default=(), strict=False)
    default_issuer: Annotated[str, Field(max_length=64)] = (
        ""  # of patient IDs of images that name none; empty: not known
    )
    mapping: Annotated[Path, Field(strict=False)] | None = None  # features of the site's own, beside those shipped

    @field_validator("identifiers")
    @classmethod
    def _are_told_once(cls, entries: tuple[IdentifierSettings, ...]) -> tuple[IdentifierSettings, ...]:
        systems = [entry.system for entry in entries]
        for index, system in enumerate(systems):
            if system in systems[:index]:
                raise ValueError(f"@{index}.system@{system!r} stands twice; a system has one issuer")
        return entries

    def issuer_of(self, system: str) -> str:
        """The issuer of numbers of a system; empty: the site has not said."""
        return next((entry.issuer for entry in self.identifiers if entry.system == system), "")

    def anchored(self, folder: Path) -> EhrSettings:
        """The same, with relative paths counted from ``folder``."""
        return self.model_copy(update={"mapping": self.mapping and (folder / self.mapping.expanduser()).resolve()})
