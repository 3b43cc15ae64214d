"""What cannot be used: said by name with what to do, kept, and no hindrance to the next study."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest
from installed_node import InstalledNode
from peers import Orthanc, echoscu, storescu, wait_until
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE, _config
from readers import the_result
from small_series import small_series, write, write_one

pytestmark = [pytest.mark.acceptance, pytest.mark.peer]


@pytest.fixture(autouse=True)
def _up_and_nothing_lost(node: InstalledNode) -> Iterator[None]:
    """After each test the node answers, and every file that came stands in the index."""
    yield
    wait_until(lambda: indexed(node) == len(stored(node)), "every stored object to stand in the index")
    assert echoscu(node.port, called="DICOMNODE", calling="STORESCU").returncode == 0
    assert node.api("/readyz")["ready"]


def stored(node: InstalledNode) -> list[Path]:
    """The files of all objects that the node has taken."""
    return sorted((node.folder / "data" / "objects").rglob("*.dcm"))


def indexed(node: InstalledNode) -> int:
    """How many objects the index accounts for."""
    return int(sum(node.api("/api/v1/counters")["instances"].values()))


def send_as_it_is(node: InstalledNode, file: Path) -> int:
    """Send the bytes of a file with pynetdicom, which does not look into them; the status of the answer."""
    meta = pydicom.filereader.read_file_meta_info(file)
    ae = AE("STORESCU")
    ae.add_requested_context(meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID)
    association = ae.associate("127.0.0.1", node.port, ae_title="DICOMNODE")
    assert association.is_established
    _config.STORE_SEND_CHUNKED_DATASET = True
    try:
        return int(association.send_c_store(file).Status)
    finally:
        _config.STORE_SEND_CHUNKED_DATASET = False
        association.release()


def rejected(node: InstalledNode) -> int:
    return int(node.api("/api/v1/counters")["instances"].get("rejected", 0))


def await_failure(node: InstalledNode, study_uid: str, state: str = "failed") -> dict[str, str]:
    """The error of the study's one job, as its story tells it; it is in the words of the study too."""
    told = node.await_story(study_uid, "failed")
    (job,) = told["jobs"]
    assert job["state"] == state
    error: dict[str, str] = job["error"]
    assert error["message"] in told["standing_words"]
    assert error["remedy"]
    shown = node.run("studies", "show", study_uid).stdout
    assert "what to do" in shown
    return error


def sent(node: InstalledNode, images: list[Dataset], folder: Path) -> str:
    """Send a study that the rule "quick" wants; its UID."""
    node.send(write(images, folder / "study"))
    return str(images[0].StudyInstanceUID)


def test_a_data_set_that_is_garbage_is_kept_and_named(node: InstalledNode, tmp_path: Path) -> None:
    file = write_one(small_series(1)[0], tmp_path / "garbage.dcm")
    data = file.read_bytes()
    start = 144 + int.from_bytes(data[140:144], "little")  # what follows the file meta information (PS3.10 7.1)
    file.write_bytes(data[:start] + b"this is no data set at all" * 40)
    before, files = rejected(node), len(stored(node))

    assert send_as_it_is(node, file) == 0  # the bytes are safe; looking into them comes later

    wait_until(lambda: rejected(node) == before + 1, "the object to be rejected")
    assert len(stored(node)) == files + 1
    assert kept(node).read_bytes().endswith(b"this is no data set at all")
    (told,) = [line for line in node.log_tail().splitlines() if "rejected:" in line and str(kept(node)) in line]
    assert "the file ends inside" in told
    assert "send the object again" in told


def kept(node: InstalledNode) -> Path:
    """The file of the object that came last."""
    return max(stored(node), key=lambda file: file.stat().st_mtime_ns)


def test_an_object_that_is_cut_off_is_named_in_its_study(node: InstalledNode, tmp_path: Path) -> None:
    images = small_series(StudyDescription="quick")
    cut = write_one(images.pop(), tmp_path / "cut.dcm")
    cut.write_bytes(cut.read_bytes()[:-400])  # in the middle of the pixels

    study_uid = sent(node, images, tmp_path)
    assert send_as_it_is(node, cut) == 0

    told = node.await_story(study_uid, "delivered")
    (problem,) = told["problems"]
    assert problem["state"] == "rejected"
    assert "cut off" in problem["reason"] or "truncated" in problem["reason"]
    assert (node.folder / "data" / problem["path"]).is_file()
    assert "object that cannot be used" in node.run("studies", "show", study_uid).stdout


def test_images_without_geometry_are_refused(node: InstalledNode, tmp_path: Path) -> None:
    images = small_series(StudyDescription="quick")
    for image in images:
        del image.ImagePositionPatient, image.ImageOrientationPatient

    error = await_failure(node, sent(node, images, tmp_path))

    assert error["reason"] == "no-geometry"
    assert "no Image Orientation, Image Position" in error["message"]
    assert "send the original images" in error["remedy"]


