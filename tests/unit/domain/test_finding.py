"""Findings never exist half-valid."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dicom_node.domain.finding import Code, Findings, Segment
from dicom_node.domain.grid import VoxelGrid
from dicom_node.errors import ModelOutputError

LUNG = Code("39607008", "SCT", "Lung")
SEGMENT = Segment(1, "Lung", LUNG, LUNG, None, (1, 2, 3), "lung", "1.2.3")


def _findings(**changed: Any) -> Findings:
    usual: dict[str, Any] = {
        "grid": VoxelGrid.from_matrix((2, 3, 4), np.eye(4)),
        "label_map": np.ones((2, 3, 4), np.uint8),
        "frames": ("1.1", "1.2"),
        "segments": (SEGMENT,),
        "measurements": (),
        "evaluations": (),
    }
    return Findings(**{**usual, **changed})


def test_a_segment_is_found_by_its_number() -> None:
    assert _findings().segment(1) is SEGMENT


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"label_map": np.ones((2, 4, 3), np.uint8)}, "shape"),
        ({"label_map": np.ones((2, 3, 4), np.int16)}, "int16"),
        ({"label_map": np.full((2, 3, 4), 7, np.uint8)}, r"\[7\]"),
        ({"frames": ("1.1",)}, "1 source images for 2 slices"),
    ],
)
def test_what_does_not_fit_together_is_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelOutputError, match=message):
        _findings(**changed)
