"""One page in colours: what was found in words, and an image with outlines. No patient identifier comes near it."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataset import Dataset

from dicom_node.domain.finding import Findings
from workers.results import regions
from workers.results.outlines import Outline, outlines

Rgb = npt.NDArray[np.uint8]
Color = tuple[int, int, int]

WIDTH, HEIGHT = 1280, 960
_MARGIN, _BAND, _GAP = 24, 84, 24
_PICTURE = 560  # pixels, the longer side of the image
_BLACK, _WHITE, _GREY = (12, 14, 18), (240, 242, 245), (168, 174, 184)
_AMBER, _ON_AMBER = (255, 176, 0), (20, 16, 0)
_DETECTION = (255, 200, 0)
_RADIUS = 8.0  # pixels of the image, of the circle around a point
_SPELT = {"²": "2", "³": "3", "µ": "u", "μ": "u", "–": "-", "—": "-", "≥": ">=", "≤": "<=", "‘": "'", "’": "'"}


@dataclass(frozen=True, slots=True)
class Line:
    """One paragraph."""

    words: str
    size: int = 20
    color: Color = _WHITE
    box: Color | None = None  # a square of this colour stands before it


def heading(words: str) -> Line:
    """A heading above what follows."""
    return Line(words, 18, _AMBER)


def small(words: str) -> Line:
    """What is said beside."""
    return Line(words, 16, _GREY)


def page(
    title: str, subtitle: str, picture: Image.Image | None, caption: str, right: Sequence[Line], below: Sequence[Line]
) -> Rgb:
    """The page, (row, column, RGB). What does not fit is counted at the end of its column."""
    image = Image.new("RGB", (WIDTH, HEIGHT), _BLACK)
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, WIDTH, _BAND), fill=_AMBER)
    draw.text((_MARGIN, 8), plain(title), font=_font(38), fill=_ON_AMBER)
    draw.text((_MARGIN, 54), plain(subtitle), font=_font(20), fill=_ON_AMBER)
    top = _BAND + _GAP
    left, bottom = _MARGIN, top
    if picture is not None:
        image.paste(picture, (_MARGIN, top))
        bottom = top + picture.height + 6
        draw.text((_MARGIN, bottom), plain(caption), font=_font(16), fill=_GREY)
        left, bottom = _MARGIN + picture.width + _GAP, bottom + 24
    foot = _column(None, below, _MARGIN, 0, WIDTH - _MARGIN, HEIGHT * 10)
    limit = HEIGHT - _MARGIN // 2
    start = max(bottom + 8, limit - foot)
    _column(draw, right, left, top, WIDTH - _MARGIN, start - 12)
    _column(draw, below, _MARGIN, start, WIDTH - _MARGIN, limit)
    return np.asarray(image, dtype=np.uint8)


def slice_picture(findings: Findings, image: npt.NDArray[Any], index: int, header: Dataset) -> Image.Image:
    """One image of the series, (row, column) or (row, column, RGB), windowed, with outlines and detections.

    Its pixels are shown as large as they are in the patient.
    """
    grey = image if image.ndim == 3 else _windowed(image.astype(np.float64), header)
    rows, columns = grey.shape[:2]
    height, width = rows * findings.grid.spacing[1], columns * findings.grid.spacing[2]
    scale = _PICTURE / max(height, width)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    shown = Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8)).convert("RGB")
    shown = shown.resize(size, Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(shown)
    factor = np.array([size[0] / columns, size[1] / rows])
    for outline, color in _drawn(findings, index):
        draw.line([tuple(point) for point in (outline * factor).tolist()], fill=color, width=2)
    return shown


def _drawn(findings: Findings, index: int) -> Iterator[tuple[Outline, Color]]:
    """Outlines on an image, (x, y) in its pixels, with their colours."""
    for layer, held in zip(findings.layers, findings.occupied, strict=True):
        for number in np.flatnonzero(held[index]):
            if number:
                for outline in outlines(layer[index] == number):
                    yield outline, findings.segment(int(number)).color
    for found in findings.detections:
        points = np.asarray(found.points, dtype=np.float64)
        if len(points) == 1:
            at = findings.grid.lps_to_index(points)[0]
            if round(float(at[0])) == index:
                turns = np.linspace(0, 2 * np.pi, 33)
                circle = np.stack([np.cos(turns), np.sin(turns)], axis=1) * _RADIUS
                yield circle + (at[[2, 1]] + 0.5), _DETECTION
            continue
        for polygon in regions.polygons(points, findings.grid):
            indices = findings.grid.lps_to_index(polygon)
            if round(float(indices[0, 0])) == index:
                yield indices[:, [2, 1]] + 0.5, _DETECTION


def _windowed(values: npt.NDArray[np.float64], header: Dataset) -> npt.NDArray[np.float64]:
    """Grey values 0 to 255 by the first window of the image (PS3.3 C.11.2), else from its 1st to 99th percentile."""
    try:
        centre, width = (_first(header.get(f"Window{name}")) for name in ("Center", "Width"))
    except (TypeError, ValueError):
        centre = width = 0.0
    turned = header.get("PhotometricInterpretation") == "MONOCHROME1" or header.get("Modality") == "PT"
    if width >= 1 and not turned:  # those of PET are in the unit of the file, not that of the volume
        low, high = centre - width / 2, centre + width / 2
    else:
        low, high = (float(each) for each in np.percentile(values, (1, 99)))
    return (values - low) / ((high - low) or 1.0) * 255


def _first(value: Any) -> float:
    return float(value[0] if isinstance(value, Sequence) and not isinstance(value, str) else value)


def _column(
    draw: ImageDraw.ImageDraw | None, lines: Sequence[Line], left: int, top: int, right: int, bottom: int
) -> int:
    """Write lines under each other; where they end. Without ``draw`` they are only measured."""
    at = top
    for number, line in enumerate(lines):
        font = _font(line.size)
        indent = 24 if line.box else 0
        parts = _wrapped(plain(line.words), font, right - left - indent)
        step = line.size + 6
        more = number < len(lines) - 1
        if at + step * len(parts) + (20 if more else 0) > bottom:
            if draw is not None:
                words = f"{len(lines) - number} more: see the report (SR)"
                draw.text((left, min(at, bottom - 18)), words, font=_font(16), fill=_AMBER)
            return at
        if draw is not None and line.box:
            draw.rectangle((left, at + 3, left + 14, at + 17), fill=line.box)
        for part in parts:
            if draw is not None:
                draw.text((left + indent, at), part, font=font, fill=line.color)
            at += step
    return at


def _wrapped(words: str, font: Any, width: int) -> list[str]:
    """Words in lines that are no wider; a word that is too wide alone is cut."""
    lines, line = [], ""
    for word in words.split():
        while font.getlength(word) > width and len(word) > 1:
            word = word[: len(word) // 2]
        wider = f"{line} {word}".strip()
        if line and font.getlength(wider) > width:
            lines.append(line)
            line = word
        else:
            line = wider
    return [*lines, line]


def plain(words: str) -> str:
    """Words in the letters that the font has: without accents, and with ``?`` for what it cannot write."""
    spelt = "".join(_SPELT.get(letter, letter) for letter in words)
    bare = "".join(letter for letter in unicodedata.normalize("NFKD", spelt) if not unicodedata.combining(letter))
    return "".join(letter if letter.isascii() or letter in "±°" else "?" for letter in bare)


def _font(size: int) -> Any:
    return ImageFont.load_default(size)
