"""The digester: gives objects that have come to rest their SHA-256."""

from __future__ import annotations

import logging
import math
import time
from datetime import UTC, datetime, timedelta

from dicom_node.archive.digests import Digests, Undigested, digest_of
from dicom_node.archive.files import ObjectStore
from dicom_node.errors import DicomNodeError, InputError

LOGGER = logging.getLogger(__name__)

QUIET_SECONDS = 1.0  # without an image in the series; the end of its association will do as well
LONGEST_SECONDS = 10.0  # an object waits, however many follow it
AT_ONCE = 200  # objects of one transaction
PASS_SECONDS = 5.0  # a pass ends after about so long, to show that it lives
AGAIN_SECONDS = 30.0  # a file that the disk does not give, or gives otherwise, is read again after so long


class Digester:
    """Works through what is due, oldest first. For one thread."""

    def __init__(self, digests: Digests, store: ObjectStore) -> None:
        self._digests = digests
        self._store = store
        self._waiting = False  # whether objects have still to come to rest
        self._faulty: dict[int, tuple[float, str]] = {}  # object -> when to try again, by the monotonic clock; why

    def tick(self) -> int:
        """Returns how many objects have their digest now.

        Raises:
            LedgerError: the database failed; the next pass goes on where this one stopped.
            InputError: some files cannot be read, or are not what was received.
        """
        done, until = 0, time.monotonic() + PASS_SECONDS
        while time.monotonic() < until and (due := self._due()):
            found = {one.id: digest for one in due if (digest := self._digest(one))}
            self._digests.note(found)
            done += len(found)
        self._waiting = bool(self._faulty) or self._digests.wanting()
        if self._faulty:
            raise InputError(
                f"{len(self._faulty)} received objects: {next(iter(self._faulty.values()))[1]}",
                reason="faulty-objects",
                remedy="their series are not used meanwhile; look for faults of the disk",
            )
        return done

    def due_s(self) -> float:
        """Seconds until there may be something to do, if nothing comes meanwhile."""
        return QUIET_SECONDS / 2 if self._waiting else math.inf

    def _due(self) -> tuple[Undigested, ...]:
        now, monotonic = datetime.now(UTC), time.monotonic()
        quiet_since = now - timedelta(seconds=QUIET_SECONDS)
        received_before = now - timedelta(seconds=LONGEST_SECONDS)
        resting = [row_id for row_id, (again, _) in self._faulty.items() if again > monotonic]
        return self._digests.due(quiet_since, received_before, resting, AT_ONCE)

    def _digest(self, one: Undigested) -> str:
        """Empty where there is none."""
        try:
            digest = digest_of(self._store.absolute(one.path))
        except (DicomNodeError, OSError) as error:
            LOGGER.error("no digest of %s: %s", one.path, error)
            self._faulty[one.id] = time.monotonic() + AGAIN_SECONDS, str(error)
            return ""
        self._faulty.pop(one.id, None)
        return digest
