"""Which addresses may be fetched from: a name is resolved here, checked, and connected to as found.

Whoever puts an address into a log could else make the corpus builder ask the builder's own network.
What a name resolves to is checked and then handed to the connection itself, so that a second answer
of the name server cannot take its place (DNS rebinding). Every form of an address is read as the
system would read it: http://2130706433/ is 127.0.0.1.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path
from typing import Any

from r2d2.corpus.outcome import Cause, FetchFailed
from r2d2.data.encodings import read_lines
from r2d2.errors import R2D2Error

Lookup = Callable[[str], Awaitable[list[str]]]  # addresses of a name; raises OSError

CACHED = 10_000  # names whose answer is remembered ...
SECONDS = 600.0  # ... for so long
THREADS = 64  # the system's look-up blocks, and a dead name server's for many seconds

# IANA's registry of special-purpose IPv4 addresses (RFC 6890 and what updates it)
SPECIAL_4 = {
    "127.0.0.0/8": "this machine",
    "10.0.0.0/8": "a private network",
    "172.16.0.0/12": "a private network",
    "192.168.0.0/16": "a private network",
    "169.254.0.0/16": "link-local",  # with 169.254.169.254, the cloud's metadata
    "100.64.0.0/10": "a carrier's private network",  # with 100.100.100.200, metadata
    "168.63.129.16/32": "a cloud's own service",  # Azure's, in public space
    "0.0.0.0/8": "unspecified",
    "192.0.0.0/24": "reserved",
    "192.0.2.0/24": "for documentation",
    "192.88.99.0/24": "a tunnel",
    "198.18.0.0/15": "for benchmarks",
    "198.51.100.0/24": "for documentation",
    "203.0.113.0/24": "for documentation",
    "224.0.0.0/4": "multicast",
    "240.0.0.0/4": "reserved",
}
SPECIAL_6 = {
    "::1/128": "this machine",
    "::/128": "unspecified",
    "fc00::/7": "a private network",  # with fd00:ec2::254, metadata
    "fe80::/10": "link-local",
    "fec0::/10": "a private network",
    "ff00::/8": "multicast",
    "2001::/23": "reserved",  # protocol assignments; Teredo tunnels among them
    "2001:db8::/32": "for documentation",
    "3fff::/20": "for documentation",
}
# IPv6 addresses that stand for an IPv4 one, and how far up its bits are in them
EMBEDDED = {
    "::ffff:0:0/96": 0,  # mapped
    "::ffff:0:0:0/96": 0,  # translated
    "64:ff9b::/96": 0,  # NAT64
    "2002::/16": 80,  # 6to4
    "::/96": 0,  # compatible
}
GLOBAL_6 = ip_network("2000::/3")  # all that is given out of IPv6
_SPECIAL = [
    (ip_network(net), what) for table in (SPECIAL_4, SPECIAL_6) for net, what in table.items()
]
_EMBEDDED = [(ip_network(net), shift) for net, shift in EMBEDDED.items()]
_ISATAP = (0x0000_5EFE, 0x0200_5EFE)  # RFC 5214: an IPv4 address in the lower half of any network


def special(address: str | IPv4Address | IPv6Address) -> str | None:
    """What is special about an IP address, in words; None where it is a plain public one."""
    address = ip_address(address) if isinstance(address, str) else address
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        return "link-local"
    for net, what in _SPECIAL:
        if address in net:
            return what
    if isinstance(address, IPv6Address):
        for net, shift in _EMBEDDED:
            if address in net:
                return special(IPv4Address(int(address) >> shift & 0xFFFFFFFF))
        if address not in GLOBAL_6:
            return "reserved"
        if int(address) >> 32 & 0xFFFFFFFF in _ISATAP:
            return special(IPv4Address(int(address) & 0xFFFFFFFF))
    return None


def literal(host: str) -> IPv4Address | IPv6Address | None:
    """The address that a host is, in any form that the system takes for one; None for a name."""
    bare = host.strip("[]").rstrip(".")
    try:
        return ip_address(bare)
    except ValueError:
        pass
    try:  # 127.1, 0x7f000001, 017700000001, 2130706433
        return IPv4Address(socket.inet_aton(bare))
    except (OSError, UnicodeEncodeError):
        return None


def within(host: str, hosts: frozenset[str]) -> bool:
    """Whether a host, or a domain that it is in, is among the hosts."""
    host = host.rstrip(".").lower()
    while host:
        if host in hosts:
            return True
        host = host.partition(".")[2]
    return "*" in hosts


def host_list(entries: Iterable[str]) -> frozenset[str]:
    """Hosts of a block list, or of an allow list.

    Args:
        entries: hosts, or files of one host a line, in which # starts a comment.

    Raises:
        R2D2Error: a file cannot be read.
    """
    hosts: set[str] = set()
    for entry in entries:
        lines = [entry]
        if "/" in entry or entry.endswith(".txt"):
            try:
                lines = read_lines(Path(entry))
            except OSError as error:
                raise R2D2Error(
                    f"cannot read the hosts of {entry} ({error}): "
                    "give a text file of one host a line, or hosts themselves"
                ) from error
        for line in lines:
            host = line.partition("#")[0].strip().removeprefix("*.").strip(".").lower()
            if host:
                hosts.add(_ascii(host))
    return frozenset(hosts)


@dataclass(frozen=True)
class _Answer:
    addresses: tuple[str, ...] = ()
    failure: str = ""
    passing: bool = False


class AddressBook:
    """Addresses of hosts, remembered for a while; also the resolver of aiohttp's connector."""

    def __init__(self, allow_private: Iterable[str] = (), lookup: Lookup | None = None) -> None:
        """See `FetchConfig.allow_private`; `lookup` resolves names, else the system does."""
        self._allowed = host_list(allow_private)
        self._pool = None if lookup else ThreadPoolExecutor(THREADS, "r2d2-lookup")
        self._lookup = lookup or self._system
        self._known: dict[str, tuple[float, asyncio.Task[_Answer]]] = {}  # host: until when, what

    async def find(self, host: str) -> tuple[str, ...]:
        """The addresses of a host that may be connected to; at least one.

        Raises:
            FetchFailed: REFUSED where none may, UNRESOLVED where there is none.
        """
        address = literal(host)
        if address is not None:
            if isinstance(address, IPv4Address) and str(address) != host:
                raise FetchFailed(
                    Cause.REFUSED, f"no plain address: {host} is written for {address}"
                )
            found: tuple[str, ...] = (str(address),)
        else:
            answer = await self._ask(host)
            if answer.failure:
                raise FetchFailed(Cause.UNRESOLVED, answer.failure, passing=answer.passing)
            found = answer.addresses
        if within(host, self._allowed):
            return found
        reasons = {one: special(one) for one in found}
        public = tuple(one for one in found if reasons[one] is None)
        if not public:
            one = found[0]
            raise FetchFailed(Cause.REFUSED, f"private address: {host} is {one}, {reasons[one]}")
        return public

    async def resolve(
        self, host: str, port: int = 0, family: int = socket.AF_UNSPEC
    ) -> list[dict[str, Any]]:
        """What aiohttp asks of a resolver; the connection goes to one of these addresses."""
        try:
            found = await self.find(host)
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
            for address in found
        ]

    async def close(self) -> None:
        """Let go of the threads; those that still wait for a name server end by themselves."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    async def _ask(self, host: str) -> _Answer:
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

    async def _answer(self, host: str) -> _Answer:
        try:
            found = await self._lookup(host)
        except socket.gaierror as error:
            passing = error.errno == socket.EAI_AGAIN
            return _Answer(failure=f"{host}: {error.strerror}", passing=passing)
        except (OSError, UnicodeError) as error:
            return _Answer(failure=f"{host}: {error}", passing=isinstance(error, TimeoutError))
        if not found:
            return _Answer(failure=f"{host}: no address")
        return _Answer(tuple(dict.fromkeys(found)))

    async def _system(self, host: str) -> list[str]:
        loop = asyncio.get_running_loop()
        infos = await loop.run_in_executor(
            self._pool, lambda: socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        )
        return [str(info[4][0]) for info in infos]


def _ascii(host: str) -> str:
    """A host as it travels: 例子.测试 is xn--fsqu00a.xn--0zwm56d."""
    try:
        return host.encode("idna").decode()
    except UnicodeError:
        return host
