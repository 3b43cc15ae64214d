"""On which rung of the ladder memory sufficed, by model, shape and device; remembered across restarts.

Without it, each new worker would run out of memory once for every model and size before it finds the rung again. What
is remembered ends after a week: another card or other models beside this one may leave more room by then.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Callable
from pathlib import Path

log = logging.getLogger(__name__)

REMEMBERED_S = 7 * 24 * 3600.0
FILE = "rungs.json"

_Shape = tuple[int, int, int]


class Rungs:
    """Rungs by model and shape. Workers may share the file: each writes what it learnt into what stands there."""

    def __init__(self, device: str, file: Path | None = None, now: Callable[[], float] = time.time) -> None:
        """``file``: where they are kept; without one, as long as the process lives. ``now``: Unix time in seconds."""
        self._device = device
        self._file = file
        self._now = now
        self._held = self._read()

    def get(self, digest: str, shape: _Shape) -> int:
        """The rung to begin on; 0, the first one, where nothing else is known."""
        rung, at = self._held.get(self._key(digest, shape), (0, 0.0))
        return rung if self._now() - at < REMEMBERED_S else 0

    def put(self, digest: str, shape: _Shape, rung: int) -> None:
        """Remember where memory sufficed. A rung below the first one is remembered from when it was found."""
        if rung == self.get(digest, shape):
            return
        key = self._key(digest, shape)
        self._held = self._read() if self._file else self._held
        if rung:
            self._held[key] = (rung, self._now())
        else:
            self._held.pop(key, None)
        self._write()

    def _key(self, digest: str, shape: _Shape) -> str:
        return f"{self._device} {digest} {'x'.join(map(str, shape))}"

    def _read(self) -> dict[str, tuple[int, float]]:
        if self._file is None or not self._file.exists():
            return {}
        try:
            told = json.loads(self._file.read_bytes())
            return {str(key): (int(rung), float(at)) for key, (rung, at) in told.items()}
        except (OSError, ValueError, TypeError, AttributeError) as error:
            log.warning("%s cannot be read, so models begin on their first rung: %s", self._file, error)
            return {}

    def _write(self) -> None:
        if self._file is None:
            return
        kept = {key: value for key, value in self._held.items() if self._now() - value[1] < REMEMBERED_S}
        part = self._file.with_name(f".{self._file.name}.{uuid.uuid4().hex}")
        try:
            part.write_text(json.dumps(kept, indent=1))
            part.replace(self._file)
        except OSError as error:  # no reason to fail a result
            log.warning("%s cannot be written: %s", self._file, error)
            part.unlink(missing_ok=True)
