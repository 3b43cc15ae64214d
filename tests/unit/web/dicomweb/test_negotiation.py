"""Accept headers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.web.dicomweb.negotiation import DICOM, EXPLICIT, OCTETS, Offer, choose, ranges_of, refusal

JPEG_LS = "1.2.840.10008.1.2.4.80"
FRAMES = [
    Offer(OCTETS, True, EXPLICIT),
    Offer("image/jls", True, JPEG_LS, stored=True),
    Offer(OCTETS, True, JPEG_LS, stored=True),
    Offer(OCTETS, False, EXPLICIT),
]


def chosen(accept: str) -> int | None:
    offer = choose(ranges_of(accept), FRAMES)
    return None if offer is None else FRAMES.index(offer)


@pytest.mark.parametrize(
    ("accept", "place"),
    [
        ("", 0),
        ("*/*", 0),
        ('multipart/related; type="application/octet-stream"', 0),
        ("multipart/related; type=application/octet-stream", 0),
        ('multipart/related; type="application/octet-stream"; transfer-syntax=*', 2),
        ("multipart/related; type=application/octet-stream; transfer-syntax=*", 2),
        ('multipart/related; type="image/jls"', 1),
        ('multipart/related; type="image/x-jls"; transfer-syntax=*', 1),
        (f'multipart/related; type="image/jls"; transfer-syntax={JPEG_LS}', 1),
        ('multipart/related; type="image/jls"; transfer-syntax=1.2.840.10008.1.2.4.81', None),
        ('multipart/related; type="image/*"', 1),
        ("application/octet-stream", 3),
        ('multipart/related; type="image/jp2", multipart/related; type="image/jls";q=0.1', 1),
        ('multipart/related; type="image/jls";q=0.1, multipart/related; type="application/octet-stream";q=0.2', 0),
        ('multipart/related; type="image/jls";q=0', None),
        ('*/*, multipart/related; type="application/octet-stream";q=0', 1),
        ("text/html", None),
        ("text/html, */*;q=0.1", 0),
        ('multipart/related; type="image/jls"; q=nonsense', None),
        ("*/*; transfer-syntax=1.2.3", None),
    ],
)
def test_what_is_wanted_most_is_given(accept: str, place: int | None) -> None:
    assert chosen(accept) == place


def test_a_parameter_of_the_address_counts_before_the_header() -> None:
    assert [each.name for each in ranges_of("text/html", ["image/png"])] == ["image/png"]


def test_a_refusal_tells_what_was_asked_for_and_what_can_be_had() -> None:
    text = refusal(ranges_of('multipart/related; type="image/jp2"'), [Offer(DICOM, True, EXPLICIT)])
    assert 'asked for multipart/related; type="image/jp2"' in text
    assert f'multipart/related; type="application/dicom"; transfer-syntax={EXPLICIT}' in text


@given(st.text(max_size=200))
def test_any_header_is_read(text: str) -> None:
    ranges = ranges_of(text)
    assert all(0 <= each.quality <= 1 for each in ranges)
    offer = choose(ranges, FRAMES)
    assert offer is None or offer in FRAMES
