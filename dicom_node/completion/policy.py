"""When a series or study counts as whole. Pure.

No DICOM message says that a study is complete (PS3.4 has none that senders use), so evidence is gathered: nothing
new for a while; where images form a stack, no slice missing in it; where a peer is asked how many it has, not fewer
here than there. The end of the association is a hint that may shorten the quiet period and never suffices: senders
split a series over several. What is missing is waited for up to a maximum; then the series or study is taken as it is,
or held for a person.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from dicom_node.domain.grid import ImagePlane, stack
from dicom_node.domain.study import quiet_period
from dicom_node.errors import GeometryError
from dicom_node.settings import CompletionSettings

BY = "completion"
ANSWER_WITHIN_S = 60.0  # a peer that has not said by then how many images it has is not waited for
_STACKED = frozenset(("CT", "MR", "PT"))
_MAY_STILL_COME = frozenset(("missing-slice", "uneven-spacing"))  # faults that more images can mend


@dataclass(frozen=True, slots=True)
class CountFacts:
    """What a peer says it has of a series or study."""

    peer: str
    images: int | None  # None: it told no number
    note: str  # why it told none
    wanted_at: datetime  # since when it is waited for
    asked: bool


@dataclass(frozen=True, slots=True)
class SeriesFacts:
    """What is known of a series. Times are aware, by the clock of the node."""

    modality: str
    last_received: datetime  # of its current instances
    association_ended: datetime | None  # when the association that brought images of it ended; None: not known
    planes: Sequence[ImagePlane | None]  # of each current instance, or of each frame of it; None: without a position
    localizer: bool = False  # Image Type (0008,0008) says so
    count: CountFacts | None = None  # None: nobody is asked
    instances: int | None = None  # current ones; None: as many as planes


@dataclass(frozen=True, slots=True)
class StudyFacts:
    """What is known of a study."""

    last_received: datetime  # of all its series
    open_series: int  # series that are not whole
    images: int = 0  # current ones of all its series
    count: CountFacts | None = None  # None: nobody is asked


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether it is whole."""

    ready: bool
    reason: str  # the evidence, or what is waited for
    by: str = BY
    check_again_at: datetime | None = None  # None: ready, or nothing but a change can make it so
    held: bool = False  # it waits for a person


def judge_series(
    facts: SeriesFacts, now: datetime, settings: CompletionSettings, quiet_seconds: float | None = None
) -> Verdict:
    """Whether a series is whole. ``quiet_seconds`` is a rule's own, in place of the setting."""
    quiet = settings.quiet_seconds if quiet_seconds is None else quiet_seconds
    quiet = quiet_period(facts.last_received, facts.association_ended, quiet, settings.association_end_seconds)
    again = facts.last_received + timedelta(seconds=quiet)
    if now < again:
        return Verdict(False, f"waiting until no image has come for {quiet:g} s", check_again_at=again)
    told = f"no new image for {quiet:g} s"
    if facts.association_ended is not None and facts.association_ended >= facts.last_received:
        told += ", the association has ended"
    here = len(facts.planes) if facts.instances is None else facts.instances
    found = (_geometry(facts, settings), _counted(facts.count, here, facts.last_received, now, settings))
    return _judge(found, facts.last_received, now, settings, told)


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
    told = f"no new image for {quiet:g} s, all series whole"
    counted = _counted(facts.count, facts.images, facts.last_received, now, settings)
    return _judge((counted,), facts.last_received, now, settings, told)


@dataclass(frozen=True, slots=True)
class _Found:
    """One kind of evidence: what it says, and until when what is missing by it is waited for."""

    told: str
    wait_until: datetime | None = None  # None: nothing is missing
    look_again_s: float | None = None  # sooner, since an answer may come


def _judge(
    found: Sequence[_Found], last_received: datetime, now: datetime, settings: CompletionSettings, told: str
) -> Verdict:
    missing = [each for each in found if each.wait_until is not None]
    waiting = [each for each in missing if each.wait_until is not None and now < each.wait_until]
    if waiting:
        reason = "waiting for missing images: " + "; ".join(each.told for each in missing)
        soon = [now + timedelta(seconds=each.look_again_s) for each in waiting if each.look_again_s is not None]
        ends = [each.wait_until for each in waiting if each.wait_until is not None]
        return Verdict(False, reason, check_again_at=min([*soon, *ends]))
    if missing:
        waited_s = (now - last_received).total_seconds()
        though = "; ".join(each.told for each in missing)
        if settings.after_maximum == "hold":
            return Verdict(False, f"held, since after {waited_s:.0f} s without a new image {though}", held=True)
        return Verdict(True, f"no new image for {waited_s:.0f} s, taken as it is, though {though}")
    return Verdict(True, ", ".join([told, *(each.told for each in found if each.told)]))


def _geometry(facts: SeriesFacts, settings: CompletionSettings) -> _Found:
    """What the positions of the images say."""
    planes = [plane for plane in facts.planes if plane is not None]
    if facts.modality not in _STACKED or facts.localizer or len(planes) < 2:
        return _Found("")
    if len(planes) < len(facts.planes):
        return _Found(f"{len(facts.planes) - len(planes)} images have no position in the patient")
    try:
        stack(planes)
    except GeometryError as error:
        if error.reason not in _MAY_STILL_COME or facts.instances == 1:  # nothing is missing of one whole object
            return _Found(error.message)
        longest_s = min(settings.gap_wait_seconds, settings.maximum_wait_seconds)
        return _Found(error.message, facts.last_received + timedelta(seconds=longest_s))
    framed = facts.instances is not None and facts.instances < len(planes)
    what = f"{len(planes)} frames of {facts.instances} object(s)" if framed else f"{len(planes)} slices"
    return _Found(f"{what} without a gap")


def _counted(
    count: CountFacts | None, here: int, last_received: datetime, now: datetime, settings: CompletionSettings
) -> _Found:
    """What the count of a peer says: a lower bound, since it may itself still be receiving."""
    if count is None:
        return _Found("")
    if not count.asked:
        until = count.wanted_at + timedelta(seconds=ANSWER_WITHIN_S)
        if now < until:
            return _Found(f"{count.peer} is asked how many it has", until, look_again_s=1.0)
        return _Found(f"{count.peer} did not say within {ANSWER_WITHIN_S:g} s how many it has")
    if count.images is None:
        return _Found(count.note)
    if count.images > here:
        until = last_received + timedelta(seconds=settings.maximum_wait_seconds)
        return _Found(f"{count.peer} has {count.images} images, {here} are here", until, look_again_s=5.0)
    return _Found(f"{count.peer} has {count.images} images, {here} are here")
