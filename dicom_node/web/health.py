"""``/healthz``: the process is alive. ``/readyz``: it can do its work. ``/metrics``: its numbers."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse, PlainTextResponse

from dicom_node.errors import DicomNodeError
from dicom_node.web import metrics
from dicom_node.web.sources import Sources


def router(sources: Sources) -> APIRouter:
    """The routes."""
    routes = APIRouter()

    @routes.get("/healthz", summary="Whether the process is alive")
    def healthz() -> dict[str, str]:
        return {"program": "dicom-node", "status": "alive"}

    @routes.get("/readyz", summary="Whether the ledger is reachable and every stage works; 503 with the reason")
    def readyz() -> Response:
        found = readiness(sources)
        return JSONResponse(found, 200 if found["ready"] else 503)

    @routes.get("/metrics", response_class=PlainTextResponse, summary="Prometheus text format")
    def metrics_() -> Response:
        stages = dict(sources.stages())
        try:
            text = metrics.render(sources.counters(), stages)
        except DicomNodeError as error:
            return PlainTextResponse(f"{error.message}\n", 503)
        return PlainTextResponse(text, media_type=metrics.MEDIA_TYPE)

    return routes


def readiness(sources: Sources) -> dict[str, Any]:
    """``ready``, ``ledger`` and each of ``stages``: ``ok``, or what is wrong."""
    stages = dict(sources.stages())
    ledger = "ok"
    try:
        sources.counters()
    except DicomNodeError as error:
        ledger = error.message
    ready = ledger == "ok" and all(health == "ok" for health in stages.values())
    return {"ready": ready, "ledger": ledger, "stages": stages}
