"""Files are read header first; their frames decode to stored values, or the file is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from image_series import ct_series, write
from pydicom import dcmread
from pydicom.pixels.utils import pixel_array
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless

from dicom_node.errors import HeaderError, PixelError
from workers.inference.image_file import ImageFile

STORED = np.random.default_rng(2).integers(-500, 3000, (1, 40, 32)).astype(np.int16)


def one(folder: Path, **changes: object) -> ImageFile:
    images = ct_series(STORED)
    for keyword, value in changes.items():
        setattr(images[0], keyword, value)
    return ImageFile.read(write(images, folder)[0])


def test_the_header_holds_no_pixels_and_the_pixels_come_when_asked_for(tmp_path: Path) -> None:
    file = one(tmp_path)

    assert "PixelData" not in file.header
    assert np.array_equal(file.pixels().decode(0), STORED[0])


def test_what_follows_the_pixels_does_no_harm(tmp_path: Path) -> None:
    assert np.array_equal(one(tmp_path, DataSetTrailingPadding=b"\0" * 64).pixels().decode(0), STORED[0])


def test_a_deflated_data_set_is_read(tmp_path: Path) -> None:
    images = ct_series(STORED)
    images[0].file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian

    assert np.array_equal(ImageFile.read(write(images, tmp_path)[0]).pixels().decode(0), STORED[0])


def test_floating_point_pixels_are_read(tmp_path: Path) -> None:
    values = np.linspace(-1, 1, STORED[0].size, dtype=np.float32).reshape(STORED[0].shape)
    images = ct_series(STORED)
    del images[0].PixelData
    images[0].FloatPixelData, images[0].BitsAllocated = values.tobytes(), 32

    assert np.array_equal(ImageFile.read(write(images, tmp_path)[0]).pixels().decode(0), values)


def test_a_number_of_frames_that_is_none_is_named(tmp_path: Path) -> None:
    (path,) = write(ct_series(STORED), tmp_path)
    file = ImageFile.read(path)
    file.header.NumberOfFrames = 1
    file.header["NumberOfFrames"]._value = "x"

    with pytest.raises(HeaderError, match="Number of Frames"):
        _ = file.frames


def test_a_file_without_pixels_is_named(tmp_path: Path) -> None:
    images = ct_series(STORED)
    del images[0].PixelData

    with pytest.raises(PixelError, match=r"0\.dcm.*no Pixel Data"):
        ImageFile.read(write(images, tmp_path)[0]).pixels()


def test_a_frame_that_is_damaged_within_is_told_or_decodes_as_the_reference_does(tmp_path: Path) -> None:
    """Garbage in the codestream: whatever decodes it, the answer is pydicom's."""
    images = ct_series(STORED)
    images[0].compress(JPEG2000Lossless, generate_instance_uid=False)
    (path,) = write(images, tmp_path)
    raw = bytearray(path.read_bytes())
    raw[-300:-200] = b"\0" * 100
    path.write_bytes(bytes(raw))
    try:
        expected = pixel_array(dcmread(path), raw=True)
    except (RuntimeError, ValueError):
        expected = None
    pixels = ImageFile.read(path).pixels()

    if expected is None:
        with pytest.raises((RuntimeError, ValueError)):
            pixels.decode(0)
    else:
        assert np.array_equal(pixels.decode(0), expected)
