"""One request for an image, from its address to checked bytes; redirects are checked like it."""

from __future__ import annotations

import asyncio
import copy
import email.utils
import errno
import logging
import re
import ssl
import time
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from r2d2.corpus.config import FetchConfig
from r2d2.corpus.fetching.addresses import AddressBook, Lookup
from r2d2.corpus.fetching.decision import Policy, decision_key
from r2d2.corpus.fetching.outcome import (
    Cause,
    FetchFailed,
    Outcome,
    PassedOn,
    RequestTrail,
    failed,
)
from r2d2.corpus.fetching.sniff import image_size
from r2d2.corpus.fetching.special_addresses import special
from r2d2.errors import R2D2Error
from r2d2.extras import require

if TYPE_CHECKING:
    import aiohttp
    from yarl import URL

_log = logging.getLogger(__name__)

GONE = (404, 410)
PASSING = (408, 425, 429, 500, 502, 503, 504)  # answers that another try may change
REDIRECTS = (301, 302, 303, 307, 308)
LARGE_BYTES = 1 << 20  # beyond this a body waits for one of ...
LARGE_PLACES = 8  # ... so many, so that memory is bounded however many requests there are
KEEP_ALIVE_S = 2.0  # an idle connection is an open file
_HOST = re.compile(r"[0-9A-Za-z._:-]+")
# ports of other services, which no browser asks for a page (WHATWG Fetch, "bad port")
# fmt: off
BAD_PORTS = frozenset({
    0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95,
    101, 102, 103, 104, 109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179,
    389, 427, 465, 512, 513, 514, 515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601,
    636, 989, 990, 993, 995, 1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566,
    6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080,
})
# fmt: on


@dataclass(frozen=True)
class Client:
    """What all requests share."""

    session: aiohttp.ClientSession
    book: AddressBook
    config: FetchConfig
    policy: Policy
    large: asyncio.Semaphore
    owns: Callable[[str], bool]  # whether a host is asked by this worker


@asynccontextmanager
async def open_client(
    config: FetchConfig,
    lookup: Lookup | None = None,
    owns: Callable[[str], bool] = lambda host: True,
) -> AsyncIterator[Client]:
    """A client; R2D2Error where the extra is missing or a block list cannot be read."""
    aiohttp = require("corpus", "aiohttp", "fetching images")
    policy = Policy(config)
    book = AddressBook(config.allow_private, lookup)
    resolver: Any = book  # it has the resolver's two methods, and needs no aiohttp to be imported
    connector = aiohttp.TCPConnector(
        limit=config.concurrency,
        limit_per_host=config.per_host,  # also where redirects of many hosts lead to one
        resolver=resolver,
        use_dns_cache=False,  # the book has its own, and remembers failures too
        keepalive_timeout=KEEP_ALIVE_S,
    )
    session = aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,  # a kilobyte may become a gigabyte: see `unpacked`
        trust_env=False,  # a proxy would resolve names by itself, past our check
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=config.connect_timeout_s),
        headers={
            "User-Agent": config.user_agent,
            "Accept": "image/*",
            "Accept-Encoding": "identity",
        },
    )
    try:
        yield Client(session, book, config, policy, asyncio.Semaphore(LARGE_PLACES), owns)
    finally:
        await session.close()
        await book.close()


async def request(
    client: Client, address: str, start: str | None = None, trail: RequestTrail | None = None
) -> Outcome:
    """One attempt at one address.

    Args:
        client: what all requests share.
        address: by which the outcome is known.
        start: what is asked first, where another worker has followed redirects up to there.
        trail: what that worker met.

    Raises:
        R2D2Error: this machine has no file handles left; nothing else is the user's to mend.
    """
    import aiohttp

    no_connection = Cause.NO_CONNECTION
    status = None
    trail = RequestTrail() if trail is None else copy.deepcopy(trail)
    try:
        async with asyncio.timeout(client.config.timeout_s):
            body, status = await _follow(client, address if start is None else start, trail)
        width, height = image_size(body, client.config.max_pixels)
        return Outcome(address, Cause.OK, "", status, body, width, height, trail=trail)
    except PassedOn as error:
        return Outcome(address, Cause.OK, trail=trail, passed_on=str(error))
    except FetchFailed as error:
        failure = error
        failure.http_status = failure.http_status or status
    except TimeoutError as error:
        limits = f"{client.config.timeout_s:g} s ({client.config.connect_timeout_s:g} s to connect)"
        failure = FetchFailed(
            Cause.TIMED_OUT,
            str(error) or f"not done in {limits}",
            passing=True,
            settings=("timeout_s", "connect_timeout_s"),
        )
    except aiohttp.ClientPayloadError as error:
        failure = FetchFailed(Cause.TRUNCATED, f"the connection ended early: {error}", passing=True)
    except aiohttp.ClientResponseError as error:
        # perhaps the rest of the answer before it, longer than it said: another connection may do
        failure = FetchFailed(
            Cause.HTTP_ERROR, f"a malformed answer: {error.message}", passing=True
        )
    except aiohttp.ClientSSLError as error:
        failure = FetchFailed(no_connection, f"no safe connection: {error}")
    except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
        failure = FetchFailed(Cause.REFUSED, f"no web address: {error}")
    except (aiohttp.ClientError, OSError, ssl.SSLError) as error:
        if getattr(error, "errno", None) in (errno.EMFILE, errno.ENFILE):
            raise R2D2Error(
                "too many files are open: lower fetch.concurrency, or raise the limit (ulimit -n)"
            ) from error
        failure = FetchFailed(no_connection, str(error) or type(error).__name__, passing=True)
    except Exception as error:  # one odd answer among millions must not end the rest
        _log.warning("fetching %s: %r", address, error, exc_info=True)
        failure = FetchFailed(no_connection, f"unexpected: {error!r}")
    return failed(address, failure, decided_by=decision_key(failure, client.config), trail=trail)


