"""The supervisor: starts the processes of a node, restarts what dies or stalls, stops all in order.

Standard library only.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from dicom_node import pulse

log = logging.getLogger(__name__)

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 60.0
STEADY_S = 60.0  # a process that lived this long starts again with the first pause
GRACE_S = 25.0  # for all together
LEAST_GRACE_S = 5.0  # for each, however long the others took
WATCH_PAUSE_S = 0.2
WRONG_CONFIGURATION = 2  # exit status of a process that cannot run as it is told
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Program:
    """A process to keep running."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    ready: Callable[[], bool] = lambda: True  # the next one starts when this is true
    ready_within_s: float = 20.0
    pulse_s: float | None = None  # it gives a ``dicom_node.pulse``; silent for so long it is killed and started again


@dataclass
class _Child:
    program: Program
    process: subprocess.Popen[bytes]
    started: float
    pause_s: float = FIRST_PAUSE_S
    again_at: float | None = None
    pulse: int | None = None  # descriptor on which it beats
    silent_s: float = 0.0  # of our own waiting: a machine that was suspended does not count


class Supervisor:
    """Keeps programs running, in the order given; stops them in the reverse one."""

    def __init__(self, programs: Sequence[Program]) -> None:
        self._programs = tuple(programs)
        self._children: list[_Child] = []
        self._stop = threading.Event()

    def run(self) -> int:
        """Start everything and watch until told to stop; returns the exit status."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: self._stop.set())
        status = 0
        try:
            status = self._start_all()
            while status == 0 and not self._stop.wait(WATCH_PAUSE_S):
                status = self._watch()
        finally:
            self._end_all()
        return status

    def pids(self) -> dict[str, int]:
        """Process ids by name."""
        return {child.program.name: child.process.pid for child in self._children}

    def _start_all(self) -> int:
        for program in self._programs:
            child = _started(program)
            self._children.append(child)
            deadline = time.monotonic() + program.ready_within_s
            while not program.ready() and time.monotonic() < deadline and not self._stop.is_set():
                code = child.process.poll()
                if code == WRONG_CONFIGURATION:
                    return WRONG_CONFIGURATION
                if code is not None:
                    break  # it is started again once the others run
                time.sleep(0.02)
        return 0

    def _watch(self) -> int:
        for child in self._children:
            code = child.process.poll()
            if code is None:
                _feel(child)
                continue
            if code == WRONG_CONFIGURATION:
                log.error("%s cannot run as it is configured", child.program.name)
                return WRONG_CONFIGURATION
            self._restart(child, code)
        return 0

    def _restart(self, child: _Child, code: int) -> None:
        now = time.monotonic()
        if child.again_at is None:
            _let_go(child)
            if now - child.started > STEADY_S:
                child.pause_s = FIRST_PAUSE_S
            child.again_at = now + child.pause_s
            log.warning("%s ended (%s); starting it again in %.1f s", child.program.name, _why(code), child.pause_s)
            child.pause_s = min(LONGEST_PAUSE_S, child.pause_s * 2)
        elif now >= child.again_at:
            fresh = _started(child.program)
            child.process, child.started, child.again_at = fresh.process, now, None
            child.pulse, child.silent_s = fresh.pulse, fresh.silent_s

    def _end_all(self) -> None:
        deadline = time.monotonic() + GRACE_S
        for child in reversed(self._children):
            if child.process.poll() is None:
                child.process.terminate()
            try:
                child.process.wait(max(LEAST_GRACE_S, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.warning("%s did not end by itself", child.program.name)
                child.process.kill()
                child.process.wait()


def _started(program: Program) -> _Child:
    """The program in a process of its own."""
    ours, theirs = os.pipe() if program.pulse_s else (None, None)
    for descriptor in (ours, theirs):
        if descriptor is not None:
            os.set_blocking(descriptor, False)
    try:
        # A new session keeps the terminal's Ctrl-C for the supervisor, which then stops its children in order.
        process = subprocess.Popen(
            list(program.command),
            env={**os.environ, **program.environment, **({} if theirs is None else {pulse.VARIABLE: str(theirs)})},
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=() if theirs is None else (theirs,),
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,
        )
    finally:
        if theirs is not None:
            os.close(theirs)
    return _Child(program, process, time.monotonic(), pulse=ours, silent_s=-program.ready_within_s)


def _feel(child: _Child) -> None:
    """Kill a process that has given no sign of life for too long; it is started again when it has ended."""
    if child.pulse is None or child.program.pulse_s is None:
        return
    try:
        beats = os.read(child.pulse, 65536)
    except BlockingIOError:
        beats = b""
    child.silent_s = 0.0 if beats else child.silent_s + WATCH_PAUSE_S
    if child.silent_s > child.program.pulse_s:
        log.error("%s gives no sign of life for %.0f s; killing it", child.program.name, child.silent_s)
        child.process.kill()
        child.silent_s = 0.0


def _let_go(child: _Child) -> None:
    if child.pulse is not None:
        os.close(child.pulse)
        child.pulse = None


def _die_with_parent() -> None:
    """The kernel ends this process when the supervisor is gone, however it went (Linux)."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _why(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