def test_a_missing_slice_is_waited_for_and_then_named(node: InstalledNode, tmp_path: Path) -> None:
    images = small_series(8, StudyDescription="quick")
    late = images.pop(4)
    study_uid = sent(node, images, tmp_path)

    error = await_failure(node, study_uid)

    assert error["reason"] == "missing-slice"
    assert "1 slice(s) missing" in error["message"]
    assert "send the missing images" in error["remedy"]
    events = [event["detail"] for event in node.cli("studies", "history", study_uid)["events"]]
    assert any("waiting for missing images" in detail.get("reason", "") for detail in events)

    node.send(write_one(late, tmp_path / "late.dcm"))  # what to do was told: doing it helps

    wait_until(lambda: len((node.story(study_uid) or {}).get("jobs", ())) == 2, "another job")
    wait_until(lambda: node.story(study_uid)["jobs"][1]["state"] == "done", "the job to be done")


def test_two_series_under_one_uid_are_refused(node: InstalledNode, tmp_path: Path) -> None:
    images = small_series(StudyDescription="quick")
    other = small_series(
        StudyInstanceUID=images[0].StudyInstanceUID,
        SeriesInstanceUID=images[0].SeriesInstanceUID,
        StudyDescription="quick",
        ImageOrientationPatient=[0, 1, 0, 0, 0, -1],
    )

    error = await_failure(node, sent(node, images + other, tmp_path))

    assert error["reason"] == "mixed-orientation"
    assert "split the series" in error["remedy"]


def test_two_patients_in_one_study_are_held_for_a_person(node: InstalledNode, tmp_path: Path) -> None:
    images = small_series(StudyDescription="quick")
    images[-1].PatientID = "SOMEBODY-ELSE"

    study_uid = sent(node, images, tmp_path)

    told = node.await_story(study_uid, "held")
    assert "two patients in one study" in told["standing_words"]
    assert "SOMEBODY-ELSE" in told["standing_words"]
    assert "correct the Patient ID" in told["evidence"]["remedy"]
    assert told["jobs"] == []


@pytest.mark.data
@pytest.mark.parametrize(
    ("folder", "reason"),
    [("gantrytilting", "gantry-tilt"), ("sliceincrement", "missing-slice"), ("sliceorientation", "mixed-orientation")],
)
def test_real_series_that_are_no_volume_are_refused_by_name(
    folder: str, reason: str, node: InstalledNode, test_data: Path, tmp_path: Path
) -> None:
    study_uid = generate_uid()
    for file in sorted((test_data / "geometry_failing" / folder).rglob("*.dcm")):
        image = pydicom.dcmread(file)
        image.StudyInstanceUID, image.StudyDescription, image.Modality = study_uid, "quick", "MR"
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        image.save_as(tmp_path / file.name)

    node.send(tmp_path)

    assert await_failure(node, study_uid)["reason"] == reason


@pytest.mark.data
def test_malformed_files_are_accounted_for(node: InstalledNode, test_data: Path) -> None:
    taken = 0
    for file in sorted((test_data / "malformed").iterdir()):
        before = len(stored(node))
        by_dcmtk = storescu(node.port, file, called="DICOMNODE", options=("--required",), seconds=30)
        taken += by_dcmtk.returncode == 0 or sends_with_pynetdicom(node, file)
        if len(stored(node)) > before:
            wait_until(lambda: indexed(node) == len(stored(node)), f"{file.name} to be accounted for")
    assert taken >= 4


def sends_with_pynetdicom(node: InstalledNode, file: Path) -> bool:
    """Whether a file that is malformed could be sent at all, and was taken."""
    try:
        return send_as_it_is(node, file) == 0
    except (pydicom.errors.InvalidDicomError, AttributeError, AssertionError, ValueError):
        return False


@pytest.mark.parametrize(
    ("model", "reason", "words"),
    [
        ("raises", "model-raised", "there is no tissue in this"),
        ("hangs", "model-timeout", "3 s"),
        ("eats", "model-out-of-memory", "memory"),
    ],
)
def test_a_model_that_fails_ends_its_own_job_and_nothing_else(
    model: str, reason: str, words: str, node: InstalledNode, tmp_path: Path
) -> None:
    worker = node.processes()["worker"]
    child = node.processes()["pool child"]
    images = small_series(StudyDescription=model)

    error = await_failure(node, sent(node, images, tmp_path), "quarantined")

    assert error["reason"] == reason
    assert words in error["message"]
    assert worker.is_running() and child.is_running()
    good = sent(node, small_series(StudyDescription="quick"), tmp_path / "next")
    node.await_story(good, "delivered")


def test_a_destination_that_cannot_be_reached_is_told_and_tried_again(
    node: InstalledNode, pacs: Orthanc, tmp_path: Path
) -> None:
    pacs.stop()
    try:
        study_uid = sent(node, small_series(StudyDescription="quick"), tmp_path)
        told = wait_until(lambda: tried(node, study_uid, 2), "a second try", seconds=60)
        assert told["error"]["reason"] == "refused"
        assert f"127.0.0.1:{pacs.dicom_port}: connection refused" in told["error"]["message"]
        assert "start the peer" in told["error"]["remedy"]
        assert "connection refused" in node.run("parcels", "list").stdout.replace("\n", " ")
        assert node.run("peers", "echo", "pacs").returncode == 1
    finally:
        pacs.start()

    node.await_story(study_uid, "delivered")
    the_result(pacs, study_uid, tmp_path)


def tried(node: InstalledNode, study_uid: str, times: int) -> dict[str, Any] | None:
    """The study's parcel once it was tried so often, in vain."""
    told = node.story(study_uid)
    parcels = told["parcels"] if told else []
    return next((parcel for parcel in parcels if parcel["state"] == "due" and parcel["tries"] >= times), None)
