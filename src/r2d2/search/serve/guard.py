"""ASGI layers that see a request before its body is read.

`Guard` checks the host name, the API key and the declared size of a request. `HeadAsGet` answers
HEAD as it answers GET, without the body.
"""

from __future__ import annotations

import contextlib
import hmac
import ipaddress
import re
from collections.abc import Sequence
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from r2d2.search.serve.bodies import RequestBodies, too_large
from r2d2.search.serve.config import ServeConfig, own_names
from r2d2.search.serve.errors import busy_problem, problem

_PORT = r"(?::(?P<port>[0-9]{0,5}))?"
_HOST = re.compile(rf"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9._-]+)){_PORT}")
OPEN = ("/", "/health", "/docs", "/openapi.json", "/favicon.ico")  # paths that need no key
OPEN_UNDER = "/static/"
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}


class Guard:
    """An ASGI layer that refuses requests, and adds the headers of security to all answers."""

    def __init__(self, app: ASGIApp, config: ServeConfig) -> None:
        self.app = app
        self.config = config
        self._bodies = RequestBodies(config)
        self._names = own_names(config.allowed_hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)

        async def headed(message: Message) -> None:
            if message["type"] == "http.response.start":
                sent_headers = {name for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *(
                        (k.encode(), v.encode())
                        for k, v in HEADERS.items()
                        if k.encode() not in sent_headers
                    ),
                ]
            await send(message)

        refused = self._refusal(scope["path"], headers)
        if refused is not None:
            await refused(scope, receive, headed)
            return
        if scope["method"] != "POST":  # pictures and the page cost the model nothing
            await self.app(scope, receive, headed)
        elif self._bodies.full:  # refused before its body is read
            await busy_problem(self.config.retry_after_s)(scope, receive, headed)
        else:
            body = self._bodies.enter(receive, headers.get("content-type", ""))
            try:
                await self.app(scope, body.receive, headed)
            finally:
                self._bodies.leave(body)

    def _refusal(self, path: str, headers: Headers) -> Any:
        if not is_own(headers.getlist("host"), self._names):
            return problem(421, "host", "this server is not known by that name: see --allow-host")
        if self.config.api_key is not None and path not in OPEN and not path.startswith(OPEN_UNDER):
            kind, _, token = headers.get("authorization", "").partition(" ")
            key = token if kind.lower() == "bearer" else headers.get("x-api-key", "")
            if not hmac.compare_digest(key.encode(), self.config.api_key.encode()):
                return problem(
                    401, "key", "an API key is needed: send it as Authorization: Bearer KEY",
                    {"WWW-Authenticate": "Bearer"},
                )  # fmt: skip
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > self.config.max_body_bytes:
            return problem(
                413, "too_large", too_large(self.config, headers.get("content-type", ""))
            )
        return None


class HeadAsGet:
    """An ASGI layer that lets routes for GET answer HEAD, too."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return

        async def without_body(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        scope["method"] = "GET"  # in place: the router tells the layers above its route
        try:
            await self.app(scope, receive, without_body)
        finally:
            scope["method"] = "HEAD"


def is_own(hosts: Sequence[str], names: frozenset[str]) -> bool:
    """Whether a request has one `Host` header, which is valid and names this server.

    A web page of another site may point a name of its own at this machine ("DNS rebinding") and
    would then have the same origin as the server. It cannot do so with an address or localhost.
    """
    match = _HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
    if match is None or int(match["port"] or 0) > 65535:
        return False
    if match["v6"] is not None:
        return _is_address(match["v6"], ipaddress.IPv6Address)
    name = match["name"].lower().removesuffix(".")
    return name in names or _is_address(name, ipaddress.IPv4Address)


def _is_address(text: str, kind: type[ipaddress.IPv4Address] | type[ipaddress.IPv6Address]) -> bool:
    with contextlib.suppress(ValueError):
        kind(text)
        return True
    return False
