"""What a person may do from the pages: answer what waits for them. Each is what the command of the same name does.

Browsers send forms to any address, and pages of others can make them do so. A form is obeyed where the request says
that it comes from a page of this server, and bears the token that only our pages show. There are no accounts yet:
actions are offered on a loopback address alone, to whoever may use this machine.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from functools import partial
from urllib.parse import parse_qsl, urlsplit

import anyio.to_thread
from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import RedirectResponse

from dicom_node.archive import interventions, open_items, succession
from dicom_node.completion.watch import close_study
from dicom_node.domain.identifiers import is_valid_uid
from dicom_node.domain.job import Priority
from dicom_node.web.guard import is_loopback
from dicom_node.web.sources import Sources

BY = "page"
LONGEST_FORM = 1000  # bytes
Action = Callable[[Sources, int], object]


def _prioritise(priority: Priority, sources: Sources, number: int) -> None:
    interventions.prioritise(sources.database, number, priority, BY)


ACTIONS: Mapping[tuple[str, str], Action] = {
    ("studies", "close"): lambda sources, number: close_study(sources.database, number, BY),
    ("jobs", "approve"): lambda sources, number: succession.approve(sources.database, number, BY),
    ("jobs", "drop"): lambda sources, number: succession.drop(sources.database, number, BY),
    ("jobs", "retry"): lambda sources, number: sources.ledger.retry(number, BY),
    ("jobs", "cancel"): lambda sources, number: interventions.cancel(sources.database, number, BY),
    **{("jobs", each.name.lower()): partial(_prioritise, each) for each in Priority},
    ("parcels", "retry"): lambda sources, number: sources.parcels.retry(number, BY),
    ("parcels", "hold"): lambda sources, number: sources.parcels.hold(number, BY, ""),
    ("parcels", "release"): lambda sources, number: sources.parcels.release(number, BY),
    ("items", "close"): lambda sources, number: open_items.close_by_hand(sources.database, number, BY),
}


class Door:
    """Lets forms of our own pages in. ``token`` changes with every start of the node."""

    def __init__(self, host: str) -> None:
        self.token = secrets.token_urlsafe(32) if is_loopback(host) else ""

    @property
    def is_open(self) -> bool:
        """Whether pages offer actions."""
        return bool(self.token)

    def admit(self, request: Request, token: str) -> None:
        """Refuse a request that does not come from a form of ours.

        Raises:
            HTTPException: with 403, and why.
        """
        if not self.is_open:
            raise HTTPException(403, "Pages act only where web.host is a loopback address; use the command instead.")
        site = request.headers.get("sec-fetch-site", "same-origin")
        origin = request.headers.get("origin")
        elsewhere = origin is not None and urlsplit(origin).netloc != request.headers.get("host", "")
        if site != "same-origin" or elsewhere or not secrets.compare_digest(token.encode(), self.token.encode()):
            raise HTTPException(
                403, "This form is not of a page of this node, or older than its last start: load it anew."
            )


def router(sources: Sources, door: Door) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/actions", include_in_schema=False)

    @routes.post("/{what}/{number}/{action}")
    async def act(request: Request, what: str, number: int, action: str) -> RedirectResponse:
        form = await form_of(request)
        door.admit(request, form.get("token", ""))
        found = ACTIONS.get((what, action))
        if found is None:
            raise HTTPException(404, f"There is no action {action!r} on {what}.")
        await anyio.to_thread.run_sync(found, sources, number)
        study = form.get("study", "")
        return RedirectResponse(
            f"/studies/{study}" if is_valid_uid(study) else "/jobs" if study == "jobs" else "/", 303
        )

    return routes


async def form_of(request: Request, longest: int = LONGEST_FORM) -> dict[str, str]:
    """Fields of a form of at most ``longest`` bytes, each once."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > longest:
            raise HTTPException(413, "This form is too long.")
    return dict(parse_qsl(body.decode("ascii", errors="replace")))
