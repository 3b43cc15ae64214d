"""Search and retrieval: what is shown, and what malformed requests are answered."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ElementTree
from typing import Any

import pydicom
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

STUDY = "/dicom-web/studies/1.2.3.1"
SERIES = f"{STUDY}/series/1.2.3.1.1"
ONE = f"{SERIES}/instances/1.2.3.1.1.1"
DICOM = 'multipart/related; type="application/dicom"'
OCTETS = 'multipart/related; type="application/octet-stream"'
HOSTILE = '<script>alert("x")</script>'


def value(match: dict[str, Any], tag: str) -> Any:
    return match[tag]["Value"][0]


def test_a_study_is_found_with_all_that_must_be_told(archive: Any, web: TestClient) -> None:
    archive.add(*(archive.image(number, StudyDate="20260301", StudyID="S1") for number in (1, 2, 3)))
    (found,) = web.get("/dicom-web/studies").json()
    told = {
        "00080020": "20260301",
        "00080050": "A1",
        "00080056": "ONLINE",
        "00080061": "CT",
        "00081190": "http://localhost:8080/dicom-web/studies/1.2.3.1",
        "00100010": {"Alphabetic": "Doe^Jane"},
        "00100020": "P1",
        "00100040": "F",
        "0020000D": "1.2.3.1",
        "00200010": "S1",
        "00201206": 1,
        "00201208": 3,
        "00080005": "ISO_IR 192",
    }
    assert {tag: value(found, tag) for tag in told} == told
    assert all("Value" not in found[tag] for tag in ("00080030", "00080090", "00100030"))


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("", 3),
        ("StudyInstanceUID=1.2.3.1,1.2.3.2", 2),
        ("StudyInstanceUID=1.2.3.1&StudyInstanceUID=1.2.3.3", 2),
        ("0020000D=1.2.3.9", 0),
        ("PatientID=P1", 1),
        ("PatientID=P*", 3),
        ("PatientName=doe^*", 3),
        ("PatientName=jan+do&fuzzymatching=true", 3),
        ("PatientName=jan+do", 0),
        ("StudyDate=20260302-", 2),
        ("StudyDate=20260301-20260302", 2),
        ("AccessionNumber=A2", 1),
        ("ModalitiesInStudy=CT", 3),
        ("ModalitiesInStudy=MR", 0),
        ("limit=2", 2),
        ("limit=2&offset=2", 1),
        ("limit=0", 0),
        ("offset=7", 0),
        ("PatientID=", 3),
        ("SeriesInstanceUID=1.2.3.2.1", 1),
    ],
)
def test_searches_for_studies(archive: Any, web: TestClient, query: str, count: int) -> None:
    for number in (1, 2, 3):
        uids = {"StudyInstanceUID": f"1.2.3.{number}", "SeriesInstanceUID": f"1.2.3.{number}.1"}
        told = {"PatientID": f"P{number}", "AccessionNumber": f"A{number}", "StudyDate": f"2026030{number}"}
        archive.add(archive.image(1, SOPInstanceUID=f"1.2.3.{number}.1.1", **uids, **told))
    answer = web.get(f"/dicom-web/studies?{query}")
    assert answer.status_code == (200 if count else 204)
    assert len(answer.json() if count else []) == count


def test_series_and_instances_are_found_with_what_their_address_does_not_name(archive: Any, web: TestClient) -> None:
    archive.add(*(archive.image(number, SeriesDescription="Lung") for number in (1, 2)))
    (series,) = web.get("/dicom-web/series?Modality=CT").json()
    assert value(series, "00201209") == 2
    assert value(series, "0008103E") == "Lung"
    assert value(series, "00100020") == "P1"
    (within,) = web.get(f"{STUDY}/series").json()
    assert "00100020" not in within
    assert value(within, "0020000E") == "1.2.3.1.1"
    instances = web.get(f"{SERIES}/instances?includefield=SliceThickness").json()
    assert [value(each, "00200013") for each in instances] == [1, 2]
    assert value(instances[0], "00080016") == "1.2.840.10008.5.1.4.1.1.2"
    assert (value(instances[0], "00280010"), value(instances[0], "00280100")) == (4, 16)
    assert value(instances[0], "00180050") == 2
    assert value(instances[0], "00083002") == ExplicitVRLittleEndian
    assert "0020000D" in instances[0]
    assert len(web.get("/dicom-web/instances?SOPInstanceUID=1.2.3.1.1.2").json()) == 1
    assert len(web.get(f"{STUDY}/instances?InstanceNumber=2").json()) == 1
    every = web.get(f"{SERIES}/instances?includefield=all").json()[0]
    assert "00200032" in every
    assert "7FE00010" not in every


@pytest.mark.parametrize(
    "query",
    [
        "Foo=1",
        "0020000D=1.2.*",
        "StudyDate=2026",
        "limit=-1",
        "limit=many",
        "offset=1e9",
        "includefield=Foo",
        "fuzzymatching=perhaps",
        "Modality=CT",
        "7FE00010=x",
        "PatientName=" + "x" * 20_000,
        "&".join("PatientID=1" for _ in range(300)),
        "00020010=1.2",
        "%00=1",
    ],
)
def test_a_search_that_cannot_be_meant_is_refused_with_its_reason(web: TestClient, query: str) -> None:
    answer = web.get(f"/dicom-web/studies?{query}")
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["error"]["message"]


def test_only_what_counts_is_shown(archive: Any, web: TestClient) -> None:
    archive.add(archive.image(1), archive.image(2))
    archive.add(archive.image(1, PatientName="Roe^Jane"))  # a revision of the first
    archive.add(archive.image(2, PixelData=bytes([9] * 32)))  # other pixels: it waits for a person
    found = web.get(f"{SERIES}/metadata").json()
    assert [value(each, "00080018") for each in found] == ["1.2.3.1.1.1", "1.2.3.1.1.2"]
    assert value(found[0], "00100010") == {"Alphabetic": "Roe^Jane"}
    answer = web.get(f"{SERIES}/instances/1.2.3.1.1.2/frames/1", headers={"Accept": "application/octet-stream"})
    assert answer.content == bytes([2] * 32)


def test_metadata_as_json_and_as_xml(archive: Any, web: TestClient, parts_of: Any) -> None:
    archive.add(archive.image(1, PatientName="Müller^Jürgen=山田", StudyDescription=HOSTILE))
    (found,) = web.get(f"{ONE}/metadata").json()
    assert found["7FE00010"] == {"vr": "OW", "BulkDataURI": f"http://localhost:8080{ONE}/bulkdata/7FE00010"}
    answer = web.get(f"{ONE}/metadata", headers={"Accept": 'multipart/related; type="application/dicom+xml"'})
    ((headers, body),) = parts_of(answer)
    assert headers["content-type"] == "application/dicom+xml"
    root = ElementTree.fromstring(body)  # noqa: S314  our own
    space = "{http://dicom.nema.org/PS3.19/models/NativeDICOM}"
    texts = {each.get("keyword"): "".join(each.itertext()) for each in root.iter(f"{space}DicomAttribute")}
    assert texts["PatientName"] == "MüllerJürgen山田"
    assert texts["StudyDescription"] == HOSTILE
    assert root.find(f".//{space}BulkData").get("uri") == found["7FE00010"]["BulkDataURI"]  # type: ignore[union-attr]
    assert HOSTILE.encode() not in body


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_objects_as_stored_and_in_explicit_little_endian(
    archive: Any, web: TestClient, parts_of: Any, syntax: str
) -> None:
    archive.add(archive.image(1), archive.image(2), syntax=syntax)
    stored = parts_of(web.get(SERIES, headers={"Accept": f"{DICOM}; transfer-syntax=*"}))
    plain = parts_of(web.get(SERIES, headers={"Accept": DICOM}))
    assert len(stored) == len(plain) == 2
    for (headers, body), (plain_headers, plain_body) in zip(stored, plain, strict=True):
        assert headers["content-type"] == f"application/dicom; transfer-syntax={syntax}"
        assert pydicom.dcmread(io.BytesIO(body)).file_meta.TransferSyntaxUID == syntax
        assert b"10.0.0.7" not in body  # how it came to us is nobody's business
        assert plain_headers["content-type"] == f"application/dicom; transfer-syntax={ExplicitVRLittleEndian}"
        dataset = pydicom.dcmread(io.BytesIO(plain_body))
        assert dataset.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
        assert dataset.PatientName == "Doe^Jane"
    whole = web.get(ONE, headers={"Accept": "application/dicom; transfer-syntax=*"})
    assert whole.content == stored[0][1]
    assert int(whole.headers["content-length"]) == len(whole.content)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_frames_are_little_endian_pixels(archive: Any, web: TestClient, parts_of: Any, syntax: str) -> None:
    frames = bytes(range(96))
    image = archive.image(1, NumberOfFrames=3, Rows=4, Columns=4, PixelData=frames)
    if syntax == ExplicitVRBigEndian:
        image.PixelData = bytes(frames[at ^ 1] for at in range(96))
    archive.add(image, syntax=syntax)
    answer = web.get(f"{ONE}/frames/3,1", headers={"Accept": OCTETS})
    assert [body for _, body in parts_of(answer)] == [frames[64:], frames[:32]]


def test_frames_of_bits_are_cut_out_of_the_stream_of_bits(archive: Any, web: TestClient) -> None:
    bits = dict(BitsAllocated=1, BitsStored=1, HighBit=0, PixelRepresentation=0, Rows=3, Columns=3, NumberOfFrames=3)
    archive.add(archive.image(1, **bits, PixelData=bytes([0b10110101, 0b01110010, 0b11011011, 0b00000101])))
    stream = [int(bit) for byte in (0b10110101, 0b01110010, 0b11011011, 0b00000101) for bit in f"{byte:08b}"[::-1]]
    for number in (1, 2, 3):
        answer = web.get(f"{ONE}/frames/{number}", headers={"Accept": "application/octet-stream"})
        got = [int(bit) for byte in answer.content for bit in f"{byte:08b}"[::-1]][:9]
        assert got == stream[9 * (number - 1) : 9 * number]


def test_compressed_frames_as_stored_and_decoded(archive: Any, web: TestClient, parts_of: Any) -> None:
    image = archive.image(1, PixelRepresentation=0)
    pixels = bytes(range(32))
    image.PixelData = pixels
    image.file_meta = pydicom.dataset.FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.compress(RLELossless, generate_instance_uid=False)
    buffer = io.BytesIO()
    image.file_meta.MediaStorageSOPClassUID, image.file_meta.MediaStorageSOPInstanceUID = (
        image.SOPClassUID,
        image.SOPInstanceUID,
    )
    image.save_as(buffer, enforce_file_format=True)
    archive.add(buffer.getvalue())
    ((headers, body),) = parts_of(web.get(f"{ONE}/frames/1", headers={"Accept": OCTETS}))
    assert body == pixels
    assert headers["content-type"].endswith(ExplicitVRLittleEndian)
    for accept in (f"{OCTETS}; transfer-syntax=*", 'multipart/related; type="image/dicom-rle"'):
        ((headers, body),) = parts_of(web.get(f"{ONE}/frames/1", headers={"Accept": accept}))
        assert headers["content-type"].endswith(RLELossless)
        assert body != pixels
    refused = web.get(f"{ONE}/frames/1", headers={"Accept": 'multipart/related; type="image/jp2"'})
    assert refused.status_code == 406
    assert "image/dicom-rle" in refused.json()["error"]["message"]
    (plain,) = parts_of(web.get(ONE, headers={"Accept": DICOM}))
    assert pydicom.dcmread(io.BytesIO(plain[1])).PixelData == pixels


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("/dicom-web/studies/1.2.9", 404),
        ("/dicom-web/studies/..%2f..%2fetc%2fpasswd", 404),
        ("/dicom-web/studies/1.2.3.1%00", 400),
        ("/dicom-web/studies/<script>/metadata", 400),
        (f"/dicom-web/studies/{'1' * 65}/metadata", 400),
        (f"{SERIES}/instances/1.2.3.1.1.9", 404),
        (f"{STUDY}/series/1.2.3.2/instances/1.2.3.1.1.1", 404),
        (f"{ONE}/frames/0", 400),
        (f"{ONE}/frames/1,,2", 400),
        (f"{ONE}/frames/-1", 400),
        (f"{ONE}/frames/²", 400),
        (f"{ONE}/frames/99999999999999999999", 400),
        (f"{ONE}/frames/2", 404),
        (f"{ONE}/bulkdata/7FE00011", 404),
        (f"{ONE}/bulkdata/..%2f..%2f..%2fledger.sqlite", 400),
        (f"{ONE}/bulkdata/00100020", 404),
        (f"{ONE}/rendered?window=1", 400),
        (f"{ONE}/rendered?window=1,0", 400),
        (f"{ONE}/rendered?window=nan,1", 400),
        (f"{ONE}/rendered?window=1,1,cubic", 400),
        (f"{ONE}/rendered?viewport=100000,1", 400),
        (f"{ONE}/rendered?viewport=8,8,9,9,1,1", 406),
        (f"{ONE}/rendered?quality=0", 400),
        (f"{ONE}/rendered?annotation=patient", 400),
        (f"{ONE}/thumbnail?viewport=x", 400),
    ],
)
def test_addresses_that_lie(archive: Any, web: TestClient, address: str, status: int) -> None:
    archive.add(archive.image(1))
    answer = web.get(address)
    assert answer.status_code == status, answer.text
    assert "script" not in answer.headers["content-type"]
    assert "Traceback" not in answer.text


@pytest.mark.parametrize(
    ("place", "accept"),
    [
        (f"{ONE}", "application/dicom+json"),
        (f"{ONE}", '"'),
        (f"{ONE}", f"{DICOM}; transfer-syntax=1.2.840.10008.1.2.4.50"),
        (f"{ONE}/metadata", "text/html"),
        (f"{ONE}/frames/1", 'multipart/related; type="image/jpeg"'),
        (f"{ONE}/rendered", "image/gif"),
        ("/dicom-web/studies", "image/png"),
        (f"{ONE}/bulkdata/7FE00010", "text/plain"),
    ],
)
def test_what_is_not_to_be_had_is_refused_with_what_is(archive: Any, web: TestClient, place: str, accept: str) -> None:
    archive.add(archive.image(1))
    answer = web.get(place, headers={"Accept": accept})
    assert answer.status_code == 406
    assert "can be had:" in answer.json()["error"]["message"]


def test_requests_that_lie_about_type_length_and_range(archive: Any, web: TestClient) -> None:
    archive.add(archive.image(1))
    headers = {"Content-Type": "multipart/related; boundary=", "Range": "bytes=99-1", "If-Range": '"x"'}
    answer = web.request("GET", ONE, headers=headers, content=b"--nothing")
    assert answer.status_code == 200
    assert web.post(ONE).status_code == 405
    assert web.delete(STUDY).status_code == 405
    assert web.get(ONE, headers={"Host": "evil.example"}).status_code == 421


def test_files_that_are_gone_are_told_and_the_others_given(archive: Any, web: TestClient, parts_of: Any) -> None:
    archive.add(archive.image(1), archive.image(2))
    (archive.data_dir / "objects/a0/00000001/000.dcm").unlink()
    answer = web.get(SERIES, headers={"Accept": DICOM})
    assert answer.status_code == 206
    assert len(parts_of(answer)) == 1
    metadata = web.get(f"{SERIES}/metadata")
    assert (metadata.status_code, len(metadata.json())) == (206, 1)
    for place in (ONE, f"{ONE}/metadata", f"{ONE}/frames/1", f"{ONE}/bulkdata/7FE00010", f"{ONE}/rendered"):
        assert web.get(place).status_code == 410, place
    assert len(web.get(f"{SERIES}/instances").json()) == 2


def test_pictures(archive: Any, web: TestClient) -> None:
    half = b"".join((0 if column < 2 else 1000).to_bytes(2, "little") for _ in range(4) for column in range(4))
    archive.add(archive.image(1, PixelData=half, WindowCenter=500, WindowWidth=2000))
    png = {"Accept": "image/png"}

    def picture(query: str = "") -> Image.Image:
        return Image.open(io.BytesIO(web.get(f"{ONE}/rendered{query}", headers=png).content))

    own = picture()
    assert own.size == (4, 4)
    assert 50 < own.getpixel((0, 0)) < own.getpixel((3, 0)) < 210  # type: ignore[operator]
    hard = picture("?window=500,1,linear")
    assert (hard.getpixel((0, 0)), hard.getpixel((3, 0))) == (0, 255)
    assert picture("?viewport=8,2").size == (2, 2)
    assert picture("?viewport=4,4,2,0,2,4").getextrema()[0] > 100
    mirrored = picture("?viewport=4,4,0,0,-4,4&window=500,1")
    assert (mirrored.getpixel((0, 0)), mirrored.getpixel((3, 0))) == (255, 0)
    default = web.get(f"{ONE}/frames/1/rendered")
    assert default.headers["content-type"] == "image/jpeg"
    small = Image.open(io.BytesIO(web.get(f"{STUDY}/thumbnail").content))
    assert small.size == (128, 128)


def test_a_series_is_rendered_image_by_image(archive: Any, web: TestClient, parts_of: Any) -> None:
    archive.add(*(archive.image(number) for number in (1, 2, 3)))
    answer = web.get(f"{SERIES}/rendered", headers={"Accept": 'multipart/related; type="image/png"'})
    assert [body[:4] for _, body in parts_of(answer)] == [b"\x89PNG"] * 3


def test_an_object_without_pixels_is_no_picture(archive: Any, web: TestClient) -> None:
    archive.add(archive.image(1, PixelData=None))
    assert web.get(f"{ONE}/rendered").status_code == 406
    assert web.get(f"{ONE}/frames/1").status_code == 404
    assert web.get(f"{ONE}/thumbnail").status_code == 404
