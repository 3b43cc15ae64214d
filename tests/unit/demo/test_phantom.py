from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from peers import run_peer
from pydicom.uid import CTImageStorage

from dicom_node.demo import anatomy, phantom
from dicom_node.domain.grid import ImagePlane, stack

SHAPE, SPACING = (36, 144, 144), (8.0, 2.5, 2.5)
ACQUISITIONS: tuple[phantom.Acquisition, ...] = ("supine-head-first", "prone", "feet-first", "oblique")


def small(acquisition: phantom.Acquisition = "supine-head-first", seed: int = 1) -> phantom.Phantom:
    return phantom.compute(SHAPE, SPACING, thickness=1.0, acquisition=acquisition, seed=seed)


def test_the_truth_is_that_of_the_voxels() -> None:
    computed = small()
    both = computed.hu[computed.lungs > 0]

    assert computed.truth.both.volume_ml == pytest.approx(both.size * 8 * 2.5 * 2.5 / 1000)
    assert computed.truth.both.laa_950_percent == pytest.approx(100 * np.mean(both < -950))
    assert computed.truth.right.volume_ml + computed.truth.left.volume_ml == pytest.approx(
        computed.truth.both.volume_ml
    )


def test_noise_moves_no_voxel_across_the_emphysema_threshold() -> None:
    shares = {small(seed=seed).truth.both.laa_950_percent for seed in (1, 2, 3)}

    assert len(shares) == 1
    assert 8 < shares.pop() < 12


def test_there_is_air_in_the_body_that_is_no_lung() -> None:
    computed = small()
    for tube in (*anatomy.TRACHEA_AND_BRONCHI[:1], *anatomy.BOWEL_GAS[:1]):
        middle = (np.asarray(tube.start) + np.asarray(tube.end)) / 2
        index = tuple(np.rint(computed.grid.lps_to_index([middle])[0]).astype(int))
        assert computed.hu[index] < -950
        assert computed.lungs[index] == 0


def test_the_lungs_touch() -> None:
    lungs = small().lungs

    assert np.any((lungs[:, :, :-1] == anatomy.RIGHT) & (lungs[:, :, 1:] == anatomy.LEFT))


@pytest.mark.parametrize(("acquisition", "axes"), [("prone", (1, 2)), ("feet-first", (0, 2))])
def test_prone_and_feet_first_are_turns_by_180_degrees(acquisition: phantom.Acquisition, axes: tuple[int, int]) -> None:
    supine, turned = small(), small(acquisition)

    assert np.array_equal(np.flip(supine.lungs, axes), turned.lungs)
    corner = np.asarray([[0, 0, 0]])
    mirrored = [[(SHAPE[a] - 1 if a in axes else 0) for a in range(3)]]
    assert np.allclose(turned.grid.index_to_lps(corner), supine.grid.index_to_lps(mirrored))


@pytest.mark.parametrize("acquisition", ACQUISITIONS)
def test_the_right_lung_lies_to_the_patients_right(acquisition: phantom.Acquisition) -> None:
    computed = small(acquisition)

    for label, side in ((anatomy.RIGHT, -1), (anatomy.LEFT, 1)):
        x = computed.grid.index_to_lps(np.argwhere(computed.lungs == label))[:, 0]
        assert np.sign(x.mean()) == side


def test_thick_sections_hold_partial_volume() -> None:
    thick = phantom.compute(SHAPE, SPACING, thickness=None)
    between = (thick.hu > -700) & (thick.hu < -200)

    assert thick.thickness == 8.0
    assert between.mean() > 3 * ((small().hu > -700) & (small().hu < -200)).mean()
    assert thick.truth.both.volume_ml == pytest.approx(small().truth.both.volume_ml, rel=0.01)


@pytest.mark.parametrize("acquisition", ACQUISITIONS)
def test_written_files_read_back_as_the_phantom(acquisition: phantom.Acquisition, tmp_path: Path) -> None:
    computed = small(acquisition)
    images = [pydicom.dcmread(path) for path in phantom.write(computed, tmp_path)]
    planes = [
        ImagePlane(
            image.Rows,
            image.Columns,
            tuple(float(v) for v in image.PixelSpacing),  # type: ignore[arg-type]
            tuple(float(v) for v in image.ImageOrientationPatient),  # type: ignore[arg-type]
            tuple(float(v) for v in image.ImagePositionPatient),  # type: ignore[arg-type]
        )
        for image in images
    ]

    grid, order = stack(planes)

    assert order == tuple(range(SHAPE[0]))
    assert np.allclose(grid.matrix(), computed.grid.matrix(), atol=1e-4)
    assert np.array_equal(np.stack([image.pixel_array for image in images]), computed.hu)
    assert {image.SOPClassUID for image in images} == {CTImageStorage}


def test_every_image_says_that_it_is_synthetic(tmp_path: Path) -> None:
    image = pydicom.dcmread(phantom.write(small(), tmp_path)[0])

    assert image.PatientName == "SYNTHETIC^PHANTOM"
    assert "SYNTHETIC" in image.PatientID
    assert "SYNTHETIC" in image.StudyDescription
    assert "SYNTHETIC" in image.SeriesDescription
    assert image.QualityControlSubject == "YES"
    assert (image.BodyPartExamined, image.ConvolutionKernel, image.SliceThickness) == ("CHEST", "B31f", 1.0)


def test_the_same_phantom_is_the_same_files_and_another_is_another_study(tmp_path: Path) -> None:
    first, again = (phantom.write(small(), tmp_path / name) for name in ("first", "again"))
    other = phantom.write(small(seed=2), tmp_path / "other")

    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]
    assert pydicom.dcmread(first[0]).StudyInstanceUID != pydicom.dcmread(other[0]).StudyInstanceUID
    assert len({pydicom.dcmread(path).SOPInstanceUID for path in first}) == SHAPE[0]


@pytest.mark.peer
@pytest.mark.parametrize("acquisition", ACQUISITIONS)
def test_dciodvfy_finds_nothing(acquisition: phantom.Acquisition, tmp_path: Path) -> None:
    path = phantom.write(small(acquisition), tmp_path)[0]

    told = run_peer("dciodvfy", "-new", path)

    assert [line for line in told.stderr.splitlines() if line.startswith(("Error", "Warning"))] == []
