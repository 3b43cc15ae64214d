from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from pydicom.dataset import Dataset
from result_cases import CONTEXT, received, series

from dicom_node.archive import modules
from dicom_node.errors import HeaderError
from workers.results.source import local_time, read


def order(accession: str | None, procedure: str, **attributes: object) -> Dataset:
    item = Dataset()
    if accession is not None:
        item.AccessionNumber = accession
    item.RequestedProcedureID = procedure
    item.ScheduledProcedureStepID = "SPS"
    for keyword, value in attributes.items():
        setattr(item, keyword, value)
    return item


def test_patient_and_study_are_taken_over_as_they_are() -> None:
    issuer, other = Dataset(), Dataset()
    issuer.UniversalEntityID = "1.2.3"
    other.PatientID = "OLD-1"
    other.IssuerOfPatientIDQualifiersSequence = [issuer]
    images = series(
        2, OtherPatientIDsSequence=[other], PatientAge="074Y", ClinicalTrialProtocolID="TRIAL", StudyDescription="CT"
    )
    taken = read(images).patient_and_study
    assert taken.OtherPatientIDsSequence[0].IssuerOfPatientIDQualifiersSequence[0].UniversalEntityID == "1.2.3"
    assert (taken.PatientAge, taken.ClinicalTrialProtocolID, taken.StudyDescription) == ("074Y", "TRIAL", "CT")
    assert "SliceThickness" not in taken


def test_the_source_is_not_changed() -> None:
    images = series(2, SpecificCharacterSet="ISO_IR 100", PatientName="Müller^Jörg")
    before = [str(image) for image in images]
    read(images)
    assert [str(image) for image in images] == before


def test_values_that_break_their_rules_are_copied() -> None:
    image = series(1)[0]
    for keyword in ("AccessionNumber", "PatientSex", "PatientBirthDate"):
        delattr(image, keyword)
    odd = (
        (0x00080050, "SH", b"AN-ACCESSION-NUMBER-OF-TWENTY-NINE"),
        (0x00100040, "CS", b"unknown"),
        (0x00100030, "DA", b"1950"),
    )
    with pytest.warns(UserWarning, match="maximum length"):
        source = read([received(image, *odd)])
    assert source.patient_and_study.AccessionNumber == "AN-ACCESSION-NUMBER-OF-TWENTY-NINE"
    assert source.patient_and_study.PatientSex == "unknown"
    assert source.patient_and_study.PatientBirthDate == "1950"


def test_what_a_result_must_hold_is_empty_where_the_source_has_none() -> None:
    image = series(1)[0]
    for keyword in modules.TYPE_2:
        delattr(image, keyword)
    taken = read([image]).patient_and_study
    assert all(keyword in taken and not taken[keyword].value for keyword in modules.TYPE_2)


@pytest.mark.parametrize("keyword", ["FrameOfReferenceUID", "ImagePositionPatient", "PixelSpacing", "SOPInstanceUID"])
def test_an_image_that_cannot_be_pointed_at_is_refused(keyword: str) -> None:
    images = series(3)
    delattr(images[1], keyword)
    with pytest.raises(HeaderError, match=keyword):
        read(images)


def test_images_of_two_frames_of_reference_are_refused() -> None:
    images = series(3)
    images[2].FrameOfReferenceUID = "1.2.3"
    with pytest.raises(HeaderError, match="FrameOfReferenceUID"):
        read(images)


def test_each_order_becomes_one_request_with_its_own_accession_number() -> None:
    images = series(3, AccessionNumber="")
    images[0].RequestAttributesSequence = [order("A-1", "P-1"), order("A-2", "P-2")]
    images[1].RequestAttributesSequence = [order("A-1", "P-1"), order("A-3", "P-3")]
    requests = read(images).requests
    assert [(str(r.AccessionNumber), str(r.RequestedProcedureID)) for r in requests] == [
        ("A-1", "P-1"),
        ("A-2", "P-2"),
        ("A-3", "P-3"),
    ]
    assert all(keyword in request for request in requests for keyword in modules.REQUEST_TYPE_2)
    assert all(str(request.StudyInstanceUID) == str(images[0].StudyInstanceUID) for request in requests)
    assert all("ScheduledProcedureStepID" not in request for request in requests)


def test_the_study_s_accession_number_is_that_of_its_only_order() -> None:
    issuer = Dataset()
    issuer.LocalNamespaceEntityID = "RIS"
    images = series(1, IssuerOfAccessionNumberSequence=[issuer], RequestAttributesSequence=[order(None, "P-1")])
    (request,) = read(images).requests
    assert request.AccessionNumber == "A-1"
    assert request.IssuerOfAccessionNumberSequence[0].LocalNamespaceEntityID == "RIS"


def test_an_accession_number_alone_is_a_request() -> None:
    (request,) = read(series(2)).requests
    assert (request.AccessionNumber, request.RequestedProcedureID) == ("A-1", "")


def test_no_order_is_no_request() -> None:
    assert read(series(2, AccessionNumber="")).requests == ()


def test_times_are_written_in_the_offset_that_the_images_declare() -> None:
    source = read(series(1, TimezoneOffsetFromUTC="-0330"))
    assert source.patient_and_study.TimezoneOffsetFromUTC == "-0330"
    assert local_time(source, CONTEXT).strftime("%Y%m%d%H%M%S%z") == "20260304190015-0330"


def test_times_are_written_in_the_site_s_zone_where_the_images_declare_none() -> None:
    source = read(series(1))
    assert local_time(source, CONTEXT).strftime("%Y%m%d%H%M%S") == "20260304233015"
    assert "TimezoneOffsetFromUTC" not in source.patient_and_study


@pytest.mark.parametrize("offset", ["", "EST", "+1:00"])
def test_an_offset_that_is_none_is_left_out(offset: str) -> None:
    image = series(1)[0]
    source = read([received(image, (0x00080201, "SH", offset.encode()))])
    assert source.utc_offset == ""
    assert "TimezoneOffsetFromUTC" not in source.patient_and_study


def test_summer_time_is_that_of_the_content() -> None:
    context = replace(
        CONTEXT, content_time=datetime(2026, 7, 1, 22, tzinfo=ZoneInfo("UTC")), time_zone=ZoneInfo("Europe/Berlin")
    )
    assert local_time(read(series(1)), context).strftime("%Y%m%d%H") == "2026070200"
