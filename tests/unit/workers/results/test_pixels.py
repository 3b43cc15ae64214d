import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.encaps import generate_frames

from dicom_node.errors import ResultError
from workers.results import pixels


def stream(chunks: list[bytes]) -> pixels.PixelStream:
    return pixels.PixelStream(sum(map(len, chunks)), lambda: iter(chunks))


@given(
    chunks=st.lists(st.binary(max_size=9), max_size=6),
    steps=st.lists(st.tuples(st.sampled_from(["read", "seek"]), st.integers(0, 40)), max_size=12),
)
def test_a_stream_reads_as_its_bytes_in_a_file(chunks: list[bytes], steps: list[tuple[str, int]]) -> None:
    ours, file = stream(chunks), io.BytesIO(b"".join(chunks))
    for what, number in steps:
        if what == "read":
            assert ours.read(number) == file.read(number)
        else:
            assert ours.seek(number) == file.seek(number)
        assert ours.tell() == file.tell()
    ours.seek(0)
    assert ours.read() == file.getvalue()
    assert ours.seek(0, io.SEEK_END) == len(file.getvalue())


def test_nothing_is_made_before_it_is_read() -> None:
    def fails():
        raise AssertionError("made too early")
        yield b""

    assert pixels.PixelStream(5, fails).seek(0, io.SEEK_END) == 5


@given(seed=st.integers(0, 999), count=st.integers(1, 4), rows=st.integers(1, 7), columns=st.integers(1, 9))
def test_bits_run_on_from_frame_to_frame(seed: int, count: int, rows: int, columns: int) -> None:
    frames = np.random.default_rng(seed).random((count, rows, columns)) < 0.5
    data = pixels.native(lambda: frames, count, rows * columns, 1).read()
    assert len(data) % 2 == 0
    bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
    assert np.array_equal(bits[: frames.size].reshape(frames.shape), frames)
    assert not bits[frames.size :].any()


def test_bytes_of_odd_length_end_in_null() -> None:
    frames = np.arange(9, dtype=np.uint8).reshape(3, 1, 3)
    assert pixels.native(lambda: frames, 3, 3, 8).read() == bytes(range(9)) + b"\0"


def test_what_one_element_cannot_hold_is_refused() -> None:
    assert pixels.native(lambda: (), 2**19, 2**15, 1).seek(0, io.SEEK_END) == 2**31
    with pytest.raises(ResultError) as caught:
        pixels.native(lambda: (), 2**17, 2**15, 8)
    assert caught.value.reason == "too-large"


@pytest.mark.parametrize("shape", [(7, 9), (16, 16)])
def test_run_lengths_decode_to_the_frames(shape: tuple[int, int]) -> None:
    frames = np.random.default_rng(0).integers(0, 3, (3, *shape)).astype(np.uint8)
    encoded = list(generate_frames(pixels.run_length(frames, shape), number_of_frames=3))
    decoded = [pixels_of(frame, shape) for frame in encoded]
    assert np.array_equal(decoded, frames)


def pixels_of(frame: bytes, shape: tuple[int, int]) -> np.ndarray:
    """PackBits of one segment (PS3.5 annex G), read by the letter."""
    assert int.from_bytes(frame[:4], "little") == 1
    at, out = int.from_bytes(frame[4:8], "little"), bytearray()
    while len(out) < shape[0] * shape[1]:
        head = frame[at]
        if head < 128:
            out += frame[at + 1 : at + 2 + head]
            at += head + 2
        else:
            out += frame[at + 1 : at + 2] * (257 - head if head > 128 else 0)
            at += 2
    return np.frombuffer(out, np.uint8).reshape(shape)
