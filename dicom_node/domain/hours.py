"""Hours of the week, such as those at which a destination is sent to: ``"Mon-Fri 19:00-07:00"``. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_DAY_MINUTES = 24 * 60
_SPAN = re.compile(
    r"(?:(?P<first>[A-Z][a-z]{2})(?:-(?P<last>[A-Z][a-z]{2}))?)?\s*"
    r"(?:(?P<from>\d\d?):(?P<from_minute>\d\d)-(?P<to>\d\d?):(?P<to_minute>\d\d))?"
)


@dataclass(frozen=True, slots=True)
class Hours:
    """Spans of the week, by the clock on the wall; none means always."""

    spans: tuple[tuple[int, int, int], ...]  # weekday (Monday 0), minute of it, minutes long

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Hours:
        """Read spans such as ``"19:00-07:00"`` (each day, into the next), ``"Mon-Fri 22:00-24:00"`` and ``"Sun"``.

        Raises:
            ValueError: says which text is wrong.
        """
        return cls(tuple(span for text in texts for span in _spans(text)))

    def is_open(self, at: datetime) -> bool:
        """Whether ``at``, local time, is within them."""
        minute = at.weekday() * _DAY_MINUTES + at.hour * 60 + at.minute
        week = 7 * _DAY_MINUTES
        return not self.spans or any(
            (minute - day * _DAY_MINUTES - start) % week < length for day, start, length in self.spans
        )

    def opens(self, at: datetime) -> datetime:
        """The first full minute from ``at`` on that is within them; ``at`` itself when it is."""
        if self.is_open(at):
            return at
        midnight = at.replace(hour=0, minute=0, second=0, microsecond=0)
        starts = (
            midnight + timedelta(days=(day - at.weekday()) % 7 + weeks, minutes=start)
            for day, start, _ in self.spans
            for weeks in (0, 7)
        )
        return min(start for start in starts if start >= at)


def _spans(text: str) -> Iterable[tuple[int, int, int]]:
    match = _SPAN.fullmatch(text.strip())
    wrong = ValueError(f"{text!r} should be hours such as '19:00-07:00', 'Mon-Fri 19:00-07:00' or 'Sat-Sun'")
    if match is None or not text.strip():
        raise wrong
    first, last = match["first"] or "Mon", match["last"] or match["first"] or "Sun"
    if first not in _DAYS or last not in _DAYS:
        raise wrong
    start, end = 0, _DAY_MINUTES
    if match["from"]:
        start = int(match["from"]) * 60 + int(match["from_minute"])
        end = int(match["to"]) * 60 + int(match["to_minute"])
        if (
            start >= _DAY_MINUTES
            or end > _DAY_MINUTES
            or start == end
            or match["from_minute"][0] >= "6"
            or match["to_minute"][0] >= "6"
        ):
            raise wrong
    length = end - start if end > start else end - start + _DAY_MINUTES
    number = _DAYS.index(first)
    days = (_DAYS.index(last) - number) % 7 + 1
    return [((number + more) % 7, start, length) for more in range(days)]
