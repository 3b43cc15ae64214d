"""A case that no training saw, sent as DICOM: the model picks its series, and what comes back is on the hippocampus."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from installed_node import InstalledNode
from mr_series import hippocampus_case, write_stack
from peers import Orthanc, storescu, wait_until
from pydicom.uid import generate_uid
from readers import errors_of_dciodvfy, measurements_of, the_result, voxels_of_seg
from small_series import small_series, write

pytestmark = [pytest.mark.acceptance, pytest.mark.peer, pytest.mark.data]

SPLIT = Path(__file__).parents[2] / "models" / "mr_hippocampus" / "configs" / "split.json"
RULES = """
[[rules]]
name = "hippocampus"
model = "mr_hippocampus"
all = ['Modality == "MR"']
trigger = "study"
send_to = ["pacs"]
"""


AFTER_QUALITY = (
    RULES
    + """
after = { rule = "quality", finding = "clean" }
[[rules]]
name = "quality"
model = "mr_quality"
all = ['Modality == "MR"']
trigger = "study"
send_to = ["pacs"]
"""
)


@pytest.fixture
def careful_node(installed: Path, pacs: Orthanc, tmp_path: Path) -> Iterator[InstalledNode]:
    """One that outlines what the quality model calls clean."""
    served = InstalledNode(installed, tmp_path / "node", pacs, AFTER_QUALITY)
    try:
        served.start()
        yield served
    finally:
        served.stop()


@pytest.fixture
def hippocampus_node(installed: Path, pacs: Orthanc, tmp_path: Path) -> Iterator[InstalledNode]:
    served = InstalledNode(installed, tmp_path / "node", pacs, RULES)
    try:
        served.start()
        yield served
    finally:
        served.stop()


def test_an_unseen_hippocampus_is_outlined_where_it_lies(
    hippocampus_node: InstalledNode, pacs: Orthanc, test_data: Path, tmp_path: Path
) -> None:
    image, labels, affine = hippocampus_case(test_data, json.loads(SPLIT.read_text(encoding="utf-8"))["test"][6])
    study_uid = generate_uid()
    cropped = write_stack(image, affine, tmp_path / "cropped", "coronal", StudyInstanceUID=study_uid)
    whole = write(
        small_series(24, StudyInstanceUID=study_uid, SeriesDescription="T1post", SeriesNumber=2), tmp_path / "whole"
    )
    files = [*cropped.iterdir(), *whole.iterdir()]
    assert storescu(pacs.dicom_port, *files, called=pacs.aet).returncode == 0
    hippocampus_node.send(*files)
    hippocampus_node.await_story(study_uid, "delivered")
    seg_file, sr_file = the_result(pacs, study_uid, tmp_path)

    assert errors_of_dciodvfy(seg_file) == []
    seg = pydicom.dcmread(seg_file)
    referenced = seg.ReferencedSeriesSequence[0].SeriesInstanceUID
    assert referenced == pydicom.dcmread(next(cropped.iterdir())).SeriesInstanceUID
    volumes = measurements_of(pydicom.dcmread(sr_file))
    for number, points in voxels_of_seg(seg).items():
        at = (points * [-1, -1, 1] - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T
        found = np.zeros(labels.shape, dtype=bool)
        found[tuple(np.round(at).astype(int).T)] = True
        truth = labels == number
        assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.8
        assert volumes[frozenset([number]), "118565006", ""][0] == pytest.approx(found.sum() / 1000, rel=1e-3)


def test_a_child_is_not_evaluated_and_everyone_is_told_why(
    hippocampus_node: InstalledNode, pacs: Orthanc, test_data: Path, tmp_path: Path
) -> None:
    image, _, affine = hippocampus_case(test_data, json.loads(SPLIT.read_text(encoding="utf-8"))["test"][6])
    study_uid = generate_uid()
    told = {"StudyInstanceUID": study_uid, "PatientAge": "009Y"}
    files = list(write_stack(image, affine, tmp_path / "cropped", "coronal", **told).iterdir())
    assert storescu(pacs.dicom_port, *files, called=pacs.aet).returncode == 0
    hippocampus_node.send(*files)
    story = hippocampus_node.await_story(study_uid, "delivered")

    (job,) = story["jobs"]
    assert (job["segments"], job["measurements"]) == ([], [])
    (answer,) = job["classes"]
    assert (answer["meaning"], answer["presence"]) == ("Hippocampus", "not evaluated")
    assert "PatientAge is 009Y, less than 18 years" in answer["reason"]
    assert [made["kind"] for made in job["artifacts"]] == ["sr", "sc"]


def test_what_is_spoilt_is_outlined_only_on_a_person_s_word(
    careful_node: InstalledNode, pacs: Orthanc, test_data: Path, tmp_path: Path
) -> None:
    image, _, affine = hippocampus_case(test_data, json.loads(SPLIT.read_text(encoding="utf-8"))["test"][6])
    noise = np.random.default_rng(4).normal(0, 0.2 * np.percentile(image, 99), (2, *image.shape))
    studies = {}
    for name, volume in (("clean", image), ("noisy", np.hypot(image + noise[0], noise[1]))):
        studies[name] = generate_uid()
        folder = write_stack(volume, affine, tmp_path / name, "coronal", StudyInstanceUID=studies[name])
        assert storescu(pacs.dicom_port, *folder.iterdir(), called=pacs.aet).returncode == 0
        careful_node.send(*folder.iterdir())

    story = careful_node.await_story(studies["clean"], "delivered")
    assert sorted((job["model"], job["state"]) for job in story["jobs"]) == [
        ("mr_hippocampus", "done"),
        ("mr_quality", "done"),
    ]
    (quality,) = [job for job in story["jobs"] if job["model"] == "mr_quality"]
    assert [found["name"] for found in quality["classes"] if found["presence"] == "present"] == ["clean"]

    def held() -> dict[str, Any] | None:
        told = careful_node.story(studies["noisy"]) or {"jobs": []}
        return next((job for job in told["jobs"] if job["model"] == "mr_hippocampus"), None)

    job = wait_until(held, "the outline to be held back", seconds=120)
    assert job["state"] == "waiting"
    assert "Excessive noise is present (mr_quality, job" in job["question"]
