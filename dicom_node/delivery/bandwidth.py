"""How fast a destination is sent to, over all connections to it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

_BURST_S = 0.5  # what may go at once, as the time that the rate needs for it


class Bandwidth:
    """Bytes per second. For any number of threads."""

    def __init__(
        self,
        bytes_per_s: float,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], object] = time.sleep,
    ) -> None:
        self._rate = bytes_per_s
        self._clock = clock
        self._wait = wait
        self._lock = threading.Lock()
        self._paid_until = clock()  # when what was sent would have gone at the rate

    def spend(self, size: int) -> None:
        """Wait until ``size`` bytes more may go."""
        with self._lock:
            now = self._clock()
            self._paid_until = max(self._paid_until, now - _BURST_S)
            pause = self._paid_until - now
            self._paid_until += size / self._rate
        if pause > 0:
            self._wait(pause)


def unlimited(size: int) -> None:
    """No limit."""
