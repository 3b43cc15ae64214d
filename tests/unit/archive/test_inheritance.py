"""What an object of ours takes over from the images it is about."""

from __future__ import annotations

import pytest
from pydicom.dataset import Dataset
from result_cases import received, series

from dicom_node.archive.inheritance import inherit
from dicom_node.errors import HeaderError


def order(accession: str = "", procedure: str = "") -> Dataset:
    item = Dataset()
    item.AccessionNumber, item.RequestedProcedureID = accession, procedure
    return item


def test_patient_and_study_and_what_must_be_there_even_empty() -> None:
    taken = inherit([series(PatientComments="calm")[0]]).patient_and_study
    assert (taken.PatientID, taken.StudyInstanceUID, taken.PatientComments) == (
        "SYN-1",
        "1.2.826.0.1.3680043.8.498.8",
        "calm",
    )
    image = series()[0]
    del image.PatientBirthDate, image.StudyID
    taken = inherit([image]).patient_and_study
    assert (taken.PatientBirthDate, taken.StudyID) == ("", "")
    assert "Rows" not in taken


def test_one_order_by_the_studys_accession_number() -> None:
    (request,) = inherit(series()).requests
    assert (request.AccessionNumber, request.StudyInstanceUID) == ("A-1", "1.2.826.0.1.3680043.8.498.8")
    assert request.RequestedProcedureDescription == ""


def test_several_orders_keep_their_own_numbers() -> None:
    images = series(2)
    images[0].RequestAttributesSequence = [order("A-1", "P1"), order("A-2", "P2")]
    images[1].RequestAttributesSequence = [order("A-1", "P1"), order("", "P3")]
    requests = inherit(images).requests
    assert [(each.AccessionNumber, each.RequestedProcedureID) for each in requests] == [
        ("A-1", "P1"),
        ("A-2", "P2"),
        ("", "P3"),
    ]


def test_no_order_makes_no_request() -> None:
    images = series(AccessionNumber="")
    assert inherit(images).requests == ()


@pytest.mark.parametrize(("told", "taken"), [("+0930", "+0930"), ("-0500", "-0500"), ("Z", ""), ("0930", "")])
def test_an_offset_that_is_none_goes(told: str, taken: str) -> None:
    image = series()[0]
    image.add_new(0x00080201, "LO", told)
    inherited = inherit([image])
    assert inherited.utc_offset == taken
    assert ("TimezoneOffsetFromUTC" in inherited.patient_and_study) == bool(taken)


def test_undeclared_utf_8_is_read_as_such() -> None:
    image = series()[0]
    del image.PatientName
    inherited = inherit([received(image, (0x00100010, "PN", "Müller^Jürg".encode()))])
    assert str(inherited.patient_and_study.PatientName) == "Müller^Jürg"
    assert inherited.character_set == ("ISO_IR 192",)


def test_a_name_that_is_not_of_its_character_set_is_refused() -> None:
    image = series(SpecificCharacterSet="ISO_IR 192")[0]
    del image.PatientName
    with pytest.raises(HeaderError, match="PatientName"):
        inherit([received(image, (0x00100010, "PN", b"M\xfcller"))])
