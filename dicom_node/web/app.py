"""The web application."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from dicom_node.archive.database import Database
from dicom_node.archive.ledger import Ledger
from dicom_node.archive.parcels import Parcels
from dicom_node.errors import ConfigurationError
from dicom_node.settings import Settings
from dicom_node.web import actions, api, assess, guard, health, jobs, live, ohif, ohif_release, pages, slices, stow
from dicom_node.web.dicomweb import routes as dicomweb
from dicom_node.web.sources import Sources

STATIC = Path(__file__).parent / "static"
GRACE_S = 3  # for answers that are under way when the node stops
_STOP_PAUSE_S = 0.5
Explain = Callable[[int], list[dict[str, Any]]]


def create_app(
    settings: Settings,
    database: Database,
    ledger: Ledger,
    parcels: Parcels,
    stages: Callable[[], Mapping[str, str]],
    explain: Explain | None = None,
) -> FastAPI:
    """The application. ``stages`` gives each stage's health: ``ok``, or what is wrong; ``explain`` what rules say."""
    sources = Sources(settings, database, ledger, parcels, stages, explain)
    app = FastAPI(
        title="dicom-node", version=_version(), docs_url=None, redoc_url=None, openapi_url="/api/v1/openapi.json"
    )
    app.include_router(health.router(sources))
    app.include_router(api.router(sources))
    app.include_router(stow.router(settings))
    app.include_router(dicomweb.router(sources))
    door = actions.Door(settings.web.host)
    app.include_router(assess.router(sources, door))
    app.include_router(actions.router(sources, door))
    viewer = slices.Viewer(sources)
    app.include_router(slices.router(sources, viewer))
    app.include_router(pages.router(sources, door, viewer))
    app.include_router(jobs.router(sources, door))
    app.state.feed = live.Feed(database)
    app.include_router(live.router(app.state.feed))
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    pages.add_error_pages(app)
    app.add_middleware(guard.Guard, host=settings.web.host)
    return app


def serve_web(
    settings: Settings,
    database: Database,
    ledger: Ledger,
    parcels: Parcels,
    stages: Callable[[], Mapping[str, str]],
    stop: threading.Event,
    explain: Explain | None = None,
) -> None:
    """Serve the application in this thread until ``stop``. The process's signal handlers are left as they are.

    Raises:
        ConfigurationError: the address cannot be listened on.
    """
    served = [(create_app(settings, database, ledger, parcels, stages, explain), settings.web.port, "web.port")]
    files = ohif_release.installed(settings)
    if files is not None:
        viewer = ohif.create_app(Sources(settings, database, ledger, parcels, stages), files)
        served.append((viewer, settings.web.ohif_port, "web.ohif_port"))
    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(_listening(settings.web.host, port, key)) for _, port, key in served]
        feed: live.Feed = served[0][0].state.feed
        asyncio.run(_serve([_server(app) for app, _, _ in served], listeners, stop, feed))


def _server(app: FastAPI) -> _Server:
    return _Server(
        uvicorn.Config(
            app, log_config=None, access_log=False, lifespan="off", ws="none", timeout_graceful_shutdown=GRACE_S
        )
    )


async def _serve(
    servers: list[_Server], listeners: list[socket.socket], stop: threading.Event, feed: live.Feed
) -> None:
    serving = [
        asyncio.create_task(server.serve(sockets=[listener]))
        for server, listener in zip(servers, listeners, strict=True)
    ]
    while not stop.is_set() and not any(each.done() for each in serving):
        await asyncio.sleep(_STOP_PAUSE_S)
    feed.close()
    for server in servers:
        server.should_exit = True
    await asyncio.gather(*serving)


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the node, which stops its stages too."""
        yield


@contextlib.contextmanager
def _listening(host: str, port: int, key: str) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        raise ConfigurationError(
            f"{host}:{port} cannot be listened on: {error.strerror or error}",
            key=key,
            remedy=f"stop the program that listens there, or choose another {key}",
        ) from error
    with listener:
        # Connections take it over: else an answer's body waits 40 ms behind its headers for the client's word.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield listener


def _version() -> str:
    try:
        return version("dicom-node")
    except PackageNotFoundError:
        return "0"  # run from a folder of sources
