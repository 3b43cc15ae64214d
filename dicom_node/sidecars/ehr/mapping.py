"""Which codes and units of a record make which feature: ``features.toml`` as shipped, and the site's own beside it."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from dicom_node.errors import ConfigurationError

SHIPPED = Path(__file__).with_name("features.toml")

# Scheme of the mapping -> FHIR system; HL7 v2 names of the same schemes (table 0396).
SYSTEMS = {
    "LN": "http://loinc.org",
    "SCT": "http://snomed.info/sct",
    "RXNORM": "http://www.nlm.nih.gov/research/umls/rxnorm",
    "I10": "http://hl7.org/fhir/sid/icd-10",
    "I10C": "http://hl7.org/fhir/sid/icd-10-cm",
}
_HL7 = {"LN": "LN", "LOINC": "LN", "SCT": "SCT", "SNM": "SCT", "I10": "I10", "I10C": "I10C", "RXN": "RXNORM"}
_SCHEME_OF = {system: scheme for scheme, system in SYSTEMS.items()}

From = Literal["Observation", "Condition", "MedicationRequest", "FamilyMemberHistory"]
Conversion = float | tuple[float, float]


class _Entry(BaseModel):
    """``[[features]]``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)]
    title: Annotated[str, Field(min_length=1)]
    from_: Annotated[From, Field(alias="from")]
    codes: Annotated[tuple[Annotated[str, Field(pattern=r"^[A-Z0-9]+ \S+$")], ...], Field(min_length=1)]
    panels: tuple[Annotated[str, Field(pattern=r"^[A-Z0-9]+ \S+$")], ...] = ()
    unit: str = ""
    units: dict[str, Conversion] = Field(default_factory=dict)
    at_least: float | None = None
    at_most: float | None = None
    values: dict[str, str] = Field(default_factory=dict)
    active: bool = False
    relatives: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _fits_together(self) -> _Entry:
        if self.from_ == "Observation" and bool(self.units) == bool(self.values):
            raise ValueError("an Observation is a number with units, or one of values")
        if self.unit and self.units.get(self.unit) not in (1, (1, 0)):
            raise ValueError(f"the unit {self.unit} must be among units, with the factor 1")
        return self


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Annotated[str, Field(min_length=1, max_length=16)]
    features: Annotated[tuple[_Entry, ...], Field(min_length=1)]


@dataclass(frozen=True, slots=True)
class Source:
    """How one feature is taken."""

    name: str
    title: str
    from_type: str  # of the resources it is taken from
    codes: tuple[tuple[str, str], ...]  # (scheme, code); a code may end in *
    unit: str
    units: Mapping[str, tuple[float, float]]  # UCUM unit -> factor and offset to the feature's own
    at_least: float | None  # plausible
    at_most: float | None
    values: Mapping[tuple[str, str], str]  # (scheme, code) of an answer -> the feature's value
    active: bool  # a Condition that has ended says nothing
    relatives: tuple[str, ...]  # codes of relationships that count
    transform: str  # id and version, for the report
    panels: tuple[tuple[str, str], ...] = ()  # of observations that hold it as a component: servers search by these

    def takes(self, scheme: str, code: str) -> bool:
        """Whether a code is one of its own."""
        return any(
            scheme == own and (code == wanted or (wanted.endswith("*") and code.startswith(wanted[:-1])))
            for own, wanted in self.codes
        )

    def converted(self, value: float, unit: str) -> tuple[float | None, str, str]:
        """A number in the feature's own unit, that unit, and why it is none: its unit, or not plausible."""
        if unit not in self.units:
            return None, self.unit, f"its unit is {unit or 'not told'}, none of {', '.join(self.units)}"
        factor, offset = self.units[unit]
        found = value if (factor, offset) == (1, 0) else value * factor + offset
        if self.at_least is not None and found < self.at_least:
            return None, self.unit, f"{found:g} {self.unit} is not plausible: below {self.at_least:g}"
        if self.at_most is not None and not found <= self.at_most:
            return None, self.unit, f"{found:g} {self.unit} is not plausible: above {self.at_most:g}"
        return found, self.unit, ""


@dataclass(frozen=True, slots=True)
class FeatureMapping:
    """All features that are taken."""

    sources: tuple[Source, ...]

    def taking(self, from_type: str) -> Iterator[Source]:
        """Those that are taken from one type of resource."""
        return (source for source in self.sources if source.from_type == from_type)

    def codes(self, from_type: str, names: frozenset[str] | None = None) -> list[str]:
        """``system|code`` of what is searched for; of these features, or of all. Codes with * are left out.

        FHIR's search parameter ``code`` looks at no component, so the codes of panels are among them.
        """
        found = [
            f"{SYSTEMS[scheme]}|{code}"
            for source in self.taking(from_type)
            if names is None or source.name in names
            for scheme, code in (*source.codes, *source.panels)
            if scheme in SYSTEMS and not code.endswith("*")
        ]
        return list(dict.fromkeys(found))


def load(own: Path | None = None) -> FeatureMapping:
    """The shipped mapping; what the site's own has by the same name counts instead.

    Raises:
        ConfigurationError: with file and key.
    """
    found = {source.name: source for source in _read(SHIPPED)}
    if own is not None:
        found |= {source.name: source for source in _read(own)}
    return FeatureMapping(tuple(found.values()))


def scheme_of(system: str) -> str:
    """The mapping's name of a FHIR system or an HL7 v2 coding system; ``LOCAL`` of any other."""
    return _SCHEME_OF.get(system) or _HL7.get(system.upper(), "LOCAL")


def _read(file: Path) -> tuple[Source, ...]:
    try:
        told = _File.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"cannot be read: {error}", file=file, key="ehr.mapping") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part + 1) if isinstance(part, int) else part for part in first["loc"])
        raise ConfigurationError(str(first["msg"]), file=file, key=key) from error
    origin = "ehr" if file == SHIPPED else f"site:{file.name}"
    return tuple(_source(entry, f"{origin}/{told.version}:{entry.name}") for entry in told.features)


def _source(entry: _Entry, transform: str) -> Source:
    pairs = {unit: by if isinstance(by, tuple) else (by, 0.0) for unit, by in entry.units.items()}
    return Source(
        name=entry.name,
        title=entry.title,
        from_type=entry.from_,
        codes=tuple(_code(text) for text in entry.codes),
        unit=entry.unit,
        units=pairs,
        at_least=entry.at_least,
        at_most=entry.at_most,
        values={_code(text): value for text, value in entry.values.items()},
        active=entry.active,
        relatives=entry.relatives,
        transform=transform,
        panels=tuple(_code(text) for text in entry.panels),
    )


def _code(text: str) -> tuple[str, str]:
    scheme, _, code = text.partition(" ")
    return scheme, code
