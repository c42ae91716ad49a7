"""Metrics of the server for Prometheus, and a log line of JSON for each request.

Neither contains texts, pictures or addresses of clients.
"""

from __future__ import annotations

import json
import logging
import sys
import time
import uuid
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from r2d2.search.serve.model_thread import ModelThread

access = logging.getLogger("r2d2.search.access")

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
SIZES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """The metrics of one server."""

    def __init__(self, thread: ModelThread) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "r2d2_requests", "Requests by route, status and table.", ["route", "status", "table"],
            registry=self.registry,
        )  # fmt: skip
        self.seconds = Histogram(
            "r2d2_request_seconds", "Time to the answer.", ["route", "table"], buckets=SECONDS,
            registry=self.registry,
        )  # fmt: skip
        batch = Histogram(
            "r2d2_batch_size", "Requests that went through the model together.", buckets=SIZES,
            registry=self.registry,
        )  # fmt: skip
        thread.batches.append(batch.observe)
        self._dropped = Counter(
            "r2d2_connections_dropped",
            "Connections ended by the server: for room, refused for want of it, or too slow.",
            ["reason"],
            registry=self.registry,
        )
        waiting = Gauge("r2d2_queue", "Requests that wait for the model.", registry=self.registry)
        waiting.set_function(lambda: thread.waiting)

    def connection_dropped(self, reason: str) -> None:
        """Count a connection that the server ended."""
        self._dropped.labels(reason).inc()

    def text(self) -> bytes:
        """The metrics in the format of Prometheus."""
        return generate_latest(self.registry)


class Telemetry:
    """An ASGI layer that counts and logs requests."""

    def __init__(
        self, app: ASGIApp, metrics: Metrics, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.app = app
        self.metrics = metrics
        self.clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status, received = self.clock(), 500, 0
        request_id = uuid.uuid4().hex[:12]
        failure: str | None = None

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            return message

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message["headers"], (b"x-request-id", request_id.encode())
                ]  # fmt: skip
            await send(message)

        try:
            await self.app(scope, counted, noted)
        except Exception as error:
            failure = type(error).__name__
            raise
        finally:
            route = _route(scope)
            seconds = self.clock() - start
            table = _table(scope)
            self.metrics.requests.labels(route, str(status), table).inc()
            self.metrics.seconds.labels(route, table).observe(seconds)
            line = {
                "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "id": request_id,
                "method": scope["method"],
                "route": route,
                "status": status,
                "table": table,
                "ms": round(1000 * seconds, 1),
                "bytes": received,
            }
            if failure:
                line["failure"] = failure
            access.info(json.dumps(line))


def log_to_stderr() -> None:
    """Write the lines of JSON to standard error, without a prefix."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    access.handlers[:] = [handler]
    access.propagate = False
    access.setLevel(logging.INFO)


def _route(scope: Scope) -> str:
    """The pattern of the route; the path itself could have any number of values."""
    route = scope.get("route")
    path = getattr(route, "path", None)
    return str(path) if path else "other"


def _table(scope: Scope) -> str:
    """The name of the table that a request is for, or nothing."""
    service = scope.get("state", {}).get("service")
    return "" if service is None else str(service.name)
