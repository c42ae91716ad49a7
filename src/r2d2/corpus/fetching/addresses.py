"""Which addresses may be fetched from: a name is resolved here, checked, and connected to as found.

Whoever puts an address into a log could else make the corpus builder ask the builder's own network.
What a name resolves to is checked and then handed to the connection itself, so that a second answer
of the name server cannot take its place (DNS rebinding).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

from r2d2.corpus.fetching.host_lists import PrivateHosts
from r2d2.corpus.fetching.outcome import Cause, FetchFailed
from r2d2.corpus.fetching.special_addresses import literal

Lookup = Callable[[str], Awaitable[list[str]]]  # addresses of a name; raises OSError

CACHED = 10_000  # names whose answer is remembered ...
SECONDS = 600.0  # ... for so long
THREADS = 64  # the system's look-up blocks, and a dead name server's for many seconds


@dataclass(frozen=True)
class _HostAddresses:
    addresses: tuple[str, ...] = ()
    failure: str = ""
    passing: bool = False


class AddressBook:
    """Addresses of hosts, remembered for a while; also the resolver of aiohttp's connector."""

    def __init__(self, allow_private: Iterable[str] = (), lookup: Lookup | None = None) -> None:
        """See `FetchConfig.allow_private`; `lookup` resolves names, else the system does."""
        self._private = PrivateHosts.read(allow_private)
        self._pool = None if lookup else ThreadPoolExecutor(THREADS, "r2d2-lookup")
        self._lookup = lookup or self._system
        # host: until when, what
        self._known: dict[str, tuple[float, asyncio.Task[_HostAddresses]]] = {}

    async def find(self, host: str) -> tuple[str, ...]:
        """The addresses of a host that may be connected to; at least one.

        Raises:
            FetchFailed: REFUSED where none may, UNRESOLVED where there is none.
        """
        return self._private.permitted(host, await self.addresses(host))

    async def addresses(self, host: str) -> tuple[str, ...]:
        """All addresses of a host, private ones too; at least one.

        Raises:
            FetchFailed: REFUSED where an address is written in a way of its own, UNRESOLVED where
                there is none.
        """
        address = literal(host)
        if address is not None:
            if isinstance(address, IPv4Address) and str(address) != host:
                raise FetchFailed(
                    Cause.REFUSED, f"no plain address: {host} is written for {address}"
                )
            return (str(address),)
        answer = await self._ask(host)
        if answer.failure:
            raise FetchFailed(Cause.UNRESOLVED, answer.failure, passing=answer.passing)
        return answer.addresses

    async def resolve(
        self, host: str, port: int = 0, family: int = socket.AF_UNSPEC
    ) -> list[dict[str, Any]]:
        """What aiohttp asks of a resolver; the connection goes to one of these addresses."""
        try:
            addresses = await self.find(host)
        except FetchFailed as error:
            raise OSError(error.reason) from error
        return [
            {
                "hostname": host,
                "host": address,
                "port": port,
                "family": socket.AF_INET6 if ":" in address else socket.AF_INET,
                "proto": socket.IPPROTO_TCP,
                "flags": socket.AI_NUMERICHOST,
            }
            for address in addresses
        ]

    async def close(self) -> None:
        """Let go of the threads; those that still wait for a name server end by themselves."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    async def _ask(self, host: str) -> _HostAddresses:
        """An answer from memory, or a new one; requests for one host at a time share it."""
        now = asyncio.get_running_loop().time()
        until, task = self._known.get(host, (0.0, None))
        if task is None or until < now:
            task = asyncio.create_task(self._answer(host))
            self._known.pop(host, None)
            self._known[host] = (now + SECONDS, task)
            while len(self._known) > CACHED:
                self._known.pop(next(iter(self._known)))
        answer = await asyncio.shield(task)  # who stops waiting does not stop the others
        if answer.passing and self._known.get(host, (0.0, None))[1] is task:
            del self._known[host]  # a name server that was busy may answer the next time
        return answer

    async def _answer(self, host: str) -> _HostAddresses:
        try:
            addresses = await self._lookup(host)
        except socket.gaierror as error:
            passing = error.errno == socket.EAI_AGAIN
            return _HostAddresses(failure=f"{host}: {error.strerror}", passing=passing)
        except (OSError, UnicodeError) as error:
            return _HostAddresses(
                failure=f"{host}: {error}", passing=isinstance(error, TimeoutError)
            )
        if not addresses:
            return _HostAddresses(failure=f"{host}: no address")
        return _HostAddresses(tuple(dict.fromkeys(addresses)))

    async def _system(self, host: str) -> list[str]:
        loop = asyncio.get_running_loop()
        infos = await loop.run_in_executor(
            self._pool, lambda: socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        )
        return [str(info[4][0]) for info in infos]
