"""The server: the app put together, and run until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ipaddress
import logging
import signal
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import cast

import uvicorn
from fastapi import Depends, FastAPI
from fastapi.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles

from r2d2 import __version__
from r2d2.errors import R2D2Error
from r2d2.search.searcher import Searcher
from r2d2.search.serve import explaining
from r2d2.search.serve.config import ServeConfig
from r2d2.search.serve.connections import Connection, ConnectionLimiter
from r2d2.search.serve.errors import add_handlers
from r2d2.search.serve.guard import Guard, HeadAsGet
from r2d2.search.serve.model_thread import ModelThread
from r2d2.search.serve.pictures import KEPT_BYTES
from r2d2.search.serve.routes import router
from r2d2.search.serve.service import Service
from r2d2.search.serve.tables import table_names, table_parameter
from r2d2.search.serve.telemetry import Metrics, Telemetry, log_to_stderr

log = logging.getLogger(__name__)

PAGE = Path(str(resources.files("r2d2.search.serve"))) / "page"
WANTED_FILES = 4096  # open at once, where the system allows it
KEEP_ALIVE_S = 75  # longer than clients pause, so that none finds its connection closed


def create_app(
    searchers: Searcher | Mapping[str, Searcher], config: ServeConfig | None = None
) -> FastAPI:
    """The app of one table, or of several by their names.

    The thread of the models stops when the app shuts down.
    """
    config = ServeConfig() if config is None else config
    if isinstance(searchers, Searcher):
        searchers = {table_names([searchers.gallery.name])[0]: searchers}
    thread = ModelThread(config)
    services = {
        name: Service(searcher, config, thread, name, KEPT_BYTES // len(searchers))
        for name, searcher in searchers.items()
    }

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        thread.close()

    app = FastAPI(
        title="r2d2",
        version=__version__,
        description="Search images by Chinese text, images by images, texts by images.",
        docs_url=None,  # FastAPI's own page loads its code from elsewhere
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.services = services
    app.state.thread = thread
    app.state.metrics = Metrics(thread)
    of_a_table = [Depends(table_parameter(services))]
    app.include_router(router, dependencies=of_a_table)
    app.include_router(explaining.router, dependencies=of_a_table)
    add_handlers(app, config.retry_after_s)

    @app.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """For Prometheus."""
        return Response(app.state.metrics.text(), media_type="text/plain; version=0.0.4")

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(PAGE / "index.html")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> FileResponse:
        return FileResponse(PAGE / "docs.html")

    @app.get("/favicon.ico", include_in_schema=False)
    async def icon() -> Response:
        return FileResponse(PAGE / "icon.svg", media_type="image/svg+xml")

    app.mount("/static", StaticFiles(directory=PAGE), name="static")
    app.add_middleware(Guard, config=config)
    app.add_middleware(HeadAsGet)
    app.add_middleware(Telemetry, metrics=app.state.metrics)  # outermost: it counts refusals too
    return app


def uvicorn_config(app: FastAPI, config: ServeConfig) -> uvicorn.Config:
    """The settings of uvicorn, with a limit of connections, which uvicorn lacks."""
    files = _open_files()
    # half is for tables, temporary files, and sockets that were accepted and are not yet counted
    config = replace(config, connections=min(config.connections, files // 2))
    limiter = ConnectionLimiter(config, app.state.metrics.connection_dropped)
    return uvicorn.Config(
        app,
        http=cast("type[asyncio.Protocol]", functools.partial(Connection, places=limiter)),
        backlog=files // 10,  # so many are accepted before one is counted
        ws="none",  # none is spoken, and its connections would leave their places unseen
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="on",
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=config.shutdown_s,
    )


def serve(
    searchers: Mapping[str, Searcher],
    config: ServeConfig,
    started: Callable[[str], None] | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM; requests that are being answered are finished first.

    Args:
        searchers: model and gallery of each table, by its name.
        config: settings.
        started: called with the address once connections are accepted.

    Raises:
        R2D2Error: the port is taken, or no search can be answered: the index is empty, or its
            vectors need more memory than the limit.
    """
    # The vectors are read now, so that the first request need not wait for them, and two threads
    # do not read them at once.
    for name, searcher in searchers.items():
        log.info("%s: %d vectors", name, len(searcher.gallery.images))
    sock = _listen(config)
    if config.api_key is None and not ipaddress.ip_address(sock.getsockname()[0]).is_loopback:
        log.warning("everyone who reaches %s may ask this server: see --api-key", config.host)
    app = create_app(searchers, config)
    log_to_stderr()
    server = uvicorn.Server(uvicorn_config(app, config))
    # uvicorn raises the signal again when it has finished; the process must then end silently
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    host, port = sock.getsockname()[:2]
    if started is not None:
        started(f"http://{f'[{host}]' if ':' in host else host}:{port}/")
    server.run([sock])
    log.info("stopped")


def _open_files() -> int:
    """Raise the number of files and sockets that the process may open, and return it."""
    try:
        import resource
    except ImportError:  # Windows, which has no such limit
        return WANTED_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED_FILES if hard == resource.RLIM_INFINITY else min(WANTED_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


def _listen(config: ServeConfig) -> socket.socket:
    """Open the port, before the app is made, so that a port that is in use is told at once."""
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((config.host, config.port))
        sock.listen(1024)
    except (OSError, OverflowError) as error:
        sock.close()
        reason = getattr(error, "strerror", None) or error
        option = "--host" if isinstance(error, socket.gaierror) else "--port"
        raise R2D2Error(
            f"cannot listen at {config.host}:{config.port} ({reason}): choose another {option}"
        ) from error
    return sock
