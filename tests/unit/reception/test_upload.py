from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian, JPEGLSLossless

from dicom_node.archive.part10 import read_part10
from dicom_node.errors import InputError
from dicom_node.reception.upload import HEAD_BYTES, Identity, Sender, Upload

CT = "1.2.840.10008.5.1.4.1.1.2"
SENDER = Sender("import", "import-1", "DICOMNODE")


@pytest.fixture
def archive(tmp_path: Path, archive_factory: Any) -> Iterator[Any]:
    """On SQLite alone: no database takes part in this."""
    made = archive_factory(tmp_path)
    yield made
    made.database.close()


def data_set(file: bytes) -> bytes:
    """What follows the file meta information, which begins with its own length."""
    return file[144 + int.from_bytes(file[140:144], "little") :]


def take(archive: Any, pieces: list[bytes], study_uid: str = "") -> Path:
    upload = Upload(archive.store.writer("u"), SENDER, "image.dcm", study_uid)
    for piece in pieces:
        upload.write(piece)
    upload.commit()
    return sorted((archive.data_dir / "objects" / "u").rglob("*.dcm"))[-1]


def stored(archive: Any) -> list[Path]:
    return [path for path in (archive.data_dir / "objects").rglob("*") if path.is_file()]


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, JPEGLSLossless])
def test_the_data_set_is_kept_bit_for_bit_under_our_receipt(archive: Any, syntax: str) -> None:
    file = archive.part10(archive.image(1), syntax)
    kept = take(archive, [file])
    assert data_set(kept.read_bytes()) == data_set(file)
    arrived = read_part10(kept)
    assert arrived.transfer_syntax == syntax
    assert b'"peer":"import","association":"import-1"' in arrived.meta[0x0102]
    assert (arrived.meta[0x0002].rstrip(b"\0"), arrived.meta[0x0003].rstrip(b"\0")) == (CT.encode(), b"1.2.3.1.1.1")


@given(pixels=st.integers(0, 2 * HEAD_BYTES).map(lambda size: size - size % 2), cuts=st.lists(st.integers(0, 600_000)))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_pieces_of_any_size_give_the_same_file(archive: Any, pixels: int, cuts: list[int]) -> None:
    file = archive.part10(archive.image(1, PixelData=b"\x7f\x80" * (pixels // 2)))
    places = [0, *sorted(place % len(file) for place in cuts), len(file)]
    kept = take(archive, [file[start:end] for start, end in pairwise(places)])
    assert data_set(kept.read_bytes()) == data_set(file)


@pytest.mark.parametrize("kept_from", [128, 132], ids=["DICM first", "meta information first"])
def test_a_missing_preamble_does_no_harm(archive: Any, kept_from: int) -> None:
    file = archive.part10(archive.image(1))
    assert data_set(take(archive, [file[kept_from:]]).read_bytes()) == data_set(file)


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"])
def test_a_bare_data_set_is_recognised(archive: Any, syntax: str) -> None:
    bare = data_set(archive.part10(archive.image(1), syntax))
    kept = take(archive, [bare])
    assert data_set(kept.read_bytes()) == bare
    assert read_part10(kept).transfer_syntax == syntax


def refused(archive: Any, content: bytes, study_uid: str = "") -> InputError:
    upload = Upload(archive.store.writer("u"), SENDER, "image.dcm", study_uid)
    with pytest.raises(InputError) as caught:
        upload.write(content)
        upload.commit()
    upload.discard()
    assert stored(archive) == []
    assert "image.dcm" in caught.value.message
    assert str(archive.data_dir) not in caught.value.message
    return caught.value


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda file: b"", "not-dicom"),
        (lambda file: b"a text about DICM", "not-dicom"),
        (lambda file: file[:-1], "truncated"),
        (lambda file: file[:200], "truncated"),
        (lambda file: file.replace(b"\0\0DICM", b"\0\0DICX"), "not-dicom"),
        (lambda file: file.replace(b"1.2.840.10008.1.2.1\0", b"Explicit, little end"), "no-transfer-syntax"),
    ],
)
def test_a_spoilt_file_is_refused_and_leaves_nothing(
    archive: Any, spoil: Callable[[bytes], bytes], reason: str
) -> None:
    file = archive.part10(archive.image(1))
    assert spoil(file) != file
    assert refused(archive, spoil(file)).reason == reason


def test_a_large_file_that_is_cut_off_is_refused_and_leaves_nothing(archive: Any) -> None:
    file = archive.part10(archive.image(1, PixelData=bytes(2 * HEAD_BYTES)))
    assert refused(archive, file[:-1]).reason == "truncated"


def test_an_object_without_a_study_is_refused(archive: Any) -> None:
    assert refused(archive, archive.part10(archive.image(1, StudyInstanceUID=None))).reason == "no-uid"


def test_compressed_pixels_in_a_transfer_syntax_nobody_tells_are_refused(archive: Any) -> None:
    bare = data_set(archive.part10(archive.image(1), JPEGLSLossless))
    assert refused(archive, bare).reason == "no-transfer-syntax"


def test_an_object_of_another_study_is_refused(archive: Any) -> None:
    file = archive.part10(archive.image(1))
    assert refused(archive, file, "1.2.3.2").reason == "other-study"
    assert take(archive, [file], "1.2.3.1").is_file()


def test_the_study_is_compared_even_behind_a_large_private_element(archive: Any) -> None:
    dataset = archive.image(1)
    dataset.private_block(0x0009, "TEST", create=True).add_new(1, "OB", bytes(2 * HEAD_BYTES))
    assert refused(archive, archive.part10(dataset), "1.2.3.2").reason == "other-study"


def test_a_data_set_of_another_class_than_announced_is_refused(archive: Any) -> None:
    file = archive.part10(archive.image(1))
    at = file.index(CT.encode())
    assert refused(archive, file[:at] + b"1.2.840.10008.5.1.4.1.1.4" + file[at + 25 :]).reason == "sop-class-mismatch"


def test_a_dicomdir_is_no_object(archive: Any) -> None:
    directory = Dataset()
    directory.FileSetID = "DISC"
    file = archive.part10(directory).replace(b"\2\0\2\0UI\0\0", b"\2\0\2\0UI\x14\x001.2.840.10008.1.3.10")
    assert refused(archive, file).reason == "dicomdir"


def test_the_beginning_of_an_object_tells_who_it_is(archive: Any) -> None:
    upload = Upload(archive.store.writer("u"), SENDER, "image.dcm")
    assert upload.identity == Identity()
    with pytest.raises(InputError):
        upload.write(archive.part10(archive.image(1))[:-1])
        upload.commit()
    assert upload.identity == Identity(CT, "1.2.3.1.1.1", "1.2.3.1")


def test_a_deflated_object_is_kept_as_it_came(archive: Any) -> None:
    from zlib import compressobj

    plain = archive.part10(archive.image(1), DeflatedExplicitVRLittleEndian)
    squeeze = compressobj(wbits=-15)
    deflated = squeeze.compress(data_set(plain)) + squeeze.flush()
    file = plain[: len(plain) - len(data_set(plain))] + deflated
    assert data_set(take(archive, [file]).read_bytes()) == deflated
