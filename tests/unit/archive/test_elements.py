"""Elements found where they stand, in every encoding."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence

from dicom_node.archive.elements import DEFLATED, EXPLICIT_BIG, IMPLICIT_LITTLE, Encoding, mapped_data_set, value_of
from dicom_node.errors import HeaderError, NotDicomError

EXPLICIT = "1.2.840.10008.1.2.1"
SYNTAXES = [EXPLICIT, IMPLICIT_LITTLE, EXPLICIT_BIG]


def encoded(syntax: str, undefined: bool = False) -> bytes:
    inner = Dataset()
    inner.AccessionNumber, inner.ReferencedRequestSequence = "A1", Sequence([Dataset(), Dataset()])
    outer = Dataset()
    outer.PatientID, outer.RequestAttributesSequence, outer.Rows = "P1", Sequence([inner, inner]), 4
    outer["RequestAttributesSequence"].is_undefined_length = undefined
    for item in outer.RequestAttributesSequence:
        item.is_undefined_length_sequence_item = undefined
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = syntax == IMPLICIT_LITTLE, syntax != EXPLICIT_BIG
    write_dataset(buffer, outer)
    return bytes(buffer.getvalue())


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_elements_and_items_cover_every_byte(syntax: str, undefined: bool) -> None:
    data = encoded(syntax, undefined)
    encoding = Encoding.of(syntax, data)
    found = list(encoding.elements(data, 0, len(data)))
    assert [raw.tag for raw in found] == [0x00100020, 0x00280010, 0x00400275]
    assert [raw.start for raw in found] == [0, *(raw.end for raw in found[:-1])]
    assert found[-1].end == len(data)
    assert value_of(data, found[0]) == b"P1"
    items = list(encoding.items(data, found[-1]))
    inside = [[raw.tag for raw in encoding.elements(data, *item)] for item in items]
    assert inside == [[0x00080050, 0x0040A370]] * 2


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_an_element_is_encoded_as_it_is_read(syntax: str) -> None:
    encoding = Encoding.of(syntax, encoded(syntax))
    data = encoding.element(0x00100020, "LO", b"ABC")
    (raw,) = encoding.elements(data, 0, len(data))
    assert (raw.tag, raw.vr, value_of(data, raw)) == (0x00100020, "LO", b"ABC ")


def test_implicit_vr_under_an_explicit_syntax_is_seen() -> None:
    assert Encoding.of(EXPLICIT, encoded(IMPLICIT_LITTLE)) == Encoding("<", True)


def test_what_does_not_fit_its_vr_is_refused() -> None:
    with pytest.raises(HeaderError, match="PatientID is too long"):
        Encoding("<", False).element(0x00100020, "LO", b"x" * 70000)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_cut_off_anywhere_it_ends_or_is_refused(syntax: str) -> None:
    data = encoded(syntax, undefined=True)
    encoding = Encoding.of(syntax, data)
    for end in range(len(data)):
        try:
            found = list(encoding.elements(data[:end], 0, end))
        except NotDicomError:
            continue
        assert all(raw.end <= end for raw in found)


def test_something_else_than_items_is_damage() -> None:
    data = struct.pack("<HH2sHL", 0x40, 0x275, b"SQ", 0, 0xFFFFFFFF) + struct.pack("<HHL", 8, 8, 0) * 2
    with pytest.raises(NotDicomError, match="damaged"):
        list(Encoding("<", False).elements(data, 0, len(data)))


def test_sequences_without_end_are_refused() -> None:
    begin = struct.pack("<HH2sHL", 0x40, 0x275, b"SQ", 0, 0xFFFFFFFF) + struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
    with pytest.raises(HeaderError, match="nested deeper"):
        list(Encoding("<", False).elements(begin * 200, 0, len(begin) * 200))


@pytest.mark.parametrize("content", [b"", b"\0\1\2 no deflated data"])
def test_a_file_without_a_data_set_is_refused(archive: Any, content: bytes) -> None:
    head = archive.part10(archive.image(1), DEFLATED if content else EXPLICIT)
    path = archive.put(head[: 144 + int.from_bytes(head[140:144], "little")] + content)
    with pytest.raises(NotDicomError), mapped_data_set(path):
        pytest.fail("it was opened")
