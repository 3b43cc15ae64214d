"""Objects with changed attributes: nothing else is touched, and what was changed can be found in them."""

from __future__ import annotations

import hashlib
import io
import zlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
)

from dicom_node.archive.coercion import coerced
from dicom_node.archive.header import read_header
from dicom_node.archive.part10 import read_part10
from dicom_node.domain.changes import Changes, Coercion
from dicom_node.errors import InputError

AT = datetime(2026, 3, 4, 5, 6, 7, 89, tzinfo=UTC)
MC = Changes(
    set={"IssuerOfPatientID": "MC", "InstitutionName": "Main Clinic"},
    prefix={"PatientID": "MC-", "AccessionNumber": "MC"},
    remove=("PatientAddress", "StationName"),
)
SYNTAXES = [
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
]


def store(archive: Any, syntax: str = ExplicitVRLittleEndian, **attributes: Any) -> Path:
    image = archive.image(1, PatientAddress="Hill 1", **attributes)
    content = archive.part10(image, syntax)
    if syntax == DeflatedExplicitVRLittleEndian:
        content = _deflated(content)
    path: Path = archive.put(content)
    return path


def _deflated(content: bytes) -> bytes:
    head = _head(content)
    packer = zlib.compressobj(wbits=-15)
    packed = packer.compress(content[len(head) :]) + packer.flush()
    return head + packed + b"\0" * (len(packed) % 2)


def _head(content: bytes) -> bytes:
    """Preamble and file meta information."""
    return content[: 144 + int.from_bytes(content[140:144], "little")]


def change(path: Path, changes: Changes = MC, system: str = "NODE", at: datetime = AT) -> bytes:
    with coerced(path, Coercion(changes, system, at)) as file:
        return file.read()


def read(content: bytes) -> Dataset:
    return dcmread(io.BytesIO(content))


def restored(dataset: Dataset) -> Dataset:
    """The data set as it was before the last item of its Original Attributes Sequence."""
    before = Dataset()
    before.update(dataset)
    *kept, last = dataset.OriginalAttributesSequence
    for element in last.ModifiedAttributesSequence[0]:
        if element.is_empty:
            before.pop(element.tag, None)
        else:
            before[element.tag] = element
    del before.OriginalAttributesSequence
    if kept:
        before.OriginalAttributesSequence = Sequence(kept)
    return before


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_every_transfer_syntax(archive: Any, syntax: str) -> None:
    path = store(archive, syntax)
    before = path.read_bytes()
    new = read(change(path))
    old = dcmread(path)
    assert path.read_bytes() == before
    assert new.file_meta == old.file_meta
    assert (new.PatientID, new.IssuerOfPatientID, new.AccessionNumber) == ("MC-P1", "MC", "MCA1")
    assert (new.InstitutionName, "PatientAddress" in new) == ("Main Clinic", False)
    (item,) = new.OriginalAttributesSequence
    assert (item.ModifyingSystem, item.ReasonForTheAttributeModification) == ("NODE", "COERCE")
    assert (item.AttributeModificationDateTime, item.SourceOfPreviousValues) == (
        "20260304050607.000089+0000",
        "MODALITY",
    )
    (previous,) = item.ModifiedAttributesSequence
    assert (previous.PatientID, previous.PatientAddress, previous.AccessionNumber) == ("P1", "Hill 1", "A1")
    assert previous["IssuerOfPatientID"].is_empty
    assert previous["InstitutionName"].is_empty
    assert "StationName" not in previous  # it was not there, and still is not
    assert restored(new) == old


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_what_is_changed_is_as_sound_as_before(archive: Any, syntax: str, tmp_path: Path) -> None:
    path = store(archive, syntax)
    file = tmp_path / "changed.dcm"
    file.write_bytes(change(path))
    old, new = read_part10(path), read_part10(file)
    assert (new.image_digest, new.transfer_syntax) == (old.image_digest, old.transfer_syntax)
    changed = {0x00100020, 0x00100021, 0x00080050, 0x00080080, 0x00101040}
    assert {tag: e for tag, e in new.elements.items() if tag not in changed | {0x04000561}} == {
        tag: e for tag, e in old.elements.items() if tag not in changed
    }


def test_without_a_change_not_a_byte_differs(archive: Any) -> None:
    for syntax in SYNTAXES[:3]:
        path = store(archive, syntax)
        assert change(path, Changes(remove=("PatientComments",))) == path.read_bytes()
        assert change(path, Changes(set={"StudyDescription": "x"}))[:144] == path.read_bytes()[:144]


