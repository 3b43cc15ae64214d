"""A real chest CT, and the same one moved and rescaled in the scanner, as a patient's earlier and later study."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from pydicom.dataset import Dataset
from readers import errors_of_dciodvfy
from result_cases import CONTEXT, DETECTIONS, findings_on
from sqlalchemy import select, update
from stories import new_ledger
from studies_of_results import Clinic

from dicom_node.archive.schema import result_set
from dicom_node.catalogue import Catalogue
from dicom_node.domain.comparison import Repeatability, Verdict
from dicom_node.domain.contract import ModelContract
from dicom_node.domain.finding import Findings
from dicom_node.settings import Settings
from workers import comparing
from workers.inference.measurements import measure
from workers.inference.volume import Volume
from workers.results.encode import encode
from workers.results.readback import check

pytestmark = [pytest.mark.data, pytest.mark.peer]

MOVED = np.array([12.5, -7.25, 30.0])  # mm
LARGER = 1.05  # in the plane
DIGEST = "d" * 64


@pytest.fixture
def clinic(tmp_path: Path) -> Iterator[Clinic]:
    database = new_ledger(tmp_path)
    yield Clinic(database, tmp_path)
    database.close()


@pytest.fixture(scope="module")
def model() -> ModelContract:
    """The bundled one, as if its repeatability had been measured: 5 %, or 10 HU."""
    found = Catalogue.load(Settings()).get("ct_lung_density")
    stated = {"volume": Repeatability(None, 5.0, "A test"), "mean_density": Repeatability(10.0, None, "A test")}
    measurements = tuple(replace(each, repeatability=stated.get(each.name)) for each in found.measurements)
    return replace(found, measurements=measurements, digest=DIGEST)


def images(test_data: Path) -> list[Dataset]:
    files = sorted((test_data / "ct_chest_lungdx_A0002").rglob("*.dcm"))
    return sorted(map(pydicom.dcmread, files), key=lambda image: float(image.ImagePositionPatient[2]))


def year_later(headers: list[Dataset]) -> list[Dataset]:
    """The same patient elsewhere in a new frame of reference, and larger."""
    for number, image in enumerate(headers, start=1):
        image.StudyInstanceUID, image.SeriesInstanceUID, image.FrameOfReferenceUID = "2.25.71", "2.25.72", "2.25.73"
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = f"2.25.74.{number}"
        image.StudyDate = str(int(str(image.StudyDate)) + 10_000)
        place = np.array(image.ImagePositionPatient, float) * (LARGER, LARGER, 1) + MOVED
        image.ImagePositionPatient = [round(float(value), 4) for value in place]
        image.PixelSpacing = [round(float(value) * LARGER, 6) for value in image.PixelSpacing]
    return headers


def found_on(headers: list[Dataset], model: ModelContract) -> tuple[Findings, Volume]:
    """Air inside the body, left and right, and a detection in the middle of the right one."""
    hu = np.stack([image.pixel_array.astype(np.int16) + int(image.RescaleIntercept) for image in headers])
    air: npt.NDArray[np.bool_] = hu < -600
    air[:, :110] = air[:, 420:] = False
    air[:, :, :100] = air[:, :, 450:] = False
    label_map = air.astype(np.uint8)
    label_map[:, :, 256:] *= 2
    findings = findings_on(headers, label_map, evaluations=())
    (centre,) = findings.grid.index_to_lps(np.argwhere(label_map == 1).mean(axis=0, keepdims=True)).tolist()
    study = str(headers[0].StudyInstanceUID)
    nodule = replace(DETECTIONS[0], points=(tuple(centre),), tracking_uid=f"2.25.{len(study)}", tracking_id=study[-4:])
    measurements = tuple(measure(model, hu.astype(np.float32), findings.grid, (label_map,)))
    volume = Volume(hu, findings.grid, findings.frames, tuple(headers), "HU")
    return replace(findings, measurements=measurements, detections=(nodule,)), volume


def test_what_grew_in_the_scanner_has_grown_and_the_nodule_is_proposed_as_the_same(
    clinic: Clinic, model: ModelContract, test_data: Path, tmp_path: Path
) -> None:
    before = images(test_data)
    earlier, volume = found_on(before, model)
    clinic.arrive(before)
    job_id = clinic.plan(model_digest=DIGEST, study_uid=str(before[0].StudyInstanceUID))
    changes = {"measurements": earlier.measurements, "detections": earlier.detections, "evaluations": ()}
    clinic.commit(job_id, before, label_map=earlier.layers[0], **changes)
    with clinic.database.write() as connection:
        chosen = result_set.c.job_id == job_id
        manifest = connection.execute(select(result_set.c.manifest).where(chosen)).scalar_one()
        kept = {**manifest, **comparing.kept(volume, earlier)}
        connection.execute(update(result_set).where(chosen).values(manifest=kept))

    now = year_later(images(test_data))
    findings, volume = found_on(now, model)
    clinic.arrive(now)
    job = clinic.ledger.job(clinic.plan(model_digest=DIGEST, study_uid="2.25.71"))
    assert job is not None
    findings = comparing.compared(clinic.database, job, model, volume, findings, "")

    against = findings.comparison
    assert against is not None
    assert not against.obstacle
    told = {(each.name, each.segments): each for each in against.changes if not each.tracking_uid}
    assert len(told) == len(findings.measurements)
    for segments in ((1,), (2,), (1, 2)):
        assert told["volume", segments].percent == pytest.approx(100 * (LARGER**2 - 1), abs=0.01)
        assert told["volume", segments].verdict is Verdict.INCREASED
        assert told["mean_density", segments].verdict is Verdict.UNCHANGED
        assert told["laa_950", segments].verdict is Verdict.NOT_TOLD
    (proposed,) = against.matches
    assert against.aligned_by == "the centres of their segments"
    assert proposed.distance_mm < 10
    assert (proposed.tracking_uid, proposed.earlier_uid) == (
        findings.detections[0].tracking_uid,
        earlier.detections[0].tracking_uid,
    )

    objects = encode(findings, model, now, CONTEXT)
    check(objects, findings, now)
    for made in objects:
        (tmp_path / f"{made.kind}.dcm").write_bytes(made.data)
        assert not errors_of_dciodvfy(tmp_path / f"{made.kind}.dcm")
    texts = [item.get("TextValue", "") for item in pydicom.dcmread(BytesIO(objects[1].data)).ContentSequence]
    assert any("A proposal until a reader confirms it" in text for text in texts)
