"""Requests with a body: how large, how long on their way, and how many at once.

Bodies that are still being read and requests that are being answered are counted apart. Otherwise
clients that never finish their bodies would use up the places of those that do.
"""

from __future__ import annotations

import asyncio

from starlette.exceptions import HTTPException
from starlette.types import Message, Receive

from r2d2.search.serve.config import ServeConfig
from r2d2.search.serve.errors import BUSY, retry_after

FORM, JSON = "multipart/form-data", "application/json"  # types of a body
_CLOSE = {"Connection": "close"}  # what is left of the body is not waited for


class RequestBodies:
    """The requests inside the server."""

    def __init__(self, config: ServeConfig) -> None:
        self.config = config
        # what the queue holds, what the model has in hand, and what is being decoded
        self._room = config.max_queue + 2 * config.max_batch
        self._reading: dict[RequestBody, None] = {}  # that which was silent longest first
        self._working: set[RequestBody] = set()

    @property
    def full(self) -> bool:
        """Whether one more would find the queue full."""
        return len(self._working) >= self._room

    def enter(self, receive: Receive, content_type: str) -> RequestBody:
        """One more."""
        body = RequestBody(self, receive, content_type)
        self._reading[body] = None
        # soon, not now: a body that came with its head is read by then, and takes no place
        asyncio.get_running_loop().call_soon(self._make_room)
        return body

    def came(self, body: RequestBody) -> None:
        """A piece of it came, not the last one."""
        if body in self._reading:
            del self._reading[body]
            self._reading[body] = None  # at the end

    def arrived(self, body: RequestBody) -> None:
        """It is whole, and is worked on from now."""
        self._reading.pop(body, None)
        self._working.add(body)

    def leave(self, body: RequestBody) -> None:
        """It was answered, in whatever way."""
        self._reading.pop(body, None)
        self._working.discard(body)

    def _make_room(self) -> None:
        while len(self._reading) > self._room:
            first = next(iter(self._reading))
            del self._reading[first]
            first.give_way()


class RequestBody:
    """The body of a request."""

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
            HTTPException: 408 too slow, 413 too large, 503 others need its place.
        """
        if self._whole:  # what comes after the body is the client's leaving; that may take long
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
        """End it: another needs its place."""
        self._gives_way = True
        if self._timeout is not None:
            self._timeout.reschedule(0)


def too_large(config: ServeConfig, content_type: str) -> str:
    """The sentence for a body of too many bytes, by what it says it is."""
    limit = f"{config.max_body_bytes / (1 << 20):.3g} MB"
    kind = content_type.partition(";")[0].strip().lower()
    if kind == FORM:
        return f"the form is larger than {limit}: send a smaller picture, or fewer"
    if kind == JSON:
        return f"the JSON body is larger than {limit}: send fewer texts, or shorter ones"
    return f"the body is larger than {limit}: send a smaller one"
