"""How segments are encoded for a destination, what it gets when it refuses that, and what comes beside them. Pure.

A profile names what the Segmentation of a result set is written as (Segmentation Type, PS3.3 C.8.20.2). Reports are the
same in all of them but for their UIDs, since they name the Segmentation.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from enum import StrEnum


class Profile(StrEnum):
    """Encoding of a result set."""

    BINARY = "binary"  # one bit a voxel, a frame for each segment and slice; whoever takes Segmentations takes it
    LABELMAP = "labelmap"  # one frame a slice, RLE; a SOP class of its own, younger than many PACS
    FRACTIONAL = "fractional"  # probabilities; of models that keep them


class Companion(StrEnum):
    """What says the same beside Segmentation and reports, for whoever shows neither."""

    SUMMARY = "summary"  # Secondary Capture: the findings in words and a picture, "AI, not verified" in its pixels
    KEY_IMAGES = "key-images"  # Key Object Selection: the images worth looking at
    PRESENTATION = "presentation"  # Grayscale Softcopy Presentation State: outlines and detections over the images


KIND_OF: dict[Companion, str] = {Companion.SUMMARY: "sc", Companion.KEY_IMAGES: "ko", Companion.PRESENTATION: "pr"}
# Where the entry of a destination says nothing, nobody has confirmed what it shows: it gets what every archive shows.
UNLESS_SAID = (Companion.SUMMARY, Companion.KEY_IMAGES)

# Who stores and shows what, as far as it is known; a destination that should get more is told so by its own list.
PRESETS: dict[str, tuple[Profile | Companion, ...]] = {
    # 1.10 knows no label maps; what it stores a viewer behind it must draw
    "orthanc": (Profile.BINARY, Companion.KEY_IMAGES),
    "dcm4chee": (Profile.LABELMAP, Profile.BINARY, Companion.KEY_IMAGES),  # stores what its configuration lists
    "ohif": (Profile.LABELMAP, Profile.BINARY),
    # before May 2026 it drew nothing but BINARY; of an SR it shows the text, so outlines come by presentation state
    "weasis": (Profile.BINARY, Companion.KEY_IMAGES, Companion.PRESENTATION),
    "slicer": (Profile.BINARY,),
    "images-only": (Profile.BINARY, Companion.SUMMARY, Companion.KEY_IMAGES),  # shows neither SEG nor SR
}


def companions_of(given: Sequence[Profile | Companion]) -> tuple[Companion, ...]:
    """What a destination gets beside Segmentation and reports; ``given``: what its entry lists, empty: nothing."""
    return tuple(each for each in given if isinstance(each, Companion)) if given else UNLESS_SAID


def order_of(taken: Sequence[Profile], asked: Profile | None) -> tuple[Profile, ...]:
    """The profiles a destination may get, in order.

    ``taken``: what its entry lists; empty: nothing is said of it. ``asked``: what the model is best told in. Where the
    entry lists profiles only these are sent, the one that the model asks for first.
    """
    if taken:
        return tuple(sorted(dict.fromkeys(taken), key=lambda profile: profile is not asked))
    return tuple(dict.fromkeys((asked or Profile.BINARY, Profile.BINARY)))


def first_of(
    order: Sequence[Profile], possible: Collection[Profile], tried: Collection[Profile] = ()
) -> Profile | None:
    """The first profile that findings can be told in and that was not tried; None: there is none (left)."""
    return next((profile for profile in order if profile in possible and profile not in tried), None)


def base_of(name: str) -> Profile | None:
    """The profile of a result set by its name, which has ``-c`` and a number where it was corrected; None: of notes."""
    base = name.partition("-c")[0]
    return Profile(base) if base in set(Profile) else None
