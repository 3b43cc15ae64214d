"""Headers are those that pydicom reads, or are left to it."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from image_series import ct_series, enhanced, write
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
)

from workers.inference import headers

STORED = np.random.default_rng(3).integers(0, 1000, (2, 4, 6)).astype(np.int16)


def assert_as_pydicom(path: Path) -> None:
    header, at = headers.read(path)
    with path.open("rb") as file:
        theirs = dcmread(file, stop_before_pixels=True)
        assert at == file.tell()
    assert header.file_meta == theirs.file_meta
    assert header.original_encoding == theirs.original_encoding
    assert header.original_character_set == theirs.original_character_set
    assert str(header) == str(theirs)
    assert [element.VR for element in header] == [element.VR for element in theirs]


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGLSLossless])
@pytest.mark.parametrize("multi_frame", [False, True])
def test_a_header_is_what_pydicom_reads(tmp_path: Path, syntax: str, undefined: bool, multi_frame: bool) -> None:
    images = ct_series(STORED)
    made = enhanced(images) if multi_frame else images[0]
    item, inner = Dataset(), Dataset()
    inner.CodeValue, inner.CodeMeaning = "T-1", "Größe"
    item.PurposeOfReferenceCodeSequence = [inner]
    item.is_undefined_length_sequence_item = inner.is_undefined_length_sequence_item = undefined
    made.SpecificCharacterSet, made.PatientName, made.OtherPatientIDs = "ISO_IR 100", "Müller^Jörg", ["a", ""]
    made.ReferencedImageSequence = [item, Dataset(), item]
    made["ReferencedImageSequence"].is_undefined_length = undefined
    item["PurposeOfReferenceCodeSequence"].is_undefined_length = undefined
    made.private_block(0x0019, "TESTS", create=True).add_new(1, "SQ", [item])
    made.private_block(0x0019, "TESTS").add_new(2, "UN", b"\1\2\3\4")
    if syntax == JPEGLSLossless:
        made.compress(syntax, generate_instance_uid=False)
    made.file_meta.TransferSyntaxUID = syntax
    dcmwrite(tmp_path / "a.dcm", made, enforce_file_format=True)

    assert_as_pydicom(tmp_path / "a.dcm")


def test_a_header_longer_than_the_first_read_is_whole(tmp_path: Path) -> None:
    images = ct_series(STORED)
    images[0].add_new(0x00204000, "LT", "long " * 50_000)

    assert_as_pydicom(write(images, tmp_path)[0])


@pytest.mark.parametrize("syntax", [DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, "1.2.3.4", None])
def test_other_syntaxes_are_left_to_pydicom(tmp_path: Path, syntax: str | None) -> None:
    (path, _) = write(ct_series(STORED), tmp_path)
    image = dcmread(path)
    image.file_meta.TransferSyntaxUID = syntax or ExplicitVRLittleEndian
    if syntax is None:
        del image.file_meta.TransferSyntaxUID
    dcmwrite(path, image, enforce_file_format=False, implicit_vr=False, little_endian=syntax != ExplicitVRBigEndian)

    with pytest.raises(headers.NotPlain):
        headers.read(path)


def test_a_syntax_that_nobody_knows_is_left_to_pydicom(tmp_path: Path) -> None:
    (path, _) = write(ct_series(STORED), tmp_path)
    data = path.read_bytes()
    assert data.count(b"1.2.840.10008.1.2.1\0") == 1
    path.write_bytes(data.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.9\0"))

    with pytest.raises(headers.NotPlain):
        headers.read(path)


@pytest.mark.parametrize("content", [b"", b"\0" * 128 + b"DICM", b"no DICOM file" * 50])
def test_other_files_are_left_to_pydicom(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)

    with pytest.raises(headers.NotPlain):
        headers.read(tmp_path / "a")


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(
    places=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=3), cut=st.floats(0, 1)
)
def test_damage_is_judged_by_pydicom(tmp_path: Path, places: list[tuple[float, int]], cut: float) -> None:
    """What is read of a damaged file is what pydicom reads of it."""
    buffer = BytesIO()
    dcmwrite(buffer, ct_series(STORED)[0], enforce_file_format=True)
    data = bytearray(buffer.getvalue())
    for share, value in places:
        data[int(share * len(data))] = value
    path = tmp_path / "damaged.dcm"
    path.write_bytes(data[: int(cut * len(data)) + 1])
    try:
        header, _ = headers.read(path)
    except headers.NotPlain:
        return
    assert raw(header) == raw(dcmread(path, stop_before_pixels=True))


def raw(header: Dataset) -> list[tuple[Any, ...]]:
    """The elements as they stand, before a value is converted."""
    return [(element.tag, element.VR, element.value) for element in map(header.get_item, header.keys())]


@pytest.mark.data
def test_real_headers_are_what_pydicom_reads(test_data: Path) -> None:
    read = 0
    for path in sorted(test_data.rglob("*.dcm"))[::7]:
        try:
            headers.read(path)
        except headers.NotPlain:
            continue
        assert_as_pydicom(path)
        read += 1
    assert read > 20
