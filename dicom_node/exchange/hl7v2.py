"""HL7 version 2 messages: bytes -> what they say, and the acknowledgement that answers them.

A message is decoded by its own MSH-18 (table 0211); one that names no character set and is not ASCII must be UTF-8.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone, tzinfo

from dicom_node.errors import InputError

_CHARACTER_SETS = {
    "": "utf-8",
    "ASCII": "ascii",
    "UNICODE UTF-8": "utf-8",
    "UTF-8": "utf-8",
    **{f"8859/{part}": f"iso8859_{part}" for part in (1, 2, 3, 4, 5, 6, 7, 8, 9, 15)},
}
_TIME = re.compile(r"(\d{4})(\d\d)?(\d\d)?(?:(\d\d)(\d\d)(\d\d)?(?:\.(\d{1,6})\d*)?)?([+-]\d{4})?")
_DELIMITERS = "^~\\&"
_ESCAPE = re.compile(r"\\([^\\]*)\\")
_ESCAPED = {"F": "|", "S": "^", "T": "&", "R": "~", "E": "\\"}
_CONTROL = re.compile(r"[\r\n\x00-\x1f\x7f|^~\\&]")


@dataclass(frozen=True, slots=True)
class Number:
    """A patient's number: CX."""

    value: str
    authorities: tuple[str, ...]  # names of who assigned it: namespace, universal id, urn:oid:<universal id>


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment; fields are counted as HL7 counts them, from 1."""

    name: str
    fields: tuple[str, ...]  # as they came, escaped

    def field(self, number: int) -> str:
        """A field as it came; empty where there is none."""
        return self.fields[number - 1] if 0 < number <= len(self.fields) else ""


@dataclass(frozen=True, slots=True)
class Message:
    """What every message says of itself, and its segments."""

    application: str  # MSH-3
    facility: str  # MSH-4
    kind: str  # MSH-9.1, e.g. ADT
    trigger: str  # MSH-9.2, e.g. A40
    control_id: str  # MSH-10
    version: str  # MSH-12
    told_at: str  # MSH-7, as it came
    segments: tuple[Segment, ...] = field(repr=False)

    @property
    def sender(self) -> str:
        """Who sent it."""
        return f"{self.application}|{self.facility}"

    def named(self, name: str) -> Iterator[Segment]:
        """Segments of a name, in order."""
        return (segment for segment in self.segments if segment.name == name)

    def first(self, name: str) -> Segment:
        """The first segment of a name; an empty one where there is none."""
        return next(self.named(name), Segment(name, ()))


def parse(data: bytes) -> Message:
    """Read one message.

    Raises:
        InputError: it is none, or in a character set that nobody knows.
    """
    segments = tuple(_segment(line) for line in _decoded(data).split("\r") if line.strip())
    header = segments[0]
    if not header.field(2).startswith(_DELIMITERS):
        raise InputError("no HL7 message: its delimiters are not |^~\\&", reason="not-hl7")
    if not header.field(9):
        raise InputError("no HL7 message: it does not begin with MSH and its type", reason="not-hl7")
    kind, _, rest = header.field(9).partition("^")
    return Message(
        application=parts(header.field(3))[0],
        facility=parts(header.field(4))[0],
        kind=kind,
        trigger=rest.partition("^")[0],
        control_id=header.field(10),
        version=parts(header.field(12))[0],
        told_at=header.field(7),
        segments=segments,
    )


def parts(text: str) -> list[str]:
    """Components of a field, unescaped; at least one."""
    return [_plain(each) for each in text.split("^")]


def part(text: str, number: int) -> str:
    """One component, counted from 1; empty where there is none."""
    found = parts(text)
    return found[number - 1] if number <= len(found) else ""


def numbers(text: str) -> list[Number]:
    """Patients' numbers of a field of type CX, each repetition."""
    found = []
    for repetition in text.split("~"):
        components = repetition.split("^")
        value = _plain(components[0]).strip()
        authority = [_plain(each).strip() for each in (components[3] if len(components) > 3 else "").split("&")]
        named = [each for each in authority[:2] if each]
        if len(authority) > 2 and authority[2].upper() == "ISO" and authority[1]:
            named.append(f"urn:oid:{authority[1]}")
        if value and value != '""':
            found.append(Number(value, tuple(named)))
    return found


def time_of(text: str, zone: tzinfo) -> datetime | None:
    """A time (TS, DTM) of at least a day, aware; without an offset it is of ``zone``. None: it is none."""
    match = _TIME.fullmatch(text.split("^")[0].strip())
    if match is None or match[3] is None:
        return None
    year, month, day, hour, minute, second = (int(each or 0) for each in match.groups()[:6])
    micro = int((match[7] or "0").ljust(6, "0"))
    offset = zone
    if match[8]:
        minutes = int(match[8][1:3]) * 60 + int(match[8][3:])
        offset = timezone(timedelta(minutes=minutes if match[8][0] == "+" else -minutes))
    try:
        return datetime(year, month, day, hour, minute, second, micro, tzinfo=offset)
    except ValueError:
        return None


def acknowledge(message: Message | None, code: str, text: str = "", at: datetime | None = None) -> bytes:
    """The answer to a message: MSH and MSA, and ERR where it was not taken; ASCII.

    ``code``: AA (taken), AE (it cannot be used) or AR (not of a kind that is taken).
    """
    now = (at or datetime.now(UTC)).strftime("%Y%m%d%H%M%S%z")
    trigger, version = (message.trigger, message.version) if message else ("", "2.5")
    to = "|".join(_clean(each) for each in (message.application, message.facility)) if message else "|"
    control = _clean(message.control_id) if message else ""
    lines = [f"MSH|^~\\&|DICOMNODE||{to}|{now}||ACK^{_clean(trigger)}|{control or now}|P|{_clean(version) or '2.5'}"]
    lines.append(f"MSA|{code}|{control}" + (f"|{_clean(text)[:80]}" if text else ""))
    if text:
        lines.append(f"ERR|||{'207' if code == 'AE' else '200'}|E||||{_clean(text)[:250]}")
    return ("\r".join(lines) + "\r").encode("ascii", "replace")


def _decoded(data: bytes) -> str:
    content = data.removeprefix(b"\xef\xbb\xbf").strip(b"\r\n \x00")
    header = content[:2000].split(b"\r")[0].split(b"\n")[0]
    if not header.startswith(b"MSH") or len(header) < 9:
        raise InputError("no HL7 message: it does not begin with MSH", reason="not-hl7")
    fields = header.split(header[3:4])
    told = fields[17].decode("latin-1").split("~")[0].strip().upper() if len(fields) > 17 else ""
    codec = _CHARACTER_SETS.get(told)
    if codec is None:
        raise InputError(f"its character set is {told[:20]!r}, which is not known", reason="character-set")
    try:
        text = content.decode(codec)
    except UnicodeDecodeError as error:
        raise InputError(f"it is not in {told or 'UTF-8'}", reason="character-set") from error
    return text.replace("\r\n", "\r").replace("\n", "\r")


def _segment(line: str) -> Segment:
    name, *fields = line.split("|")
    return Segment(name.strip(), tuple(["|", *fields] if name == "MSH" else fields))  # MSH-1 is the delimiter itself


def _plain(text: str) -> str:
    """Without escapes of delimiters; other escapes, of formats, are left out."""
    return _ESCAPE.sub(lambda found: _ESCAPED.get(found[1], ""), text)


def _clean(text: str) -> str:
    """What may stand in a field of our own."""
    return _CONTROL.sub(" ", text).strip()
