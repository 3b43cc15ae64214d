from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicom_node.archive.header import read_header
from dicom_node.archive.likeness import Likeness
from dicom_node.archive.receipt import Receipt, file_meta, seal, seal_at
from dicom_node.errors import DicomNodeError

RECEIVED = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def sealed(archive: Any, image: Dataset, number: int, association: str = "ab" * 8) -> bytes:
    """A file as the acceptor writes it with a single flush."""
    received = RECEIVED + timedelta(milliseconds=number)
    receipt = Receipt("MODALITY", "NODE", "10.0.0.7", association, received, sealed=True)
    whole = archive.part10(image)
    data = whole[
        len(file_meta(str(image.SOPClassUID).encode(), str(image.SOPInstanceUID).encode(), _EXPLICIT, _PLAIN)) :
    ]
    meta = file_meta(str(image.SOPClassUID).encode(), str(image.SOPInstanceUID).encode(), _EXPLICIT, receipt)
    at = seal_at(meta)
    stamp = seal(len(data), number)
    return meta[:at] + stamp + meta[at + len(stamp) :] + data


_EXPLICIT = str(ExplicitVRLittleEndian)
_PLAIN = Receipt("MODALITY", "DICOMNODE", "10.0.0.7", "assoc-1", RECEIVED)


def fits(known: Likeness, path: Path) -> bool:
    """Whether a file need not be taken apart."""
    return bool(known._moulds) and known._from_mould(str(path)) is not None


def alone(path: Path) -> object:
    """What is read of a file when nothing came before."""
    try:
        return replace(read_header(path), digest="", pixel_digest="")
    except DicomNodeError as error:
        return error.reason, error.message


def after(known: Likeness, path: Path) -> object:
    """What is read of it after others."""
    try:
        return known.header(str(path))
    except DicomNodeError as error:
        return error.reason, error.message


def test_from_the_third_image_on_a_file_is_compared_as_a_whole(archive: Any, tmp_path: Path) -> None:
    known, path = Likeness(), tmp_path / "one.dcm"
    for number in range(1, 13):
        path.write_bytes(sealed(archive, archive.image(number), number))
        assert fits(known, path) == (number > 2)
        found, alone_ = after(known, path), alone(path)
        assert found == alone_
        assert found.attributes["InstanceNumber"] == number  # type: ignore[attr-defined]
        assert found.received_at == RECEIVED + timedelta(milliseconds=number)  # type: ignore[attr-defined]


def test_any_number_of_associations_at_once_have_moulds_of_their_own(archive: Any, tmp_path: Path) -> None:
    known, path = Likeness(), tmp_path / "one.dcm"
    for number in range(1, 4):
        for association in range(100):
            image = archive.image(number, SeriesInstanceUID=f"1.2.3.{association}", PatientName=f"No^{association}")
            path.write_bytes(sealed(archive, image, number, f"{association:016x}"))
            assert fits(known, path) == (number > 2)
            assert after(known, path) == alone(path)


def test_what_differs_may_grow_longer(archive: Any, tmp_path: Path) -> None:
    known, path = Likeness(), tmp_path / "one.dcm"
    for number in (1, 2, 1_000_000):
        path.write_bytes(
            sealed(archive, archive.image(number, PatientComments="x" * number if number < 9 else "yz"), number)
        )
        assert after(known, path) == alone(path)
    assert fits(known, path)


