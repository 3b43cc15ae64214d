"""Several series become inputs on one grid, or are refused by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bundles import contract_of, oblique_volume
from pydicom import Dataset

from dicom_node.domain.contract import Grid, InputRole, ModelContract
from dicom_node.domain.grid import VoxelGrid
from dicom_node.errors import GeometryError, InputError
from workers.inference.alignment import aligned
from workers.inference.volume import Volume

T1 = oblique_volume("MR")


def contract(grid: Grid = Grid.SAME) -> ModelContract:
    roles = tuple(InputRole(name, "MR", 1, (), (), grid=grid) for name in ("t1", "flair"))
    return replace(contract_of(Path("model")), inputs=roles)


def placed(shape: Sequence[int], matrix: np.ndarray, array: np.ndarray | None = None) -> Volume:
    """A volume in the frame of ``T1`` on another grid."""
    grid = VoxelGrid.from_matrix(shape, matrix)
    values = np.zeros(grid.shape, np.float32) if array is None else array.astype(np.float32)
    return replace(T1, array=values, grid=grid, frames=("1.2.5",) * grid.shape[0], headers=T1.headers[:1] * shape[0])


def finer() -> Volume:
    """Half the voxels' size along rows and columns, with a value that rises linearly along each axis of ``T1``."""
    matrix = T1.grid.matrix() @ np.diag([1, 0.5, 0.5, 1])
    shape = (12, 40, 32)
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1) * [1, 0.5, 0.5]
    return placed(shape, matrix, index @ [1.0, 10.0, 100.0])


def test_volumes_stand_in_the_order_of_the_roles() -> None:
    assert list(aligned(contract(), {"flair": T1, "t1": T1})) == ["t1", "flair"]
    with pytest.raises(InputError, match="takes the series t1, flair, not t1"):
        aligned(contract(), {"t1": T1})


def test_integers_are_resampled_to_fractions() -> None:
    given = finer()
    whole = replace(given, array=given.array.astype(np.int16) // 50)
    as_float = replace(given, array=whole.array.astype(np.float32))
    first, second = (aligned(contract(Grid.RESAMPLE), {"t1": T1, "flair": v})["flair"].array for v in (whole, as_float))
    assert np.array_equal(first, second)
    assert (first % 1).any()


def test_different_frames_of_reference_are_refused() -> None:
    header = Dataset()
    header.FrameOfReferenceUID = "1.2.99"

    with pytest.raises(GeometryError, match="different frames of reference"):
        aligned(contract(), {"t1": T1, "flair": replace(T1, headers=(header,))})


def test_another_grid_is_refused_unless_the_contract_says_what_to_do() -> None:
    with pytest.raises(GeometryError, match="another grid") as caught:
        aligned(contract(), {"t1": T1, "flair": finer()})

    assert caught.value.reason == "other-grid"
    own = finer()
    assert aligned(contract(Grid.OWN), {"t1": T1, "flair": own})["flair"] is own


def test_a_series_is_resampled_in_place() -> None:
    flair = aligned(contract(Grid.RESAMPLE), {"t1": T1, "flair": finer()})["flair"]

    assert flair.grid == T1.grid
    index = np.stack(np.meshgrid(*map(np.arange, T1.grid.shape), indexing="ij"), axis=-1)
    inner = (slice(None), slice(0, -1), slice(0, -1))
    assert np.allclose(flair.array[inner], (index @ [1.0, 10.0, 100.0])[inner], atol=1e-3)


def test_a_series_of_another_part_of_the_body_is_refused() -> None:
    matrix = T1.grid.matrix()
    matrix[:3, 3] += 60

    with pytest.raises(GeometryError, match="covers 0% of the first") as caught:
        aligned(contract(Grid.RESAMPLE), {"t1": T1, "flair": placed((12, 20, 16), matrix)})
    assert caught.value.reason == "no-overlap"


def test_an_image_of_two_dimensions_is_one_slice() -> None:
    flat = replace(contract_of(Path("model")), inputs=(InputRole("image", "DX", 1, (), (), dimensions=2),))

    with pytest.raises(InputError, match="takes one image as image, not 12 slices"):
        aligned(flat, {"image": T1})
