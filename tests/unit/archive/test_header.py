from __future__ import annotations

import hashlib
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
)

from dicom_node.archive import walk
from dicom_node.archive.header import identify, read_header
from dicom_node.archive.part10 import read_part10
from dicom_node.errors import DicomNodeError, HeaderError, NotDicomError


def dataset_of(file: bytes) -> bytes:
    """What follows the file meta information."""
    (length,) = struct.unpack("<L", file[140:144])
    return file[144 + length :]


def test_it_reads_what_the_index_needs(archive: Any) -> None:
    path = archive.put(archive.image(3))

    header = read_header(path)

    assert (header.study_instance_uid, header.series_instance_uid) == ("1.2.3.1", "1.2.3.1.1")
    assert (header.sop_instance_uid, header.sop_class_uid) == ("1.2.3.1.1.3", "1.2.840.10008.5.1.4.1.1.2")
    assert (header.patient_id, header.modality, header.frames) == ("P1", "CT", 1)
    assert (header.calling_ae, header.called_ae, header.peer) == ("MODALITY", "DICOMNODE", "10.0.0.7")
    assert header.association == "assoc-1"
    assert header.received_at.isoformat() == "2026-03-01T12:00:00+00:00"
    assert header.size == path.stat().st_size
    (plane,) = header.planes
    assert plane.position == (0.0, 0.0, 6.0)
    assert plane.pixel_spacing == (0.5, 0.5)


def test_digests_are_of_the_data_set_and_of_the_pixels(archive: Any) -> None:
    path = archive.put(archive.image(3))

    header = read_header(path)

    assert header.digest == hashlib.sha256(dataset_of(path.read_bytes())).hexdigest()
    assert header.pixel_digest == hashlib.sha256(bytes([3] * 32)).hexdigest()


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, JPEG2000Lossless]
)
def test_attributes_do_not_depend_on_the_transfer_syntax(archive: Any, syntax: str) -> None:
    plain = read_header(archive.put(archive.image(3)))
    other = read_header(archive.put(archive.image(3), syntax=syntax))

    assert other.attributes == plain.attributes
    assert other.planes == plain.planes
    assert other.transfer_syntax_uid == syntax
    assert other.pixel_digest == plain.pixel_digest  # 8-bit equal bytes have no byte order


def test_a_deflated_object_is_read_and_its_digest_is_of_the_bytes_as_stored(archive: Any) -> None:
    plain = archive.part10(archive.image(3))
    body = dataset_of(plain)
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    deflated = deflater.compress(body) + deflater.flush()
    meta = archive.part10(archive.image(3), syntax=ExplicitVRLittleEndian)[: -len(body)]
    # The longer UID changes lengths of the meta group; the group length may be wrong.
    uid = DeflatedExplicitVRLittleEndian.encode() + b"\0" * (len(DeflatedExplicitVRLittleEndian) % 2)
    old = struct.pack("<HH2sH", 2, 0x10, b"UI", 20) + ExplicitVRLittleEndian.encode() + b"\0"
    meta = meta.replace(old, struct.pack("<HH2sH", 2, 0x10, b"UI", len(uid)) + uid)

    header = read_header(archive.put(meta + deflated + b"\0" * (len(deflated) % 2)))

    assert header.transfer_syntax_uid == DeflatedExplicitVRLittleEndian
    assert header.digest == hashlib.sha256(deflated + b"\0" * (len(deflated) % 2)).hexdigest()
    assert header.pixel_digest == hashlib.sha256(bytes([3] * 32)).hexdigest()
    assert header.attributes == read_header(archive.put(plain)).attributes


def test_values_are_plain(archive: Any) -> None:
    dataset = archive.image(
        1,
        ImageType=["ORIGINAL", "PRIMARY"],
        KVP="120",
        PatientAge="052Y",
        WindowCenter=["40", "50.5"],
        PatientName="Müller^Jürgen=山田^太郎",
        PatientComments="one\\two",
        SmallestImagePixelValue=-5,
        BodyPartExamined="",
    )

    attributes = read_header(archive.put(dataset)).attributes

    assert attributes["ImageType"] == ["ORIGINAL", "PRIMARY"]
    assert attributes["KVP"] == 120.0
    assert attributes["PatientAge"] == "052Y"
    assert attributes["WindowCenter"] == [40.0, 50.5]
    assert attributes["PatientName"] == "Müller^Jürgen=山田^太郎"
    assert attributes["PatientComments"] == "one\\two"
    assert attributes["SmallestImagePixelValue"] == -5.0
    assert attributes["Rows"] == 4.0
    assert "BodyPartExamined" not in attributes
    assert "PixelData" not in attributes


