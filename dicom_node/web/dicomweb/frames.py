"""WADO-RS: frames (PS3.18 10.4.1.1.3), as they are stored or decoded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from fastapi import HTTPException, Request, Response

from dicom_node.archive.frames import Pixels, decoded, pixels_of
from dicom_node.archive.holdings import Held
from dicom_node.errors import HeaderError, InputError, NotDicomError
from dicom_node.web.dicomweb import answers
from dicom_node.web.dicomweb.answers import Part
from dicom_node.web.dicomweb.negotiation import EXPLICIT, MEDIA_TYPE_OF, OCTETS, Offer
from dicom_node.web.dicomweb.retrieve import can_decode

_LONGEST_LIST = 1 << 16  # characters


def retrieve(request: Request, held: Held, path: Path, listed: str) -> Response:
    """The frames of a list such as ``1,2,5``, in its order."""
    numbers = numbers_of(listed)
    try:
        with pixels_of(path) as pixels:
            check(numbers, pixels.frames)
            offer = answers.negotiated(request, _offers(pixels))
            kind = f"{offer.media_type}; transfer-syntax={offer.syntax}"
            base = (
                f"{answers.base_of(request)}/studies/{held.study_uid}/series/{held.series_uid}/instances/{held.sop_uid}"
            )
            places = [f"{base}/frames/{number}" for number in numbers]
            if len(numbers) > 1 and not offer.multipart:
                raise HTTPException(406, "several frames are given as parts of a multipart/related answer alone")
            first = Part(kind, [_frame(pixels, path, numbers[0], offer)], places[0])
            if len(numbers) == 1:
                return answers.whole(offer.media_type, [first]) if offer.multipart else _plain(first)
    except HeaderError as error:
        raise HTTPException(404, error.message) from error
    except (NotDicomError, OSError) as error:
        raise HTTPException(410, f"the file cannot be read: {error}") from error
    except InputError as error:
        raise HTTPException(406, f"{error.message}; {error.remedy}") from error
    # The first one shows whether they can be decoded at all, while that can still be said.
    others = _parts(path, numbers[1:], places[1:], kind, offer)
    return answers.multipart(offer.media_type, chain([first], others))


def numbers_of(listed: str) -> list[int]:
    """The numbers of a list of frames.

    Raises:
        HTTPException: 400, it is none.
    """
    parts = listed[:_LONGEST_LIST].split(",")
    if not all(part.isascii() and part.isdigit() and len(part) < 10 and int(part) > 0 for part in parts):
        raise HTTPException(400, f"frames are numbered from 1 and separated by commas, not {listed[:80]!r}")
    return [int(part) for part in parts]


def check(numbers: Sequence[int], frames: int) -> None:
    """See that an object has these frames.

    Raises:
        HTTPException: 404, it has not.
    """
    beyond = next((number for number in numbers if number > frames), None)
    if beyond is not None:
        raise HTTPException(404, f"there is no frame {beyond}: the object has {frames}")


def _offers(pixels: Pixels) -> list[Offer]:
    """Ways to give the frames; the first is the default."""
    found: list[Offer] = []
    for multipart in (True, False):
        if not pixels.compressed:
            found.append(Offer(OCTETS, multipart, EXPLICIT, stored=True))
            continue
        if can_decode(pixels.syntax):
            found.append(Offer(OCTETS, multipart, EXPLICIT))
        media_type = MEDIA_TYPE_OF.get(pixels.syntax)
        if media_type:
            found.append(Offer(media_type, multipart, pixels.syntax, stored=True))
        # Viewers ask for octets in whatever syntax they stand: transfer-syntax=*.
        found.append(Offer(OCTETS, multipart, pixels.syntax, stored=True))
    return found


def _frame(pixels: Pixels, path: Path, number: int, offer: Offer) -> bytes:
    return pixels.stored(number) if offer.stored else decoded(path, number)


def _parts(path: Path, numbers: Sequence[int], places: Sequence[str], kind: str, offer: Offer) -> Iterator[Part]:
    with pixels_of(path) as pixels:
        for number, place in zip(numbers, places, strict=True):
            yield Part(kind, [_frame(pixels, path, number, offer)], place)


def _plain(part: Part) -> Response:
    return Response(b"".join(part.body), 200, {"Content-Type": part.content_type, "Content-Location": part.location})
