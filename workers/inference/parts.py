"""A series that holds several volumes: echoes, phases, b-values, stacks. One is chosen as the role says, or none.

Nothing is guessed: where a model's contract does not say which part it takes, the series is refused with the list of
what is in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from dicom_node.domain.contract import Selection
from dicom_node.domain.grid import ImagePlane, stack
from dicom_node.errors import GeometryError
from workers.inference.frames import Frame

# What tells volumes of one series apart, the most telling first.
_TELLING = (
    "EchoTime", "DiffusionBValue", "ComplexImageComponent", "TemporalPositionIndex", "TemporalPositionIdentifier",
    "NominalPercentageOfCardiacPhase", "NominalCardiacTriggerDelayTime", "TriggerTime", "InversionTime", "FlipAngle",
    "DiffusionGradientOrientation", "MetaboliteMapDescription", "StackID", "AcquisitionNumber", "ConvolutionKernel",
    "KVP", "FrameReferenceTime", "AcquisitionTime", "ImageType", "FrameAcquisitionNumber",
)  # fmt: skip
_MOST_SHOWN = 6
_SAME = 1e-3  # numbers that differ by less than this share are one value: scanners write 4.6 and 4.600001


def choose(frames: Sequence[Frame], selections: Sequence[Selection]) -> list[Frame]:
    """The frames that the role takes.

    Raises:
        GeometryError: ``no-such-part``: no frame has the value that is asked for.
    """
    chosen = list(frames)
    for selection in selections:
        held = {id(frame): _value(frame, selection.keyword) for frame in chosen}
        wanted = _wanted(list(held.values()), selection)
        if wanted is None:  # nothing to choose from: the series does not know this attribute
            continue
        kept = [frame for frame in chosen if _is(held[id(frame)], wanted)]
        if not kept:
            raise GeometryError(
                f"no image of the series has {selection.keyword} {selection.value}: it holds {_listed(held.values())}",
                reason="no-such-part",
                remedy="this series is not the one the model is meant for; see select in its model.toml",
            )
        chosen = kept
    return chosen


def explained(frames: Sequence[Frame], planes: Sequence[ImagePlane], error: GeometryError) -> GeometryError:
    """What is wrong with frames that do not stack: ``several-volumes`` where an attribute tells them apart."""
    if error.reason not in ("duplicate-position", "mixed-sizes", "mixed-orientation", "mixed-spacing"):
        return error
    keywords = _TELLING if error.reason == "duplicate-position" else ("StackID",)
    values = {keyword: [_value(frame, keyword) for frame in frames] for keyword in keywords}
    telling = [keyword for keyword in keywords if len(set(values[keyword])) > 1]
    for count in (1, 2):
        for chosen in combinations(telling, count):
            groups = _groups(planes, list(zip(*(values[keyword] for keyword in chosen), strict=True)))
            if all(_stacks(group) for group in groups):
                listed = "; ".join(f"{keyword}: {_listed(values[keyword])}" for keyword in chosen)
                asked = ", ".join(f'"smallest {keyword}"' for keyword in chosen)
                return GeometryError(
                    f"the series holds {len(groups)} volumes of the same place ({listed})",
                    reason="several-volumes",
                    remedy=f"say in model.toml which one the model takes, e.g. select = [{asked}], "
                    "or send each as a series of its own",
                )
    return error


def several_images(frames: Sequence[Frame]) -> GeometryError:
    """Why 2-D images of one series are not one input."""
    keywords = ("ViewPosition", "ImageLaterality", "Laterality", "PatientOrientation", "AcquisitionNumber")
    values = {keyword: [_value(frame, keyword) for frame in frames] for keyword in keywords}
    listed = "; ".join(f"{name}: {_listed(found)}" for name, found in values.items() if len(set(found)) > 1)
    return GeometryError(
        f"the series holds {len(frames)} two-dimensional images ({listed or 'nothing tells them apart'}), "
        "the model takes one",
        reason="several-images",
        remedy='say in model.toml which one the model takes, e.g. select = ["ViewPosition = CC"], '
        "or send each as a series of its own",
    )


def _groups(planes: Sequence[ImagePlane], keys: Sequence[tuple[object, ...]]) -> list[list[ImagePlane]]:
    groups: dict[tuple[object, ...], list[ImagePlane]] = {}
    for plane, key in zip(planes, keys, strict=True):
        groups.setdefault(key, []).append(plane)
    return list(groups.values())


def _stacks(planes: Sequence[ImagePlane]) -> bool:
    try:
        stack(planes, thickness=1.0)
    except GeometryError as error:
        return error.reason in ("missing-slice", "uneven-spacing", "gantry-tilt")  # a fault of its own, told later
    return True


def _value(frame: Frame, keyword: str) -> float | tuple[str, ...] | None:
    """A number, or the texts of an attribute; None where it is absent."""
    texts = frame.texts(keyword)
    if not texts:
        return None
    if len(texts) == 1:
        try:
            return float(texts[0])
        except ValueError:
            return texts
    return texts


def _wanted(held: Sequence[object], selection: Selection) -> object | None:
    """The value to keep; None where there is nothing to choose."""
    if selection.order == "equal":
        try:
            return float(selection.value)
        except ValueError:
            return selection.value
    numbers = [value for value in held if isinstance(value, float)]
    if not numbers:
        return None
    return min(numbers) if selection.order == "smallest" else max(numbers)


def _is(value: object, wanted: object) -> bool:
    if isinstance(value, float) and isinstance(wanted, float):
        return abs(value - wanted) <= _SAME * max(1.0, abs(wanted))
    if isinstance(value, tuple):
        return str(wanted) in value
    return False


def _listed(values: object) -> str:
    found = list(dict.fromkeys(values))  # type: ignore[call-overload]
    shown = ["none" if v is None else f"{v:g}" if isinstance(v, float) else "\\".join(v) for v in found]
    more = f", and {len(shown) - _MOST_SHOWN} more" if len(shown) > _MOST_SHOWN else ""
    return ", ".join(shown[:_MOST_SHOWN]) + more
