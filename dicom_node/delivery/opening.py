"""When a destination may be sent to, and when a rule sends on. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from zoneinfo import ZoneInfo

from dicom_node.domain.hours import Hours
from dicom_node.settings import PeerSettings, RuleSettings


class Opening(StrEnum):
    """What may be sent now."""

    OPEN = "open"
    STAT = "stat"  # results of stat jobs alone
    CLOSED = "closed"


def opens(peer: PeerSettings, now: datetime, time_zone: str) -> datetime | None:
    """When a destination that is not open at ``now`` may be sent to again; None when it is."""
    local = now.astimezone(ZoneInfo(time_zone) if time_zone else None)
    hours = Hours.parse(peer.send_hours)
    return None if hours.is_open(local) else hours.opens(local).astimezone(UTC)


def opening(peer: PeerSettings, now: datetime, time_zone: str) -> Opening:
    """What a destination's hours allow at ``now`` (aware). They are in ``time_zone``, or the machine's if empty."""
    local = now.astimezone(ZoneInfo(time_zone) if time_zone else None)
    if Hours.parse(peer.send_hours).is_open(local):
        return Opening.OPEN
    return Opening.STAT if peer.stat_any_time else Opening.CLOSED


def rule_opens(rule: RuleSettings, now: datetime, time_zone: str) -> datetime | None:
    """When a rule next sends on what waits; None: it does so at ``now``."""
    local = now.astimezone(ZoneInfo(time_zone) if time_zone else None)
    opens = Hours.parse(rule.send_hours).opens(local)
    return None if opens == local else opens


def now() -> datetime:
    """The time, aware."""
    return datetime.now(UTC)
