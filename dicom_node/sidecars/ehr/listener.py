"""The process that listens for HL7 messages: MLLP to the ledger, one message after the other on each connection."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from zoneinfo import ZoneInfo

from dicom_node.archive.database import Database
from dicom_node.archive.files import ObjectStore
from dicom_node.archive.sealing import Vault
from dicom_node.dimse.tls import server_context
from dicom_node.errors import ConfigurationError
from dicom_node.exchange.mllp import Limits, Listener
from dicom_node.settings import Settings
from dicom_node.sidecars.ehr.mapping import load
from dicom_node.sidecars.ehr.messages import Messages

log = logging.getLogger(__name__)

_LOOK_S = 0.2  # for a stop
_TOGETHER = 100  # messages


def run(settings: Settings, stop: threading.Event) -> None:
    """Listen until ``stop``.

    Raises:
        ConfigurationError: the mapping, a certificate or the port cannot be used.
    """
    database = Database(settings.database.url, settings.node.data_dir, Vault.of(settings.ehr.seal))
    try:
        asyncio.run(serve(settings, database, stop))
    finally:
        database.close()


class Batches:
    """Messages that came while others were made durable are made so together: the disk is waited for once."""

    def __init__(self, answers: Callable[[Sequence[bytes]], list[bytes]], not_kept: Callable[[bytes], bytes]) -> None:
        self._answers = answers
        self._not_kept = not_kept
        self._waiting: asyncio.Queue[tuple[bytes, asyncio.Future[bytes]]] = asyncio.Queue()

    async def answer(self, data: bytes) -> bytes:
        """The answer to one message, when it is durable."""
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting.put_nowait((data, answer))
        return await answer

    async def work(self) -> None:
        """Until it is cancelled."""
        while True:
            batch = [await self._waiting.get()]
            while len(batch) < _TOGETHER and not self._waiting.empty():
                batch.append(self._waiting.get_nowait())
            answers = await asyncio.to_thread(self._safely, [data for data, _ in batch])
            for (_, answer), told in zip(batch, answers, strict=True):
                if not answer.done():  # a sender that went away waits no more
                    answer.set_result(told)

    def _safely(self, batch: Sequence[bytes]) -> list[bytes]:
        """Answers to all; one that nobody foresaw is told so, and holds up none of the others."""
        try:
            return self._answers(batch)
        except Exception:
            log.exception("%d messages: unforeseen", len(batch))
            if len(batch) == 1:
                return [self._not_kept(batch[0])]
        return [answer for data in batch for answer in self._safely([data])]


async def serve(
    settings: Settings, database: Database, stop: threading.Event, started: threading.Event | None = None
) -> None:
    """Listen until ``stop``; ``started`` is set when a sender may come."""
    told = settings.ehr.hl7
    if told is None:
        raise ConfigurationError("is not there; nobody knows where to listen", key="ehr.hl7")
    context = server_context(settings.tls) if told.tls else None
    if told.tls and context is None:
        raise ConfigurationError("needs tls.certificate and tls.key", key="ehr.hl7.tls")
    zone = ZoneInfo(settings.node.time_zone or "UTC")
    store = ObjectStore(settings.node.data_dir)
    messages = Messages(settings.ehr, database, store, load(settings.ehr.mapping), zone)
    limits = Limits(told.maximum_bytes, told.maximum_connections, told.idle_seconds, told.addresses)

    batches = Batches(messages.answers, messages.not_kept)
    working = asyncio.create_task(batches.work())
    listener = Listener(batches.answer, messages.refuse, limits)
    try:
        port = await listener.start(told.host, told.port, context)
    except OSError as error:
        raise ConfigurationError(
            f"port {told.port} cannot be opened: {error.strerror}", key="ehr.hl7.port", remedy="choose another"
        ) from error
    log.info("listening for HL7 on port %d", port)
    if started is not None:
        started.set()
    try:
        while not stop.is_set():
            await asyncio.sleep(_LOOK_S)
    finally:
        await listener.close()
        working.cancel()
