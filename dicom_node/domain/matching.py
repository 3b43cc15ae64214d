"""Attribute matching of queries (PS3.4 C.2.2.2): single values, lists of UIDs, wildcards, ranges, names. Pure.

A query's key becomes a :class:`Key`, which tells whether an attribute's values match. Which way of matching is used
follows from the VR, as the standard has it; a key that cannot be meant for its VR is refused.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Test = Callable[[str], bool]

_WILD = frozenset(("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"))
_RANGED = {
    "DA": re.compile(r"\d{8}"),
    "TM": re.compile(r"\d{2}(\d{2}(\d{2}(\.\d{1,6})?)?)?"),
    "DT": re.compile(r"\d{4}(\d{2}(\d{2}(\d{2}(\d{2}(\d{2}(\.\d{1,6})?)?)?)?)?)?([+-]\d{4})?"),
}
_NUMERIC = frozenset(("DS", "FD", "FL", "IS", "SL", "SS", "SV", "UL", "US", "UV"))
_TEXTUAL = _WILD | {"AS", "AT"}
_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
_SIGNED_OFFSET = re.compile(r"[+-]\d{4}$")


@dataclass(frozen=True, slots=True)
class Key:
    """What a query asks of one attribute."""

    path: tuple[str, ...]  # tags as 8 hexadecimal digits, of sequences first
    vr: str
    text: str  # as it was asked for
    test: Test | None  # None: universal, every object matches

    @property
    def tag(self) -> str:
        """The first tag of the path."""
        return self.path[0]

    @property
    def single(self) -> str:
        """The one value that is asked for, literally; empty where it is a range, a list or has wildcards."""
        plain = self.vr not in _RANGED and not set(self.text) & set("*?") and "," not in self.text
        return self.text if plain and self.test is not None else ""

    @property
    def uids(self) -> tuple[str, ...]:
        """The UIDs that are asked for."""
        return _list(self.text) if self.vr == "UI" and self.test is not None else ()

    def matches(self, model: dict[str, Any]) -> bool:
        """Whether a data set in the JSON model has a value that is asked for."""
        return self.test is None or any(self.test(value) for value in _values(model, self.path, self.vr))


def key(path: Sequence[str], vr: str, text: str, *, fuzzy: bool = False) -> Key:
    """A key of a query. ``fuzzy``: names match by the beginnings of their parts, without regard to order.

    Raises:
        ValueError: the text cannot be a key for this VR; says why.
    """
    text = text.strip(" \0")
    if text in ("", "*", '""'):
        return Key(tuple(path), vr, text, None)
    return Key(tuple(path), vr, text, _test(vr, text, fuzzy))


def date_range(text: str) -> tuple[str, str]:
    """First and last day (YYYYMMDD) that a key for a date asks for; empty where the range is open."""
    return _range(text) if "-" in text else (text, text)


def _test(vr: str, text: str, fuzzy: bool) -> Test:
    if vr == "UI":
        wanted = frozenset(_list(text))
        faulty = next((uid for uid in wanted if not re.fullmatch(r"[0-9.]{1,64}", uid)), None)
        if faulty is not None:
            raise ValueError(f"{faulty[:80]!r} is no UID; several are separated by commas, wildcards are not for UIDs")
        return wanted.__contains__
    if vr in _RANGED:
        return _ranged(vr, text)
    if vr == "PN":
        return _similar(text) if fuzzy and not set(text) & set("*?") else _named(text)
    if vr in _NUMERIC:
        return _number(vr, text)
    if vr in _TEXTUAL:
        return re.compile(_pattern(text), re.DOTALL).fullmatch if set(text) & set("*?") else text.__eq__  # type: ignore[return-value]
    raise ValueError(f"attributes of VR {vr} cannot be searched for")


def _list(text: str) -> tuple[str, ...]:
    return tuple(filter(None, (part.strip() for part in re.split(r"[,\\]", text))))


def _ranged(vr: str, text: str) -> Test:
    # The offset of a DT ends with a sign and digits, and is no range.
    isolated = _RANGED[vr].fullmatch(text) is not None
    first, last = (text, text) if isolated or "-" not in text else _range(text)
    for part in (first, last):
        if part and not _RANGED[vr].fullmatch(part):
            form = {"DA": "YYYYMMDD", "TM": "HHMMSS", "DT": "YYYYMMDDHHMMSS"}[vr]
            raise ValueError(f"{text!r} is neither {form} nor a range such as {form}-{form}")
    if not first and not last:
        raise ValueError(f"{text!r} is a range without ends")

    def within(value: str) -> bool:
        value = _SIGNED_OFFSET.sub("", value).replace(":", "") if vr != "DA" else value.replace(".", "")
        if isolated:
            return value.startswith(_SIGNED_OFFSET.sub("", text)) if vr != "DA" else value == text
        # The end of a range holds as a prefix: until 12 means until 12:59:59.
        return bool(value) and (not first or value >= first[: len(value)]) and (not last or value[: len(last)] <= last)

    return within


def _range(text: str) -> tuple[str, str]:
    first, dash, last = text.partition("-")
    if not dash or "-" in last:
        raise ValueError(f"{text!r} is no range")
    return first.strip(), last.strip()


def _number(vr: str, text: str) -> Test:
    try:
        wanted = float(text)
    except ValueError:
        raise ValueError(f"{text[:80]!r} is no number") from None

    def equal(value: str) -> bool:
        try:
            return float(value) == wanted
        except ValueError:
            return False

    return equal


def _pattern(text: str) -> str:
    return "".join(".*" if letter == "*" else "." if letter == "?" else re.escape(letter) for letter in text)


def _plain(text: str) -> str:
    """Without case and accents: names may be compared so (PS3.4 C.2.2.2.1)."""
    decomposed = unicodedata.normalize("NFKD", text)
    return "".join(letter for letter in decomposed if not unicodedata.combining(letter)).casefold()


def _named(text: str) -> Test:
    groups = [_plain(group).rstrip("^ ") for group in text.split("=")]
    patterns = [re.compile(_pattern(group), re.DOTALL) for group in groups]

    def named(value: str) -> bool:
        has = [_plain(group).rstrip("^ ") for group in value.split("=")]
        if len(patterns) == 1:  # any way of writing the name may be meant
            return any(patterns[0].fullmatch(group) for group in has)
        has += [""] * (len(patterns) - len(has))
        return all(
            not wanted or pattern.fullmatch(group)
            for wanted, pattern, group in zip(groups, patterns, has, strict=False)
        )

    return named


def _similar(text: str) -> Test:
    wanted = _words(text)

    def similar(value: str) -> bool:
        has = _words(value)
        return all(any(word.startswith(part) for word in has) for part in wanted)

    return similar


def _words(text: str) -> list[str]:
    return [word for word in re.split(r"[\s^=,.\-']+", _plain(text)) if word]


def _values(model: dict[str, Any], path: Sequence[str], vr: str) -> list[str]:
    """The attribute's values as text; of a path, those in all items."""
    values = model.get(path[0], {}).get("Value", [])
    if len(path) > 1:
        return [found for item in values if isinstance(item, dict) for found in _values(item, path[1:], vr)]
    if vr == "PN":
        return ["=".join(value.get(group, "") for group in _GROUPS).rstrip("=") for value in values if value]
    return [str(value) for value in values if value is not None]
