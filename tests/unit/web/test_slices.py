"""Slices with outlines, and the page that shows them."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pydicom
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from result_cases import series
from studies_of_results import Clinic

from dicom_node.archive.database import Database
from dicom_node.settings import NodeSettings, Settings
from dicom_node.web.app import create_app
from dicom_node.web.slices import GREYS, outlined


@pytest.fixture
def made(tmp_path: Any) -> Iterator[tuple[TestClient, Clinic, int]]:
    """A client of a ledger with one result that marks two lungs; the number of its job."""
    from dicom_node.archive.migrate import migrate

    database = Database("sqlite", tmp_path)
    migrate(database)
    clinic = Clinic(database, tmp_path)
    images = series()
    for number, image in enumerate(images):
        image.PixelData = np.full((image.Rows, image.Columns), 100 * number, "<i2").tobytes()
        image.RescaleSlope, image.RescaleIntercept = 1, -1000
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 16, 15, 1
    job_id = clinic.result(images)
    settings = Settings(node=NodeSettings(data_dir=tmp_path, time_zone="UTC"))
    app = create_app(settings, database, clinic.ledger, clinic.parcels, dict)
    with TestClient(app, base_url="http://localhost:8080") as client:
        yield client, clinic, job_id
    database.close()


def address(clinic: Clinic, job_id: int, rest: str) -> str:
    job = clinic.ledger.job(job_id)
    assert job is not None
    return f"/studies/{job.study_uid}/jobs/{job_id}/slices/{rest}"


def colours_of(picture: bytes) -> set[tuple[int, ...]]:
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    return {colour for _, colour in image.getcolors(1 << 16) or () if len(set(colour)) > 1}


def test_an_outline_lies_on_the_edge_of_its_segment_in_its_colour() -> None:
    grey = np.full((500, 500), 255, np.uint8)
    mask = np.zeros((500, 500), bool)
    mask[100:201, 300:401] = True
    image = Image.open(io.BytesIO(outlined(grey, {7: mask}, {7: (224, 97, 76)}))).convert("RGB")
    assert image.size == (500, 500)
    assert image.getpixel((300, 100)) == image.getpixel((400, 150)) == image.getpixel((350, 200)) == (224, 97, 76)
    assert image.getpixel((350, 150)) == image.getpixel((299, 150)) == (255, 255, 255)


def test_small_images_are_enlarged_and_many_segments_share_colours() -> None:
    masks = {number: np.eye(10, dtype=bool) for number in range(1, 300)}
    image = Image.open(io.BytesIO(outlined(np.zeros((10, 10), np.uint8), masks, {})))
    assert image.size == (480, 480)
    assert GREYS <= np.asarray(image).max() <= 255


def test_a_mask_of_another_grid_is_not_drawn() -> None:
    data = outlined(np.zeros((480, 480), np.uint8), {1: np.ones((5, 5), bool)}, {1: (255, 0, 0)})
    assert colours_of(data) == set()


def test_slices_bear_the_outlines_of_the_segmentation(made: tuple[TestClient, Clinic, int]) -> None:
    client, clinic, job_id = made
    segments = [each for each in clinic.ledger.findings(job_id) if each["kind"] == "segment"]
    colours = {tuple(each["color"]) for each in segments}
    seen: set[tuple[int, ...]] = set()
    for number in range(1, 5):
        answer = client.get(address(clinic, job_id, f"{number}.png?window=lung"))
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
        seen |= colours_of(answer.content)
    assert seen == colours
    for query in ("segments=", "segments=999"):
        assert colours_of(client.get(address(clinic, job_id, f"2.png?{query}")).content) == set()


def test_slices_are_in_the_order_of_the_patient_and_of_the_window(made: tuple[TestClient, Clinic, int]) -> None:
    client, clinic, job_id = made
    greys = []
    for number in range(1, 5):
        data = client.get(address(clinic, job_id, f"{number}.png?window=lung&segments=")).content
        greys.append(np.asarray(Image.open(io.BytesIO(data)).convert("L")).mean())
    assert greys == sorted(greys)
    assert greys[0] < greys[-1]


@pytest.mark.parametrize(
    ("rest", "status"),
    [("0.png", 404), ("5.png", 404), ("x.png", 422), ("1.png?window=heart", 400), ("1.png?segments=a", 400)],
)
def test_slices_that_are_not_there(made: tuple[TestClient, Clinic, int], rest: str, status: int) -> None:
    client, clinic, job_id = made
    assert client.get(address(clinic, job_id, rest)).status_code == status


def test_another_study_does_not_show_the_slices(made: tuple[TestClient, Clinic, int]) -> None:
    client, _, job_id = made
    assert client.get(f"/studies/1.2.3/jobs/{job_id}/slices/1.png").status_code == 404


def test_the_page_shows_slices_provenance_and_a_form(made: tuple[TestClient, Clinic, int]) -> None:
    client, clinic, job_id = made
    job = clinic.ledger.job(job_id)
    assert job is not None
    started = time.perf_counter()
    answer = client.get(f"/studies/{job.study_uid}")
    took = time.perf_counter() - started
    text = answer.text
    assert len(answer.content) < 300_000
    assert took < 5
    assert 'data-slices="4"' in text
    assert 'src="/static/slices.js" defer' in text
    assert not re.search(r"<script(?! src=\"/static/)", text)
    assert job.model_digest in text
    assert job.inputs[0].series_uid in text
    assert "Nobody has assessed it yet" in text
    assert "script-src 'self'" in answer.headers["content-security-policy"]
    (source,) = re.findall(r'<img src="([^"]+)"', text)
    assert client.get(source).status_code == 200


def test_an_image_that_is_gone_is_told(made: tuple[TestClient, Clinic, int]) -> None:
    client, clinic, job_id = made
    for file in clinic.data_dir.glob("objects/*/*/*.dcm"):
        file.unlink()
    assert client.get(address(clinic, job_id, "1.png")).status_code == 410
    job = clinic.ledger.job(job_id)
    assert job is not None
    assert client.get(f"/studies/{job.study_uid}").status_code == 200


def test_a_segmentation_that_is_gone_leaves_the_images(made: tuple[TestClient, Clinic, int]) -> None:
    client, clinic, job_id = made
    for file in clinic.data_dir.rglob("*seg*.dcm"):
        file.unlink()
    job = clinic.ledger.job(job_id)
    assert job is not None
    assert "no outlines" in client.get(f"/studies/{job.study_uid}").text
    assert colours_of(client.get(address(clinic, job_id, "2.png")).content) == set()


def test_results_stand_beside_the_images_in_dicomweb_as_long_as_they_count(
    made: tuple[TestClient, Clinic, int],
) -> None:
    client, clinic, job_id = made
    job = clinic.ledger.job(job_id)
    assert job is not None
    study = f"/dicom-web/studies/{job.study_uid}"
    modalities = {each["00080060"]["Value"][0] for each in client.get(f"{study}/series").json()}
    assert modalities == {"CT", "SEG", "SR"}
    (found,) = client.get("/dicom-web/studies?ModalitiesInStudy=SEG").json()
    assert set(found["00080061"]["Value"]) == {"CT", "SEG", "SR"}
    assert found["00201208"]["Value"][0] > 4
    whole = client.get(study, headers={"Accept": 'multipart/related; type="application/dicom"'})
    assert whole.status_code == 200
    from dicom_node.archive import withdrawals
    from dicom_node.domain.rejection import Title

    withdrawals.withdraw(
        clinic.database, clinic.desk, withdrawals.Withdrawal(job_id, "wrong side", Title.QUALITY), (), "test"
    )
    modalities = {each["00080060"]["Value"][0] for each in client.get(f"{study}/series").json()}
    assert modalities == {"CT"}
    assert pydicom.uid.UID(job.study_uid).is_valid
