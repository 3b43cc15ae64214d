"""The rungs a run steps down when memory does not suffice: windows fewer at a time, then stitched on the CPU.

Each rung gives the same result, slower. Imported by host processes only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from workers.inference.failures import is_out_of_memory

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Rung:
    """How a sliding window is run."""

    windows: int | None  # at a time; None: the inferer has no sliding window
    stitched_on: Any  # device on which windows are put together; None: where they were computed

    def __str__(self) -> str:
        where = f", put together on the {self.stitched_on}" if self.stitched_on is not None else ""
        return f"{self.windows} windows at a time{where}" if self.windows else "as the bundle says"


class Ladder:
    """The rungs of one inferer, from what its configuration says downwards."""

    def __init__(self, inferer: Any, device: torch.device) -> None:
        self._inferer = inferer
        self.rungs = _rungs(inferer, device)

    def run(self, compute: Callable[[], _Result], start: int, told: Callable[[str], None]) -> tuple[_Result, int]:
        """Compute from rung ``start`` on, a rung lower each time memory runs out; the result and its rung.

        Raises:
            Exception: whatever ``compute`` raises, when no rung is left or memory was not the cause.
        """
        for at in range(min(start, len(self.rungs) - 1), len(self.rungs)):
            self._stand_on(self.rungs[at])
            try:
                return compute(), at
            except Exception as error:
                if at + 1 == len(self.rungs) or not is_out_of_memory(error):
                    raise
            # Outside the handler: its traceback holds the tensors of the run that failed.
            told(f"inference, {self.rungs[at + 1]}")
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        raise AssertionError("a ladder has a rung")

    def _stand_on(self, rung: Rung) -> None:
        if rung.windows is not None:
            self._inferer.sw_batch_size = rung.windows
            self._inferer.device = rung.stitched_on


def _rungs(inferer: Any, device: torch.device) -> tuple[Rung, ...]:
    windows = getattr(inferer, "sw_batch_size", None)
    if not isinstance(windows, int) or not hasattr(inferer, "device"):
        return (Rung(None, None),)
    rungs = [Rung(windows, inferer.device)]
    while rungs[-1].windows and rungs[-1].windows > 1:
        rungs.append(Rung(rungs[-1].windows // 2, inferer.device))
    if device.type == "cuda":
        rungs.append(Rung(1, torch.device("cpu")))
    return tuple(rungs)
