import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag
from result_cases import received, series

from dicom_node.archive import characters
from dicom_node.archive.documents import part_10
from dicom_node.errors import HeaderError
from workers.results.source import read

# Names of PS3.5 annexes H, I and K, as bytes.
NAMES = {
    ("ISO_IR 100",): (b"M\xfcller^J\xf6rg", "Müller^Jörg"),
    ("ISO_IR 144",): (b"\xbb\xee\xda\x63\x65\xdc\xd1\x79\x70\xd3", None),
    ("", "ISO 2022 IR 87"): (
        b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
        "Yamada^Tarou=山田^太郎=やまだ^たろう",
    ),
    ("ISO 2022 IR 13", "ISO 2022 IR 87"): (
        b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J=\x1b$B$d$^$@\x1b(J^\x1b$B$?$m$&\x1b(J",
        "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
    ),
    ("", "ISO 2022 IR 149"): (
        b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
        "Hong^Gildong=洪^吉洞=홍^길동",
    ),
    ("GB18030",): (b"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab", "Wang^XiaoDong=王^小东"),
    ("ISO_IR 192",): ("Wang^XiaoDong=王^小东".encode(), "Wang^XiaoDong=王^小东"),
}


@pytest.mark.parametrize("character_set", NAMES)
def test_a_name_is_read_and_its_character_set_kept(character_set: tuple[str, ...]) -> None:
    raw, text = NAMES[character_set]
    image = series(1, SpecificCharacterSet=list(character_set))[0]
    del image.PatientName
    source = read([received(image, (0x00100010, "PN", raw))])
    assert source.character_set == character_set
    if text is not None:
        assert str(source.patient_and_study.PatientName) == text
    assert characters.choose(source.patient_and_study, source.character_set) == character_set


def test_undeclared_bytes_that_are_utf_8_are_read_as_utf_8() -> None:
    image = series(1)[0]
    del image.PatientName
    source = read([received(image, (0x00100010, "PN", "Dvořák^Antonín".encode()))])
    assert str(source.patient_and_study.PatientName) == "Dvořák^Antonín"
    assert source.character_set == ("ISO_IR 192",)


def test_undeclared_bytes_that_are_not_utf_8_keep_their_bytes() -> None:
    image = series(1)[0]
    del image.PatientName
    raw = b"M\xfcller^J\xf6rg\x9f"
    source = read([received(image, (0x00100010, "PN", raw), (0x00081030, "LO", "ü".encode()))])
    assert str(source.patient_and_study.PatientName).encode("latin-1") == raw
    assert source.character_set == ("ISO_IR 100",)


def test_plain_ascii_needs_no_character_set() -> None:
    assert read(series(1)).character_set == ()


def test_an_unreadable_name_is_refused_by_name() -> None:
    image = series(1, SpecificCharacterSet="ISO_IR 192")[0]
    del image.PatientName
    with pytest.warns(UserWarning), pytest.raises(HeaderError, match="PatientName") as caught:
        read([received(image, (0x00100010, "PN", b"M\xfcller"))])
    assert caught.value.reason == "character-set"
    assert caught.value.remedy


def test_an_unreadable_description_does_not_hold_up_the_result() -> None:
    image = series(1, SpecificCharacterSet="GB18030")[0]
    with pytest.warns(UserWarning):
        source = read([received(image, (0x00081030, "LO", b"\xcd\xf5\xd0"))])
    assert source.patient_and_study.StudyDescription.startswith("王")


@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"), exclude_characters="\\^=")))
def test_the_chosen_character_set_holds_every_letter(text: str) -> None:
    dataset = Dataset()
    dataset.PatientName = f"Yamada^Tarou=山田^{text}"
    dataset.StudyDescription = text
    chosen = characters.choose(dataset, ("", "ISO 2022 IR 87"))
    dataset.SpecificCharacterSet = list(chosen)
    again = received(dataset)
    assert str(again.PatientName).rstrip(" ") == str(dataset.PatientName).rstrip(" ")
    assert (again.get("StudyDescription") or "").rstrip(" ") == text.rstrip(" ")


def test_letters_outside_ascii_are_not_written_undeclared() -> None:
    dataset = Dataset()
    dataset.StudyDescription = "± 가"
    assert characters.choose(dataset, ("", "ISO 2022 IR 149")) == ("ISO_IR 192",)


def test_text_in_sequences_counts() -> None:
    dataset, item = Dataset(), Dataset()
    item.CodeMeaning = "Łódź"
    dataset.ProcedureCodeSequence = [item]
    assert characters.choose(dataset, ("ISO_IR 100",)) == ("ISO_IR 192",)
    assert characters.choose(dataset, ("ISO_IR 101",)) == ("ISO_IR 101",)


def test_an_unknown_character_set_becomes_utf_8() -> None:
    dataset = Dataset()
    dataset.StudyDescription = "é"
    assert characters.choose(dataset, ("KLINGON",)) == ("ISO_IR 192",)


def test_what_stands_encoded_does_not_count_and_stays_encoded() -> None:
    dataset = Dataset()
    dataset.StudyDescription = "é"
    dataset[0x00321060] = RawDataElement(BaseTag(0x00321060), "LO", 4, b"\xb3\xf3d ", 0, False, True)
    assert characters.choose(dataset, ("ISO_IR 100",)) == ("ISO_IR 100",)
    assert dataset.get_item(0x00321060).is_raw


def test_what_stands_encoded_is_written_as_it_is() -> None:
    (image, *_) = series(1)
    image[0x00082112] = RawDataElement(
        BaseTag(0x00082112), "SQ", 8, b"\xfe\xff\x00\xe0\xff\xff\xff\xff", 0, False, True
    )
    image.PatientName = "Müller"
    assert b"\x08\x00\x12\x21SQ\0\0\x08\0\0\0\xfe\xff\x00\xe0\xff\xff\xff\xff" in part_10(
        image, ("ISO_IR 100",), "TEST"
    )
