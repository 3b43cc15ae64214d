"""What encoding is told beside the findings, and what it yields."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from zoneinfo import ZoneInfo

# "sr" is the report of the segments, or of the series where there are none; the other reports stand beside it. Key
# objects, presentation state and summary (Secondary Capture) are companions.
Kind = Literal["seg", "pm", "sr", "sr_series", "sr_regions", "ko", "pr", "sc"]
REPORTS: tuple[Kind, ...] = ("sr", "sr_series", "sr_regions")


@dataclass(frozen=True, slots=True)
class Predecessor:
    """A report that another one replaces."""

    study_instance_uid: str
    series_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True)
class ResultContext:
    """Which result set this is. Everything that names or dates the objects comes from here, never from the clock.

    So the same job encoded again gives the same bytes.
    """

    installation: uuid.UUID  # this node, for ever
    job_key: str
    issue: int  # raised by a rerun on purpose
    profile: str  # encoding profile
    content_time: datetime  # aware; when the findings were made, from the job's row
    time_zone: ZoneInfo | None  # the site's; None: the machine's
    station: str  # our AE title
    software_version: str
    predecessors: tuple[Predecessor, ...] = ()  # reports that this one replaces

    def __post_init__(self) -> None:
        if self.content_time.tzinfo is None:
            raise ValueError("content_time must be aware")


@dataclass(frozen=True, slots=True)
class ResultObject:
    """One encoded result: a DICOM Part 10 file in memory."""

    kind: Kind
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    transfer_syntax_uid: str
    data: bytes
