"""What an answer rests on: a study goes to the node, map and report come into the PACS, and the map is in place."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from installed_node import InstalledNode
from peers import Orthanc
from pydicom.uid import ParametricMapStorage
from readers import errors_of_dciodvfy, results_in
from small_series import small_series, write, write_one

pytestmark = [pytest.mark.acceptance, pytest.mark.peer]

# The block of the image that the network of ``explained_bundle`` looks at, in voxels (slice, row, column) of an axial
# series of 6 slices of 24 x 20: it counts columns and rows from the other end, since the bundle asks for RAS.
SEEN = (slice(1, 5), slice(24 - 9, 24 - 3), slice(20 - 6, 20 - 2))


def test_a_map_of_what_the_answer_rests_on_comes_into_the_pacs(
    node: InstalledNode, pacs: Orthanc, tmp_path: Path
) -> None:
    images = small_series(StudyDescription="explains", BodyPartExamined="CHEST")
    rng = np.random.default_rng(5)
    for image in images:
        image.PixelData = rng.integers(0, 4, (image.Rows, image.Columns), np.uint16).tobytes()
    node.send(write(images, tmp_path / "study"))
    node.await_story(str(images[0].StudyInstanceUID), "delivered")

    study_uid = str(images[0].StudyInstanceUID)
    (report,) = results_in(pacs, study_uid)["SR"]
    (there,) = [each for each in pacs.instances(study_uid) if each.sop_class_uid == ParametricMapStorage]
    made = read(pacs, there.id)
    assert errors_of_dciodvfy(write_one(made, tmp_path / "map.dcm")) == []

    volume = highdicom.pm.ParametricMap.from_dataset(made).get_volume()
    values = np.zeros((6, 24, 20), np.float32)
    for index in np.ndindex(volume.spatial_shape):
        position = volume.map_indices_to_reference(np.array([index]))[0]
        column, row, level = (position - [-12.5, 7.25, 0]) / [1.25, 1.5, 3.0]
        values[round(level), round(row), round(column)] = volume.array[index]
    inside = np.zeros(values.shape, bool)
    inside[SEEN] = True
    assert values[inside].mean() > 2 * values[~inside].mean() >= 0
    assert values.max() == pytest.approx(1)
    assert made.SOPInstanceUID in read(pacs, report.id).to_json()
    assert made.FrameOfReferenceUID == images[0].FrameOfReferenceUID
    assert "RESEARCH" in made.SeriesDescription


def read(pacs: Orthanc, number: str) -> pydicom.Dataset:
    """An object out of the PACS."""
    return pydicom.dcmread(BytesIO(pacs.download(number)))
