"""Series of files become volumes, or are refused by name."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_series import FRAME, SERIES, ct_series, write
from pydicom import Dataset, dcmread
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from dicom_node.domain.grid import VoxelGrid
from dicom_node.errors import DicomNodeError, PixelError
from workers.inference.volume import load_volume


@pytest.fixture
def stored() -> np.ndarray:
    return np.random.default_rng(3).integers(-500, 3000, (5, 7, 6)).astype(np.int16)


def refusal(images: Sequence[Dataset], folder: Path, **limits: int) -> DicomNodeError:
    paths = write(images, folder)
    with pytest.raises(DicomNodeError) as raised:
        load_volume(paths, **limits)
    assert raised.value.remedy or raised.value.reason in ("mixed-spacing", "no-thickness", "bad-value")
    return raised.value


def test_values_are_in_hounsfield_units_and_slices_in_order(stored: np.ndarray, tmp_path: Path) -> None:
    volume = load_volume(write(ct_series(stored), tmp_path)[::-1])

    assert np.array_equal(volume.array, stored.astype(np.float32) - 1024)
    assert volume.frames == tuple(f"{SERIES}.{index}" for index in range(1, 6))
    assert volume.grid.spacing == pytest.approx((2.5, 0.9, 0.7))
    assert volume.grid.origin == pytest.approx((-10, 20, 30))
    assert all("PixelData" not in header for header in volume.headers)
    assert (volume.unit, volume.modality, volume.frame_of_reference_uid) == ("HU", "CT", FRAME)


@pytest.mark.parametrize(
    ("dtype", "ends", "intercept", "kept"),
    [
        (np.int16, (-2000, 3071), -1024, np.int16),
        (np.int16, (-32768, 32767), 0, np.int16),
        (np.uint16, (1, 33791), -1024, np.int16),
        (np.uint16, (0, 65535), -32768, np.float32),  # no intercept of 16 bits with a sign is so low
        (np.uint16, (0, 65535), -32767, np.float32),
        (np.uint16, (0, 40000), 0, np.float32),
        (np.int16, (-32768, 0), -1, np.float32),
        (np.int16, (0, 100), -0.5, np.float32),
    ],
)
def test_integers_of_16_bits_are_kept_as_such(
    tmp_path: Path, dtype: type, ends: tuple[int, int], intercept: float, kept: type
) -> None:
    """In whichever slice the value stands that does not fit."""
    stored = np.zeros((12, 3, 2), dtype)
    stored[9, 0] = ends
    images = ct_series(stored.view(np.int16))
    for ds in images:
        ds.PixelRepresentation, ds.RescaleIntercept = int(dtype is np.int16), intercept

    array = load_volume(write(images, tmp_path)).array

    assert array.dtype == kept
    assert np.array_equal(array, stored.astype(np.float64) + intercept)


def test_each_slice_has_its_own_rescale(stored: np.ndarray, tmp_path: Path) -> None:
    images = ct_series(stored)
    slopes = [0.5, 1, 1.25, 2, 0.001]
    for ds, slope in zip(images, slopes, strict=True):
        ds.RescaleSlope, ds.RescaleIntercept = slope, -slope

    array = load_volume(write(images, tmp_path)).array

    expected = stored * np.asarray(slopes)[:, None, None] - np.asarray(slopes)[:, None, None]
    np.testing.assert_allclose(array, expected, rtol=1e-6, atol=1e-4)


@pytest.mark.parametrize(
    "syntax",
    [
        ImplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
        RLELossless,
        JPEGLSLossless,
        JPEG2000Lossless,
    ],
)
def test_every_lossless_syntax_gives_the_same_volume(stored: np.ndarray, tmp_path: Path, syntax: str) -> None:
    large = np.repeat(np.repeat(stored, 8, axis=1), 8, axis=2)
    images = ct_series(large)
    for ds in images:
        if syntax in (RLELossless, JPEGLSLossless, JPEG2000Lossless):
            ds.compress(syntax, generate_instance_uid=False)
        else:
            ds.file_meta.TransferSyntaxUID = syntax
        if syntax == ExplicitVRBigEndian:
            ds.PixelData = np.frombuffer(ds.PixelData, "<i2").astype(">i2").tobytes()

    assert np.array_equal(load_volume(write(images, tmp_path)).array, large.astype(np.float32) - 1024)


@pytest.mark.parametrize("signed", [0, 1])
def test_bits_that_are_not_stored_do_not_count(stored: np.ndarray, tmp_path: Path, signed: int) -> None:
    values = np.clip(stored, -500 * signed, 2000)
    images = ct_series(values)
    for ds, plane in zip(images, values, strict=True):
        ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 12, 11, signed
        ds.PixelData = ((plane.astype(np.uint16) & 0x0FFF) | 0xA000).astype("<u2").tobytes()

    assert np.array_equal(load_volume(write(images, tmp_path)).array, values.astype(np.float32) - 1024)


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(*(st.integers(2, 5) for _ in range(3))),
    spacing=st.tuples(*(st.floats(0.3, 9.0) for _ in range(3))),
    order=st.randoms(use_true_random=False),
)
def test_a_voxel_stays_where_it_is_in_the_patient(
    tmp_path_factory: pytest.TempPathFactory, seed: int, shape: tuple[int, ...], spacing: tuple[float, ...], order
) -> None:
    """Whatever the orientation, handedness and order of files: each position keeps its value, and slices ascend."""
    rng = np.random.default_rng(seed)
    step = np.linalg.qr(rng.normal(size=(3, 3)))[0] * np.asarray(spacing)
    origin = rng.uniform(-200, 200, 3)
    values = rng.integers(-2000, 2000, shape).astype(np.int16)
    paths = write(ct_series(values, step, origin), tmp_path_factory.mktemp("grid"))
    order.shuffle(paths)

    volume = load_volume(paths)

    true = np.eye(4)
    true[:3, :3], true[:3, 3] = step, origin
    indices = np.argwhere(np.ones(volume.grid.shape))
    at = np.round(VoxelGrid.from_matrix(shape, true).lps_to_index(volume.grid.index_to_lps(indices))).astype(int)
    assert np.abs(volume.grid.index_to_lps(indices) - VoxelGrid.from_matrix(shape, true).index_to_lps(at)).max() < 1e-3
    assert np.array_equal(volume.array[tuple(indices.T)], values[tuple(at.T)].astype(np.float32) - 1024)
    along_slice, along_row, along_column = volume.grid.matrix()[:3, :3].T
    assert np.dot(np.cross(along_column, along_row), along_slice) > 0


def test_a_slice_may_have_a_sign_a_depth_and_values_that_the_first_has_not(stored: np.ndarray, tmp_path: Path) -> None:
    """Other loaders take the type of the first slice, and turn -1020 HU into 64516."""
    images = ct_series(np.abs(stored))
    images[0].PixelRepresentation = 0
    images[3].RescaleIntercept = -2000.5
    images[4].BitsAllocated, images[4].BitsStored, images[4].HighBit = 8, 8, 7
    eight = np.abs(stored[4]) % 256
    images[4].PixelData, images[4].PixelRepresentation = eight.astype(np.uint8).tobytes(), 0

    array = load_volume(write(images, tmp_path)).array

    assert np.array_equal(array[:3], np.abs(stored[:3]).astype(np.float32) - 1024)
    assert np.array_equal(array[3], np.abs(stored[3]).astype(np.float32) - 2000.5)
    assert np.array_equal(array[4], eight.astype(np.float32) - 1024)


def test_rows_and_columns_have_spacings_of_their_own(stored: np.ndarray, tmp_path: Path) -> None:
    """Pixel Spacing is that of rows, then that of columns; others swap them."""
    step = np.array([[0.0, 0.0, 0.5], [0.0, 2.0, 0.0], [1.0, 0.0, 0.0]])

    grid = load_volume(write(ct_series(stored, step), tmp_path)).grid

    np.testing.assert_allclose(grid.matrix()[:3, :3], step)
    np.testing.assert_allclose(grid.ras_affine_whd()[:3, :3], [[-0.5, 0, 0], [0, -2, 0], [0, 0, 1]])


def test_colour_is_loaded_where_it_is_asked_for(tmp_path: Path) -> None:
    rgb = np.random.default_rng(1).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    (image,) = ct_series(np.zeros((1, 6, 8), np.int16))
    image.Modality, image.SamplesPerPixel, image.PhotometricInterpretation = "ES", 3, "RGB"
    image.PlanarConfiguration, image.BitsAllocated, image.BitsStored, image.HighBit = 0, 8, 8, 7
    image.PixelRepresentation, image.RescaleIntercept, image.PixelData = 0, 0, rgb.tobytes()
    del image.ImagePositionPatient
    paths = write([image], tmp_path / "rgb")

    assert np.array_equal(load_volume(paths, colour=True).array, rgb[None])
    with pytest.raises(DicomNodeError) as raised:
        load_volume(paths)
    assert raised.value.reason == "colour"
    with pytest.raises(DicomNodeError) as raised:
        load_volume(write(ct_series(np.zeros((1, 6, 8), np.int16)), tmp_path / "grey"), colour=True)
    assert raised.value.reason == "no-colour"


def test_values_that_are_no_numbers_are_refused(stored: np.ndarray, tmp_path: Path) -> None:
    images = ct_series(stored)
    values = np.ones(stored[0].shape, np.float32)
    values[1, 1] = np.nan
    for image in images:
        del image.PixelData
        image.FloatPixelData, image.BitsAllocated = values.tobytes(), 32

    with pytest.raises(PixelError, match="no finite numbers"):
        load_volume(write(images, tmp_path))


def remove(keyword: str) -> Callable[[list[Dataset]], None]:
    def change(images: list[Dataset]) -> None:
        delattr(images[2], keyword)

    return change


def put(keyword: str, value: object, which: int | None = 2) -> Callable[[list[Dataset]], None]:
    def change(images: list[Dataset]) -> None:
        for ds in images if which is None else [images[which]]:
            setattr(ds, keyword, value)

    return change


def tilt(images: list[Dataset]) -> None:
    for index, ds in enumerate(images):
        x, y, z = ds.ImagePositionPatient
        ds.ImagePositionPatient = [x, float(y) + 0.5 * index, z]


def spread(images: list[Dataset]) -> None:
    for index, ds in enumerate(images):
        x, y, z = ds.ImagePositionPatient
        ds.ImagePositionPatient = [x, y, float(z) + 0.3 * (index % 2)]


@pytest.mark.parametrize(
    ("reason", "change"),
    [
        ("no-geometry", remove("ImagePositionPatient")),
        ("no-geometry", remove("PixelSpacing")),
        ("no-geometry", put("ImageOrientationPatient", None)),
        ("missing-slice", lambda images: images.pop(2)),
        (
            "duplicate-position",
            lambda images: setattr(images[2], "ImagePositionPatient", images[1].ImagePositionPatient),
        ),
        ("gantry-tilt", tilt),
        ("mixed-orientation", put("ImageOrientationPatient", [0, 1, 0, 0, 0, -1])),
        ("mixed-sizes", put("Rows", 6)),
        ("mixed-spacing", put("PixelSpacing", [0.9, 0.8])),
        ("localizer", put("ImageType", ["ORIGINAL", "PRIMARY", "LOCALIZER"])),
        ("no-geometry", put("NumberOfFrames", 2)),
        ("colour", put("SamplesPerPixel", 3)),
        ("colour", put("PhotometricInterpretation", "PALETTE COLOR")),
        ("mixed-frames-of-reference", put("FrameOfReferenceUID", "1.2.3")),
        ("no-frame-of-reference", put("FrameOfReferenceUID", None, None)),
        ("mixed-series", put("SeriesInstanceUID", "1.2.3")),
        ("mixed-patients", put("PatientID", "P2")),
        ("uneven-spacing", spread),
        ("modality-lut", put("ModalityLUTSequence", [Dataset()])),
        ("not-hounsfield", remove("RescaleIntercept")),
        ("not-hounsfield", put("RescaleType", "Z_EFF", None)),
        ("bad-value", put("RescaleSlope", 0)),
        ("bad-value", put("ImagePositionPatient", ["0", "nan", "0"])),
        ("not-an-image", remove("Rows")),
    ],
)
def test_what_forms_no_volume_is_refused_by_name(
    stored: np.ndarray, tmp_path: Path, reason: str, change: Callable[[list[Dataset]], None]
) -> None:
    images = ct_series(stored)
    change(images)

    assert refusal(images, tmp_path).reason == reason


def test_too_few_slices_are_refused(stored: np.ndarray, tmp_path: Path) -> None:
    assert refusal(ct_series(stored), tmp_path, minimum_slices=20).reason == "too-few-slices"


def test_no_patient_id_stands_in_a_message(stored: np.ndarray, tmp_path: Path) -> None:
    images = ct_series(stored)
    images[1].PatientID = "SECRET-17"

    assert "SECRET" not in str(refusal(images, tmp_path))


def test_a_single_slice_takes_its_depth_from_slice_thickness(stored: np.ndarray, tmp_path: Path) -> None:
    images = ct_series(stored[:1])
    images[0].SliceThickness = 5

    assert load_volume(write(images, tmp_path / "thick")).grid.spacing[0] == 5
    del images[0].SliceThickness
    assert refusal(images, tmp_path / "none").reason == "no-thickness"


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_pixel_data_that_is_cut_off_is_refused(stored: np.ndarray, tmp_path: Path, syntax: str) -> None:
    """Some decoders fill what is missing with zeros and say nothing; a file that ends early must never count."""
    images = ct_series(np.repeat(np.repeat(stored, 8, axis=1), 8, axis=2))
    if syntax != ExplicitVRLittleEndian:
        for ds in images:
            ds.compress(syntax, generate_instance_uid=False)
    paths = write(images, tmp_path)
    whole = paths[2].read_bytes()
    paths[2].write_bytes(whole[:-200])

    with pytest.raises(PixelError, match=r"2\.dcm.*cannot be decoded"):
        load_volume(paths)


def test_a_file_that_is_not_dicom_is_named(stored: np.ndarray, tmp_path: Path) -> None:
    paths = write(ct_series(stored), tmp_path)
    paths[1].write_text("hello")

    with pytest.raises(DicomNodeError, match=r"1\.dcm is not a DICOM file") as raised:
        load_volume(paths)

    assert raised.value.reason == "not-dicom"


@pytest.mark.data
@pytest.mark.parametrize(
    "folder",
    ["ct_chest_lungdx_A0002", "ct_liver_seg_sr_dcmqi", "mr_hippocrop_dicom", "mr_study3_multiseries/11-T1post-18670"],
)
def test_real_series_are_those_that_itk_reads(test_data: Path, folder: str) -> None:
    sitk = pytest.importorskip("SimpleITK")
    paths = [
        p for p in (test_data / folder).glob("*.dcm") if dcmread(p, specific_tags=["Modality"]).Modality in ("CT", "MR")
    ]
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(
        str(test_data / folder), str(dcmread(paths[0]).SeriesInstanceUID)
    )
    peer = sitk.ReadImage(names)

    volume = load_volume(paths)

    assert np.array_equal(volume.array, sitk.GetArrayFromImage(peer).astype(np.float32))
    assert volume.grid.spacing == pytest.approx(peer.GetSpacing()[::-1], abs=1e-4)
    for index in ([0, 0, 0], [1, 7, 3], [2, 20, 30]):
        at = peer.TransformIndexToPhysicalPoint([int(i) for i in index[::-1]])
        assert volume.grid.index_to_lps([index])[0] == pytest.approx(at, abs=1e-3)


@pytest.mark.data
@pytest.mark.peer
@pytest.mark.parametrize("folder", ["ct_chest_lungdx_A0002", "mr_hippocrop_dicom", "mr_study3_multiseries"])
def test_real_series_are_those_that_dcm2niix_writes(test_data: Path, tmp_path: Path, folder: str) -> None:
    nibabel = pytest.importorskip("nibabel")
    program = Path(sys.executable).with_name("dcm2niix")
    if not program.exists():
        pytest.skip("dcm2niix is not installed: pip install dcm2niix")
    files: dict[str, list[Path]] = {}
    for path in sorted((test_data / folder).rglob("*.dcm")):
        files.setdefault(str(dcmread(path, specific_tags=["SeriesInstanceUID"]).SeriesInstanceUID), []).append(path)
    for number, paths in enumerate(files.values()):
        (source := tmp_path / f"in{number}").mkdir()
        for path in paths:
            shutil.copy(path, source)
        (out := tmp_path / f"out{number}").mkdir()
        subprocess.run([program, "-z", "n", "-b", "n", "-f", "out", "-o", out, source], check=True, capture_output=True)
        theirs = nibabel.load(out / "out.nii")

        volume = load_volume(paths)

        indices = np.argwhere(np.ones(volume.grid.shape))[::97]
        ras = volume.grid.index_to_lps(indices) * (-1, -1, 1)
        at = nibabel.affines.apply_affine(np.linalg.inv(theirs.affine), ras)
        assert np.abs(at - np.round(at)).max() < 0.01
        found = np.asarray(theirs.dataobj)[tuple(np.round(at).astype(int).T)]
        np.testing.assert_allclose(volume.array[tuple(indices.T)], found, atol=1e-3)


@pytest.mark.data
@pytest.mark.parametrize(
    ("folder", "reason"),
    [("sliceincrement", "missing-slice"), ("gantrytilting", "gantry-tilt"), ("sliceorientation", "mixed-orientation")],
)
def test_real_series_that_form_no_volume(test_data: Path, folder: str, reason: str) -> None:
    with pytest.raises(DicomNodeError) as raised:
        load_volume(sorted((test_data / "geometry_failing" / folder / "001").glob("*.dcm")))

    assert raised.value.reason == reason


@pytest.mark.data
@pytest.mark.parametrize("image_name", ["CT1", "MR1"])
def test_one_image_in_several_transfer_syntaxes_gives_one_volume(test_data: Path, image_name: str) -> None:
    folder = test_data / "transfer_syntax_wg04"
    lossless = [load_volume([folder / f"{image_name}_{syntax}"]).array for syntax in ("RLE", "J2KR", "JLSL", "JPLL")]
    near = load_volume([folder / f"{image_name}_JLSN"]).array

    assert all(np.array_equal(array, lossless[0]) for array in lossless)
    assert 0 < np.abs(near - lossless[0]).max() <= 30


@pytest.mark.data
@pytest.mark.parametrize("file", ["transfer_syntax_wg04/MR1_JPLY", "pydicom_mixed/MR_truncated.dcm"])
def test_real_pixel_data_that_no_plugin_decodes_is_named(test_data: Path, file: str) -> None:
    with pytest.raises(PixelError, match=r"1\.3\.6\.1.*in transfer syntax .* cannot be decoded"):
        load_volume([test_data / file])


@pytest.mark.data
@pytest.mark.parametrize("folder", ["malformed", "pydicom_mixed", "enhanced_mr", "mammography", "cxr_nih"])
def test_every_odd_file_is_read_or_refused(test_data: Path, folder: str) -> None:
    reasons = set()
    for path in sorted(p for p in (test_data / folder).iterdir() if p.is_file()):
        try:
            load_volume([path])
        except DicomNodeError as error:
            reasons.add(error.reason)
            assert str(error)
    assert reasons
