"""How long to wait before a parcel is tried again."""

from __future__ import annotations


def pause_s(tries: int, first_s: float, longest_s: float) -> float:
    """Seconds to wait after the ``tries``-th failure (from 1): doubling from ``first_s`` up to ``longest_s``."""
    if tries < 1:
        raise ValueError(f"a pause follows a try, not {tries} of them")
    return min(longest_s, first_s * 2.0 ** min(tries - 1, 60))
