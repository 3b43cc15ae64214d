"""``/jobs``: what runs, waits and failed, with what may be done about it."""

from __future__ import annotations

from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse

from dicom_node.archive import interventions, plain
from dicom_node.domain.job import JobState
from dicom_node.web.actions import Door
from dicom_node.web.pages import render
from dicom_node.web.sources import Sources

MOST = 100


def router(sources: Sources, door: Door) -> APIRouter:
    """The routes."""
    routes = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)
    zone = ZoneInfo(sources.settings.node.time_zone) if sources.settings.node.time_zone else None

    @routes.get("/jobs")
    def jobs(state: Annotated[JobState | Literal[""], Query()] = "") -> str:
        stuck = {found.job.id: found for found in interventions.stuck(sources.database, 0)}
        shown = []
        for record in sources.ledger.jobs(states=(JobState(state),) if state else (), limit=MOST):
            told = stuck.get(record.id)
            shown.append({**plain.job(record), "why": told.why if told else "", "remedy": told.remedy if told else ""})
        return render("jobs.html", zone, jobs=shown, state=state, states=list(JobState), token=door.token)

    return routes