@pytest.mark.parametrize(
    ("character_set", "stored", "text"),
    [
        (
            ["", "ISO 2022 IR 87"],
            b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
            "Yamada^Tarou=山田^太郎=やまだ^たろう",
        ),
        ("GB18030", "Wang^XiaoDong=王^小东".encode("gb18030"), "Wang^XiaoDong=王^小东"),
        ("ISO_IR 100", "Äneas^Rüdiger".encode("latin-1"), "Äneas^Rüdiger"),
        ("ISO_IR 144", "Люкceмбypг".encode("iso8859-5"), "Люкceмбypг"),
        ("GBK", "倎\\倎".encode("gbk"), ["倎", "倎"]),  # its second byte may be that of a backslash
    ],
)
def test_names_are_unicode_in_every_character_set(
    archive: Any, character_set: Any, stored: bytes, text: str | list[str]
) -> None:
    dataset = archive.image(1, SpecificCharacterSet=character_set)
    marker = b"X" * (len(stored) + len(stored) % 2)
    dataset.PatientName = marker.decode()
    content = archive.part10(dataset).replace(marker, stored.ljust(len(marker)))

    assert read_header(archive.put(content)).attributes["PatientName"] == text


def test_a_value_that_breaks_its_vr_is_left_out_and_the_rest_is_kept(archive: Any) -> None:
    content = archive.part10(archive.image(1, KVP="120", ExposureTime="100"))
    content = content.replace(b"DS\x04\x00120 ", b"DS\x04\x001,2 ")

    attributes = read_header(archive.put(content)).attributes

    assert "KVP" not in attributes
    assert attributes["ExposureTime"] == 100.0


def test_an_image_without_position_has_no_plane(archive: Any) -> None:
    assert read_header(archive.put(archive.image(1, ImagePositionPatient=None))).planes == ()


def test_a_report_has_no_frames(archive: Any) -> None:
    header = read_header(archive.put(archive.image(1, PixelData=None, Rows=None, Columns=None)))
    assert (header.frames, header.planes, header.pixel_digest) == (0, (), "")


def test_functional_groups_belong_to_the_image(archive: Any) -> None:
    def enhanced(position: list[float]) -> Dataset:
        item, plane = Dataset(), Dataset()
        plane.ImagePositionPatient = position
        item.PlanePositionSequence = [plane]
        return archive.image(1, NumberOfFrames="2", PerFrameFunctionalGroupsSequence=[item])

    one = read_header(archive.put(enhanced([0, 0, 0])))
    moved = read_header(archive.put(enhanced([0, 0, 1])))

    assert (one.frames, one.planes) == (2, ())
    assert one.pixel_digest != moved.pixel_digest


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"])
def test_an_object_without_its_uids_is_refused_by_name(archive: Any, keyword: str) -> None:
    path = archive.put(archive.image(1, **{keyword: None}))

    with pytest.raises(HeaderError) as caught:
        read_header(path)

    assert caught.value.reason == "no-uid"
    assert str(path) in str(caught.value)
    assert "is absent" in str(caught.value)
    assert caught.value.remedy


@pytest.mark.parametrize("uid", ["1.2.3.04", "1." + "2" * 62])
def test_odd_uids_are_taken(archive: Any, uid: str) -> None:
    assert read_header(archive.put(archive.image(1, StudyInstanceUID=uid))).study_instance_uid == uid


@pytest.mark.parametrize("uid", ["1.2.3x4", "1." + "2" * 64])
def test_what_is_no_uid_is_refused(archive: Any, uid: str) -> None:
    content = archive.part10(archive.image(1)).replace(
        b"\x20\x00\x0d\x00UI\x08\x001.2.3.1\x00",
        b"\x20\x00\x0d\x00UI" + struct.pack("<H", len(uid) + len(uid) % 2) + uid.encode() + b"\0" * (len(uid) % 2),
    )
    with pytest.raises(HeaderError, match=r"\(0020,000D\) Study Instance UID is no UID"):
        read_header(archive.put(content))


def test_every_cut_is_noticed_and_the_study_is_still_told(archive: Any) -> None:
    content = archive.part10(archive.image(1))
    body = len(dataset_of(content))
    for cut in range(1, body - 8):
        path = archive.put(content[:-cut])
        try:
            read_header(path)
        except (NotDicomError, HeaderError):
            continue
        # A cut between two elements leaves a data set that is whole, though without pixels.
        assert read_header(path).pixel_digest == ""
    last = archive.put(content[:-1])
    with pytest.raises(NotDicomError, match=r"ends inside \(7FE0,0010\) Pixel Data") as caught:
        read_header(last)
    assert caught.value.reason == "truncated"
    assert identify(last) == ("1.2.3.1", "1.2.3.1.1.1")


