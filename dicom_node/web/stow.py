"""``POST /dicom-web/studies``: objects that come over HTTP (STOW-RS, PS3.18 10.5)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import anyio
import anyio.from_thread
import anyio.to_thread
from fastapi import APIRouter, Request, Response

from dicom_node.reception.stow import StowDoor, StowRequest
from dicom_node.settings import Settings
from dicom_node.web.dicomweb.answers import base_of

MOST_UPLOADS = 8  # at a time; others wait, so that pages and files keep their share of the process
SILENT_S = 60.0  # a sender that gives no byte for so long has gone
RETRY_AFTER_S = 60


def router(settings: Settings) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/dicom-web", include_in_schema=False)  # PS3.18 describes it
    door = StowDoor(settings)
    places = anyio.CapacityLimiter(MOST_UPLOADS)

    async def store(request: Request, study_uid: str = "") -> Response:
        asked = StowRequest(
            content_type=request.headers.get("content-type", ""),
            accept=request.headers.get("accept", ""),
            study_uid=study_uid,
            client=request.client.host if request.client else "",
            content_encoding=request.headers.get("content-encoding", ""),
            content_length=_length(request.headers.get("content-length", "")),
            base=base_of(request),
        )
        # In a thread: what comes is written and made durable by calls that block.
        body = _pull(request.stream())
        try:
            answer = await anyio.to_thread.run_sync(door.store, asked, body, limiter=places)
        except TimeoutError:
            return Response("nothing came for too long\n", 408, media_type="text/plain")
        headers = {"Retry-After": str(RETRY_AFTER_S)} if answer.status == 503 else None
        return Response(answer.body, answer.status, headers, media_type=answer.media_type)

    routes.add_api_route("/studies", store, methods=["POST"])
    routes.add_api_route("/studies/{study_uid}", store, methods=["POST"])
    return routes


def _pull(chunks: AsyncIterator[bytes]) -> Iterator[bytes]:
    """What the event loop receives, for a thread beside it."""
    while (piece := anyio.from_thread.run(_next, chunks)) is not None:
        yield piece


async def _next(chunks: AsyncIterator[bytes]) -> bytes | None:
    with anyio.fail_after(SILENT_S):
        return await anext(chunks, None)


def _length(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() else None
