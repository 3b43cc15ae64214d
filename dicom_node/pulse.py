"""The sign of life that a process gives its supervisor: a byte on a pipe, which needs no disk and no clock."""

from __future__ import annotations

import os

VARIABLE = "DICOM_NODE_PULSE_DESCRIPTOR"


class Pulse:
    """Beats to whoever has started this process, if that listens."""

    def __init__(self) -> None:
        given = os.environ.pop(VARIABLE, "")  # not for the processes that this one starts
        self._descriptor = int(given) if given else None
        if self._descriptor is not None:
            os.set_inheritable(self._descriptor, False)

    def beat(self) -> None:
        """Tell that this process runs."""
        if self._descriptor is None:
            return
        try:
            os.write(self._descriptor, b".")
        except BlockingIOError:
            return  # enough signs wait to be read
        except BrokenPipeError:
            self._descriptor = None  # nobody listens any more
