"""A reader accepts, rejects or corrects a result, or says something of it: a form of the result page."""

from __future__ import annotations

import anyio.to_thread
from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import RedirectResponse

from dicom_node.archive.assessments import LONGEST_COMMENT, Verdict, assess
from dicom_node.archive.own_objects import Desk
from dicom_node.domain.identifiers import is_valid_uid
from dicom_node.errors import InputError
from dicom_node.web.actions import BY, Door, form_of
from dicom_node.web.sources import Sources

_VERDICTS = {"accept": Verdict.ACCEPT, "reject": Verdict.REJECT, "correct": Verdict.CORRECT, "comment": Verdict.COMMENT}
_LONGEST_FORM = 12 * LONGEST_COMMENT + 1000  # bytes: a letter may take four, each written as %XX


def router(sources: Sources, door: Door) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/actions/results", include_in_schema=False)

    @routes.post("/{job_id}/assess")
    async def post(request: Request, job_id: int) -> RedirectResponse:
        form = await form_of(request, _LONGEST_FORM)
        door.admit(request, form.get("token", ""))
        verdict = _VERDICTS.get(form.get("verdict", ""))
        if verdict is None:
            raise HTTPException(400, f"verdict is one of {', '.join(_VERDICTS)}")
        said = (verdict, form.get("reader", ""), form.get("comment", ""))
        try:
            await anyio.to_thread.run_sync(assess, sources.database, Desk.of(sources.settings), job_id, said, BY)
        except InputError as error:
            raise HTTPException(400, f"{error.message}: {error.remedy}") from error
        study = form.get("study", "")
        return RedirectResponse(f"/studies/{study}" if is_valid_uid(study) else "/", 303)

    return routes
