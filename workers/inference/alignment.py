"""Several series of one examination, brought together as the contract says: by grid, within one frame of reference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from scipy import ndimage

from dicom_node.domain.contract import Grid, InputRole, ModelContract
from dicom_node.domain.grid import VoxelGrid
from dicom_node.errors import GeometryError, InputError
from workers.inference.volume import Volume

# Grids are the same when no corner of one lies further than this share of a voxel from that of the other.
_SAME_GRID = 0.05
# Less of the first series than this within the other one, and they show different parts of the body.
_LEAST_OVERLAP = 0.5


def aligned(contract: ModelContract, volumes: Mapping[str, Volume]) -> dict[str, Volume]:
    """The volumes in the order of the contract's roles, each on the grid its role asks for.

    Resampling is linear; where a series does not reach, it takes its lowest value.

    Raises:
        InputError: ``roles``: they are not those of the contract; ``extent``: one is larger than its role takes;
            ``too-many-slices``: an image of two dimensions is asked for.
        GeometryError: ``mixed-frames-of-reference``, ``other-grid``, ``no-overlap``.
    """
    roles = [role.name for role in contract.inputs]
    if set(roles) != set(volumes) or not roles:
        raise InputError(
            f"{contract.name} takes the series {', '.join(roles)}, not {', '.join(volumes) or 'none'}",
            reason="roles",
            remedy="give one series for each of its roles",
        )
    first = volumes[roles[0]]
    if len({volume.frame_of_reference_uid for volume in volumes.values()}) > 1:
        raise GeometryError(
            f"the series for {contract.name} lie in different frames of reference",
            reason="mixed-frames-of-reference",
            remedy="choose series of one examination, acquired without moving the patient, or register them first",
        )
    for role in contract.inputs:
        _check_extent(contract.name, role, volumes[role.name])
        if role.dimensions == 2 and volumes[role.name].grid.shape[0] != 1:
            raise InputError(
                f"{contract.name} takes one image as {role.name}, not {volumes[role.name].grid.shape[0]} slices",
                reason="too-many-slices",
                remedy="let the rule choose a series of one image",
            )
    return {
        role.name: volumes[role.name] if at == 0 else _brought(role.grid, role.name, volumes[role.name], first)
        for at, role in enumerate(contract.inputs)
    }


def _check_extent(model: str, role: InputRole, volume: Volume) -> None:
    extent_mm = [count * spacing for count, spacing in zip(volume.grid.shape, volume.grid.spacing, strict=True)]
    if role.maximum_extent_mm is not None and max(extent_mm) > role.maximum_extent_mm:
        raise InputError(
            f"the volume is {' x '.join(f'{mm:.0f}' for mm in extent_mm)} mm (slices, rows, columns), "
            f"and {model} takes at most {role.maximum_extent_mm:g} mm along each",
            reason="extent",
            remedy="send the series cropped around what the model is for, or have the rule choose another one",
        )


def _brought(grid: Grid, role: str, volume: Volume, first: Volume) -> Volume:
    if grid is Grid.OWN or _same(volume.grid, first.grid):
        return volume
    if grid is Grid.SAME or volume.array.ndim != len(volume.grid.shape):  # colour is not resampled
        raise GeometryError(
            f"the series for {role} lies on another grid than the first one "
            f"({_told(volume.grid)}; first: {_told(first.grid)})",
            reason="other-grid",
            remedy='send series of the same geometry, or set grid = "resample" for this input in model.toml',
        )
    return _resampled(role, volume, first.grid)


def _same(one: VoxelGrid, other: VoxelGrid) -> bool:
    if one.shape != other.shape:
        return False
    last = np.asarray(one.shape) - 1
    corners = np.array([[a, b, c] for a in (0, last[0]) for b in (0, last[1]) for c in (0, last[2])], dtype=np.float64)
    return float(np.abs(other.lps_to_index(one.index_to_lps(corners)) - corners).max()) <= _SAME_GRID


def _told(grid: VoxelGrid) -> str:
    return f"{' x '.join(map(str, grid.shape))} voxels of {' x '.join(f'{mm:.2f}' for mm in grid.spacing)} mm"


def _resampled(role: str, volume: Volume, grid: VoxelGrid) -> Volume:
    """The volume on ``grid``; array axes (slice, row, column) on both sides."""
    to_index = np.linalg.inv(volume.grid.matrix()) @ grid.matrix()
    step, start = to_index[:3, :3], to_index[:3, 3]
    inside = _share_inside(step, start, volume.grid.shape, grid.shape)
    if inside < _LEAST_OVERLAP:
        raise GeometryError(
            f"the series for {role} covers {inside:.0%} of the first one",
            reason="no-overlap",
            remedy="choose series that show the same part of the body",
        )

    def onto(array: np.ndarray, order: int, mode: str) -> np.ndarray:
        dtype = np.uint8 if array.dtype == np.uint8 else np.float32
        moved = ndimage.affine_transform(
            array, step, start, output_shape=grid.shape, output=dtype, order=order, mode=mode
        )
        return np.asarray(moved)

    reached = onto(np.ones(volume.array.shape, np.uint8), 0, "grid-constant")  # within half a voxel of its edge
    array = np.where(reached, onto(volume.array, 1, "nearest"), volume.array.min())
    header = volume.headers[0]
    return replace(
        volume,
        array=array.astype(np.float32, copy=False),
        grid=grid,
        frames=(volume.frames[0],) * grid.shape[0],
        headers=(header,) * grid.shape[0],
    )


def _share_inside(
    step: np.ndarray, start: np.ndarray, shape: tuple[int, int, int], wanted: tuple[int, int, int]
) -> float:
    """How much of the wanted grid lies within the other one, by every fourth voxel along each axis."""
    axes = [np.arange(0, n, max(1, min(4, n // 4)), dtype=np.float64) for n in wanted]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3) @ step.T + start
    return float(np.mean(np.all((points > -0.5) & (points < np.asarray(shape) - 0.5), axis=1)))