@pytest.mark.parametrize("content", [b"", b"hello", b"\0" * 200, b"\0" * 128 + b"DICM"])
def test_what_is_no_dicom_is_refused(archive: Any, content: bytes) -> None:
    path = archive.put(content)
    with pytest.raises((NotDicomError, HeaderError), match=str(path)):
        read_header(path)
    assert identify(path) == ("", "")


def test_a_length_of_three_gigabytes_costs_nothing(archive: Any) -> None:
    content = archive.part10(archive.image(1, PixelData=None))
    content += struct.pack("<HH2sHL", 0x7FE0, 0x10, b"OW", 0, 3 << 30) + b"\0" * 100
    with pytest.raises(NotDicomError, match="ends inside"):
        read_header(archive.put(content))


def test_a_deflated_bomb_is_refused(archive: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dicom_node.archive.content.LARGEST_INFLATED", 1 << 20)
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    header = struct.pack("<HH2sHL", 0x7FE0, 0x10, b"OW", 0, 8 << 20)
    body = deflater.compress(header + b"\0" * (8 << 20)) + deflater.flush()
    plain = archive.part10(archive.image(1))
    meta = plain[: -len(dataset_of(plain))].replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99")
    meta = meta.replace(struct.pack("<HH2sH", 2, 0x10, b"UI", 20), struct.pack("<HH2sH", 2, 0x10, b"UI", 22))
    with pytest.raises(HeaderError, match="larger than"):
        read_header(archive.put(meta + body))


def test_sequences_nested_without_end_are_refused(archive: Any) -> None:
    opened = struct.pack("<HH2sHL", 0x0040, 0xA730, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    with pytest.raises(HeaderError, match="nests sequences deeper"):
        read_header(archive.put(archive.part10(archive.image(1, PixelData=None)) + opened * 5000))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_is_read_or_refused_but_never_anything_else(archive: Any, tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(archive.part10(archive.image(1)))
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(128, len(content) - 1))
        content[at] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged.dcm"
    path.write_bytes(content)
    try:
        header = read_header(path)
    except DicomNodeError as error:
        assert error.message.startswith(str(path))
    else:
        assert header.study_instance_uid


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_what_is_read_at_once_is_what_is_read_step_by_step(archive: Any, tmp_path: Path, data: st.DataObject) -> None:
    inner, outer = Dataset(), Dataset()
    inner.CodeValue = "1"
    inner.is_undefined_length_sequence_item = data.draw(st.booleans())
    outer.RelatedSeriesSequence = [inner, inner]
    outer["RelatedSeriesSequence"].is_undefined_length = data.draw(st.booleans())
    image = archive.image(1, RequestAttributesSequence=[outer])
    image["RequestAttributesSequence"].is_undefined_length = True
    syntax = data.draw(st.sampled_from([ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian]))
    content = bytearray(archive.part10(image, syntax=syntax))
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(132, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "any.dcm"
    path.write_bytes(content[: data.draw(st.integers(400, len(content)))])

    def outcome() -> object:
        try:
            return read_part10(path)
        except DicomNodeError as error:
            return error.reason, error.message

    at_once = outcome()
    with pytest.MonkeyPatch.context() as slow:
        slow.setattr(walk.Walk, "_take_short", lambda self: None)
        slow.setattr(walk.Walk, "_leap", lambda self, implicit: False)
        assert outcome() == at_once


@pytest.mark.data
def test_real_files_are_read_or_refused_by_name(test_data: Path) -> None:
    files = [
        path
        for folder in ("malformed", "pydicom_mixed", "transfer_syntax_wg04", "enhanced_mr", "seg_edge_cases_dcmqi")
        for path in sorted((test_data / folder).rglob("*"))
        if path.is_file()
    ]
    assert len(files) > 80
    refused = {}
    for path in files:
        try:
            read_header(path)
        except DicomNodeError as error:
            refused[path.name] = error.reason
            assert str(path) in error.message
    assert refused["3gb-bulk-data-truncated"] == "truncated"
    assert refused["MR_truncated.dcm"] == "truncated"
    assert refused["rtplan_truncated.dcm"] == "truncated"
    assert refused["DICOMDIR"] == "no-uid"
    assert refused["README.txt"] == "not-dicom"
    assert not refused.keys() & {"CT_small.dcm", "image_dfl.dcm", "ExplVR_BigEnd.dcm", "report_dfl", "MG1_J2KI"}


@pytest.mark.data
def test_the_same_image_in_two_syntaxes_has_the_same_description(test_data: Path) -> None:
    folder = test_data / "pydicom_mixed"
    little, big = (read_header(folder / name) for name in ("MR_small.dcm", "MR_small_bigendian.dcm"))
    assert little.attributes == big.attributes
    assert little.planes == big.planes
