"""How an object was described before others coerced it, as its Original Attributes Sequence tells (PS3.3 C.12.1)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from dicom_node.archive.coercion import COERCE, originals, scan
from dicom_node.archive.dictionary import entry_of
from dicom_node.archive.elements import mapped_data_set, value_of
from dicom_node.archive.header import attributes_of
from dicom_node.archive.walk import Element
from dicom_node.domain.study import Header

_CHARACTER_SET = 0x00080005


def before_coercion(path: Path, header: Header) -> Iterator[Header]:
    """The header as it was before the last coercion, before the one before it, and so on; a correction ends it.

    Raises:
        DicomNodeError: the file cannot be read as DICOM.
        OSError: it cannot be read at all.
    """
    with mapped_data_set(path) as found:
        scanned = scan(found)
        character_set = scanned.get(_CHARACTER_SET)
        named = Element(_CHARACTER_SET, "CS", value_of(found.data, character_set)) if character_set else None
        for item in reversed(list(originals(found, scanned))):
            if item.reason != COERCE:
                return
            told = {
                raw.tag: Element(raw.tag, raw.vr, value_of(found.data, raw))
                for raw in item.previous
                if not raw.undefined and raw.vr != "SQ"
            }
            known = {_CHARACTER_SET: named} if named else {}
            values = attributes_of({**known, **told}, little_endian=item.little_endian)
            attributes = dict(header.attributes)
            for keyword in (entry_of(tag).keyword for tag in told):
                attributes.pop(keyword, None)
                if keyword in values:
                    attributes[keyword] = values[keyword]
            header = replace(header, attributes=attributes)
            yield header
