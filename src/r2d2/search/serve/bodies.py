"""Limits of requests with a body: their size, the time they take to arrive, and their number.

Bodies that are being read are counted apart from requests that are being answered. Otherwise
clients that never finish their bodies would keep out those that do.
"""

from __future__ import annotations

import asyncio

from starlette.exceptions import HTTPException
from starlette.types import Message, Receive

from r2d2.search.serve.config import ServeConfig
from r2d2.search.serve.errors import BUSY, retry_after

FORM, JSON = "multipart/form-data", "application/json"  # types of a body
_CLOSE = {"Connection": "close"}  # the server does not wait for the rest of the body


class RequestBodies:
    """The requests with a body that are in the server."""

    def __init__(self, config: ServeConfig) -> None:
        self.config = config
        # requests in the queue, in the batch of the model, and in decoding
        self._room = config.max_queue + 2 * config.max_batch
        self._reading: dict[
            RequestBody, None
        ] = {}  # the one that sent nothing for the longest time is first
        self._working: set[RequestBody] = set()

    @property
    def full(self) -> bool:
        """Whether the queue has no room for another request."""
        return len(self._working) >= self._room

    def enter(self, receive: Receive, content_type: str) -> RequestBody:
        """Begin to read the body of a request."""
        body = RequestBody(self, receive, content_type)
        self._reading[body] = None
        # Later, not now: a body that came with its headers is read by then and needs no room.
        asyncio.get_running_loop().call_soon(self._make_room)
        return body

    def came(self, body: RequestBody) -> None:
        """Note that a part of a body arrived that is not the last one."""
        if body in self._reading:
            del self._reading[body]
            self._reading[body] = None  # at the end

    def arrived(self, body: RequestBody) -> None:
        """Note that a body is complete, and its request is being answered."""
        self._reading.pop(body, None)
        self._working.add(body)

    def leave(self, body: RequestBody) -> None:
        """Note that a request was answered or has failed."""
        self._reading.pop(body, None)
        self._working.discard(body)

    def _make_room(self) -> None:
        while len(self._reading) > self._room:
            first = next(iter(self._reading))
            del self._reading[first]
            first.give_way()


class RequestBody:
    """The body of a request, which is read within the limits."""

    def __init__(self, bodies: RequestBodies, receive: Receive, content_type: str) -> None:
        self._bodies = bodies
        self._type = content_type
        self._receive = receive
        self._end = asyncio.get_running_loop().time() + bodies.config.client_timeout_s
        self._timeout: asyncio.Timeout | None = None
        self._gives_way = False
        self._whole = False
        self._read = 0

    async def receive(self) -> Message:
        """See ASGI.

        Raises:
            HTTPException: 408 too slow, 413 too large, 503 another request needs its room.
        """
        if self._whole:  # after the body comes only the disconnect, which may take long
            return await self._receive()
        try:
            async with asyncio.timeout_at(0 if self._gives_way else self._end) as self._timeout:
                message = await self._receive()
        except TimeoutError as error:
            if self._gives_way:
                headers = {**_CLOSE, **retry_after(self._bodies.config.retry_after_s)}
                raise HTTPException(503, BUSY, headers) from error
            raise HTTPException(408, "the request took too long to arrive", _CLOSE) from error
        finally:
            self._timeout = None
        if message["type"] == "http.request":
            self._read += len(message.get("body", b""))
            if self._read > self._bodies.config.max_body_bytes:
                raise HTTPException(413, too_large(self._bodies.config, self._type), _CLOSE)
            if not message.get("more_body", False):
                self._whole = True
                self._bodies.arrived(self)
            else:
                self._bodies.came(self)
        return message

    def give_way(self) -> None:
        """End the request, since another one needs its room."""
        self._gives_way = True
        if self._timeout is not None:
            self._timeout.reschedule(0)


def too_large(config: ServeConfig, content_type: str) -> str:
    """The error for a body of too many bytes, by its declared type."""
    limit = f"{config.max_body_bytes / (1 << 20):.3g} MB"
    kind = content_type.partition(";")[0].strip().lower()
    if kind == FORM:
        return f"the form is larger than {limit}: send a smaller picture, or fewer"
    if kind == JSON:
        return f"the JSON body is larger than {limit}: send fewer texts, or shorter ones"
    return f"the body is larger than {limit}: send a smaller one"
