"""The DICOM JSON Model."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.charset import convert_encodings
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicom_node.archive.dicom_json import bulk_of, model_of, of_plain, text_of_model, with_base
from dicom_node.errors import HeaderError, NotDicomError


def model(archive: Any, syntax: str = ExplicitVRLittleEndian, **attributes: Any) -> dict[str, Any]:
    return model_of(archive.put(archive.image(1, **attributes), syntax=syntax))


SYNTAXES = pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])


@SYNTAXES
def test_values_of_each_kind(archive: Any, syntax: str) -> None:
    item = Dataset()
    item.CodeValue, item.CodeMeaning = "T-1", "Größe"
    found = model(
        archive,
        syntax,
        PatientName="Yamada^Tarou=山田^太郎=やまだ^たろう",
        ImageType=["ORIGINAL", "", "AXIAL"],
        WindowCenter=["40", "-600.5"],
        PatientBirthDate="",
        FrameIncrementPointer=[0x00181063, 0x00540010],
        ProcedureCodeSequence=[item],
        RequestAttributesSequence=[],
        ExposureInmAs=1.5,
        SmallestImagePixelValue=-3,
    )
    assert found["00100010"] == {
        "vr": "PN",
        "Value": [{"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎", "Phonetic": "やまだ^たろう"}],
    }
    assert found["00080008"] == {"vr": "CS", "Value": ["ORIGINAL", None, "AXIAL"]}
    assert found["00281050"] == {"vr": "DS", "Value": [40, -600.5]}
    assert found["00200013"] == {"vr": "IS", "Value": [1]}
    assert found["00100030"] == {"vr": "DA"}
    assert found["00280009"] == {"vr": "AT", "Value": ["00181063", "00540010"]}
    assert found["00081032"]["Value"] == [
        {"00080100": {"vr": "SH", "Value": ["T-1"]}, "00080104": {"vr": "LO", "Value": ["Größe"]}}
    ]
    assert found["00400275"] == {"vr": "SQ"}
    assert found["00189332"] == {"vr": "FD", "Value": [1.5]}
    assert found["00280106"] == {"vr": "SS", "Value": [-3]}
    assert found["00280010"] == {"vr": "US", "Value": [4]}
    assert found["7FE00010"] == {"vr": "OW", "BulkDataURI": "7FE00010"}
    assert found["00080005"] == {"vr": "CS", "Value": ["ISO_IR 192"]}
    json.loads(text_of_model(found))


@pytest.mark.parametrize(
    ("character_set", "name"),
    [
        ("ISO_IR 100", "Müller^Jürgen"),
        ("ISO_IR 144", "Люкceмбypг"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
        ("GB18030", "Wang^XiaoDong=王^小东="),
    ],
)
def test_text_of_any_character_set_becomes_unicode(archive: Any, character_set: Any, name: str) -> None:
    image = archive.image(1, SpecificCharacterSet=character_set, PatientName=name)
    groups = dict(zip(("Alphabetic", "Ideographic", "Phonetic"), name.rstrip("=").split("="), strict=False))
    raw = image["PatientName"].value.encode(convert_encodings(image.SpecificCharacterSet))
    found = model_of(archive.put(_written_in(archive, image, character_set, raw)))
    assert found["00100010"]["Value"] == [groups]


def _written_in(archive: Any, image: Dataset, character_set: Any, name: bytes) -> bytes:
    """A file whose patient's name stands there in exactly these bytes."""
    del image.PatientName
    whole = bytes(archive.part10(image))
    terms = character_set if isinstance(character_set, str) else "\\".join(character_set)
    name += b" " * (len(name) % 2)
    before = whole.index(b"\x10\x00\x20\x00LO")  # Patient ID stands behind it
    element = b"\x10\x00\x10\x00PN" + len(name).to_bytes(2, "little") + name
    assert terms.encode() in whole
    return whole[:before] + element + whole[before:]


def test_text_without_a_character_set_is_read_as_it_was_meant(archive: Any) -> None:
    for raw, name in (("Müller".encode(), "Müller"), ("Müller".encode("latin-1"), "Müller")):
        image = archive.image(1, SpecificCharacterSet="ISO_IR 6")
        written = _written_in(archive, image, "ISO_IR 6", raw).replace(b"ISO_IR 6", b"        ")
        assert model_of(archive.put(written))["00100010"]["Value"] == [{"Alphabetic": name}]


def test_numbers_that_are_none_stand_as_they_are(archive: Any) -> None:
    whole = archive.part10(archive.image(1, SliceThickness="1.23456789")).replace(b"1.23456789", b"about two ")
    assert model_of(archive.put(whole))["00180050"] == {"vr": "DS", "Value": ["about two"]}


@SYNTAXES
def test_what_a_bulk_data_uri_names_is_there(archive: Any, syntax: str) -> None:
    channel = Dataset()
    channel.WaveformBitsAllocated = 16
    stored = expected = bytes(range(256)) * 3
    if syntax == ExplicitVRBigEndian:  # pydicom writes the bytes of OW as they are given
        expected = bytes(stored[at ^ 1] for at in range(len(stored)))
    channel.add_new(0x54001010, "OW", stored)
    path = archive.put(archive.image(1, WaveformSequence=[Dataset(), channel]), syntax=syntax)
    found = model_of(path)
    where = found["54000100"]["Value"][1]["54001010"]["BulkDataURI"]
    assert where == "54000100/2/54001010"
    with bulk_of(path, where) as value:
        data = b"".join(value.pieces(100))
    assert data == expected
    with bulk_of(path, "7FE00010") as value:
        assert value.end - value.start == 32
    for absent in ("54000100/3/54001010", "54000100/0/54001010", "00081140", "54000100", "54000100/2"):
        with pytest.raises(HeaderError, match="no value"), bulk_of(path, absent):
            pass


def test_addresses_become_absolute_and_text_that_looks_like_one_does_not(archive: Any) -> None:
    text = text_of_model(model(archive, StudyDescription='x"BulkDataURI":"y'))
    found = json.loads(with_base(text, "http://h/i"))
    assert found["7FE00010"]["BulkDataURI"] == "http://h/i/bulkdata/7FE00010"
    assert found["00081030"]["Value"] == ['x"BulkDataURI":"y']


def test_plain_attributes_of_the_ledger_become_the_same_model(archive: Any) -> None:
    path = archive.put(archive.image(1, PatientName="Doe^Jane=山田", WindowCenter=["40", "50.5"]))
    arrival = archive.arrival(path.read_bytes())
    plain, whole = of_plain(arrival.header.attributes), model_of(path)
    assert plain["00100010"] == whole["00100010"]
    assert plain["00281050"] == whole["00281050"]
    assert plain.keys() <= whole.keys()
    differing = {tag for tag in plain if plain[tag] != whole[tag]}
    assert differing <= {"00080005"}


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damage_is_refused_or_read_and_never_worse(tmp_path: Path, archive_factory: Any, data: Any) -> None:
    whole = bytearray(archive_factory.part10(archive_factory.image(1)))
    for _ in range(data.draw(st.integers(1, 8))):
        whole[data.draw(st.integers(132, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged.dcm"
    path.write_bytes(whole)
    with contextlib.suppress(HeaderError, NotDicomError):
        text_of_model(model_of(path))
