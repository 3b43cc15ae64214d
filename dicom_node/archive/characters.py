"""Text of the source images in Unicode, and the Specific Character Set that holds a result's text.

A result keeps the character set of its source where every letter of it, ours included, can be written in it, and is
UTF-8 (ISO_IR 192) where not (PS3.3 C.12.1.1.2, PS3.5 6.1).

Images that declare no character set may hold ASCII only, and often hold more. Such text is read as UTF-8 where all
of it is valid UTF-8, which other encodings' text practically never is, and byte by byte as ISO_IR 100 otherwise. Either
way the result declares that character set and holds the same bytes as the images.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator, Sequence

from pydicom import config
from pydicom.charset import convert_encodings, decode_bytes, encode_string, python_encoding
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.valuerep import PersonName

from dicom_node.errors import HeaderError

TEXT_VRS = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
UTF_8 = ("ISO_IR 192",)
LATIN_1 = ("ISO_IR 100",)
REPLACED = "\ufffd"  # what pydicom puts where bytes are not of the declared character set

_ASCII = ("", "ISO_IR 6", "ISO 2022 IR 6")  # the default repertoire
_LATIN_1_LETTER = re.compile("[\x80-\xff]")
_DELIMITERS = {0x0D, 0x0A, 0x09, 0x0C, 0x5C}


def declared(dataset: Dataset) -> tuple[str, ...]:
    """Specific Character Set (0008,0005) of a data set; empty when it declares none, or only the default one."""
    value = dataset.get("SpecificCharacterSet")
    terms = tuple(value) if isinstance(value, list | tuple | MultiValue) else (str(value or ""),)
    return () if all(term in _ASCII for term in terms) else terms


def texts(elements: Iterable[DataElement]) -> Iterator[str]:
    """Every text in the elements and in the sequences below them that is not plain ASCII."""
    for element in elements:
        if element.VR == "SQ":
            for item in element.value:
                yield from texts(item)
        elif element.VR in TEXT_VRS and element.value:
            for value in element.value if isinstance(element.value, list | MultiValue) else (element.value,):
                text = str(value)
                if not text.isascii():
                    yield text


def undeclared(found: Sequence[str]) -> tuple[str, ...]:
    """The character set of text that was read byte by byte because none was declared; empty for plain ASCII."""
    if not found:
        return ()
    return UTF_8 if all(_as_utf_8(text) is not None for text in found) else LATIN_1


def copy(element: DataElement, character_set: Sequence[str], *, reread: bool) -> DataElement:
    """The element with its text in Unicode; with ``reread``, text read byte by byte is read again as UTF-8."""
    if element.VR == "SQ":
        return DataElement(
            element.tag, "SQ", [_copy_item(item, character_set, reread=reread) for item in element.value]
        )
    value = element.value
    if element.VR in TEXT_VRS and value:
        many = isinstance(value, list | MultiValue)
        read = [_text(str(part), element.VR, reread=reread) for part in (value if many else (value,))]
        value = read if many else read[0]
    # Copied as it is, even where it breaks a rule of its VR: it names the patient and the order.
    return DataElement(element.tag, element.VR, value, validation_mode=config.IGNORE)


def check_identifying(element: DataElement, character_set: Sequence[str]) -> None:
    """Refuse an identifying attribute whose bytes are not of its declared character set."""
    if any(REPLACED in text for text in texts((element,))):
        raise HeaderError(
            f"{element.keyword} {element.tag} cannot be read in its Specific Character Set {list(character_set)}",
            reason="character-set",
            remedy="correct Specific Character Set (0008,0005) where the images come from and send them again",
        )


def choose(dataset: Dataset, preferred: Sequence[str]) -> tuple[str, ...]:
    """``preferred`` when all text of the data set survives being written in it, else UTF-8.

    Elements that stand in it encoded are left out: they are not written anew.
    """
    encoded = {element.tag for element in dataset.values() if element.is_raw}
    found = set(texts(dataset[tag] for tag in dataset.keys() - encoded))
    if not found:
        return tuple(preferred)
    if not preferred or any(term not in python_encoding for term in preferred):
        return UTF_8
    if preferred[0] in _ASCII and any(map(_LATIN_1_LETTER.search, found)):
        return UTF_8  # pydicom takes an empty first value for ISO_IR 100, and would write bytes that are not declared
    encodings = convert_encodings(list(preferred))
    return tuple(preferred) if all(_survives(text, encodings) for text in found) else UTF_8


def _copy_item(item: Dataset, character_set: Sequence[str], *, reread: bool) -> Dataset:
    copied = Dataset()
    for element in item:
        if element.keyword != "SpecificCharacterSet":
            copied.add(copy(element, character_set, reread=reread))
    return copied


def _text(text: str, vr: str, *, reread: bool) -> str | PersonName:
    if reread:
        text = _as_utf_8(text) or text
    # With an encoding of its own, or pydicom would keep the bytes it first wrote for every later character set.
    return PersonName(text, ("utf8",), validation_mode=config.IGNORE) if vr == "PN" else text


def _as_utf_8(text: str) -> str | None:
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return None


def _survives(text: str, encodings: Sequence[str]) -> bool:
    """Whether text, as a name and as plain text, reads back the same."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom warns of the replacement characters that are looked for here
        name = PersonName(PersonName(text).encode(encodings), encodings)
        plain = decode_bytes(encode_string(text, encodings), encodings, _DELIMITERS)
    return str(name) == text and plain == text


def cut(text: str, length: int) -> str:
    """The text in one line of at most ``length`` characters, without the backslash that separates values."""
    text = " ".join(text.replace("\\", "/").split())
    return text if len(text) <= length else text[: max(length - 3, 0)].rstrip() + "..."[:length]
