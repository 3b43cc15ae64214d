from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.reception.multipart import (
    LARGEST_HEADERS,
    LARGEST_PREAMBLE,
    MediaType,
    MultipartError,
    MultipartReader,
    PartBegin,
    PartData,
    PartEnd,
)

BOUNDARY = "b0-undary"
# Pieces of what delimiters are made of, so that content often begins like one.
CONTENT = st.lists(
    st.sampled_from(
        [b"\r", b"\n", b"-", b"--", b"\r\n", b"\r\n--", b"\r\n--b0-undar", b"\r\n--b0-undary!", b"x", b"\0"]
    )
    | st.binary(max_size=20),
    max_size=12,
).map(b"".join)
PARTS = st.lists(CONTENT.filter(lambda part: b"\r\n--" + BOUNDARY.encode() not in part.replace(b"undary!", b"")))


def encode(parts: Sequence[bytes], boundary: str = BOUNDARY, headers: bytes = b"Content-Type: a/b\r\n") -> bytes:
    body = b"".join(b"\r\n--%s\r\n%s\r\n%s" % (boundary.encode(), headers, part) for part in parts)
    return body + b"\r\n--%s--\r\n" % boundary.encode()


def read(pieces: Sequence[bytes], boundary: str = BOUNDARY) -> list[tuple[dict[str, str], bytes]]:
    reader = MultipartReader(boundary)
    parts: list[tuple[dict[str, str], bytearray]] = []
    open_part = False
    for piece in pieces:
        for event in reader.feed(piece):
            if isinstance(event, PartBegin):
                assert not open_part
                open_part = True
                parts.append((dict(event.headers), bytearray()))
            elif isinstance(event, PartData):
                assert open_part
                parts[-1][1].extend(event.data)
            else:
                assert isinstance(event, PartEnd) and open_part
                open_part = False
    reader.close()
    assert not open_part
    return [(headers, bytes(content)) for headers, content in parts]


def cut(body: bytes, places: Sequence[int]) -> list[bytes]:
    places = [0, *sorted(place % (len(body) + 1) for place in places), len(body)]
    return [body[start:end] for start, end in pairwise(places)]


@given(parts=PARTS, places=st.lists(st.integers(0, 5000), max_size=30))
def test_parts_come_out_as_they_went_in_however_the_body_is_cut(parts: list[bytes], places: list[int]) -> None:
    body = encode(parts)
    assert read(cut(body, places)) == [({"content-type": "a/b"}, part) for part in parts]


@given(body=CONTENT | st.binary(max_size=300), places=st.lists(st.integers(0, 300), max_size=10))
def test_any_body_is_read_alike_whole_and_in_pieces(body: bytes, places: list[int]) -> None:
    def outcome(pieces: Sequence[bytes]) -> object:
        try:
            return read(pieces)
        except MultipartError as error:
            return str(error)

    assert outcome([body]) == outcome(cut(body, places)) == outcome([bytes((byte,)) for byte in body])


def test_what_is_no_delimiter_is_content() -> None:
    parts = [b"\r\n--b0-undaryX\r\n", b"\r\n--b0-undary -\r\n", b"--b0-undary--", b"\r\n--b0-undar"]
    assert [content for _, content in read([encode(parts)])] == parts


def test_preamble_epilogue_blanks_and_folded_headers_are_read() -> None:
    body = (
        b"a preamble\r\n--B  \t\r\nContent-Type: application/dicom;\r\n transfer-syntax=1.2\r\nX-Y:  z \r\n\r\none"
        b"\r\n--B\r\n\r\ntwo\r\n--B--\r\nan epilogue\r\n--B\r\n"
    )
    assert read([body], "B") == [
        ({"content-type": "application/dicom; transfer-syntax=1.2", "x-y": "z"}, b"one"),
        ({}, b"two"),
    ]


def test_large_parts_pass_through_without_being_held() -> None:
    reader = MultipartReader("B")
    list(reader.feed(b"--B\r\n\r\n"))
    largest = 0
    for _ in range(100):
        events = list(reader.feed(b"\r" * (1 << 18)))
        assert all(isinstance(event, PartData) for event in events)
        largest = max(largest, len(reader._buffer))
    assert largest < 1000


@pytest.mark.parametrize(
    "body", [b"", b"--B\r\n\r\ndata", b"--B\r\nA: b", b"no delimiter at all", b"--B\r\n\r\nx\r\n--B"]
)
def test_a_body_that_ends_early_is_told(body: bytes) -> None:
    with pytest.raises(MultipartError, match="the body ends without"):
        read([body], "B")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"x" * (LARGEST_PREAMBLE + 100), "no delimiter in the first"),
        (b"--B\r\nA: " + b"x" * (LARGEST_HEADERS + 1), "bytes of headers"),
        (b"--B\r\nA: " + b"x" * (LARGEST_HEADERS + 1) + b"\r\n\r\n", "bytes of headers"),
        (b"--B\r\nno colon\r\n\r\n", "cannot be read: 'no colon'"),
    ],
)
def test_what_cannot_be_read_is_refused(body: bytes, message: str) -> None:
    with pytest.raises(MultipartError, match=message):
        read([body], "B")


@pytest.mark.parametrize("boundary", ["", "x" * 71, "blank at the end ", "é", "a\r\nb"])
def test_a_boundary_out_of_rule_is_refused(boundary: str) -> None:
    with pytest.raises(MultipartError, match="1 to 70 characters"):
        MultipartReader(boundary)


@pytest.mark.parametrize(
    "text",
    [
        'multipart/related; type="application/dicom"; boundary=B',
        "multipart/related; type=application/dicom; boundary=B",
        'Multipart/Related;boundary="B";TYPE="application/dicom"',
        'multipart/related; boundary="B" ; start="<1>"; type = "application/dicom"',
    ],
)
def test_media_types_are_read_with_and_without_quotes(text: str) -> None:
    media = MediaType.parse(text)
    assert media.name == "multipart/related"
    assert media.parameters["type"] == "application/dicom"
    assert media.parameters["boundary"] == "B"


@given(st.text())
def test_any_text_is_some_media_type(text: str) -> None:
    assert "/" in MediaType.parse(text).name
