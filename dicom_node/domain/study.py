"""Instances, series and studies as the index knows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from dicom_node.domain.grid import ImagePlane
from dicom_node.domain.rejection import RejectionNote


class Origin(StrEnum):
    """How an instance came to us. Only routed and backfilled ones plan jobs."""

    ROUTED = "routed"
    PREFETCHED = "prefetched"
    BACKFILL = "backfill"
    OWN_RESULT = "own-result"


class InstanceState(StrEnum):
    """What a stored instance counts for."""

    CURRENT = "current"
    SUPERSEDED = "superseded"  # a later revision counts instead, or it is the same image in another transfer syntax
    REJECTED = "rejected"  # stored, but unusable; the reason says why
    CONFLICT = "conflict"  # same SOP Instance UID, other pixels or geometry: its study waits for a person
    HIDDEN = "hidden"  # a rejection note (IHE IOCM) names it; the reason says which


class Readiness(StrEnum):
    """Whether a series or study is all here."""

    OPEN = "open"
    READY = "ready"
    HELD = "held"  # waits for a person


def quiet_period(
    last_received: datetime, association_ended: datetime | None, quiet_s: float, after_end_s: float | None
) -> float:
    """Seconds without a new image that are enough. The end of the association that brought the last one may shorten
    them, and never suffices alone: senders split a series over several associations."""
    if after_end_s is not None and association_ended is not None and association_ended >= last_received:
        return min(quiet_s, after_end_s)
    return quiet_s


@dataclass(frozen=True, slots=True)
class Header:
    """What the index takes from one stored object.

    ``attributes`` maps DICOM keywords to plain values: str, float (all numbers, DS and IS included), or a list of
    them; sequences, binary values and pixel data are left out. Person names are text in Unicode.
    """

    sop_instance_uid: str
    sop_class_uid: str
    study_instance_uid: str
    series_instance_uid: str
    transfer_syntax_uid: str
    patient_id: str
    issuer: str
    modality: str
    attributes: Mapping[str, Any]
    planes: tuple[ImagePlane, ...]  # of the image, or of each frame; empty: it has no position in the patient
    frames: int
    digest: str  # SHA-256 of the data set as received, without preamble and file meta information
    pixel_digest: str  # SHA-256 of Pixel Data's value and, of multi-frame images, functional groups; empty without
    size: int  # bytes of the file
    peer: str  # address of the sender
    calling_ae: str
    called_ae: str
    association: str
    received_at: datetime  # aware; when the object was durable here, by the receiver's clock
    note: RejectionNote | None = None  # what it rejects, of a rejection note


@dataclass(frozen=True, slots=True)
class SeriesView:
    """A series as rules see it.

    ``attributes`` holds what all its current instances agree on, by keyword (those of the study included);
    ``varying`` names the keywords on which they differ.
    """

    id: int
    series_instance_uid: str
    attributes: Mapping[str, Any]
    varying: frozenset[str]
    instances: int
    peer: str
    called_ae: str
    calling_ae: str
    readiness: Readiness = Readiness.OPEN
    readiness_reason: str = ""
    last_received: datetime | None = None  # of its current images; None: as its study
    association_ended: datetime | None = None  # when the association that brought images of it last ended


@dataclass(frozen=True, slots=True)
class StudyView:
    """A study with its series, as rules and jobs see it."""

    id: int
    site_id: int
    study_instance_uid: str
    readiness: Readiness
    readiness_reason: str
    series: tuple[SeriesView, ...]
    last_received: datetime
    attributes: Mapping[str, Any] = field(default_factory=dict)
