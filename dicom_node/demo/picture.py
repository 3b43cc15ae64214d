"""A picture of a segmentation: an axial and a coronal section of the CT with outlines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydicom
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataset import Dataset

from dicom_node.domain.grid import Float64, ImagePlane, VoxelGrid, stack

WINDOW_CENTER_HU, WINDOW_WIDTH_HU = -500.0, 1500.0  # the usual lung window
PIXEL_MM = 0.7  # of the picture
MARGIN, CAPTION, GAP = 16, 56, 12  # pixels
OUTLINE = 2  # pixels
BACKGROUND, TEXT, FAINT = (16, 18, 20), (235, 235, 235), (150, 155, 160)

Bytes = npt.NDArray[np.uint8]


def draw(images: Sequence[Path], segmentation: Path, target: Path, *, title: str, subtitle: str) -> None:
    """Write a PNG. ``images`` are the source images of the SEG in ``segmentation``.

    Both sections are shown as a radiologist expects: the patient's right on the left; axial seen from the feet,
    coronal from the front.
    """
    array, grid, frames = _volume(images)
    labels, colors = _labels(pydicom.dcmread(segmentation), frames, grid)
    array, labels, spacing = _upright(array, labels, grid)
    slices, rows, _ = np.nonzero(labels)
    axial = int(np.median(slices)) if len(slices) else array.shape[0] // 2
    coronal = int(np.median(rows)) if len(rows) else array.shape[1] // 2
    panels = [
        _panel(array[axial], labels[axial], (spacing[1], spacing[2]), colors),
        _panel(array[::-1, coronal], labels[::-1, coronal], (spacing[0], spacing[2]), colors),
    ]
    _compose(panels, ("axial", "coronal"), title, subtitle, labels_of(segmentation, colors)).save(target)


def labels_of(segmentation: Path, colors: dict[int, tuple[int, int, int]]) -> list[tuple[str, tuple[int, int, int]]]:
    """Segment labels with the colour each is drawn in."""
    header = pydicom.dcmread(segmentation, stop_before_pixels=True)
    return [(str(s.SegmentLabel), colors[int(s.SegmentNumber)]) for s in header.SegmentSequence]


def _volume(images: Sequence[Path]) -> tuple[Float64, VoxelGrid, dict[str, int]]:
    """HU with axes (slice, row, column), the grid, and the slice of each SOP Instance UID."""
    headers = [pydicom.dcmread(path) for path in images]
    grid, order = stack([_plane(header) for header in headers], thickness=float(headers[0].get("SliceThickness") or 1))
    ordered = [headers[index] for index in order]
    array = np.stack([_hu(header) for header in ordered])
    return array, grid, {str(header.SOPInstanceUID): number for number, header in enumerate(ordered)}


def _plane(header: Dataset) -> ImagePlane:
    spacing, cosines, position = header.PixelSpacing, header.ImageOrientationPatient, header.ImagePositionPatient
    return ImagePlane(
        rows=int(header.Rows),
        columns=int(header.Columns),
        pixel_spacing=(float(spacing[0]), float(spacing[1])),
        orientation=tuple(float(v) for v in cosines),  # type: ignore[arg-type]
        position=(float(position[0]), float(position[1]), float(position[2])),
    )


def _hu(header: Dataset) -> Float64:
    slope, intercept = float(header.get("RescaleSlope", 1)), float(header.get("RescaleIntercept", 0))
    return np.asarray(header.pixel_array, dtype=np.float64) * slope + intercept


def _labels(seg: Dataset, frames: dict[str, int], grid: VoxelGrid) -> tuple[Bytes, dict[int, tuple[int, int, int]]]:
    labels = np.zeros(grid.shape, dtype=np.uint8)
    pixels = np.reshape(seg.pixel_array, (-1, grid.shape[1], grid.shape[2]))
    shared = seg.SharedFunctionalGroupsSequence[0].get("SegmentIdentificationSequence")
    for frame, groups in zip(pixels, seg.PerFrameFunctionalGroupsSequence, strict=True):
        source = groups.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        number = (groups.get("SegmentIdentificationSequence") or shared)[0].ReferencedSegmentNumber
        labels[frames[str(source)]][frame > 0] = int(number)
    return labels, {int(s.SegmentNumber): _rgb(s) for s in seg.SegmentSequence}


def _rgb(segment: Dataset) -> tuple[int, int, int]:
    """Recommended Display CIELab Value (PS3.3 C.10.7.1.1, D50) as sRGB."""
    scaled = np.asarray(segment.get("RecommendedDisplayCIELabValue") or (49151, 32896, 32896), dtype=np.float64)
    lightness, a, b = scaled[0] * 100 / 65535, scaled[1] * 255 / 65535 - 128, scaled[2] * 255 / 65535 - 128
    fy = (lightness + 16) / 116
    f = np.array([fy + a / 500, fy, fy - b / 200])
    xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * (0.9642, 1.0, 0.8249)
    to_srgb = np.array(
        [[3.1338561, -1.6168667, -0.4906146], [-0.9787684, 1.9161415, 0.0334540], [0.0719453, -0.2289914, 1.4052427]]
    )
    linear = np.clip(to_srgb @ xyz, 0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    red, green, blue = (round(float(v) * 255) for v in encoded)
    return red, green, blue


def _upright(array: Float64, labels: Bytes, grid: VoxelGrid) -> tuple[Float64, Bytes, tuple[float, float, float]]:
    """Turn by whole axes so that slices go to the head, rows to posterior and columns to the patient's left."""
    axes = [int(np.argmax(np.abs(grid.directions[lps]))) for lps in (2, 1, 0)]
    array, labels = array.transpose(axes), labels.transpose(axes)
    for position, lps in enumerate((2, 1, 0)):
        if grid.directions[lps, axes[position]] < 0:
            array, labels = np.flip(array, position), np.flip(labels, position)
    spacing = grid.spacing
    return array, labels, (spacing[axes[0]], spacing[axes[1]], spacing[axes[2]])


