"""A result against an earlier one of the same patient by the same model: what changed, and what may be what. Pure.

A change is told where it exceeds the repeatability coefficient that the contract states for its measurement: two
measurements of what did not change differ by less in 95 % of cases (Raunig et al., doi:10.1177/0962280214537344).
Without one both values are given, and nothing is said of them. Detections of two results are matched by their places;
a match is a proposal, and the later one keeps a tracking UID of its own until a reader confirms it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import isfinite
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_node.domain.finding import Code, Detection, Measurement

Point = tuple[float, float, float]  # LPS mm
FROM_FRAME_OF_REFERENCE_MM = 10.0  # farther apart two detections are not matched
FROM_CENTRES_MM = 20.0  # likewise, where the studies had to be aligned

# Attributes of an acquisition that change what is measured, and how far they may differ: a share of the larger one, or
# not at all. One that only one of two series has differs.
PROTOCOL: Mapping[str, float] = {
    "Modality": 0.0,
    "SliceThickness": 0.25,
    "SpacingBetweenSlices": 0.25,
    "PixelSpacing": 0.5,
    "ConvolutionKernel": 0.0,
    "KVP": 0.0,
    "ContrastBolusAgent": 0.0,
    "MagneticFieldStrength": 0.1,
    "EchoTime": 0.2,
    "RepetitionTime": 0.2,
}


@dataclass(frozen=True, slots=True)
class Repeatability:
    """By how much two measurements of the same differ at most, in 95 % of cases."""

    absolute: float | None  # in the unit of the measurement
    percent: float | None  # of the earlier value
    source: str  # citation

    def limit(self, earlier: float) -> float:
        """In the unit of the measurement; the larger one where both are stated."""
        return max(self.absolute or 0.0, (self.percent or 0.0) / 100 * abs(earlier))


class Verdict(StrEnum):
    """What is said of a change."""

    INCREASED = "increased"
    DECREASED = "decreased"
    UNCHANGED = "no change beyond repeatability"
    NOT_TOLD = "not told"  # no repeatability is stated


@dataclass(frozen=True, slots=True)
class Prior:
    """The earlier result."""

    job_id: int
    study_uid: str
    study_date: str  # YYYYMMDD
    series_uid: str  # of its report
    sop_class: str
    sop_uid: str
    accepted: bool  # by a reader; false: nobody has said anything of it


@dataclass(frozen=True, slots=True)
class Change:
    """One measurement, earlier and now."""

    name: str  # of the measurement
    concept: Code
    unit: Code
    segments: tuple[int, ...]  # none: of the series, or of a detection
    tracking_uid: str  # of the detection; empty: it is of none
    earlier: float
    value: float
    change: float  # value - earlier
    percent: float | None  # of the earlier value; None: that is 0
    limit: float | None  # beyond which a change is told; None: not stated
    source: str  # of the limit
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Match:
    """A detection that may be one of the earlier result: a proposal."""

    tracking_uid: str
    tracking_id: str
    earlier_uid: str
    earlier_id: str
    distance_mm: float  # between their centres, after alignment


@dataclass(frozen=True, slots=True)
class Comparison:
    """All of it."""

    prior: Prior
    obstacle: str  # why the two are not compared; empty: they are
    aligned_by: str  # how places were brought together, in words; empty: they were not needed
    changes: tuple[Change, ...] = ()
    matches: tuple[Match, ...] = ()
    new: tuple[str, ...] = ()  # tracking UIDs of detections that match none
    gone: tuple[str, ...] = ()  # earlier tracking identifiers that none matches

    def sentences(self) -> Iterator[str]:
        """What a reader is told."""
        day = self.prior.study_date
        when = f"{day[:4]}-{day[4:6]}-{day[6:]}" if len(day) == 8 else day or "an unknown date"
        standing = "accepted by a reader" if self.prior.accepted else "not reviewed"
        if self.obstacle:
            yield f"Not compared with the result of {when} ({standing}): {self.obstacle}."
            return
        yield f"Compared with the result of the same model of {when} ({standing})."
        for match in self.matches:
            yield (
                f"{match.tracking_id} may be {match.earlier_id} of {when}: {match.distance_mm:.1f} mm apart, aligned "
                f"by {self.aligned_by}. A proposal until a reader confirms it."
            )
        if self.gone:
            yield f"Not found again: {', '.join(self.gone)} of {when}."


def protocol_of(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """What of a series' attributes (by keyword) decides whether its measurements can be compared."""
    found = {keyword: attributes[keyword] for keyword in PROTOCOL if keyword in attributes}
    if "ContrastBolusAgent" in found:
        found["ContrastBolusAgent"] = "given"  # its name is free text
    return found


