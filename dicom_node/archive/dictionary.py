"""What the DICOM dictionary says of a tag (PS3.6)."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from pydicom.datadict import dictionary_has_tag, get_entry


class Entry(NamedTuple):
    """What the DICOM dictionary says of a tag (PS3.6)."""

    vr: str
    keyword: str
    name: str


@lru_cache(8192)
def entry_of(tag: int) -> Entry:
    """The dictionary's entry; VR ``UN`` and no keyword for private, unknown and repeating ones (overlays, curves)."""
    if not dictionary_has_tag(tag):
        return Entry("UN", "", "")
    vr, _, name, _, keyword = get_entry(tag)
    return Entry(vr, keyword, name)


def name_of(tag: int) -> str:
    """``(0020,000D) Study Instance UID``."""
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X}) {entry_of(tag).name}".rstrip()
