"""How long a peer may take, and how fast it may send. Decides only; whoever waits tells how long it has waited."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from dicom_node.settings import NodeSettings, PeerSettings

SLOW_WINDOW_S = 60.0
_BURST_S = 1.0  # what a peer may send at once, as the time that its rate needs for it


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """Of one association; only time spent waiting for the peer counts."""

    pdu_s: float  # from the first byte of a PDU to its last
    idle_s: float  # without any byte
    slowest_bytes_per_s: float  # while a message is under way
    window_s: float  # over which that rate is measured

    @classmethod
    def of(cls, node: NodeSettings) -> TimeLimits:
        """Those of the settings."""
        return cls(node.pdu_seconds, node.idle_seconds, node.slowest_bytes_per_second, SLOW_WINDOW_S)


class Patience:
    """Counts how long we have waited for a peer."""

    def __init__(self, limits: TimeLimits) -> None:
        self._limits = limits
        self._pdus = 0
        self._partial_s = self._idle_s = self._window_s = 0.0
        self._partial = self._busy = False
        self._window_bytes = 0

    def waited(self, seconds: float) -> None:
        """So long nothing has come."""
        self._idle_s += seconds
        if self._partial:
            self._partial_s += seconds
        if self._busy:
            self._window_s += seconds

    def received(self, count: int, *, pdus: int, partial: bool, busy: bool) -> None:
        """Bytes have come; ``pdus`` have begun in all, the last one is ``partial``, and a message is under way."""
        self._idle_s = 0.0
        if pdus != self._pdus or not partial:
            self._partial_s = 0.0
        if not busy or not self._busy:
            self._window_s, self._window_bytes = 0.0, 0
        self._window_bytes += count
        self._pdus, self._partial, self._busy = pdus, partial, busy

    def left(self) -> float:
        """Seconds of waiting until a limit may be reached."""
        limits = self._limits
        left = limits.idle_s - self._idle_s
        if self._partial:
            left = min(left, limits.pdu_s - self._partial_s)
        if self._busy and limits.slowest_bytes_per_s:
            left = min(left, limits.window_s - self._window_s)
        return max(0.0, left)

    def fault(self) -> str:
        """Which limit is passed; empty while none is."""
        limits = self._limits
        if self._partial and self._partial_s >= limits.pdu_s:
            return f"a PDU is not whole after {limits.pdu_s:g} s"
        if self._busy and limits.slowest_bytes_per_s and self._window_s >= limits.window_s:
            if self._window_bytes < limits.slowest_bytes_per_s * self._window_s:
                return f"{self._window_bytes} bytes in {self._window_s:.0f} s, in the middle of a message"
            self._window_s, self._window_bytes = 0.0, 0
        if self._idle_s >= limits.idle_s:
            return f"silent for {limits.idle_s:g} s"
        return ""


class Throttle:
    """Slows all associations of one peer down to its rates. For any number of threads."""

    def __init__(
        self,
        objects_per_s: float | None = None,
        bytes_per_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rates = (objects_per_s, bytes_per_s)
        self._clock = clock
        self._lock = threading.Lock()
        self._paid_until = [clock(), clock()]  # when what was sent would have come at the rate

    @classmethod
    def of(cls, peer: PeerSettings | None) -> Throttle | None:
        """The one a peer's settings ask for, or None."""
        if peer is None or (peer.objects_per_second is None and peer.bytes_per_second is None):
            return None
        return cls(peer.objects_per_second, peer.bytes_per_second)

    def spend(self, objects: int, size: int) -> float:
        """Seconds to wait before more is read, now that ``objects`` and ``size`` bytes have come."""
        now = self._clock()
        pause = 0.0
        with self._lock:
            for at, (rate, amount) in enumerate(zip(self._rates, (objects, size), strict=True)):
                if rate is not None and amount:
                    self._paid_until[at] = max(self._paid_until[at], now - _BURST_S) + amount / rate
                    pause = max(pause, self._paid_until[at] - now)
        return pause
