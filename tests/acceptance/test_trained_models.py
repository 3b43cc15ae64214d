"""A case that no training saw, sent as DICOM: the model picks its series, and what comes back is on the hippocampus."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
from installed_node import InstalledNode
from mr_series import hippocampus_case, write_stack
from peers import Orthanc, storescu
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
    assert [made["kind"] for made in job["artifacts"]] == ["sr"]