def test_the_same_change_gives_the_same_bytes(archive: Any) -> None:
    path = store(archive)
    assert hashlib.sha256(change(path)).digest() == hashlib.sha256(change(path)).digest()


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_what_we_have_changed_is_not_changed_again(archive: Any, syntax: str) -> None:
    once = change(store(archive, syntax))
    again = archive.put(once)
    assert read(change(again)) == read(once)
    if syntax != DeflatedExplicitVRLittleEndian:
        assert change(again) == once


def test_two_systems_append_one_item_each(archive: Any) -> None:
    once = archive.put(change(store(archive)))
    other = Changes(set={"IssuerOfPatientID": "B", "StudyDescription": "b"}, prefix={"PatientID": "B-"})
    twice = read(change(once, other, "OTHER"))
    assert (twice.PatientID, twice.IssuerOfPatientID) == ("B-MC-P1", "B")
    assert [item.ModifyingSystem for item in twice.OriginalAttributesSequence] == ["NODE", "OTHER"]
    assert restored(twice) == dcmread(once)


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("syntax", SYNTAXES[:3])
def test_items_that_are_there_are_kept(archive: Any, undefined: bool, syntax: str) -> None:
    item = Dataset()
    item.ModifiedAttributesSequence = Sequence([Dataset()])
    item.ModifiedAttributesSequence[0].PatientID = "OLD"
    item.AttributeModificationDateTime, item.ModifyingSystem = "20200101", "MERGER"
    item.SourceOfPreviousValues, item.ReasonForTheAttributeModification = "", "CORRECT"
    image = archive.image(1, OriginalAttributesSequence=Sequence([item]))
    image["OriginalAttributesSequence"].is_undefined_length = undefined
    new = read(change(archive.put(archive.part10(image, syntax))))
    assert [found.ModifyingSystem for found in new.OriginalAttributesSequence] == ["MERGER", "NODE"]
    assert new.OriginalAttributesSequence[0] == item


@pytest.mark.parametrize(
    ("charset", "name"), [("ISO_IR 100", "Müller"), ("ISO_IR 192", "山田"), ("GB18030", "王小东"), ("ISO_IR 13", "ﾔﾏﾀﾞ")]
)
def test_character_sets_are_kept(archive: Any, charset: str, name: str, tmp_path: Path) -> None:
    image = archive.image(1, SpecificCharacterSet=charset, PatientName=name, PatientID=name, PatientAddress=name)
    data_set = io.BytesIO()
    image.save_as(data_set, implicit_vr=False, little_endian=True)
    new = read(change(archive.put(_head(archive.part10(image)) + data_set.getvalue())))
    assert (new.PatientID, new.PatientName, new.SpecificCharacterSet) == (f"MC-{name}", name, charset)
    previous = new.OriginalAttributesSequence[0].ModifiedAttributesSequence[0]
    assert (previous.PatientID, previous.PatientAddress) == (name, name)


def test_a_prefix_that_overflows_is_refused_by_name(archive: Any) -> None:
    path = store(archive, AccessionNumber="123456789012345")
    with pytest.raises(InputError, match=r"AccessionNumber would be .*17 characters; VR SH has 16") as error:
        change(path)
    assert (error.value.reason, bool(error.value.remedy)) == ("unchangeable", True)


@pytest.mark.parametrize("value", ["P1\\P2"])
def test_several_values_are_refused(archive: Any, value: str) -> None:
    with pytest.raises(InputError, match="several values"):
        change(store(archive, PatientID=value.split("\\")))


def test_an_empty_number_gets_no_prefix(archive: Any) -> None:
    new = read(change(store(archive, AccessionNumber="", PatientID="")))
    assert (new.AccessionNumber, new.PatientID) == ("", "")


def test_a_signed_object_is_refused(archive: Any) -> None:
    mac = Dataset()
    mac.MACIDNumber = 1
    with pytest.raises(InputError, match="digital signature"):
        change(store(archive, MACParametersSequence=Sequence([mac])))


