"""``/api/v1``: the plain data of ``--json``; ``docs/json.md`` lists the keys."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query

from dicom_node.archive import overview, plain
from dicom_node.delivery.opening import now
from dicom_node.delivery.outlook import outlooks
from dicom_node.domain.job import JobState
from dicom_node.domain.parcel import ParcelState
from dicom_node.web.sources import Sources

Limit = Annotated[int, Query(ge=1, le=1000)]
Offset = Annotated[int, Query(ge=0, le=2**31)]


def router(sources: Sources) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/api/v1")

    @routes.get("/studies", summary="Studies, the one that changed last first")
    def studies(limit: Limit = 50, offset: Offset = 0, find: str = "") -> dict[str, Any]:
        found, total = overview.studies(sources.database, limit=limit, offset=offset, find=find)
        return {"studies": found, "total": total}

    @routes.get("/studies/{study_uid}", summary="How a study's results came to be")
    def study(study_uid: str) -> dict[str, Any]:
        told = sources.story(study_uid)
        if told is None:
            raise HTTPException(404, "there is no study with this Study Instance UID")
        return told

    @routes.get("/jobs", summary="Jobs, newest first")
    def jobs(state: Annotated[list[JobState] | None, Query()] = None, limit: Limit = 50) -> dict[str, Any]:
        return {"jobs": [plain.job(record) for record in sources.ledger.jobs(states=state or (), limit=limit)]}

    @routes.get("/parcels", summary="Deliveries, oldest first")
    def parcels(state: Annotated[list[ParcelState] | None, Query()] = None, limit: Limit = 50) -> dict[str, Any]:
        found = sources.parcels.all(states=state or (), limit=limit)
        return {"parcels": outlooks(found, sources.settings, now())}

    @routes.get("/counters", summary="Numbers of studies, instances, jobs and parcels by state")
    def counters() -> dict[str, Any]:
        return sources.counters()

    return routes
