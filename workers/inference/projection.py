"""2-D images: how a radiograph, mammogram or photograph shows the patient, and how large its pixels are.

A projection has no position in the patient. Its grid lies where it likes: one slice, 1 mm deep, the first pixel at
0; its axes point where Patient Orientation says, as far as that is told.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dicom_node.domain.grid import ImagePlane
from dicom_node.errors import HeaderError
from workers.inference.frames import Frame

SpacingSource = Literal[
    "Pixel Spacing", "Imager Pixel Spacing", "Imager Pixel Spacing and magnification", "Nominal Scanned Pixel Spacing",
    "none",
]  # fmt: skip
_AXES = {
    "L": (1.0, 0.0, 0.0), "R": (-1.0, 0.0, 0.0), "P": (0.0, 1.0, 0.0), "A": (0.0, -1.0, 0.0),
    "H": (0.0, 0.0, 1.0), "F": (0.0, 0.0, -1.0),
}  # fmt: skip
# A row to the patient's left and a column to the feet: how a viewer shows a frontal image.
_UNTOLD = ("L", "F")
_CALIBRATED = ("GEOMETRY", "FIDUCIAL")


@dataclass(frozen=True, slots=True)
class Projection:
    """What the header of a 2-D image says of the view."""

    patient_orientation: tuple[str, str] | None  # (0020,0020): where a row, then a column goes; None: not told
    view: str  # View Position (0018,5101), or the meaning of the view's code; empty: not told
    laterality: str  # R, L, U or B; empty: not told
    spacing_from: SpacingSource  # "Imager Pixel Spacing" is that of the detector, larger than in the patient


def read(frame: Frame) -> tuple[ImagePlane, Projection]:
    """Plane and view of a 2-D image.

    Raises:
        HeaderError: ``bad-value``: an attribute contradicts itself.
    """
    rows, columns = frame.size()
    spacing, source = _spacing(frame)
    told = _orientation(frame)
    along_row, along_column = (_AXES[letters[0]] for letters in told or _UNTOLD)
    plane = ImagePlane(rows, columns, spacing, (*along_row, *along_column), (0.0, 0.0, 0.0))
    view = frame.text("ViewPosition")
    codes = frame.header.get("ViewCodeSequence")
    if not view and codes:
        view = str(codes[0].get("CodeMeaning") or "")
    laterality = frame.text("ImageLaterality") or frame.text("Laterality") or frame.text("FrameLaterality")
    return plane, Projection(told, view, laterality, source)


def _orientation(frame: Frame) -> tuple[str, str] | None:
    """Where rows and columns go, in the letters of PS3.3 C.7.6.1.1.1, the principal direction first."""
    letters = frame.texts("PatientOrientation")
    if not any(letters):
        return None
    first = [_AXES.get(value[:1]) for value in letters]
    if len(letters) != 2 or None in first or _is_parallel(*first):
        raise HeaderError(
            f"Patient Orientation of {frame} is {'/'.join(letters)}, which names no two directions of a plane",
            reason="bad-value",
            remedy="correct it at the modality or the PACS and send the image again",
        )
    return letters[0], letters[1]


def _is_parallel(one: tuple[float, float, float] | None, other: tuple[float, float, float] | None) -> bool:
    return one is not None and other is not None and any(a and b for a, b in zip(one, other, strict=True))


def _spacing(frame: Frame) -> tuple[tuple[float, float], SpacingSource]:
    """Distance of rows and of columns in mm (PS3.3 10.7.1.3), and what it was taken from."""
    given, imager = frame.numbers("PixelSpacing", 2), frame.numbers("ImagerPixelSpacing", 2)
    calibrated = frame.text("PixelSpacingCalibrationType") in _CALIBRATED
    if given and (calibrated or not imager or given != imager):
        return _positive(frame, given), "Pixel Spacing"
    if imager:
        magnification = frame.number("EstimatedRadiographicMagnificationFactor")
        if magnification and magnification > 0:
            rows, columns = _positive(frame, imager)
            return (rows / magnification, columns / magnification), "Imager Pixel Spacing and magnification"
        return _positive(frame, imager), "Imager Pixel Spacing"
    scanned = frame.numbers("NominalScannedPixelSpacing", 2)
    if scanned:
        return _positive(frame, scanned), "Nominal Scanned Pixel Spacing"
    ratio = frame.numbers("PixelAspectRatio", 2)
    if ratio:
        rows, columns = _positive(frame, ratio)
        return (rows / columns, 1.0), "none"
    return (1.0, 1.0), "none"


def _positive(frame: Frame, spacing: tuple[float, ...]) -> tuple[float, float]:
    if min(spacing) <= 0:
        raise HeaderError(f"the pixel spacing of {frame} is {spacing}", reason="bad-value")
    return spacing[0], spacing[1]
