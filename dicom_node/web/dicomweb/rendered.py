"""WADO-RS: rendered images and thumbnails (PS3.18 10.4.1.1.4 and .5, parameters of 8.3.5)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, cast

from fastapi import HTTPException, Request, Response

from dicom_node.archive.files import ObjectStore
from dicom_node.archive.frames import pixels_of
from dicom_node.archive.holdings import Held
from dicom_node.errors import HeaderError, InputError, NotDicomError
from dicom_node.web.dicomweb import answers
from dicom_node.web.dicomweb.frames import check, numbers_of
from dicom_node.web.dicomweb.negotiation import Offer
from dicom_node.web.dicomweb.picture import FUNCTIONS, LARGEST_SIDE, View, Window, encoded, picture

JPEG: Literal["image/jpeg"] = "image/jpeg"
PNG: Literal["image/png"] = "image/png"
THUMBNAIL = 128  # pixels of its longer side, unless another size is asked for
_PARAMETERS = frozenset(("window", "viewport", "quality", "accept", "charset"))
_FUNCTIONS = {name.lower().replace("_", "-"): name for name in FUNCTIONS}


def frame(request: Request, held: Held, store: ObjectStore, listed: str) -> Response:
    """A frame, or several of them as parts."""
    numbers, view = numbers_of(listed), _view(request.query_params)
    path = store.absolute(held.path)
    check(numbers, _frames(path))
    return _answer(request, [(held, path, number) for number in numbers], view)


def objects(request: Request, held: Sequence[Held], store: ObjectStore) -> Response:
    """Every frame of one object, or of all images of a series or a study, as parts; a single frame without."""
    view = _view(request.query_params)
    every: list[tuple[Held, Path, int]] = []
    for each in held:
        path = store.absolute(each.path)
        try:
            every += [(each, path, number) for number in range(1, _frames(path) + 1)]
        except HTTPException:
            if len(held) == 1:
                raise
    if not every:
        raise HTTPException(406, "none of these objects is an image")
    return _answer(request, every, view)


def thumbnail(request: Request, held: Sequence[Held], store: ObjectStore, listed: str = "") -> Response:
    """A small picture of what stands in the middle."""
    view = _view(request.query_params)
    small = View(view.window, view.size or (THUMBNAIL, THUMBNAIL), view.region)
    middle = len(held) // 2
    for each in sorted(held, key=lambda one: abs(held.index(one) - middle)):
        path = store.absolute(each.path)
        try:
            frames = _frames(path)
        except HTTPException:
            continue
        number = numbers_of(listed)[0] if listed else (frames + 1) // 2
        check([number], frames)
        return _answer(request, [(each, path, number)], small)
    raise HTTPException(404, "there is no image that a thumbnail could show")


def _answer(request: Request, chosen: Sequence[tuple[Held, Path, int]], view: View) -> Response:
    lone = len(chosen) == 1
    offers = [Offer(kind, multipart) for multipart in ((False, True) if lone else (True,)) for kind in (JPEG, PNG)]
    offer = answers.negotiated(request, offers)
    kind = cast(Literal["image/png", "image/jpeg"], offer.media_type)
    quality, base = _quality(request.query_params), answers.base_of(request)
    if lone:
        held, path, number = chosen[0]
        try:
            image = encoded(picture(path, number, view), kind, quality)
        except InputError as error:
            raise HTTPException(406, f"{error.message}{'; ' if error.remedy else ''}{error.remedy}") from error
        except OSError as error:
            raise HTTPException(410, f"the file cannot be read: {error}") from error
        part = answers.Part(kind, [image], _place(base, held, number), len(image))
        return answers.whole(kind, [part]) if offer.multipart else Response(image, 200, media_type=kind)

    def parts() -> Iterator[answers.Part]:
        for held, path, number in chosen:
            yield answers.Part(kind, [encoded(picture(path, number, view), kind, quality)], _place(base, held, number))

    return answers.multipart(kind, parts())


def _frames(path: Path) -> int:
    try:
        with pixels_of(path) as pixels:
            return pixels.frames
    except HeaderError as error:
        raise HTTPException(406, f"it cannot be shown as a picture: {error.message}") from error
    except (NotDicomError, OSError) as error:
        raise HTTPException(410, f"the file cannot be read: {error}") from error


def _place(base: str, held: Held, number: int) -> str:
    where = f"studies/{held.study_uid}/series/{held.series_uid}/instances/{held.sop_uid}"
    return f"{base}/{where}/frames/{number}/rendered"


def _view(parameters: Mapping[str, str]) -> View:
    for name in parameters:
        if name.lower() not in _PARAMETERS:
            raise HTTPException(400, f"{name[:40]!r} is not known here; these are: {', '.join(sorted(_PARAMETERS))}")
    size, region = _viewport(parameters["viewport"]) if "viewport" in parameters else (None, None)
    return View(_window(parameters["window"]) if "window" in parameters else None, size, region)


def _window(text: str) -> Window:
    center, _, rest = text.partition(",")
    width, _, function = rest.partition(",")
    window = Window(_number(center, text), _number(width, text), _FUNCTIONS.get(function.lower() or "linear", ""))
    if window.width <= 0 or not window.function:
        raise HTTPException(400, f"window is center,width,function with one of {', '.join(_FUNCTIONS)}: {text[:60]!r}")
    return window


def _viewport(text: str) -> tuple[tuple[int, int], tuple[float, float, float, float] | None]:
    parts = text.split(",")
    if len(parts) not in (2, 6):
        raise HTTPException(400, f"viewport is width,height or width,height,left,top,width,height: {text[:60]!r}")
    width, height = (_number(part, text) for part in parts[:2])
    if not (1 <= width <= LARGEST_SIDE and 1 <= height <= LARGEST_SIDE):
        raise HTTPException(400, f"a viewport has 1 to {LARGEST_SIDE} pixels a side: {text[:60]!r}")
    if len(parts) == 2:
        return (int(width), int(height)), None
    left, top, wide, high = (_number(part, text) if part else math.nan for part in parts[2:])
    left, top = (0.0 if math.isnan(value) else value for value in (left, top))
    wide, high = (float(1 << 20) if math.isnan(value) else value for value in (wide, high))
    if left < 0 or top < 0:
        raise HTTPException(400, f"a region begins within the image: {text[:60]!r}")
    return (int(width), int(height)), (left, top, wide, high)


def _quality(parameters: Mapping[str, str]) -> int:
    text = parameters.get("quality", "90")
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:4]) <= 100:
        raise HTTPException(400, f"quality is 1 to 100, not {text[:20]!r}")
    return int(text)


def _number(part: str, text: str) -> float:
    try:
        value = float(part)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise HTTPException(400, f"{part[:20]!r} is no number in {text[:60]!r}")
    return value