@pytest.mark.parametrize("keyword", ["RequestAttributesSequence", "ReferencedRequestSequence"])
@pytest.mark.parametrize("undefined", [False, True])
def test_accession_numbers_of_requests_change_alike(archive: Any, keyword: str, undefined: bool) -> None:
    request = Dataset()
    request.AccessionNumber, request.RequestedProcedureID = "A1", "R1"
    path = store(archive, **{keyword: Sequence([request, Dataset()])})
    image = dcmread(path)
    image[keyword].is_undefined_length = undefined
    once = archive.put(change(archive.put(archive.part10(image))))
    new = read(change(once))  # once more changes nothing
    assert (new[keyword][0].AccessionNumber, new[keyword][0].RequestedProcedureID) == ("MCA1", "R1")
    previous = new.OriginalAttributesSequence[0].ModifiedAttributesSequence[0]
    assert previous[keyword][0].AccessionNumber == "A1"
    assert restored(new) == image


def test_group_lengths_of_old_objects_stay_right(archive: Any) -> None:
    content = store(archive).read_bytes()
    first = content.index(b"\x10\x00\x10\x00PN")
    length = content.index(b"\x18\x00\x50\x00DS") - first
    told = b"\x10\x00\x00\x00UL\x04\x00" + length.to_bytes(4, "little")
    new = change(archive.put(content[:first] + told + content[first:]))
    first = new.index(told[:8]) + 12
    assert int.from_bytes(new[first - 4 : first], "little") == new.index(b"\x18\x00\x50\x00DS") - first


def test_large_pixels_pass_through(archive: Any) -> None:
    pixels = np.arange(2_000_000, dtype=np.uint16).tobytes()
    new = read(change(store(archive, PixelData=pixels)))
    assert new.PixelData == pixels


@pytest.mark.parametrize("left", [0, 11, 101])
def test_damage_is_refused(archive: Any, left: int, tmp_path: Path) -> None:
    content = store(archive).read_bytes()
    file = tmp_path / "cut.dcm"
    file.write_bytes(content[: len(_head(content)) + left])
    with pytest.raises(InputError):
        change(file)


_TEXT = st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=0, max_size=12)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(SYNTAXES),
    st.fixed_dictionaries(
        {"PatientID": _TEXT, "AccessionNumber": _TEXT, "InstitutionName": _TEXT, "StationName": _TEXT}
    ),
    st.fixed_dictionaries(
        {}, optional={"IssuerOfPatientID": _TEXT.filter(bool), "StudyDescription": _TEXT.filter(bool)}
    ),
    st.sets(st.sampled_from(["InstitutionName", "StationName", "PatientComments", "Occupation"])),
)
def test_whatever_is_changed_once_and_can_be_recovered(
    archive_factory: Any, tmp_path_factory: pytest.TempPathFactory, syntax: str, given_: dict, put: dict, gone: set
) -> None:
    archive = archive_factory(tmp_path_factory.mktemp("archive"))
    path = store(archive, syntax, **given_)
    changes = Changes(set=put, prefix={"AccessionNumber": "X-", "PatientID": "Y-"}, remove=tuple(sorted(gone)))
    new_path = archive.put(change(path, changes))
    new, old = dcmread(new_path), dcmread(path)
    for keyword in changes.keywords:
        wanted = changes.value(keyword, old.get(keyword) or None)
        assert (new.get(keyword) or None) == (wanted or None)
    back = restored(new) if "OriginalAttributesSequence" in new else new
    for element in old:
        if not element.is_empty:
            assert back[element.tag] == element
    assert {e.tag for e in back if not e.is_empty} == {e.tag for e in old if not e.is_empty}
    assert read(change(new_path, changes)) == new
    assert read_header(new_path).pixel_digest == read_header(path).pixel_digest


def test_real_files_of_every_kind(archive: Any, test_data: Path) -> None:
    seen = 0
    for path in sorted((test_data / "pydicom_mixed").rglob("*.dcm")):
        try:
            old = dcmread(path)
            before = read_header(path)
        except Exception:  # noqa: BLE001, S112  not one to be sent on
            continue
        try:
            new = change(path, Changes(set={"InstitutionName": "Main Clinic"}))
        except InputError:
            continue
        seen += 1
        stored = archive.put(new)
        after = read_header(stored)
        assert after.pixel_digest == before.pixel_digest, path
        attributes = {**before.attributes, "InstitutionName": "Main Clinic"}
        assert after.attributes == attributes, path
        assert dcmread(stored).file_meta.TransferSyntaxUID == old.file_meta.TransferSyntaxUID
    assert seen > 20
