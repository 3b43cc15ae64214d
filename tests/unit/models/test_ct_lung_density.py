from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from bundles import bundle_scripts

from dicom_node.catalogue import load_contract
from dicom_node.demo import anatomy, phantom
from dicom_node.domain.grid import VoxelGrid
from workers.inference.measurements import measure

BUNDLE = Path(__file__).resolve().parents[3] / "models" / "ct_lung_density"
CASES: dict[str, dict[str, Any]] = {
    "supine": {},
    "prone": {"acquisition": "prone"},
    "feet-first": {"acquisition": "feet-first"},
    "oblique": {"acquisition": "oblique"},
    "1 mm": {"shape": (280, 192, 192), "spacing": (1.0, 1.9, 1.9)},
    "8 mm": {"shape": (36, 288, 288), "spacing": (8.0, 1.25, 1.25), "thickness": None},
    "8 mm, oblique": {
        "shape": (36, 400, 400),
        "spacing": (8.0, 0.9, 0.9),
        "thickness": None,
        "acquisition": "oblique",
    },
}


@pytest.fixture(scope="module")
def scripts() -> ModuleType:
    return bundle_scripts(BUNDLE, "lungs")


def labels_of(scripts: ModuleType, hu: npt.NDArray[Any], grid: VoxelGrid) -> npt.NDArray[np.uint8]:
    """The label map (slice, row, column) of the bundle's network, between the transforms of its configuration."""
    import torch
    from monai.data import MetaTensor
    from monai.transforms import Orientation

    affine = torch.as_tensor(grid.ras_affine_whd())
    image = MetaTensor(
        torch.as_tensor(hu.transpose(2, 1, 0).astype(np.float32))[None], affine=affine, meta={"space": "RAS"}
    )
    turn = Orientation("RAS", labels=None)
    turned = turn(image)
    result = scripts.lungs.LungSegmenter()(turned[None])[0]
    result.applied_operations = turned.applied_operations
    back = turn.inverse(result)
    return np.asarray(back[0].numpy()).transpose(2, 1, 0)


@pytest.mark.parametrize("case", CASES)
def test_the_phantoms_truth_is_found(scripts: ModuleType, case: str) -> None:
    """Volume within 1 %, LAA-950 within 0.5 points, each lung on its side, airways and bowel gas left out."""
    computed = phantom.compute(**CASES[case])
    labels = labels_of(scripts, computed.hu, computed.grid)
    measured = measure(load_contract(BUNDLE), computed.hu, computed.grid, [labels])

    values = {(m.name, m.segments): m.value for m in measured}
    for segments, truth in (
        ((1,), computed.truth.right),
        ((2,), computed.truth.left),
        ((1, 2), computed.truth.both),
    ):
        assert values["volume", segments] == pytest.approx(truth.volume_ml, rel=0.01)
        assert values["laa_950", segments] == pytest.approx(truth.laa_950_percent, abs=0.5)
        assert values["mean_density", segments] == pytest.approx(truth.mean_density_hu, abs=3)
        assert values["perc15", segments] == pytest.approx(truth.perc15_hu, abs=2)
    assert np.mean(labels[computed.lungs == anatomy.RIGHT] == 2) < 1e-3
    assert np.mean(labels[computed.lungs == anatomy.LEFT] == 1) < 1e-3
    false = (labels > 0) & (computed.lungs == 0)
    assert false.sum() < 1e-3 * (computed.lungs > 0).sum()
    assert not np.any(false & (computed.hu < -950))


def coarse_phantom() -> phantom.Phantom:
    return phantom.compute((72, 144, 144), (4.0, 2.5, 2.5))


@pytest.mark.parametrize("side", [anatomy.RIGHT, anatomy.LEFT])
def test_one_lung_alone_keeps_its_side(scripts: ModuleType, side: int) -> None:
    computed = coarse_phantom()
    other = 3 - side
    hu = np.where(computed.lungs == other, 30, computed.hu).astype(np.int16)

    labels = labels_of(scripts, hu, computed.grid)

    assert np.mean(labels[computed.lungs == side] == side) > 0.98
    assert not np.any(labels == other)


@pytest.mark.parametrize("hu", [-1024, 40, -3024])
def test_an_image_without_lungs_gives_nothing(scripts: ModuleType, hu: int) -> None:
    grid = VoxelGrid.from_matrix((24, 64, 64), np.diag([5.0, 5.0, 5.0, 1.0]))

    assert not labels_of(scripts, np.full(grid.shape, hu, dtype=np.int16), grid).any()


def test_a_body_with_bowel_gas_alone_gives_nothing(scripts: ModuleType) -> None:
    computed = coarse_phantom()
    hu = np.where(computed.lungs > 0, 30, computed.hu).astype(np.int16)

    assert not labels_of(scripts, hu, computed.grid).any()


