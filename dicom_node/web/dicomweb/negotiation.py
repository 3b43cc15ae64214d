"""Which of what can be given is wanted: Accept headers and transfer syntaxes (RFC 9110 12.5.1, PS3.18 8.7). Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from dicom_node.reception.multipart import MediaType

EXPLICIT = "1.2.840.10008.1.2.1"
OCTETS = "application/octet-stream"
DICOM, DICOM_JSON, DICOM_XML, JSON = (
    "application/dicom",
    "application/dicom+json",
    "application/dicom+xml",
    "application/json",
)
RELATED = "multipart/related"
LONGEST_ACCEPT = 8192  # characters; nobody lists that many types

# Media type of a compressed frame by its transfer syntax (PS3.18 Table 8.7.3-2 and -5).
MEDIA_TYPE_OF: Mapping[str, str] = {
    **dict.fromkeys((f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 57, 70)), "image/jpeg"),
    "1.2.840.10008.1.2.5": "image/dicom-rle",
    **dict.fromkeys((f"1.2.840.10008.1.2.4.{number}" for number in (80, 81)), "image/jls"),
    **dict.fromkeys((f"1.2.840.10008.1.2.4.{number}" for number in (90, 91)), "image/jp2"),
    **dict.fromkeys((f"1.2.840.10008.1.2.4.{number}" for number in (92, 93)), "image/jpx"),
    **dict.fromkeys((f"1.2.840.10008.1.2.4.{number}" for number in (201, 202, 203)), "image/jphc"),
    **dict.fromkeys((f"1.2.840.10008.1.2.4.{number}" for number in (100, 101)), "video/mpeg"),
    **dict.fromkeys((f"1.2.840.10008.1.2.4.{number}" for number in (102, 103, 104, 105, 106)), "video/mp4"),
}
_ALIASES = {"image/x-dicom-rle": "image/dicom-rle", "image/x-jls": "image/jls"}


@dataclass(frozen=True, slots=True)
class Range:
    """One media range of an Accept header."""

    name: str  # in small letters; "*/*", "image/*", …; of multipart/related that of its parts
    multipart: bool
    syntax: str  # its transfer-syntax parameter; empty where there is none
    quality: float  # 0 to 1
    place: int  # in the header
    parameters: Mapping[str, str] = field(default_factory=dict)

    @property
    def precision(self) -> int:
        """The more precise range counts for a type."""
        return 0 if self.name == "*/*" else 1 if self.name.endswith("/*") else 2 + bool(self.syntax)


@dataclass(frozen=True, slots=True)
class Offer:
    """Something that can be given."""

    media_type: str
    multipart: bool
    syntax: str = ""  # transfer syntax of what is given; empty where there is none
    stored: bool = False  # whether it is given as it stands in the file


def ranges_of(accept: str, also: Sequence[str] = ()) -> list[Range]:
    """The media ranges of an Accept header, the most wanted first. ``also``: ``accept`` parameters of the address."""
    found = []
    for place, text in enumerate(_split(",".join([*also] if also else [accept])[:LONGEST_ACCEPT])):
        media = MediaType.parse(text)
        parameters = dict(media.parameters)
        name = text.partition(";")[0].strip().lower()
        if name == "*":
            name = "*/*"
        if name.count("/") != 1:
            continue
        quality = _quality(parameters.pop("q", "1"))
        multipart = name == RELATED or name == "multipart/*"
        inner = parameters.get("type", "*/*").lower() if multipart else name
        syntax = parameters.get("transfer-syntax", "")
        found.append(Range(_ALIASES.get(inner, inner), multipart, syntax, quality, place, parameters))
    return sorted(found, key=lambda each: (-each.quality, -each.precision, each.place))


def choose(ranges: Sequence[Range], offers: Sequence[Offer]) -> Offer | None:
    """The offer that is wanted most; of equal ones the one that stands first. No ranges: the first offer.

    A range that names no transfer syntax means Explicit VR Little Endian, or that of an image's media type; ``*``
    means the stored one (PS3.18 8.7.3.5.2).
    """
    if not ranges:
        return offers[0] if offers else None
    refused = [each for each in ranges if each.quality == 0]
    for wanted in ranges:
        if wanted.quality == 0:
            continue
        for offer in offers:
            if _fits(wanted, offer) and not any(_excludes(each, offer) for each in refused):
                return offer
    return None


def refusal(ranges: Sequence[Range], offers: Sequence[Offer]) -> str:
    """Why nothing can be given, in words."""
    able = dict.fromkeys(_told(offer) for offer in offers)
    asked = ", ".join(dict.fromkeys(_asked(each) for each in ranges)) or "nothing that can be read"
    return f"not acceptable: asked for {asked}; can be had: {', '.join(able) or 'nothing'}"


def _fits(wanted: Range, offer: Offer) -> bool:
    if wanted.name == "*/*" and not wanted.multipart:
        # Anything: then also parts, and any syntax that the standard makes the default.
        return wanted.syntax in ("", "*", offer.syntax)
    if wanted.multipart != offer.multipart:
        return False
    if wanted.name.endswith("/*"):
        if wanted.name != "*/*" and not offer.media_type.startswith(wanted.name[:-1]):
            return False
    elif wanted.name != offer.media_type:
        return False
    if not offer.syntax:
        return True
    if wanted.syntax == "*":
        return offer.stored
    if wanted.syntax:
        return wanted.syntax == offer.syntax
    return offer.syntax == EXPLICIT or offer.media_type.startswith(("image/", "video/"))


def _excludes(refused: Range, offer: Offer) -> bool:
    return (
        refused.name == offer.media_type
        and refused.multipart == offer.multipart
        and refused.syntax in ("", offer.syntax)
    )


def _asked(wanted: Range) -> str:
    syntax = f"; transfer-syntax={wanted.syntax}" if wanted.syntax else ""
    return f'{RELATED}; type="{wanted.name}"{syntax}' if wanted.multipart else f"{wanted.name}{syntax}"


def _told(offer: Offer) -> str:
    syntax = f"; transfer-syntax={offer.syntax}" if offer.syntax else ""
    return f'{RELATED}; type="{offer.media_type}"{syntax}' if offer.multipart else f"{offer.media_type}{syntax}"


def _quality(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return 0.0  # nothing is known of how much it is wanted
    return min(value, 1.0) if value > 0 else 0.0


def _split(header: str) -> Iterator[str]:
    """The parts of a header between commas that stand outside quotes."""
    part, quoted, escaped = "", False, False
    for letter in header:
        if escaped:
            escaped = False
        elif quoted and letter == "\\":
            escaped = True
        elif letter == '"':
            quoted = not quoted
        if letter == "," and not quoted:
            if part.strip():
                yield part
            part = ""
        else:
            part += letter
    if part.strip():
        yield part
