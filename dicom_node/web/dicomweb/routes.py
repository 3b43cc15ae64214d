"""``/dicom-web/…``: the addresses of search and retrieval (PS3.18 10.1)."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import APIRouter, HTTPException, Request, Response

from dicom_node.archive.files import ObjectStore
from dicom_node.archive.holdings import Holdings
from dicom_node.archive.models import Models
from dicom_node.web.dicomweb import answers, frames, rendered, xml
from dicom_node.web.dicomweb.negotiation import DICOM_JSON, DICOM_XML, JSON, Offer
from dicom_node.web.dicomweb.query import SERIES_UID, STUDY_UID, Level, QueryError, parse
from dicom_node.web.dicomweb.retrieve import Retrieval
from dicom_node.web.dicomweb.search import Search, TooWideError, as_json
from dicom_node.web.sources import Sources

STUDY = "/studies/{study}"
SERIES = f"{STUDY}/series/{{series}}"
INSTANCE = f"{SERIES}/instances/{{instance}}"
SEARCHES = {
    "/studies": Level.STUDY,
    "/series": Level.SERIES,
    "/instances": Level.INSTANCE,
    f"{STUDY}/series": Level.SERIES,
    f"{STUDY}/instances": Level.INSTANCE,
    f"{SERIES}/instances": Level.INSTANCE,
}
_MORE = '299 dicom-node "There may be more matches: ask with limit= and offset= for the next ones."'

Answer = Callable[..., Response]


def router(sources: Sources) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/dicom-web", include_in_schema=False)  # PS3.18 describes it
    store = ObjectStore(sources.settings.node.data_dir)
    retrieval = Retrieval(Holdings(sources.database), Models(store))
    for address, level in SEARCHES.items():
        routes.add_api_route(address, _searching(retrieval, level), methods=["GET"])
    _add_objects(routes, retrieval)
    _add_parts(routes, retrieval)
    return routes


def _searching(retrieval: Retrieval, level: Level) -> Answer:
    def search(request: Request) -> Response:
        offer = answers.negotiated(request, [Offer(DICOM_JSON, False), Offer(JSON, False), Offer(DICOM_XML, True)])
        named = [(STUDY_UID, request.path_params.get("study")), (SERIES_UID, request.path_params.get("series"))]
        try:
            query = parse(level, request.query_params.multi_items(), [(tag, uid) for tag, uid in named if uid])
            asked = Search(retrieval.holdings, retrieval.models, query, answers.base_of(request))
            matches = asked.matches()
        except QueryError as error:
            raise HTTPException(400, str(error)) from error
        except TooWideError as error:
            raise HTTPException(413, "this would read too many objects: search within a study, or by UID") from error
        headers = {"Warning": _MORE} if query.capped and len(matches) == query.limit else {}
        if not matches:
            return Response(status_code=204)
        if offer.media_type == DICOM_XML:
            answer = answers.multipart(DICOM_XML, (answers.Part(DICOM_XML, [xml.native(found)]) for found in matches))
            answer.headers.update(headers)
            return answer
        return Response(as_json(matches), 200, headers, media_type=offer.media_type)

    return search


def _add_objects(routes: APIRouter, retrieval: Retrieval) -> None:
    def objects(request: Request, study: str, series: str = "", instance: str = "") -> Response:
        return retrieval.objects(request, retrieval.found(study, series, instance))

    def metadata(request: Request, study: str, series: str = "", instance: str = "") -> Response:
        return retrieval.metadata(request, retrieval.found(study, series, instance))

    def shown(request: Request, study: str, series: str = "", instance: str = "") -> Response:
        return rendered.objects(request, retrieval.found(study, series, instance), retrieval.models.store)

    def thumbnail(request: Request, study: str, series: str = "", instance: str = "") -> Response:
        return rendered.thumbnail(request, retrieval.found(study, series, instance), retrieval.models.store)

    for address in (STUDY, SERIES, INSTANCE):
        routes.add_api_route(f"{address}/metadata", metadata, methods=["GET"])
        routes.add_api_route(f"{address}/rendered", shown, methods=["GET"])
        routes.add_api_route(f"{address}/thumbnail", thumbnail, methods=["GET"])
        routes.add_api_route(address, objects, methods=["GET"])


def _add_parts(routes: APIRouter, retrieval: Retrieval) -> None:
    @routes.get(f"{INSTANCE}/bulkdata/{{where:path}}")
    def bulk(request: Request, study: str, series: str, instance: str, where: str) -> Response:
        return retrieval.bulk(request, retrieval.found(study, series, instance)[0], where)

    @routes.get(f"{INSTANCE}/frames/{{numbers}}")
    def frame(request: Request, study: str, series: str, instance: str, numbers: str) -> Response:
        held = retrieval.found(study, series, instance)[0]
        return frames.retrieve(request, held, retrieval.models.store.absolute(held.path), numbers)

    @routes.get(f"{INSTANCE}/frames/{{numbers}}/rendered")
    def shown(request: Request, study: str, series: str, instance: str, numbers: str) -> Response:
        held = retrieval.found(study, series, instance)[0]
        return rendered.frame(request, held, retrieval.models.store, numbers)

    @routes.get(f"{INSTANCE}/frames/{{numbers}}/thumbnail")
    def thumbnail(request: Request, study: str, series: str, instance: str, numbers: str) -> Response:
        return rendered.thumbnail(request, retrieval.found(study, series, instance), retrieval.models.store, numbers)
