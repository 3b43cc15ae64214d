"""The fast decoders give what pydicom gives, or leave the frame to it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_series import ct_series
from pydicom import Dataset, dcmread
from pydicom.encaps import get_frame
from pydicom.pixels.utils import pixel_array
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless, RLELossless

from workers.inference import codecs

SYNTAXES = [RLELossless, JPEGLSLossless, JPEG2000Lossless]


def compressed(stored: np.ndarray, syntax: str, *, signed: int, bits: int) -> Dataset:
    image = ct_series(stored[None].astype(np.int16))[0]
    image.PixelRepresentation, image.BitsStored, image.HighBit = signed, bits, bits - 1
    if bits <= 8:
        image.BitsAllocated = 8
        image.PixelData = stored.astype(np.uint8).tobytes()
    image.compress(syntax, generate_instance_uid=False)
    return image


@settings(deadline=None, max_examples=30)
@given(
    syntax=st.sampled_from(SYNTAXES),
    kind=st.sampled_from([(0, 8), (0, 12), (0, 16), (1, 12), (1, 16)]),
    shape=st.tuples(st.integers(32, 48), st.integers(32, 48)),
    seed=st.integers(0, 1000),
)
def test_lossless_frames_come_back_whole(syntax: str, kind: tuple[int, int], shape: tuple[int, int], seed: int) -> None:
    signed, bits = kind
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    # Both ends and a slope between them: noise would not fit into the encoder's buffer.
    stored = np.linspace(low, high, shape[0] * shape[1]).reshape(shape).round()
    stored = np.random.default_rng(seed).permuted(stored, axis=0) if bits > 8 else stored
    stored = stored.astype(f"{'ui'[signed]}{1 if bits <= 8 else 2}")
    if stored.size % 2:
        stored = stored[:, :-1] if stored.shape[1] % 2 else stored[:-1]
    image = compressed(stored, syntax, signed=signed, bits=bits)

    decoded = codecs.decode(get_frame(image.PixelData, 0, number_of_frames=1), syntax, image)

    reference = pixel_array(image, raw=True)
    if decoded is not None:
        assert decoded.dtype == reference.dtype.newbyteorder("<")
        mask = (1 << bits) - 1
        assert np.array_equal(decoded.astype(np.int64) & mask, reference.astype(np.int64) & mask)
    assert decoded is not None or (signed and bits < 16) or syntax == JPEG2000Lossless


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_what_is_no_codestream_is_left_to_pydicom(syntax: str) -> None:
    image = ct_series(np.zeros((1, 8, 8), np.int16))[0]

    assert codecs.decode(b"no codestream at all", syntax, image) is None


def test_other_syntaxes_and_depths_are_left_to_pydicom() -> None:
    image = ct_series(np.zeros((1, 8, 8), np.int16))[0]
    assert codecs.decode(b"", ExplicitVRLittleEndian, image) is None
    image.BitsAllocated = 32
    assert codecs.decode(b"", RLELossless, image) is None


@pytest.mark.data
@pytest.mark.parametrize("name", ["CT1", "MR1", "NM1"])
@pytest.mark.parametrize("syntax", ["RLE", "JLSL", "JLSN", "J2KR", "J2KI"])
def test_real_codestreams_decode_as_pydicom_decodes_them(test_data: Path, name: str, syntax: str) -> None:
    image = dcmread(test_data / "transfer_syntax_wg04" / f"{name}_{syntax}")

    decoded = codecs.decode(
        get_frame(image.PixelData, 0, number_of_frames=1), str(image.file_meta.TransferSyntaxUID), image
    )

    assert decoded is not None
    mask = (1 << int(image.BitsStored)) - 1
    expected = pixel_array(image, raw=True).astype(np.int64) & mask
    # Of lossy codestreams two decoders may round one value differently.
    assert np.abs((decoded.astype(np.int64) & mask) - expected).max() <= (1 if syntax == "J2KI" else 0)
