"""The pages: all studies, one study. Plain HTML, complete without scripts, which scroll slices and keep pages fresh."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from fastapi import APIRouter, FastAPI, HTTPException, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.exceptions import HTTPException as StarletteHTTPException

from dicom_node.archive import overview
from dicom_node.domain.wording import day, number, took
from dicom_node.errors import DicomNodeError
from dicom_node.web import results
from dicom_node.web.actions import Door
from dicom_node.web.slices import Viewer
from dicom_node.web.sources import Sources

PER_PAGE = 25

_environment = Environment(
    loader=PackageLoader("dicom_node.web"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.filters.update(day=day, number=number, took=took)


def router(sources: Sources, door: Door, viewer: Viewer) -> APIRouter:
    """The routes."""
    routes = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)
    zone = ZoneInfo(sources.settings.node.time_zone) if sources.settings.node.time_zone else None

    @routes.get("/")
    def studies(
        page: Annotated[int, Query(ge=1, le=10**6)] = 1,
        find: Annotated[str, Query(max_length=64)] = "",
        show: overview.Show = overview.Show.ALL,
    ) -> str:
        find = find.strip()
        offset = (page - 1) * PER_PAGE
        found, total = overview.studies(sources.database, limit=PER_PAGE, offset=offset, find=find, show=show)
        return render(
            "studies.html",
            zone,
            studies=found,
            total=total,
            find=find,
            show=show,
            page=page,
            pages=max(1, -(-total // PER_PAGE)),
            counters=sources.counters(),
            stages=dict(sources.stages()),
            node=sources.settings.node,
            items=sources.items(),
            token=door.token,
        )

    @routes.get("/studies/{study_uid}")
    def study(request: Request, study_uid: str) -> str:
        told = sources.story(study_uid)
        if told is None:
            raise HTTPException(404, f"There is no study with the Study Instance UID {study_uid}.")
        bars = stage_bars(told["stages"])
        tables = {job["id"]: measurement_table(job["measurements"]) for job in told["jobs"]}
        items = sources.items(told["id"])
        more = results.of_study(sources, viewer, told)
        shown = {"study": told, "bars": bars, "tables": tables, "items": items, "token": door.token}
        links = results.links(sources.settings, study_uid, request.url)
        return render("study.html", zone, **shown, results=more, links=links)

    @routes.get("/studies/{study_uid}/why")
    def why(study_uid: str) -> str:
        told = sources.story(study_uid)
        if told is None:
            raise HTTPException(404, f"There is no study with the Study Instance UID {study_uid}.")
        if sources.explain is None:
            raise HTTPException(404, "This server knows no rules; use: dicom-node rules explain")
        return render("why.html", zone, study=told, rules=sources.explain(told["id"]))

    return routes


def add_error_pages(app: FastAPI) -> None:
    """Errors as a page, or as JSON under ``/api`` and ``/dicom-web``. None shows a traceback."""

    @app.exception_handler(StarletteHTTPException)
    async def http_error(request: Request, error: StarletteHTTPException) -> Response:
        return _error(request, error.status_code, str(error.detail))

    @app.exception_handler(RequestValidationError)
    async def wrong_request(request: Request, error: RequestValidationError) -> Response:
        told = "; ".join(f"{fault['loc'][-1]}: {fault['msg']}" for fault in error.errors())
        return _error(request, 422, told)

    @app.exception_handler(DicomNodeError)
    async def trouble(request: Request, error: DicomNodeError) -> Response:
        # One that asks for what is not to be had, such as the retry of a job that is done, is no trouble of the node.
        status = 409 if request.method == "POST" and error.reason != "database" else 503
        return _error(request, status, error.message, error.remedy)


def measurement_table(measurements: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Measurements as a table: a column per kind, a row per structure they were taken over."""
    columns: dict[tuple[str, str], None] = {}
    rows: dict[str, dict[tuple[str, str], Mapping[str, Any]]] = {}
    for found in measurements:
        column = (found["meaning"], found["unit_shown"])
        columns[column] = None
        rows.setdefault(" and ".join(found["of"]) or "The series", {})[column] = found
    return {
        "columns": [{"meaning": meaning, "unit": unit} for meaning, unit in columns],
        "rows": [{"of": of, "cells": [cells.get(column) for column in columns]} for of, cells in rows.items()],
    }


def stage_bars(stages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Stages on a common axis: ``start`` and ``width`` in percent of the whole, one after the other.

    Deliveries start together, when the worker ends; the parts of the worker's time lie within it.
    """
    bars: list[dict[str, Any]] = []
    at = inner = end_of_worker = 0.0
    for stage in stages:
        lasts, name = stage["seconds"] or 0.0, stage["stage"]
        if name.startswith("worker: "):
            bars.append({"name": name, "seconds": stage["seconds"], "start": inner, "length": lasts, "part": True})
            inner += lasts
            continue
        start = end_of_worker if name.startswith("delivery") else at
        bars.append({"name": name, "seconds": stage["seconds"], "start": start, "length": lasts, "part": False})
        if name == "worker":
            inner, end_of_worker = at, at + lasts
        at = max(at, start + lasts)
    whole = max(at, inner) or 1.0
    return [{**bar, "start": 100 * bar["start"] / whole, "width": 100 * bar["length"] / whole} for bar in bars]


def _error(request: Request, status: int, message: str, remedy: str = "") -> Response:
    if request.url.path.startswith(("/api/", "/dicom-web/")):
        return JSONResponse({"error": {"reason": str(status), "message": message, "remedy": remedy}}, status)
    title = HTTPStatus(status).phrase
    return HTMLResponse(render("error.html", None, title=title, message=message, remedy=remedy), status)


def render(template: str, zone: ZoneInfo | None, **values: Any) -> str:
    """A page; its times are those of the zone, None: the machine's."""

    def when(text: str | None, form: str = "%Y-%m-%d %H:%M:%S") -> str:
        return datetime.fromisoformat(text).replace(tzinfo=UTC).astimezone(zone).strftime(form) if text else ""

    def since(start: str | None, end: str | None) -> str:
        if not start or not end:
            return ""
        return took((datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds())

    now = datetime.now(UTC).astimezone(zone)
    return _environment.get_template(template).render(
        when=when, since=since, now=now.strftime("%Y-%m-%d %H:%M:%S %Z"), **values
    )
