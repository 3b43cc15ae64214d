"""Where a study stands, in one word and in a sentence: what an administrator asks first. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from dicom_node.domain.job import UNFINISHED, JobState
from dicom_node.domain.parcel import ParcelState
from dicom_node.domain.study import Readiness


class Stand(StrEnum):
    """The stations of a study, and the dead ends."""

    ARRIVING = "arriving"
    DECIDING = "deciding"
    HELD = "held"  # a person must act
    UNWANTED = "unwanted"  # no rule wants it
    WAITING = "waiting"  # a rule wants it, and waits for images
    QUEUED = "queued"
    RUNNING = "running"
    FAILED = "failed"  # a person must act
    DELIVERING = "delivering"
    UNDELIVERED = "undelivered"  # tried, and not taken yet
    DELIVERED = "delivered"
    FINISHED = "finished"  # there are results, and nobody they are to go to


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a study stands."""

    stand: Stand
    words: str


@dataclass(frozen=True, slots=True)
class JobBrief:
    """What counts of a job here."""

    state: JobState
    model: str
    progress: str = ""
    message: str = ""  # of its error
    question: str = ""  # that a person is to answer before it runs


@dataclass(frozen=True, slots=True)
class ParcelBrief:
    """What counts of a parcel here."""

    state: ParcelState
    destination: str
    tries: int = 0
    message: str = ""  # of its last error
    what: str = "results"  # or received images, sent on by a rule


_WAITING = "waiting: "  # how the planner's words for what a rule waits for begin
_ARRIVED = (ParcelState.SENT, ParcelState.PRESENT, ParcelState.COMMITTED)


def standing(
    readiness: Readiness,
    evidence: Mapping[str, str],
    outcome: str,
    jobs: Sequence[JobBrief],
    parcels: Sequence[ParcelBrief],
) -> Standing:
    """What most needs to be known: trouble first, then what is still to come, then what is done.

    ``evidence`` is the study's readiness record (``reason``); ``outcome`` what the rules made of it, empty when they
    have not looked yet.
    """
    reason = str(evidence.get("reason", ""))
    wanted = [job for job in jobs if job.state not in (JobState.SUPERSEDED, JobState.CANCELLED)]
    if readiness == Readiness.HELD:
        return Standing(Stand.HELD, _with("held for a person", reason))
    troubled = _trouble(wanted, parcels)
    if troubled:
        return troubled
    asking = [job for job in wanted if job.state == JobState.WAITING and job.question]
    if asking:
        return Standing(Stand.HELD, f"{asking[0].model} waits for a person: {asking[0].question}")
    unfinished = [job for job in wanted if job.state in UNFINISHED]
    if unfinished:
        return _working(unfinished)
    on_their_way = [parcel for parcel in parcels if parcel.state == ParcelState.DUE]
    if on_their_way:
        return Standing(Stand.DELIVERING, _to_each(on_their_way, "on their way to"))
    still_to_come = readiness == Readiness.OPEN or _WAITING in outcome
    if wanted or (parcels and not still_to_come):
        return _done(parcels)
    return _undone(readiness, reason, outcome)


def _trouble(jobs: Sequence[JobBrief], parcels: Sequence[ParcelBrief]) -> Standing | None:
    for job in jobs:
        if job.state in (JobState.FAILED, JobState.QUARANTINED):
            return Standing(Stand.FAILED, _with(f"{job.model} {job.state}", job.message))
    for parcel in parcels:
        if parcel.state == ParcelState.REFUSED:
            refused = f"{parcel.destination} refused the {parcel.what}"
            return Standing(Stand.UNDELIVERED, _with(refused, parcel.message))
    for parcel in parcels:
        if parcel.state == ParcelState.DUE and parcel.tries > 0:
            tried = f"not delivered to {parcel.destination} yet, tried {parcel.tries} time(s)"
            return Standing(Stand.UNDELIVERED, _with(tried, parcel.message))
    return None


def _working(unfinished: Sequence[JobBrief]) -> Standing:
    running = [job for job in unfinished if job.state == JobState.RUNNING]
    if running:
        return Standing(Stand.RUNNING, _with(f"{running[0].model} runs", running[0].progress))
    return Standing(Stand.QUEUED, f"{_list([job.model for job in unfinished])} waits for a worker")


def _done(parcels: Sequence[ParcelBrief]) -> Standing:
    held = [parcel for parcel in parcels if parcel.state == ParcelState.HELD]
    if held:
        words = f"{held[0].what} held back from {held[0].destination}"
        return Standing(Stand.HELD, _with(words, held[0].message))
    arrived = [parcel for parcel in parcels if parcel.state in _ARRIVED]
    if arrived:
        found = all(parcel.state != ParcelState.SENT for parcel in arrived)
        words = _to_each(arrived, "delivered to")
        return Standing(Stand.DELIVERED, f"{words}, and found there" if found else words)
    cancelled = [parcel for parcel in parcels if parcel.state == ParcelState.CANCELLED]
    if cancelled:
        words = f"{cancelled[0].what} are not sent to {cancelled[0].destination} any more"
        return Standing(Stand.FINISHED, _with(words, cancelled[0].message))
    return Standing(Stand.FINISHED, "results are here; no rule sends them anywhere")


def _undone(readiness: Readiness, reason: str, outcome: str) -> Standing:
    if outcome.startswith("no rule wants it"):
        return Standing(Stand.UNWANTED, outcome)
    if readiness == Readiness.OPEN:
        return Standing(Stand.ARRIVING, reason or "images are arriving")
    if outcome:
        return Standing(Stand.WAITING, outcome)
    return Standing(Stand.DECIDING, "whole; the rules have not looked at it yet")


def _to_each(parcels: Sequence[ParcelBrief], how: str) -> str:
    """``results delivered to pacs; images delivered to archive``."""
    kinds = dict.fromkeys(parcel.what for parcel in parcels)
    to = {kind: _list([parcel.destination for parcel in parcels if parcel.what == kind]) for kind in kinds}
    return "; ".join(f"{kind} {how} {names}" for kind, names in to.items())


def _with(words: str, more: str) -> str:
    return f"{words}: {more}" if more else words


def _list(names: Sequence[str]) -> str:
    return ", ".join(dict.fromkeys(names))