async def _follow(client: Client, address: str, trail: RequestTrail) -> tuple[bytes, int]:
    """The body at an address, or where it redirects to, and the HTTP status."""
    url = _parsed(lambda: _url(address), address)
    while True:
        client.policy.check_redirects(len(trail.hosts))
        await _check(client, url, trail)
        async with client.session.get(url, allow_redirects=False) as response:
            status = response.status
            if status in (200, 203):
                trail.robots = list(response.headers.getall("X-Robots-Tag", ()))
                trail.reserved = response.headers.get("TDM-Reservation", "").strip() == "1"
                client.policy.check_opt_out(trail)
                return await _body(client, response), status
            place = response.headers.get("Location")
            if status not in REDIRECTS or place is None:
                raise _http_error(status, response.headers)
        here, there = url, place
        url = _parsed(lambda here=here, there=there: here.join(_url(there)), place)  # type: ignore[misc]
        if not client.owns(url.raw_host or ""):
            raise PassedOn(str(url))


def _url(text: str) -> URL:
    from yarl import URL

    return URL(text.strip())


def _parsed(parse: Callable[[], URL], shown: str) -> URL:
    try:
        return parse()
    except ValueError as error:
        raise FetchFailed(Cause.REFUSED, f"no web address: {shown[:100]!r} ({error})") from error


async def _check(client: Client, url: URL, trail: RequestTrail) -> None:
    """Raise FetchFailed unless this may be asked for."""
    host = url.raw_host or ""
    if url.scheme not in ("http", "https") or not _HOST.fullmatch(host):
        raise FetchFailed(Cause.REFUSED, f"no web address: {str(url)[:100]}")
    if url.user is not None or url.password is not None:
        raise FetchFailed(Cause.REFUSED, "no web address: it has a password or a user's name in it")
    if url.port in BAD_PORTS:
        raise FetchFailed(Cause.REFUSED, f"no web address: port {url.port} is another service's")
    trail.hosts.append(host)
    client.policy.check_host(host)
    addresses = await client.book.addresses(host)
    if any(special(address) for address in addresses):
        trail.private[host] = list(addresses)
    # judged again when it is connected to; here it tells the cause
    client.policy.private.permitted(host, addresses)


def _http_error(status: int, headers: Mapping[str, str]) -> FetchFailed:
    if status in GONE:
        return FetchFailed(Cause.GONE, f"HTTP {status}", http_status=status)
    wait = retry_after(headers.get("Retry-After")) if status in PASSING else None
    return FetchFailed(
        Cause.HTTP_ERROR,
        f"HTTP {status}",
        http_status=status,
        passing=status in PASSING,
        wait=wait,
        settings=("user_agent",),  # some servers refuse by it
    )


def retry_after(value: str | None) -> float | None:
    """Seconds, given as such or as a date (RFC 9110); None where there is no sense in it."""
    if value is None:
        return None
    if value.strip().isascii() and value.strip().isdigit():
        return float(value)
    try:
        date = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, date.timestamp() - time.time())


async def _body(client: Client, response: aiohttp.ClientResponse) -> bytes:
    """All bytes of an answer, up to the limit, whatever length it claims."""
    most = client.config.max_bytes
    announced = response.content_length or 0
    client.policy.check_bytes(announced, f"{announced} bytes announced")
    body = bytearray()
    async with AsyncExitStack() as places:
        waited = False
        async for chunk in response.content.iter_any():
            body += chunk
            client.policy.check_bytes(len(body))
            if len(body) > LARGE_BYTES and not waited:
                await places.enter_async_context(client.large)
                waited = True
    return unpacked(bytes(body), response.headers.get("Content-Encoding", ""), most)


def unpacked(body: bytes, coding: str, most: int) -> bytes:
    """A body without its Content-Encoding, which some servers add unasked."""
    coding = coding.strip().lower()
    if coding in ("", "identity"):
        return body
    if coding not in ("gzip", "x-gzip", "deflate"):
        raise FetchFailed(
            Cause.NOT_IMAGE, f"Content-Encoding {coding[:40]}, which was not asked for"
        )
    unpacker = zlib.decompressobj(wbits=47)  # either of the two
    try:
        data = unpacker.decompress(body, most + 1)
    except zlib.error as error:
        raise FetchFailed(Cause.NOT_IMAGE, f"Content-Encoding {coding}, but {error}") from error
    if len(data) > most:
        raise FetchFailed(
            Cause.TOO_LARGE, f"more than {most} bytes once unpacked", settings=("max_bytes",)
        )
    if not unpacker.eof:
        raise FetchFailed(Cause.TRUNCATED, f"its {coding} ends early", passing=True)
    return data
