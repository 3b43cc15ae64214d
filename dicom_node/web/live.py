"""``/live``: tells open pages which studies changed, as Server-Sent Events. The ledger says so, whichever node acted.

One look a second at most, for all pages together, and none while no page is open.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator

import anyio.to_thread
from fastapi import APIRouter, HTTPException
from fastapi.responses import StreamingResponse

from dicom_node.archive.changes import StudyChanges
from dicom_node.archive.database import Database
from dicom_node.errors import LedgerError

log = logging.getLogger(__name__)

MOST_LISTENERS = 200
LOOK_EVERY_S = 1.0
COMFORT_S = 15.0  # between words that only keep the connection, and show who has gone
Change = frozenset[int] | None  # row ids of studies; None: any of them


class Feed:
    """Passes changes of the ledger on to all that listen. For one event loop."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._listeners: set[asyncio.Queue[Change | str]] = set()
        self._looking: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def is_full(self) -> bool:
        """Whether no more may listen."""
        return self._closed or len(self._listeners) >= MOST_LISTENERS

    async def listen(self) -> AsyncIterator[bytes]:
        """Events for one page, until it goes or the node stops."""
        queue: asyncio.Queue[Change | str] = asyncio.Queue()
        self._listeners.add(queue)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.get_running_loop().create_task(self._look())
        try:
            yield b"retry: 3000\nevent: open\ndata: {}\n\n"
            while not self._closed:
                try:
                    told = await asyncio.wait_for(queue.get(), COMFORT_S)
                except TimeoutError:
                    yield b": nothing new\n\n"
                    continue
                if isinstance(told, str):
                    return
                while not queue.empty():  # what came meanwhile is told at once
                    more = queue.get_nowait()
                    if isinstance(more, str):
                        return
                    told = None if told is None or more is None else told | more
                data = json.dumps({"studies": None if told is None else sorted(told)})
                yield f"event: change\ndata: {data}\n\n".encode("ascii")
        finally:
            self._listeners.discard(queue)

    def close(self) -> None:
        """End all streams: they would keep the server from stopping."""
        self._closed = True
        for queue in self._listeners:
            queue.put_nowait("end")

    async def _look(self) -> None:
        changes = StudyChanges(self._database)
        while self._listeners and not self._closed:
            found: Change = frozenset()
            try:
                found = await anyio.to_thread.run_sync(changes.look)
            except LedgerError as error:
                log.warning("open pages are not told of changes: %s", error.message)
            if found is None or found:
                for queue in self._listeners:
                    queue.put_nowait(found)
            await asyncio.sleep(LOOK_EVERY_S)


def router(feed: Feed) -> APIRouter:
    """The routes."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/live")
    async def live() -> StreamingResponse:
        if feed.is_full:
            raise HTTPException(503, "Too many pages are open already.", {"Retry-After": "60"})
        return StreamingResponse(
            _closing(feed.listen()), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"}
        )

    return routes


async def _closing(stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The stream, whose listener leaves as soon as the browser does."""
    async with contextlib.aclosing(stream) as opened:  # type: ignore[type-var]
        async for piece in opened:
            yield piece
