"""When a series or study counts as whole. Pure.

No DICOM message says that a study is complete (PS3.4 has none that senders use), so evidence is gathered: nothing
new for a while, and, where images form a stack, no slice missing in it. The end of the association is a hint that
is told but never suffices: senders split a series over several.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from dicom_node.domain.grid import ImagePlane, stack
from dicom_node.errors import GeometryError
from dicom_node.settings import CompletionSettings

BY = "completion"
_STACKED = frozenset(("CT", "MR", "PT"))
_MAY_STILL_COME = frozenset(("missing-slice", "uneven-spacing"))  # faults that more images can mend


@dataclass(frozen=True, slots=True)
class SeriesFacts:
    """What is known of a series. Times are aware, by the clock of the node."""

    modality: str
    last_received: datetime  # of its current instances
    association_ended: datetime | None  # when the association that brought images of it ended; None: not known
    planes: Sequence[ImagePlane | None]  # of each current instance; None: multi-frame, or without a position
    localizer: bool = False  # Image Type (0008,0008) says so


@dataclass(frozen=True, slots=True)
class StudyFacts:
    """What is known of a study."""

    last_received: datetime  # of all its series
    open_series: int  # series that are not whole


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether it is whole."""

    ready: bool
    reason: str  # the evidence, or what is waited for
    by: str = BY
    check_again_at: datetime | None = None  # None: ready, or nothing but a change can make it so


def judge_series(
    facts: SeriesFacts, now: datetime, settings: CompletionSettings, quiet_seconds: float | None = None
) -> Verdict:
    """Whether a series is whole. ``quiet_seconds`` is a rule's own, in place of the setting."""
    quiet = settings.quiet_seconds if quiet_seconds is None else quiet_seconds
    again = facts.last_received + timedelta(seconds=quiet)
    if now < again:
        return Verdict(False, f"waiting until no image has come for {quiet:g} s", check_again_at=again)
    told = f"no new image for {quiet:g} s"
    if facts.association_ended is not None and facts.association_ended >= facts.last_received:
        told += ", the association has ended"
    return _judge_geometry(facts, now, settings, told)


def judge_study(
    facts: StudyFacts, now: datetime, settings: CompletionSettings, quiet_seconds: float | None = None
) -> Verdict:
    """Whether a study is whole: quiet, and each of its series whole. ``quiet_seconds`` is a rule's own."""
    quiet = settings.study_quiet_seconds if quiet_seconds is None else quiet_seconds
    if facts.open_series:
        return Verdict(False, f"{facts.open_series} series of it are not whole")
    again = facts.last_received + timedelta(seconds=quiet)
    if now < again:
        return Verdict(False, f"waiting until no image has come for {quiet:g} s", check_again_at=again)
    return Verdict(True, f"no new image for {quiet:g} s, all series whole")


def _judge_geometry(facts: SeriesFacts, now: datetime, settings: CompletionSettings, told: str) -> Verdict:
    planes = [plane for plane in facts.planes if plane is not None]
    if facts.modality not in _STACKED or facts.localizer or len(planes) < 2:
        return Verdict(True, told)
    if len(planes) < len(facts.planes):
        return Verdict(True, f"{told}; {len(facts.planes) - len(planes)} images have no position in the patient")
    try:
        stack(planes)
    except GeometryError as error:
        if error.reason not in _MAY_STILL_COME:
            return Verdict(True, f"{told}; {error.message}")
        again = facts.last_received + timedelta(seconds=settings.gap_wait_seconds)
        if now >= again:
            return Verdict(True, f"no new image for {settings.gap_wait_seconds:g} s, though {error.message}")
        return Verdict(False, f"waiting for missing images: {error.message}", check_again_at=again)
    return Verdict(True, f"{told}, {len(planes)} slices without a gap")
