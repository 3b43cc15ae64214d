"""OHIF, the viewer: its prebuilt files, served on a port of their own together with the DICOMweb that it reads.

It wants to be a site's root, and to be told where the images are; nothing of it is part of this package. A release is
unpacked into the data directory by ``dicom-node ohif install``; without it nothing else changes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from fastapi import FastAPI, HTTPException
from fastapi.responses import FileResponse, Response

from dicom_node.web import guard, pages
from dicom_node.web.dicomweb import routes as dicomweb
from dicom_node.web.sources import Sources

# It compiles WebAssembly, makes workers of blobs, and writes its styles as it goes; all of it from here alone.
# Isolated by COOP and COEP, it may share memory with its workers.
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; worker-src 'self' blob:; "
        "object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Embedder-Policy": "require-corp",
}


def create_app(sources: Sources, files: Path) -> FastAPI:
    """The viewer over the archive. It can read, and change nothing."""
    app = FastAPI(title="OHIF", docs_url=None, redoc_url=None, openapi_url=None)
    app.include_router(dicomweb.router(sources))
    configuration = f"window.config = {json.dumps(_configuration())};\n"

    @app.get("/app-config.js")
    def app_config() -> Response:
        return Response(configuration, media_type="text/javascript")

    @app.get("/{path:path}")
    def file(path: str) -> Response:
        found = _inside(files, path)
        if found is None and path.startswith("dicom-web"):
            raise HTTPException(404, "there is no such resource of DICOMweb")
        # What is no file is a place within the viewer, which its first page finds by itself.
        return FileResponse(found or files / "index.html")

    pages.add_error_pages(app)
    app.add_middleware(guard.Guard, host=sources.settings.web.host, more=HEADERS)
    return app


def _inside(files: Path, path: str) -> Path | None:
    """The file of an address; None where there is none, or where it would lie outside."""
    if not path or "\0" in path:
        return None
    found = (files / path).resolve()
    return found if found.is_relative_to(files.resolve()) and found.is_file() else None


def _configuration() -> dict[str, object]:
    source = {
        "friendlyName": "dicom-node",
        "name": "dicom-node",
        "wadoUriRoot": "/dicom-web",
        "qidoRoot": "/dicom-web",
        "wadoRoot": "/dicom-web",
        "qidoSupportsIncludeField": True,
        "supportsReject": False,
        "supportsStow": False,
        "supportsFuzzyMatching": True,
        "supportsWildcard": True,
        "imageRendering": "wadors",
        "thumbnailRendering": "wadors",
        "enableStudyLazyLoad": True,
        "singlepart": "bulkdata,video",
        "omitQuotationForMultipartRequest": True,
        "bulkDataURI": {"enabled": True},
    }
    return {
        "routerBasename": "/",
        "extensions": [],
        "modes": [],
        "customizationService": {},
        "showStudyList": True,
        "showWarningMessageForCrossOrigin": False,
        "showCPUFallbackMessage": False,
        "investigationalUseDialog": {"option": "always"},
        "strictZSpacingForVolumeViewport": True,
        "maxNumberOfWebWorkers": 3,
        "defaultDataSourceName": "dicomweb",
        "dataSources": [
            {
                "namespace": "@ohif/extension-default.dataSourcesModule.dicomweb",
                "sourceName": "dicomweb",
                "configuration": source,
            }
        ],
    }
