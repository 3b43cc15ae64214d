"""Multi-frame objects become frames with flat headers, and volumes like those of single images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_series import ct_series, enhanced, write
from pydicom import Dataset, Sequence, dcmread
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRBigEndian, JPEG2000Lossless, JPEGLSLossless, RLELossless

from dicom_node.domain.grid import VoxelGrid
from dicom_node.errors import DicomNodeError, PixelError
from workers.inference.frames import frames_of
from workers.inference.image_file import ImageFile
from workers.inference.volume import Volume, load_volume


@pytest.fixture
def stored() -> np.ndarray:
    return np.random.default_rng(5).integers(-500, 3000, (5, 7, 6)).astype(np.int16)


def load(made: Dataset, folder: Path) -> Volume:
    return load_volume(write([made], folder))


def refused(made: Dataset, folder: Path) -> DicomNodeError:
    with pytest.raises(DicomNodeError) as raised:
        load(made, folder)
    return raised.value


def test_frames_in_any_order_give_the_volume_of_the_single_images(stored: np.ndarray, tmp_path: Path) -> None:
    images = ct_series(stored)
    single = load_volume(write(images, tmp_path / "single"))
    shuffled = [images[index] for index in (3, 0, 4, 2, 1)]

    volume = load(enhanced(shuffled), tmp_path / "multi")

    assert np.array_equal(volume.array, single.array)
    assert volume.grid == single.grid
    assert set(volume.frames) == {"2.25.101.900"}
    assert volume.frame_numbers == (2, 5, 4, 1, 3)
    assert single.frame_numbers == (None,) * 5


def test_each_frame_has_its_own_rescale_and_its_header_is_flat(stored: np.ndarray, tmp_path: Path) -> None:
    slopes = [0.5, 1, 1.25, 2, 0.001]
    images = ct_series(stored)
    for image, slope in zip(images, slopes, strict=True):
        image.RescaleSlope = slope
    made = enhanced(images, own=lambda index: {"CTXRayDetailsSequence": {"KVP": 120}})
    agent = Dataset()
    agent.CodeMeaning = "Iohexol"
    made.ContrastBolusAgentSequence = [agent]

    volume = load(made, tmp_path)

    np.testing.assert_allclose(volume.array, stored * np.asarray(slopes)[:, None, None] - 1024, rtol=1e-6, atol=1e-3)
    told = volume.agreed(["KVP", "SliceThickness", "ContrastBolusAgent", "Rows"])
    assert told == {"KVP": 120, "SliceThickness": 1, "ContrastBolusAgent": "Iohexol", "Rows": 7}
    assert [float(h.ImagePositionPatient[2]) for h in volume.headers] == [30, 32.5, 35, 37.5, 40]


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless, ExplicitVRBigEndian])
def test_compressed_frames_are_decoded_each_by_itself(tmp_path: Path, syntax: str) -> None:
    stored = np.random.default_rng(1).integers(-500, 3000, (4, 40, 32)).astype(np.int16)
    made = enhanced(ct_series(stored))
    if syntax == ExplicitVRBigEndian:
        made.file_meta.TransferSyntaxUID = syntax
        made.PixelData = np.frombuffer(made.PixelData, "<i2").astype(">i2").tobytes()
    else:
        made.compress(syntax, generate_instance_uid=False)

    assert np.array_equal(load(made, tmp_path).array, stored.astype(np.float32) - 1024)


@pytest.mark.parametrize("syntax", [None, JPEGLSLossless])
def test_frames_that_are_cut_off_are_refused(stored: np.ndarray, tmp_path: Path, syntax: str | None) -> None:
    made = enhanced(ct_series(np.repeat(stored, 30, axis=2)))
    if syntax:
        made.compress(syntax, generate_instance_uid=False)
    (path,) = write([made], tmp_path)
    path.write_bytes(path.read_bytes()[:-100])

    with pytest.raises(PixelError, match="cannot be decoded"):
        load_volume([path])


@settings(deadline=None, max_examples=15)
@given(
    seed=st.integers(0, 2**32 - 1),
    spacing=st.tuples(*(st.floats(0.3, 9.0) for _ in range(3))),
    order=st.permutations(range(4)),
)
def test_a_voxel_of_a_frame_stays_where_it_is_in_the_patient(
    tmp_path_factory: pytest.TempPathFactory, seed: int, spacing: tuple[float, ...], order: list[int]
) -> None:
    rng = np.random.default_rng(seed)
    step = np.linalg.qr(rng.normal(size=(3, 3)))[0] * np.asarray(spacing)
    origin, values = rng.uniform(-200, 200, 3), rng.integers(-2000, 2000, (4, 5, 3)).astype(np.int16)
    images = ct_series(values, step, origin)

    volume = load(enhanced([images[index] for index in order]), tmp_path_factory.mktemp("grid"))

    true = np.eye(4)
    true[:3, :3], true[:3, 3] = step, origin
    indices = np.argwhere(np.ones(volume.grid.shape))
    at = np.round(VoxelGrid.from_matrix((4, 5, 3), true).lps_to_index(volume.grid.index_to_lps(indices))).astype(int)
    assert np.array_equal(volume.array[tuple(indices.T)], values[tuple(at.T)].astype(np.float32) - 1024)


def test_frames_without_geometry_of_their_own_are_refused(stored: np.ndarray, tmp_path: Path) -> None:
    made = enhanced(ct_series(stored))
    for group in made.PerFrameFunctionalGroupsSequence:
        del group.PlanePositionSequence

    error = refused(made, tmp_path)

    assert error.reason == "no-geometry"
    assert "one of 5 frames" in str(error)


def test_a_missing_frame_is_a_missing_slice(stored: np.ndarray, tmp_path: Path) -> None:
    images = ct_series(stored)

    assert refused(enhanced([*images[:2], *images[3:]]), tmp_path).reason == "missing-slice"


def test_fewer_functional_groups_than_frames_are_refused(stored: np.ndarray, tmp_path: Path) -> None:
    made = enhanced(ct_series(stored))
    del made.PerFrameFunctionalGroupsSequence[2]

    error = refused(made, tmp_path)

    assert error.reason == "bad-value"
    assert "5 frames, but 4 items" in str(error)


def test_a_perfusion_map_of_a_ct_scanner_is_not_in_hounsfield_units(stored: np.ndarray, tmp_path: Path) -> None:
    unit = Dataset()
    unit.CodeValue, unit.CodingSchemeDesignator, unit.CodeMeaning = "ml/100ml/s", "UCUM", "ml/100ml/s"
    mapping = {"RealWorldValueMappingSequence": {"MeasurementUnitsCodeSequence": Sequence([unit])}}

    assert refused(enhanced(ct_series(stored), own=lambda _: mapping), tmp_path).reason == "not-hounsfield"


def test_two_multi_frame_objects_can_be_one_series(stored: np.ndarray, tmp_path: Path) -> None:
    images = ct_series(stored)
    first, second = enhanced(images[:3]), enhanced(images[3:])
    second.SOPInstanceUID = second.file_meta.MediaStorageSOPInstanceUID = "2.25.101.901"

    volume = load_volume(write([second, first], tmp_path))

    assert np.array_equal(volume.array, stored.astype(np.float32) - 1024)
    assert list(zip(volume.frames, volume.frame_numbers, strict=True)) == [
        *(("2.25.101.900", number) for number in (1, 2, 3)),
        *(("2.25.101.901", number) for number in (1, 2)),
    ]


def test_what_vendors_say_elsewhere_is_read(stored: np.ndarray, tmp_path: Path) -> None:
    """b-values of Siemens, GE and Philips, and the complex component in Image Type."""
    images = ct_series(stored[:3])
    for image in images:
        image.Modality, image.ImageType = "MR", ["ORIGINAL", "PRIMARY", "P", "ND"]
    images[0].private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x0C, "IS", 800)
    images[1].private_block(0x0043, "GEMS_PARM_01", create=True).add_new(0x39, "IS", [1000000500, 8, 0, 0])
    images[2].private_block(0x2001, "Philips Imaging DD 001", create=True).add_new(0x03, "FL", 50.0)

    headers = [frames_of(ImageFile.read(path))[0].header for path in write(images, tmp_path)]

    assert [header.DiffusionBValue for header in headers] == [800, 500, 50]
    assert {header.ComplexImageComponent for header in headers} == {"PHASE"}


@pytest.mark.data
@pytest.mark.parametrize(
    "name", ["hyperfine__001", "philips_enhanced__IM-0001-0170-0001", "siemens_multiframe__IM-0001-0001-0001"]
)
def test_real_enhanced_mr_is_what_highdicom_reads(test_data: Path, tmp_path: Path, name: str) -> None:
    """These lost their Frame of Reference UID, and are refused for it; with one they are read as by another reader."""
    highdicom = pytest.importorskip("highdicom")
    source = test_data / "enhanced_mr" / f"{name}.dcm"
    with pytest.raises(DicomNodeError) as raised:
        load_volume([source])
    assert raised.value.reason == "no-frame-of-reference"
    image = dcmread(source)
    image.FrameOfReferenceUID = "2.25.77"
    path = tmp_path / "with.dcm"
    image.save_as(path)

    volume = load_volume([path])

    peer = highdicom.imread(path).get_volume(apply_modality_transform=True)
    true = VoxelGrid.from_matrix(peer.spatial_shape, peer.affine)
    indices = np.argwhere(np.ones(volume.grid.shape))
    at = true.lps_to_index(volume.grid.index_to_lps(indices))
    assert np.abs(at - np.round(at)).max() < 1e-3
    theirs = peer.array[tuple(np.round(at).astype(int).T)]
    np.testing.assert_allclose(volume.array[tuple(indices.T)], theirs, rtol=1e-5, atol=1e-3)
    assert float(np.ptp(volume.array)) > 0


@pytest.mark.data
@pytest.mark.parametrize("folder", ["23x38x3", "24x38x3"])
def test_a_real_legacy_converted_object_is_the_series_it_was_made_of(test_data: Path, folder: str) -> None:
    single = load_volume(sorted((test_data / "seg_edge_cases_dcmqi" / folder / "image").glob("*.dcm")))
    multi = load_volume([test_data / "seg_edge_cases_dcmqi" / folder / "multiframe" / "mf.dcm"])

    assert np.array_equal(multi.array, single.array)
    np.testing.assert_allclose(multi.grid.matrix(), single.grid.matrix(), atol=1e-6)


def test_an_enhanced_mr_image_takes_names_of_classic_ones(stored: np.ndarray, tmp_path: Path) -> None:
    images = ct_series(stored)
    for image in images:
        image.Modality = "MR"
    made = enhanced(
        images,
        sop_class=EnhancedMRImageStorage,
        own=lambda _: {"MREchoSequence": {"EffectiveEchoTime": 4.6}, "MRDiffusionSequence": {"DiffusionBValue": 1000}},
    )

    volume = load(made, tmp_path)

    assert volume.agreed(["EchoTime", "DiffusionBValue"]) == {"EchoTime": 4.6, "DiffusionBValue": 1000}
