"""Findings never exist half-valid."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dicom_node.domain.finding import Code, Findings, Segment, labels_by_slice
from dicom_node.domain.grid import VoxelGrid
from dicom_node.errors import ModelOutputError

LUNG = Code("39607008", "SCT", "Lung")
SEGMENT = Segment(1, "Lung", LUNG, LUNG, None, (1, 2, 3), "lung", "1.2.3")


def _findings(**changed: Any) -> Findings:
    usual: dict[str, Any] = {
        "grid": VoxelGrid.from_matrix((2, 3, 4), np.eye(4)),
        "layers": (np.ones((2, 3, 4), np.uint8),),
        "frames": ("1.1", "1.2"),
        "segments": (SEGMENT,),
        "measurements": (),
        "evaluations": (),
    }
    return Findings(**{**usual, **changed})


def test_a_segment_is_found_by_its_number() -> None:
    assert _findings().segment(1) is SEGMENT


def test_segments_in_several_layers_may_overlap() -> None:
    low, high = np.zeros((2, 2, 3, 4), np.uint8)
    low[:, :2], high[:, 1:] = 1, 2
    other = Segment(2, "Lobe", LUNG, LUNG, None, (1, 2, 3), "lobe", "1.2.4")

    found = _findings(layers=(low, high), segments=(SEGMENT, other))

    assert found.held() == {1, 2}
    assert (found.mask(1) & found.mask(2)).sum() == 2 * 4


@pytest.mark.parametrize("labels", [(), (0,), (3,), (1, 16), (0, 17), (2, 255)])
def test_labels_are_told_slice_by_slice(labels: tuple[int, ...]) -> None:
    layer = np.zeros((3, 4, 5), np.uint8)
    layer[1].ravel()[: len(labels)] = labels
    layer[2] = 7

    held = labels_by_slice(layer)

    assert held.shape == (3, 256)
    assert np.flatnonzero(held[0]).tolist() == [0]
    assert np.flatnonzero(held[1]).tolist() == sorted({0, *labels})
    assert np.flatnonzero(held[2]).tolist() == [7]


def test_a_model_may_have_no_segments() -> None:
    assert _findings(layers=(), segments=()).held() == frozenset()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"layers": (np.ones((2, 4, 3), np.uint8),)}, "shape"),
        ({"layers": (np.ones((2, 3, 4), np.int16),)}, "int16"),
        ({"layers": (np.full((2, 3, 4), 7, np.uint8),)}, r"\[7\]"),
        ({"layers": (np.ones((2, 3, 4), np.uint8),) * 2}, "two label maps"),
        ({"frames": ("1.1",)}, "1 source images for 2 slices"),
    ],
)
def test_what_does_not_fit_together_is_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelOutputError, match=message):
        _findings(**changed)
