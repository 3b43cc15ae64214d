"""From files to a volume, from a mask to a SEG, and back through dcmqi: every voxel where it was, on any source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from image_series import ct_series, enhanced, write
from peers import run_peer
from pydicom import Dataset, dcmread
from pydicom.uid import DigitalXRayImageStorageForPresentation
from readers import errors_of_dciodvfy, masks_of_dcmqi, voxels_of_mask
from result_cases import CONTEXT, blobs, contract, findings_on, series

from dicom_node.archive.documents import part_10
from dicom_node.domain.finding import Findings
from dicom_node.domain.grid import VoxelGrid
from workers.inference.volume import Volume, load_volume
from workers.results.encode import encode
from workers.results.planes import Encoding, Fractions, LabelMap
from workers.results.readback import check
from workers.results.segmentation import build
from workers.results.source import local_time, read

pytestmark = pytest.mark.peer
# Each example runs three programs of others.
_WITHOUT_SHRINKING = (Phase.explicit, Phase.reuse, Phase.generate)


def written(volume: Volume, findings: Findings, folder: Path) -> Path:
    """Encode, check and write; the file of the SEG. Both objects must be valid."""
    objects = encode(findings, contract(), volume.headers, CONTEXT)
    check(objects, findings, volume.headers)
    folder.mkdir(exist_ok=True)
    for item in objects:
        (folder / f"{item.kind}.dcm").write_bytes(item.data)
        assert errors_of_dciodvfy(folder / f"{item.kind}.dcm") == []
    return folder / "seg.dcm"


def complete(images: Sequence[Dataset]) -> Sequence[Dataset]:
    """With the attributes of patient and study that a real object has."""
    for image in images:
        image.PatientName, image.PatientBirthDate, image.PatientSex = "Synthetic^Oblique", "", "O"
        image.StudyDate, image.StudyTime, image.StudyID, image.AccessionNumber = "20260304", "101500", "1", ""
        image.ReferringPhysicianName, image.Manufacturer = "", "tests"
    return images


def ellipsoid(points: np.ndarray, centre: np.ndarray, axes: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """Which points, LPS mm, lie within it; ``axes`` are the columns of a rotation."""
    return np.asarray((((points - centre) @ axes / radii) ** 2).sum(axis=-1) < 1)


@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.too_slow], phases=_WITHOUT_SHRINKING)
@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(st.integers(3, 9), st.integers(9, 17), st.integers(9, 17)),
    spacing=st.tuples(*(st.floats(0.4, 5.0) for _ in range(3))),
    multi_frame=st.booleans(),
)
def test_an_ellipsoid_comes_back_to_the_voxel(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    multi_frame: bool,
) -> None:
    """Random oblique grids of either handedness, files or frames in any order."""
    rng = np.random.default_rng(seed)
    matrix = np.eye(4)
    matrix[:3, :3] = np.linalg.qr(rng.normal(size=(3, 3)))[0] * np.asarray(spacing)
    matrix[:3, 3] = rng.uniform(-150, 150, 3)
    true = VoxelGrid.from_matrix(shape, matrix)
    points = true.index_to_lps(np.argwhere(np.ones(shape))).reshape(*shape, 3)
    centre = true.index_to_lps([(np.asarray(shape) - 1) * rng.uniform(0.35, 0.65, 3)])[0]
    radii = np.asarray(shape) * spacing * rng.uniform(0.2, 0.45, 3) + max(spacing)
    inside = ellipsoid(points, centre, np.linalg.qr(rng.normal(size=(3, 3)))[0], radii)
    images = complete(ct_series(np.where(inside, 300, -100).astype(np.int16), matrix[:3, :3], matrix[:3, 3]))
    images = [images[index] for index in rng.permutation(len(images))]
    folder = tmp_path_factory.mktemp("ellipsoid")

    volume = load_volume(write([enhanced(images)] if multi_frame else images, folder / "source"))
    label_map = (volume.array > 300 - 1024 - 100).astype(np.uint8)
    seg = written(volume, findings_on(volume.headers, label_map, measurements=(), evaluations=()), folder / "result")

    back = voxels_of_mask(masks_of_dcmqi(seg, folder / "nrrd")[1])
    indices = true.lps_to_index(back)
    assert np.abs(indices - np.round(indices)).max() < 0.01
    assert set(map(tuple, np.round(indices).astype(int))) == set(map(tuple, np.argwhere(inside)))


def test_each_frame_of_a_multi_frame_source_is_named(tmp_path: Path) -> None:
    stored = np.zeros((4, 10, 12), np.int16)
    stored[1:3, 2:6, 3:9] = 1500
    images = list(complete(ct_series(stored)))
    volume = load_volume(write([enhanced([images[index] for index in (2, 0, 3, 1)])], tmp_path / "source"))

    seg = dcmread(written(volume, findings_on(volume.headers, (volume.array > 0).astype(np.uint8)), tmp_path / "out"))

    positions = {number: z for number, z in zip(volume.frame_numbers, (30, 32.5, 35, 37.5), strict=True)}
    assert len(seg.PerFrameFunctionalGroupsSequence) == 2
    for group in seg.PerFrameFunctionalGroupsSequence:
        reference = group.DerivationImageSequence[0].SourceImageSequence[0]
        assert reference.ReferencedSOPInstanceUID == "2.25.101.900"
        assert reference.ReferencedSOPClassUID == volume.headers[0].SOPClassUID
        assert group.PlanePositionSequence[0].ImagePositionPatient[2] == positions[reference.ReferencedFrameNumber]
    listed = seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    assert [item.ReferencedSOPInstanceUID for item in listed] == ["2.25.101.900"]


def test_segments_that_share_slices_of_a_multi_frame_source(tmp_path: Path) -> None:
    volume = load_volume(write([enhanced(complete(ct_series(np.zeros((3, 10, 12), np.int16))))], tmp_path / "source"))
    label_map = blobs((3, 10, 12))

    seg = written(volume, findings_on(volume.headers, label_map), tmp_path / "out")

    masks = masks_of_dcmqi(seg, tmp_path / "nrrd")
    for number in (1, 2):
        indices = np.round(volume.grid.lps_to_index(voxels_of_mask(masks[number]))).astype(int)
        assert set(map(tuple, indices)) == set(map(tuple, np.argwhere(label_map == number)))


@pytest.mark.parametrize("multi_frame", [False, True])
@pytest.mark.parametrize("encoding", [Encoding.LABELMAP, Encoding.FRACTIONAL])
def test_other_encodings_are_valid_and_in_place(tmp_path: Path, encoding: Encoding, multi_frame: bool) -> None:
    images = complete(ct_series(np.zeros((4, 10, 12), np.int16)))
    volume = load_volume(write([enhanced(images)] if multi_frame else images, tmp_path / "source"))
    label_map = blobs((4, 10, 12))
    findings = findings_on(volume.headers, label_map)
    shares = [np.where(label_map == number, 0.5, 0.0) for number in (1, 2)]
    planes = Fractions(shares) if encoding is Encoding.FRACTIONAL else LabelMap(findings)
    images_read = read(volume.headers)
    made = build(findings, contract(), images_read, CONTEXT, local_time(images_read, CONTEXT), planes)
    seg = tmp_path / "seg.dcm"
    seg.write_bytes(part_10(made, (), "TEST", made.file_meta.TransferSyntaxUID))

    assert errors_of_dciodvfy(seg) == []
    opened = hd.seg.segread(seg)
    assert opened.segmentation_type.value == encoding
    held = opened.get_volume(combine_segments=encoding is Encoding.LABELMAP, rescale_fractional=True)
    back = np.asarray(held.array)[::-1]  # highdicom's slices descend
    if encoding is Encoding.LABELMAP:
        told = run_peer("segimage2itkimage", "-t", "nrrd", "--inputDICOM", seg, "--outputDirectory", tmp_path)
        (merged,) = tmp_path.glob("*.nrrd")
        assert told.returncode == 0, told.stderr
        for number in (1, 2):
            points = voxels_of_mask(sitk.ReadImage(str(merged)) == number)
            indices = np.round(volume.grid.lps_to_index(points)).astype(int)
            assert set(map(tuple, indices)) == set(map(tuple, np.argwhere(label_map == number)))
        assert np.array_equal(back, label_map[-len(back) :])
    else:
        np.testing.assert_allclose(np.moveaxis(back, -1, 0), np.stack(shares)[:, -len(back) :], atol=1 / 255)


def test_a_single_slice_has_its_seg(tmp_path: Path) -> None:
    stored = np.zeros((1, 10, 12), np.int16)
    stored[0, 2:6, 3:9] = 1500
    volume = load_volume(write(complete(ct_series(stored)), tmp_path / "source"))

    seg = written(volume, findings_on(volume.headers, (volume.array > 0).astype(np.uint8)), tmp_path / "out")

    assert len(voxels_of_mask(masks_of_dcmqi(seg, tmp_path / "nrrd")[1])) == 24


def test_a_radiograph_has_its_seg_without_a_place_in_the_patient(tmp_path: Path) -> None:
    stored = np.zeros((1, 10, 12), np.int16)
    stored[0, 2:6, 3:9] = 1500
    (image,) = complete(ct_series(stored))
    image.Modality = "DX"
    image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "FrameOfReferenceUID"):
        delattr(image, keyword)
    image.ImagerPixelSpacing, image.PatientOrientation = [0.2, 0.2], ["L", "F"]
    image.RescaleIntercept = 0
    volume = load_volume(write([image], tmp_path / "source"))
    label_map = (volume.array > 0).astype(np.uint8)
    found = findings_on(series(1, shape=(10, 12)), label_map, measurements=(), evaluations=())

    seg = dcmread(written(volume, replace(found, grid=volume.grid, frames=volume.frames), tmp_path / "out"))

    assert "FrameOfReferenceUID" not in seg
    assert np.array_equal(seg.pixel_array.reshape(1, 10, 12), label_map)
    reference = seg.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0].SourceImageSequence[0]
    assert reference.ReferencedSOPInstanceUID == volume.frames[0]
    assert reference.ReferencedSOPClassUID == DigitalXRayImageStorageForPresentation


@pytest.mark.data
def test_a_real_legacy_converted_object_has_its_seg(test_data: Path, tmp_path: Path) -> None:
    volume = load_volume([test_data / "seg_edge_cases_dcmqi" / "24x38x3" / "multiframe" / "mf.dcm"])
    label_map = np.zeros(volume.grid.shape, np.uint8)
    label_map[1:, 5:20, 3:11] = 1

    seg = written(volume, findings_on(volume.headers, label_map), tmp_path / "out")

    points = volume.grid.lps_to_index(voxels_of_mask(masks_of_dcmqi(seg, tmp_path / "nrrd")[1]))
    assert set(map(tuple, np.round(points).astype(int))) == set(map(tuple, np.argwhere(label_map)))