def test_upper_lungs_of_nothing_but_emphysema_are_lung(scripts: ModuleType) -> None:
    computed = coarse_phantom()
    upper = np.arange(computed.hu.shape[0])[:, None, None] > 34
    hu = np.where((computed.lungs > 0) & upper & (computed.hu < -800), -975, computed.hu).astype(np.int16)

    labels = labels_of(scripts, hu, computed.grid)

    assert np.mean(labels[computed.lungs > 0] > 0) > 0.98


def test_noise_and_padding_change_little(scripts: ModuleType) -> None:
    computed = coarse_phantom()
    noisy = computed.hu + np.random.default_rng(5).normal(0, 60, computed.hu.shape)
    rows, columns = np.indices(computed.hu.shape[1:]) - 71.5
    noisy[:, rows**2 + columns**2 > 71**2] = -3024

    labels = labels_of(scripts, noisy, computed.grid)

    for side, truth in ((anatomy.RIGHT, computed.truth.right), (anatomy.LEFT, computed.truth.left)):
        volume = (labels == side).sum() * computed.grid.voxel_volume / 1000
        assert volume == pytest.approx(truth.volume_ml, rel=0.01)


def test_the_network_refuses_what_it_cannot_place(scripts: ModuleType) -> None:
    import torch
    from monai.data import MetaTensor

    network = scripts.lungs.LungSegmenter()
    with pytest.raises(ValueError, match="MetaTensor"):
        network(torch.zeros(1, 1, 4, 4, 4))
    with pytest.raises(ValueError, match="shape"):
        network(MetaTensor(torch.zeros(2, 1, 4, 4, 4)))


def test_labels_and_segments_agree() -> None:
    metadata = json.loads((BUNDLE / "configs" / "metadata.json").read_text(encoding="utf-8"))
    contract = load_contract(BUNDLE)

    low, high = metadata["network_data_format"]["outputs"]["pred"]["value_range"]
    assert [segment.number for segment in contract.segments] == list(range(low + 1, high + 1))
    assert metadata["version"] == contract.version


def test_the_bundle_runs_by_itself(tmp_path: Path) -> None:
    """``python -m monai.bundle run`` on NIfTI, from another folder."""
    import nibabel

    computed = phantom.compute((48, 96, 96), (6.0, 3.75, 3.75), acquisition="prone")
    affine = computed.grid.ras_affine_whd()
    (tmp_path / "in").mkdir()
    nibabel.save(nibabel.Nifti1Image(computed.hu.transpose(2, 1, 0), affine), tmp_path / "in" / "chest.nii.gz")

    subprocess.run(
        [
            sys.executable,
            *("-m", "monai.bundle", "run"),
            *("--config_file", str(BUNDLE / "configs" / "inference.json")),
            *("--dataset_dir", str(tmp_path / "in"), "--output_dir", str(tmp_path / "out")),
        ],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        timeout=300,
    )

    saved = nibabel.load(tmp_path / "out" / "chest" / "chest_lungs.nii.gz")
    labels = np.asarray(saved.dataobj)
    assert np.allclose(saved.affine, affine, atol=1e-3)
    assert labels.shape == computed.hu.shape[::-1]
    assert np.mean(labels.transpose(2, 1, 0) == computed.lungs) > 0.995


@pytest.mark.data
def test_a_real_chest_ct_with_8_mm_slices(scripts: ModuleType, test_data: Path) -> None:
    """Both lungs, a tumour in the right one, a full stomach under the left; the trachea left out."""
    import pydicom

    from dicom_node.domain.grid import ImagePlane, stack

    images = [pydicom.dcmread(file) for file in sorted((test_data / "ct_chest_lungdx_A0002").glob("*.dcm"))]
    planes = [
        ImagePlane(
            image.Rows,
            image.Columns,
            tuple(map(float, image.PixelSpacing)),  # type: ignore[arg-type]
            tuple(map(float, image.ImageOrientationPatient)),  # type: ignore[arg-type]
            tuple(map(float, image.ImagePositionPatient)),  # type: ignore[arg-type]
        )
        for image in images
    ]
    grid, order = stack(planes)
    hu = np.stack([images[i].pixel_array * images[i].RescaleSlope + images[i].RescaleIntercept for i in order])

    labels = labels_of(scripts, hu, grid)
    values = {(m.name, m.segments): m.value for m in measure(load_contract(BUNDLE), hu, grid, [labels])}

    assert 1000 < values["volume", (1,)] < 1200
    assert 1450 < values["volume", (2,)] < 1650
    assert values["laa_950", (2,)] < 0.5
    around_trachea = (slice(24, 30), slice(235, 295), slice(234, 264))
    lumen = hu[around_trachea] < -960
    assert lumen.sum() > 500
    assert not labels[around_trachea][lumen].any()