@pytest.mark.parametrize(
    "change",
    [
        {"PatientName": "Doe^John"},
        {"SeriesDescription": "late"},
        {"PatientSex": None},
        {"ImagePositionPatient": [0, 0]},
        {"ImagePositionPatient": None},
        {"SOPInstanceUID": "1.2.x"},
        {"PixelData": bytes(34)},
        {"SpecificCharacterSet": "ISO_IR 100"},
        {"Rows": 2},
        {"DataSetTrailingPadding": bytes(8)},
        {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.4"},
    ],
)
def test_an_image_that_says_anything_else_is_read_by_itself(
    archive: Any, tmp_path: Path, change: dict[str, Any]
) -> None:
    known, path = Likeness(), tmp_path / "one.dcm"
    for number in range(1, 5):
        path.write_bytes(sealed(archive, archive.image(number), number))
        known.header(str(path))
    assert fits(known, path)
    path.write_bytes(sealed(archive, archive.image(5, **change), 5))
    assert not fits(known, path)
    assert after(known, path) == alone(path)


@pytest.mark.parametrize("cut", [1, 30, 40, 200])
def test_a_file_that_was_cut_off_does_not_fit(archive: Any, tmp_path: Path, cut: int) -> None:
    known, path = Likeness(), tmp_path / "one.dcm"
    for number in range(1, 5):
        path.write_bytes(sealed(archive, archive.image(number), number))
        known.header(str(path))
    path.write_bytes(sealed(archive, archive.image(5), 5)[:-cut])
    assert not fits(known, path)
    assert after(known, path) == alone(path)


@pytest.mark.parametrize("time", [b'2026-03-01"12:00:00.000+00:00', b"2026-03-01T12:00:00.000+25:00", b"x" * 29])
def test_a_receipt_whose_time_is_none_is_looked_at_closely(archive: Any, tmp_path: Path, time: bytes) -> None:
    known, path = Likeness(), tmp_path / "one.dcm"
    for number in range(1, 5):
        content = sealed(archive, archive.image(number), number)
        path.write_bytes(content)
        known.header(str(path))
    at = content.index(b'"received":"') + len(b'"received":"')
    path.write_bytes(content[:at] + time + content[at + len(time) :])
    os.utime(path, (0, 0))
    assert not fits(known, path)
    assert after(known, path) == alone(path)


def test_associations_that_send_at_once_each_have_their_mould(archive: Any, tmp_path: Path) -> None:
    known, path, fitted = Likeness(), tmp_path / "one.dcm", 0
    for number in range(1, 41):
        series = f"1.2.3.1.{number % 4}"
        path.write_bytes(archive.part10(archive.image(number, SeriesInstanceUID=series), association=f"a{number % 4}"))
        fitted += fits(known, path)
        assert after(known, path) == alone(path)
    assert fitted == 32


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_came_before_an_image_is_read_as_if_it_were_alone(
    archive: Any, tmp_path: Path, data: st.DataObject
) -> None:
    known, path = Likeness(), tmp_path / "any.dcm"
    syntax = data.draw(st.sampled_from([ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian]))
    for number in range(data.draw(st.integers(3, 7))):
        image = archive.image(
            number,
            PatientComments=data.draw(st.sampled_from(["", "a", "Ä", "longer than the last"])),
            SmallestImagePixelValue=data.draw(st.integers(0, 3)),
            ImagePositionPatient=data.draw(st.sampled_from([[0, 0, number], [0, 0, 1.5], [0, 0]])),
        )
        image.add_new(0x00091001, "UN", bytes(data.draw(st.sampled_from([4, 4, 6]))))
        content = bytearray(archive.part10(image, syntax=syntax))
        if data.draw(st.integers(0, 4)) == 0:
            content[data.draw(st.integers(128, len(content) - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(content)
        os.utime(path, (0, 0))
        assert after(known, path) == alone(path)


@pytest.mark.data
def test_real_files_sent_one_after_the_other_are_read_as_if_each_were_alone(test_data: Path, tmp_path: Path) -> None:
    """Every real file, as the acceptor would have stored it; those of a series fit."""
    known, path, read, fitted = Likeness(), tmp_path / "one.dcm", 0, 0
    for source in sorted(test_data.rglob("*")):
        if not source.is_file() or source.stat().st_size > 2_000_000:
            continue
        content = source.read_bytes()
        start = _data_set_of(content)
        if start is None:
            continue
        meta, at = start
        path.write_bytes(meta + content[at:])
        os.utime(path, (0, 0))
        fitted += fits(known, path)
        read += 1
        assert after(known, path) == alone(path), source
    assert read > 200
    assert fitted > 100


def _data_set_of(content: bytes) -> tuple[bytes, int] | None:
    """File meta information that the acceptor would write, and where the data set begins; None: no Part 10 file."""
    at, found = 132, {}
    if content[128:132] != b"DICM":
        return None
    while content[at : at + 2] == b"\2\0":
        number, vr = int.from_bytes(content[at + 2 : at + 4], "little"), content[at + 4 : at + 6]
        if vr in (b"OB", b"UN", b"UT"):
            length, at = int.from_bytes(content[at + 8 : at + 12], "little"), at + 12
        else:
            length, at = int.from_bytes(content[at + 6 : at + 8], "little"), at + 8
        found[number], at = content[at : at + length].strip(b"\0 "), at + length
    syntax = found.get(0x10, b"").decode("ascii", errors="replace")
    receipt = Receipt("MODALITY", "NODE", "10.0.0.7", "ab" * 8, RECEIVED, sealed=True)
    return file_meta(found.get(2, b""), found.get(3, b""), syntax, receipt), at
