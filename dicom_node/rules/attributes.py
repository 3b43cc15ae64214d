"""What a condition may name: DICOM keywords and what we know of the series besides."""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydicom.datadict import dictionary_VM, dictionary_VR, keyword_dict, tag_for_keyword

from dicom_node.domain.study import SeriesView
from dicom_node.errors import RuleError

NUMBER_VRS = frozenset({"DS", "FD", "FL", "IS", "SL", "SS", "SV", "UL", "US", "US or SS", "UV"})
TEXT_VRS = frozenset({"AE", "AS", "CS", "DA", "DT", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT"})
LONGEST_SAMPLE = 64  # values in the sample of an attribute that may have any number of them


class Kind(StrEnum):
    """Type of a value in a condition; the text is how messages name it."""

    NUMBER = "a number"
    TEXT = "text"
    BOOLEAN = "true or false"
    NUMBERS = "a list of numbers"
    TEXTS = "a list of texts"

    @property
    def item(self) -> Kind | None:
        """Kind of a list's values; None for what is no list."""
        return {Kind.NUMBERS: Kind.NUMBER, Kind.TEXTS: Kind.TEXT}.get(self)

    @property
    def listed(self) -> Kind | None:
        """Kind of a list of such values; None where conditions know no such list."""
        return {Kind.NUMBER: Kind.NUMBERS, Kind.TEXT: Kind.TEXTS}.get(self)


class Unknown(StrEnum):
    """Why a series has no value for a name."""

    ABSENT = "absent"  # or empty
    VARIES = "varies"  # the instances of the series differ
    MALFORMED = "malformed"  # not of the type its VR demands, e.g. a DS that is no number


Value = float | str | tuple[float, ...] | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a condition stands, for error messages."""

    file: Path | None
    line: int | None  # 1-based
    key: str  # e.g. "rules[1].all[2]"

    def error(self, message: str, remedy: str = "") -> RuleError:
        """An error that names this place."""
        return RuleError(message, file=self.file, line=self.line, key=self.key, remedy=remedy)


@dataclass(frozen=True, slots=True)
class Attribute:
    """A name that conditions may use."""

    name: str
    kind: Kind
    vr: str  # empty for names of our own
    count: int  # values at most; LONGEST_SAMPLE where there is no bound

    def __str__(self) -> str:
        return f"{self.name} ({self.kind}{f', VR {self.vr}' if self.vr else ''})"

    @property
    def sample(self) -> Value:
        """A value of the right type, to try conditions on."""
        item: float | str = 1.0 if self.kind in (Kind.NUMBER, Kind.NUMBERS) else "A"
        return item if self.kind.item is None else (item,) * self.count  # type: ignore[return-value]

    def read(self, series: SeriesView) -> Value | Unknown:
        """The value all instances of the series agree on. Text is stripped; an empty value is absent."""
        if self.name in OWN_NAMES:
            found: Any = getattr(series, self.name)
        elif self.name in series.varying:
            return Unknown.VARIES
        else:
            found = series.attributes.get(self.name)
        values = list(found) if isinstance(found, list | tuple) else [found]
        if all(value is None or (isinstance(value, str) and not _stripped(value)) for value in values):
            return Unknown.ABSENT
        if self.kind.item is None:
            return _plain(values[0], self.kind) if len(values) == 1 else Unknown.MALFORMED
        plain = [_plain(value, self.kind.item) for value in values]
        return Unknown.MALFORMED if Unknown.MALFORMED in plain else tuple(plain)


OWN_NAMES = {
    "instances": Attribute("instances", Kind.NUMBER, "", 1),
    "peer": Attribute("peer", Kind.TEXT, "", 1),
    "called_ae": Attribute("called_ae", Kind.TEXT, "", 1),
    "calling_ae": Attribute("calling_ae", Kind.TEXT, "", 1),
}


def attribute(name: str, place: Place) -> Attribute:
    """Look a name up in the DICOM dictionary (PS3.6) and among our own names.

    Raises:
        RuleError: there is no such name, or its values cannot stand in a condition.
    """
    if name in OWN_NAMES:
        return OWN_NAMES[name]
    tag = tag_for_keyword(name)
    if tag is None:
        raise place.error(f"there is no DICOM keyword {name!r}{_close_to(name)}", _remedy(name))
    vr, vm = dictionary_VR(tag), dictionary_VM(tag)
    many = vm != "1"
    if vr in NUMBER_VRS:
        kind = Kind.NUMBERS if many else Kind.NUMBER
    elif vr in TEXT_VRS:
        kind = Kind.TEXTS if many else Kind.TEXT
    else:
        held = "a sequence" if vr == "SQ" else "no number and no text"
        raise place.error(
            f"{name} (VR {vr}) holds {held} and cannot be used in a condition",
            "use an attribute of the image itself that is a number or text",
        )
    return Attribute(name, kind, vr, _count(vm))


def _count(vm: str) -> int:
    last = vm.rsplit("-", 1)[-1]
    return int(last) if last.isdigit() else LONGEST_SAMPLE


def _close_to(name: str) -> str:
    names = {known.lower(): known for known in (*keyword_dict, *OWN_NAMES) if known}
    close = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.6)
    return f"; did you mean {names[close[0]]}?" if close else ""


def _remedy(name: str) -> str:
    own = ", ".join(OWN_NAMES)
    text = f'; write text in quotes: "{name}"' if name.isupper() else ""
    return f"use a keyword of the DICOM dictionary (PS3.6) or one of: {own}{text}"


def _plain(value: object, kind: Kind) -> Any:
    if kind is Kind.TEXT:
        usable = isinstance(value, str) and not any("\ud800" <= letter <= "\udfff" for letter in value)
        return _stripped(str(value)) if usable else Unknown.MALFORMED
    if isinstance(value, bool) or not isinstance(value, int | float):
        return Unknown.MALFORMED
    try:
        number = float(value)
    except OverflowError:
        return Unknown.MALFORMED
    return number if math.isfinite(number) else Unknown.MALFORMED


def _stripped(text: str) -> str:
    return text.strip(" \0\t\r\n")
