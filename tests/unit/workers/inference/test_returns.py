"""A host runs foreign code: what it tells of its arrays is compared with what it was asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundles import contract_of

from dicom_node.errors import ModelOutputError
from workers.inference.returns import checked

SHAPE = (2, 3, 4)
LABELS = np.ones((1, *SHAPE), np.uint8)


def test_the_arrays_are_those_of_the_contract() -> None:
    told = [["segmentation", "uint8", [1, *SHAPE]]]

    assert np.array_equal(checked(contract_of(Path("m")), told, LABELS.tobytes(), SHAPE)["segmentation"], LABELS)


@pytest.mark.parametrize(
    ("told", "data", "what"),
    [
        ([], b"", "returned no segmentation"),
        ([["segmentation", "uint8", [1, 2, 3, 5]]], LABELS.tobytes(), "24 of 30 bytes"),
        ([["segmentation", "object", [1, *SHAPE]]], LABELS.tobytes(), "as object"),
        ([["segmentation", "uint8", [1, 4, 3, 2]]], LABELS.tobytes(), "in the shape"),
        ([["segmentation", "uint8", [24]]], LABELS.tobytes(), "in the shape"),
        ([["segmentation", "uint8", [1, *SHAPE]]], (7 * LABELS).tobytes(), r"label\(s\) 7 that model\.toml does not"),
    ],
)
def test_anything_else_is_refused(told: list[list[Any]], data: bytes, what: str) -> None:
    with pytest.raises(ModelOutputError, match=what):
        checked(contract_of(Path("m")), told, data, SHAPE)