def _panel(
    hu: Float64, labels: Bytes, spacing: tuple[float, float], colors: dict[int, tuple[int, int, int]]
) -> Image.Image:
    """One section; ``spacing`` is mm between its rows and columns."""
    size = (round(hu.shape[1] * spacing[1] / PIXEL_MM), round(hu.shape[0] * spacing[0] / PIXEL_MM))
    grey = np.clip((hu - WINDOW_CENTER_HU) / WINDOW_WIDTH_HU + 0.5, 0, 1) * 255
    image = Image.fromarray(grey.astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
    canvas = np.repeat(np.asarray(image)[:, :, None], 3, axis=2).copy()
    for number, color in colors.items():
        mask = Image.fromarray(((labels == number) * 255).astype(np.uint8)).resize(size, Image.Resampling.BILINEAR)
        canvas[_edge(np.asarray(mask) > 127)] = color
    return Image.fromarray(canvas)


def _edge(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    inner = mask
    for _ in range(OUTLINE):
        padded = np.pad(inner, 1)
        inner = inner & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inner


def _compose(
    panels: Sequence[Image.Image],
    names: Sequence[str],
    title: str,
    subtitle: str,
    legend: Sequence[tuple[str, tuple[int, int, int]]],
) -> Image.Image:
    width = sum(panel.width for panel in panels) + GAP * (len(panels) - 1) + 2 * MARGIN
    height = max(panel.height for panel in panels) + CAPTION + 28 + 2 * MARGIN
    picture = Image.new("RGB", (width, height), BACKGROUND)
    pen = ImageDraw.Draw(picture)
    large, small = ImageFont.load_default(20), ImageFont.load_default(14)
    pen.text((MARGIN, MARGIN), title, fill=TEXT, font=large)
    pen.text((MARGIN, MARGIN + 28), subtitle, fill=FAINT, font=small)
    left = MARGIN
    for panel, name in zip(panels, names, strict=True):
        picture.paste(panel, (left, MARGIN + CAPTION))
        for text, below in ((name, 6), ("R", panel.height // 2)):
            at = (left + 8, MARGIN + CAPTION + below)
            pen.text(at, text, fill=TEXT, font=small, stroke_width=2, stroke_fill=BACKGROUND)
        left += panel.width + GAP
    left = MARGIN
    for label, color in legend:
        pen.rectangle((left, height - MARGIN - 14, left + 12, height - MARGIN - 2), fill=color)
        pen.text((left + 18, height - MARGIN - 17), label, fill=TEXT, font=small)
        left += 40 + round(pen.textlength(label, font=small))
    return picture
