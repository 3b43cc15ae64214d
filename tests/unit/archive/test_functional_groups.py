"""The index knows where the frames of a multi-frame object lie."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_series import AXIAL, ct_series, enhanced, write
from pydicom import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from dicom_node.archive import readiness
from dicom_node.archive.header import read_header
from dicom_node.archive.schema import instance, series
from dicom_node.domain.grid import stack
from workers.inference.volume import load_volume

STORED = np.zeros((4, 6, 5), np.int16)


def multi_frame(**own: Any) -> Dataset:
    return enhanced(ct_series(STORED), own=(lambda _: own) if own else None)


@pytest.mark.parametrize("syntax", [None, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian])
@pytest.mark.parametrize("undefined_length", [False, True])
def test_each_frame_has_its_plane(tmp_path: Path, syntax: str | None, undefined_length: bool) -> None:
    made = multi_frame()
    if syntax:
        made.file_meta.TransferSyntaxUID = syntax
    for keyword in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        made[keyword].is_undefined_length = undefined_length
    (path,) = write([made], tmp_path)

    header = read_header(path)

    assert header.frames == 4
    grid, order = stack(header.planes)
    assert order == (0, 1, 2, 3)
    assert grid.spacing == pytest.approx(np.linalg.norm(AXIAL, axis=0))
    np.testing.assert_allclose(grid.matrix(), load_volume([path]).grid.matrix(), atol=1e-9)


def test_a_plane_of_a_frame_s_own_counts(tmp_path: Path) -> None:
    own = {"PlaneOrientationSequence": {"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}}

    planes = read_header(write([multi_frame(**own)], tmp_path)[0]).planes

    assert {plane.orientation for plane in planes} == {(0, 1, 0, 0, 0, -1)}


@pytest.mark.parametrize("fault", ["position", "count", "values"])
def test_frames_without_a_place_leave_the_object_without_one(tmp_path: Path, fault: str) -> None:
    made = multi_frame()
    if fault == "position":
        del made.PerFrameFunctionalGroupsSequence[2].PlanePositionSequence
    elif fault == "count":
        del made.PerFrameFunctionalGroupsSequence[2]
    else:
        made.PerFrameFunctionalGroupsSequence[2].PlanePositionSequence[0].ImagePositionPatient = [1, 2]

    assert read_header(write([made], tmp_path)[0]).planes == ()


def test_the_index_tells_the_frames_of_a_series(archive: Any) -> None:
    made = multi_frame(PlaneOrientationSequence={"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]})

    archive.add(made)

    (row,) = archive.rows(series)
    (stored,) = archive.rows(instance)
    assert readiness.planes(archive.database, row.id) == read_header(archive.store.absolute(stored.path)).planes
    assert len(readiness.planes(archive.database, row.id)) == 4
