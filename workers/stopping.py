"""How a worker process ends: in order, so that its job is handed back, or at once."""

from __future__ import annotations

import os
import signal


def stop_on_signals() -> None:
    """Have SIGTERM and SIGQUIT raise SystemExit: a running job is handed back, and the process ends."""

    def stop(*_: object) -> None:
        raise SystemExit(0)

    for number in (signal.SIGTERM, signal.SIGQUIT):
        signal.signal(number, stop)


def end_at_once() -> None:
    """End this process, whatever its threads wait for."""
    os._exit(70)  # EX_SOFTWARE
