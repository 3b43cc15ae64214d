"""Numbers, dates and durations as people read them, the same on the terminal and on the pages."""

from __future__ import annotations


def number(value: float) -> str:
    """A measured value with four significant digits, none lost before the point; two below one."""
    if abs(value) < 1:
        return f"{value:.2g}"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def took(seconds: float | None) -> str:
    """A duration; empty when it is not known."""
    if seconds is None:
        return ""
    if seconds < 120:
        return f"{seconds:.2f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def day(date: str) -> str:
    """A DICOM date (DA, PS3.5 6.2) as ``2026-03-01``; anything else as it is."""
    return f"{date[:4]}-{date[4:6]}-{date[6:]}" if len(date) == 8 and date.isdigit() else date
