"""Limits of connections: their number, and the time that a slow client may take.

uvicorn waits without end for the headers of a request and for a client to take its answer, and it
does not tell clients apart. Here both have a time limit. Where no more connections are allowed, a
new one replaces the connection that has been without a request for the longest time. So half-sent
requests keep nobody out, not even other users of the same address.
"""

from __future__ import annotations

import asyncio
import http
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import h11
from starlette.responses import Response
from uvicorn.protocols.http.h11_impl import H11Protocol

from r2d2.search.serve.config import ServeConfig
from r2d2.search.serve.errors import busy_problem, problem

# owing: the headers of its request have not arrived; idle: it is between two requests; sending: its
# body is incomplete; working: it is being answered. Those that are closed first stand first.
State = Literal["owing", "idle", "sending", "working"]
DISPENSABLE: tuple[State, ...] = ("owing", "idle", "sending")
Reason = Literal["room", "refused", "slow"]


@dataclass
class _ClientConnections:
    """Connections of one client, or of all clients, by state, in the order of entering it."""

    open: set[Connection] = field(default_factory=set)
    lines: dict[State, dict[Connection, None]] = field(
        default_factory=lambda: {state: {} for state in DISPENSABLE}
    )

    def first_to_go(self) -> Connection | None:
        """The connection that is closed first; None where all are being answered."""
        return next(
            (next(iter(self.lines[state])) for state in DISPENSABLE if self.lines[state]), None
        )


class ConnectionLimiter:
    """Limits the number of all connections of a server, and of those of each client."""

    def __init__(self, config: ServeConfig, dropped: Callable[[Reason], None]) -> None:
        """`dropped` is called with the reason for each connection that is closed here."""
        self.config = config
        self.dropped = dropped
        self._all = _ClientConnections()
        self._clients: dict[str, _ClientConnections] = {}

    def enter(self, connection: Connection) -> bool:
        """Whether a new connection is allowed; another one may be closed for it."""
        client = connection.group
        if client is not None:
            group = self._clients.get(client, _ClientConnections())
            if not self._made_room(group, self.config.client_connections):
                return False
        if not self._made_room(self._all, self.config.connections):
            return False
        for group in self._groups(connection):
            group.open.add(connection)
        return True

    def leave(self, connection: Connection) -> None:
        """Note that a connection has ended, whether it was allowed or not."""
        for group in self._groups(connection):
            group.open.discard(connection)
            for line in group.lines.values():
                line.pop(connection, None)
        if connection.group is not None and not self._clients[connection.group].open:
            del self._clients[connection.group]

    def move(self, connection: Connection, state: State) -> None:
        """Note the new state of a connection."""
        for group in self._groups(connection):
            for name, line in group.lines.items():
                if name != state:
                    line.pop(connection, None)
                elif connection in group.open:
                    line.setdefault(connection)

    def _made_room(self, group: _ClientConnections, limit: int) -> bool:
        while len(group.open) >= limit:
            connection = group.first_to_go()
            if connection is None:
                return False
            self.leave(connection)
            connection.transport.abort()
            self.dropped("room")
        return True

    def _groups(self, connection: Connection) -> list[_ClientConnections]:
        if connection.group is None:
            return [self._all]
        return [self._all, self._clients.setdefault(connection.group, _ClientConnections())]


class Connection(H11Protocol):
    """A connection of uvicorn that keeps to the limits."""

    def __init__(self, *args: Any, places: ConnectionLimiter, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.group: str | None = None
        self._places = places
        self._state: State = "owing"
        self._stalled = False  # the client does not take its answer
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See asyncio."""
        super().connection_made(transport)
        self.group = client_of(self.client)
        if not self._places.enter(self):
            self._places.dropped("refused")
            self._end_with(busy_problem(self._places.config.retry_after_s))
        self._become("owing")

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        self._places.leave(self)
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        super().data_received(data)
        self._become(self._state_of_request() or "owing")

    def on_response_complete(self) -> None:
        """See uvicorn: the answer was given to the transport."""
        super().on_response_complete()
        unread = self.conn.their_state is not h11.IDLE or self.conn.trailing_data[0]
        # the next request may have been sent with the one that was answered
        self._become(self._state_of_request() or ("owing" if unread else "idle"))

    def timeout_keep_alive_handler(self) -> None:
        """See uvicorn: the connection is closed, and the client loses what it has not taken."""
        super().timeout_keep_alive_handler()
        self._watch()

    def pause_writing(self) -> None:
        """See asyncio."""
        super().pause_writing()
        self._stalled = True
        self._watch()

    def resume_writing(self) -> None:
        """See asyncio."""
        super().resume_writing()
        self._stalled = False
        self._watch()

    def _state_of_request(self) -> State | None:
        if self.cycle is None or self.cycle.response_complete:
            return None
        return "sending" if self.cycle.more_body else "working"

    def _become(self, state: State) -> None:
        self._state = state
        self._places.move(self, state)
        self._watch()

    def _watch(self) -> None:
        """Run a timer while the server waits for the client; activity does not restart it."""
        owes = self._state == "owing" or self._stalled or self.transport.is_closing()
        if not owes and self._timer is not None:
            self._timer.cancel()
            self._timer = None
        elif owes and self._timer is None:
            self._timer = self.loop.call_later(self._places.config.client_timeout_s, self._late)

    def _late(self) -> None:
        self._timer = None
        self._places.dropped("slow")
        begun = self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]
        if begun and not self._stalled and not self.transport.is_closing():
            self._end_with(problem(408, "slow", "the request took too long to arrive"))
            self._watch()
        else:
            self.transport.abort()

    def _end_with(self, response: Response) -> None:
        """Answer before there is a complete request, and close."""
        phrase = http.HTTPStatus(response.status_code).phrase
        lines = [f"HTTP/1.1 {response.status_code} {phrase}".encode()]
        lines += [name + b": " + value for name, value in response.raw_headers]
        self.transport.write(b"\r\n".join([*lines, b"connection: close", b"", response.body]))
        self.transport.close()


def client_of(peer: tuple[str, int] | None) -> str | None:
    """The client of a socket's address; None for this machine, where a proxy may run.

    An IPv6 client is identified by its network, since one subscriber has 2^64 addresses.
    """
    try:
        address = ipaddress.ip_address(peer[0].partition("%")[0]) if peer else None
    except ValueError:  # a Unix socket
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if address is None or address.is_loopback:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)
