from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicom_node.archive import likeness
from dicom_node.archive.header import header_of, read_header
from dicom_node.archive.likeness import Likeness
from dicom_node.archive.part10 import read_part10
from dicom_node.archive.walk import Walk
from dicom_node.errors import DicomNodeError


def alike(known: Likeness, path: Path) -> None:
    """Read the file with and without what was read before: nothing tells the two apart."""

    def outcome(read: Any) -> object:
        try:
            return read()
        except DicomNodeError as error:
            return error.reason, error.message

    alone = outcome(lambda: replace(read_header(path), digest="", pixel_digest=""))
    assert outcome(lambda: header_of(known.read(path), path)) == alone


def taken_apart(known: Likeness, path: Path) -> int:
    """How many elements are taken apart when the file is read."""
    taken: list[int] = []
    whole = Walk.run

    def run(walk: Walk) -> None:
        whole(walk)
        taken.append(len(walk.elements) - sum(len(found.elements) for found in walk.runs))

    with pytest.MonkeyPatch.context() as counting:
        counting.setattr(Walk, "run", run)
        known.read(path)
    return sum(taken)


def test_from_the_third_image_on_only_what_differs_is_taken_apart(archive: Any) -> None:
    known = Likeness()
    taken = [taken_apart(known, archive.put(archive.image(number))) for number in range(1, 6)]
    assert taken[0] == taken[1] > 15
    assert taken[2:] == [3, 3, 3]  # SOP Instance UID, Instance Number, position


def test_an_element_that_comes_and_goes_is_seen(archive: Any) -> None:
    known = Likeness()
    for number in range(1, 20):
        told = {"SeriesDescription": f"phase {number % 3}"} if number % 4 == 0 else {}
        alike(known, archive.put(archive.image(number, **told)))


def test_two_series_over_one_association_are_told_apart(archive: Any) -> None:
    known = Likeness()
    for number in range(1, 12):
        series = f"1.2.3.1.{number % 2 + 1}"
        image = archive.image(number, SeriesInstanceUID=series, PatientName=f"Doe^{series}")
        alike(known, archive.put(image))


def test_it_remembers_no_more_than_it_may(archive: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(likeness, "_MOST_SERIES", 3)
    known = Likeness()
    for number in range(1, 9):
        alike(known, archive.put(archive.image(number, SeriesInstanceUID=f"1.2.3.1.{number}")))
    assert len(known._series) == 3


_NAMES = st.sampled_from(["Doe^Jane", "Doe^John", "Müller^Ä"])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_came_before_an_image_is_read_as_if_it_were_alone(
    archive: Any, tmp_path: Path, data: st.DataObject
) -> None:
    known = Likeness()
    syntaxes = [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian]
    syntax = data.draw(st.sampled_from(syntaxes))
    for number in range(data.draw(st.integers(2, 6))):
        item = Dataset()
        item.CodeValue = data.draw(st.sampled_from(["1", "2"]))
        image = archive.image(
            number,
            PatientName=data.draw(_NAMES),
            SpecificCharacterSet=data.draw(st.sampled_from(["ISO_IR 192", "ISO_IR 100"])),
            PixelRepresentation=data.draw(st.integers(0, 1)),
            SeriesInstanceUID=data.draw(st.sampled_from(["1.2.3.1.1", "1.2.3.1.2"])),
            RequestAttributesSequence=[item],
            SmallestImagePixelValue=number,
        )
        image["RequestAttributesSequence"].is_undefined_length = True
        content = bytearray(archive.part10(image, syntax=data.draw(st.sampled_from([syntax, *syntaxes]))))
        for _ in range(data.draw(st.sampled_from([0, 0, 0, 1, 3]))):
            content[data.draw(st.integers(132, len(content) - 1))] = data.draw(st.integers(0, 255))
        path = tmp_path / "any.dcm"
        path.write_bytes(content[: data.draw(st.sampled_from([len(content), len(content), len(content) - 9, 600]))])
        alike(known, path)


@pytest.mark.data
def test_real_series_are_read_as_if_each_image_were_alone(test_data: Path) -> None:
    known = Likeness()
    files = [path for path in sorted(test_data.rglob("*")) if path.is_file() and path.stat().st_size < 2_000_000]
    read = 0
    for path in files:
        with path.open("rb") as file:
            if file.read(132)[128:] != b"DICM":
                continue
        alike(known, path)
        read += 1
    assert read > 200
    assert known._series


def test_a_long_value_does_not_hide_what_follows_it(archive: Any) -> None:
    known = Likeness()
    for number in range(1, 6):
        image = archive.image(number)
        image.add_new(0x00091001, "UN", bytes(20_000) if number % 2 else b"1234")
        path = archive.put(image)
        alike(known, path)
        assert read_part10(path).elements[0x0020000D].value