def obstacle(now: Mapping[str, Any], earlier: Mapping[str, Any]) -> str:
    """How two protocols differ by more than they may; empty: they do not."""
    for keyword, share in PROTOCOL.items():
        a, b = now.get(keyword), earlier.get(keyword)
        if not _alike(a, b, share):
            return f"{keyword} is {_words(a)}, and was {_words(b)}"
    return ""


def _alike(a: Any, b: Any, share: float) -> bool:
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(_alike(x, y, share) for x, y in zip(a, b, strict=True))
    if isinstance(a, int | float) and isinstance(b, int | float):
        return abs(a - b) <= share * max(abs(a), abs(b))
    return bool(a == b)


def _words(value: Any) -> str:
    if value is None:
        return "not stated"
    return (
        " x ".join(map(_words, value))
        if isinstance(value, list)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )


def changes(
    now: Iterable[Measurement],
    earlier: Iterable[Measurement],
    repeatability: Mapping[str, Repeatability],
    tracking_uid: str = "",
) -> tuple[Change, ...]:
    """Of measurements of the same name, segments and unit that are numbers, in the order of ``now``."""
    # Numbers of a lesion that another model found are of other lesions in another study.
    earlier, now = ([found for found in of if found.lesion is None] for of in (earlier, now))
    known = {(found.name, found.segments, found.unit.value): found for found in earlier if isfinite(found.value)}
    made = []
    for found in now:
        before = known.get((found.name, found.segments, found.unit.value))
        if before is not None and isfinite(found.value):
            made.append(_change(found, before.value, repeatability.get(found.name), tracking_uid))
    return tuple(made)


def _change(found: Measurement, earlier: float, stated: Repeatability | None, tracking_uid: str) -> Change:
    change = found.value - earlier
    limit = stated.limit(earlier) if stated else None
    if limit is None:
        verdict = Verdict.NOT_TOLD
    elif abs(change) <= limit:
        verdict = Verdict.UNCHANGED
    else:
        verdict = Verdict.INCREASED if change > 0 else Verdict.DECREASED
    return Change(
        name=found.name,
        concept=found.concept,
        unit=found.unit,
        segments=found.segments,
        tracking_uid=tracking_uid,
        earlier=earlier,
        value=found.value,
        change=change,
        percent=100 * change / abs(earlier) if earlier else None,
        limit=limit,
        source=stated.source if stated else "",
        verdict=verdict,
    )


def shift_between(now: Mapping[str, Sequence[float]], earlier: Mapping[str, Sequence[float]]) -> Point | None:
    """What is to be added to earlier places, LPS mm: the mean way between the centres of what both name."""
    shared = sorted(now.keys() & earlier.keys())
    if not shared:
        return None
    ways = np.asarray([np.subtract(now[name], earlier[name]) for name in shared], dtype=np.float64)
    x, y, z = ways.mean(axis=0).tolist()
    return x, y, z


def match(
    now: Sequence[Detection], earlier: Sequence[Detection], shift: Sequence[float], within_mm: float
) -> tuple[Match, ...]:
    """The nearest pairs of one concept first, each detection in one pair at most."""
    distances = _distances(now, earlier, shift)
    pairs = sorted((distances[i, j], i, j) for i, j in np.argwhere(distances <= within_mm).tolist())
    used: tuple[set[int], set[int]] = (set(), set())
    made = []
    for distance, i, j in pairs:
        if i not in used[0] and j not in used[1]:
            used[0].add(i)
            used[1].add(j)
            found, before = now[i], earlier[j]
            made.append(
                Match(found.tracking_uid, found.tracking_id, before.tracking_uid, before.tracking_id, float(distance))
            )
    return tuple(made)


def _distances(
    now: Sequence[Detection], earlier: Sequence[Detection], shift: Sequence[float]
) -> npt.NDArray[np.float64]:
    """Between centres in mm, axes (now, earlier); infinite between different concepts."""
    found = np.full((len(now), len(earlier)), np.inf)
    for i, a in enumerate(now):
        for j, b in enumerate(earlier):
            if (a.output, a.concept.value, a.concept.scheme) == (b.output, b.concept.value, b.concept.scheme):
                way = np.mean(a.points, axis=0) - np.mean(b.points, axis=0) - np.asarray(shift)
                found[i, j] = np.linalg.norm(way)
    return found
