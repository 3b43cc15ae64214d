"""The Native DICOM Model in XML (PS3.19 A.1), from the JSON Model. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from dicom_node.archive.dicom_json import Model
from dicom_node.archive.dictionary import entry_of

_NAMESPACE = "http://dicom.nema.org/PS3.19/models/NativeDICOM"
_NAME_PARTS = ("FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix")
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, 2.2


def native(model: Model) -> bytes:
    """A data set as an XML document in UTF-8."""
    head = f'<?xml version="1.0" encoding="UTF-8"?><NativeDicomModel xmlns="{_NAMESPACE}" xml:space="preserve">'
    return (head + "".join(_attributes(model)) + "</NativeDicomModel>").encode("utf-8")


def _attributes(model: Model) -> Iterator[str]:
    for tag, element in sorted(model.items()):
        keyword = entry_of(int(tag, 16)).keyword
        named = f" keyword={quoteattr(keyword)}" if keyword else ""
        creator = _creator(model, tag)
        owned = f" privateCreator={quoteattr(_text(creator))}" if creator else ""
        yield f'<DicomAttribute tag="{tag}" vr="{element["vr"]}"{named}{owned}>'
        yield from _content(element)
        yield "</DicomAttribute>"


def _creator(model: Model, tag: str) -> str:
    """Who a private attribute belongs to (PS3.5 7.8.1)."""
    if not int(tag[:4], 16) & 1 or int(tag[4:], 16) < 0x1000:
        return ""
    values = model.get(f"{tag[:4]}00{tag[4:6]}", {}).get("Value") or [""]
    return str(values[0] or "")


def _content(element: dict[str, Any]) -> Iterator[str]:
    if "BulkDataURI" in element:
        yield f"<BulkData uri={quoteattr(element['BulkDataURI'])}/>"
    elif "InlineBinary" in element:
        yield f"<InlineBinary>{element['InlineBinary']}</InlineBinary>"
    for number, value in enumerate(element.get("Value", ()), start=1):
        if element["vr"] == "SQ":
            yield f'<Item number="{number}">'
            yield from _attributes(value)
            yield "</Item>"
        elif element["vr"] == "PN":
            yield f'<PersonName number="{number}">'
            yield from _name(value or {})
            yield "</PersonName>"
        else:
            yield f'<Value number="{number}">{"" if value is None else escape(_text(value))}</Value>'


def _name(value: dict[str, str]) -> Iterator[str]:
    for group in ("Alphabetic", "Ideographic", "Phonetic"):
        if value.get(group):
            parts = zip(_NAME_PARTS, value[group].split("^"), strict=False)
            inner = "".join(f"<{part}>{escape(_text(text))}</{part}>" for part, text in parts if text)
            yield f"<{group}>{inner}</{group}>"


def _text(value: object) -> str:
    return _NOT_XML.sub("\ufffd", str(value))
