"""Who is asked next: many requests at a time, few of one host, and again later what may pass."""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

from r2d2.corpus.config import FetchConfig
from r2d2.corpus.fetching.host_lists import host_of
from r2d2.corpus.fetching.outcome import Outcome

WINDOW = 16  # addresses taken ahead of time for each request at a time, to find other hosts among
LONGEST_WAIT_S = 60.0  # that a server may ask for by Retry-After; beyond it: another run
BUSY = (429, 503)  # answers after which the whole host is left alone for a while

Ask = Callable[[str], Awaitable[Outcome]]


async def outcomes(urls: Iterable[str], ask: Ask, config: FetchConfig) -> AsyncIterator[Outcome]:
    """The outcome of every address, as they come.

    Args:
        urls: each once; some are taken ahead of time, never all.
        ask: makes one attempt.
        config: how many at a time, in all and of a host; how often and after how long again.
    """
    queue = _Queue(iter(urls), ask, config)
    try:
        while (outcome := await queue.next()) is not None:
            yield outcome
    finally:
        await queue.stop()


def backoff(url: str, attempt: int, config: FetchConfig) -> float:
    """Seconds to wait before the attempt after this one: doubled each time, and spread by half.

    The spread is a function of the address, so that a host's addresses do not come back together
    and a second run does the same as the first.
    """
    digest = hashlib.sha256(f"{attempt} {url}".encode("utf-8", "replace")).digest()
    spread = 0.5 + int.from_bytes(digest[:4], "big") / 2**32
    return config.backoff_s * 2.0**attempt * spread


@dataclass
class _Host:
    waiting: deque[tuple[str, int]] = field(default_factory=deque)  # addresses, attempts made
    busy: int = 0  # requests under way
    rests: int = 0  # for how many reasons it is left alone
    ready: bool = False  # stands in line for its turn


@dataclass(frozen=True)
class _FinishedRequest:
    host: str
    attempt: int
    result: Outcome | Exception


class _Queue:
    """Hosts take turns; what is taken in is waiting, under way, or to be tried again later."""

    def __init__(self, urls: Iterator[str], ask: Ask, config: FetchConfig) -> None:
        self._urls, self._ask, self._config = urls, ask, config
        self._hosts: dict[str, _Host] = {}
        self._line: deque[str] = deque()  # hosts that may be asked now
        self._tasks: set[asyncio.Task[None]] = set()
        self._busy = 0  # requests under way
        self._open = 0  # addresses taken in and not given back
        # None is put in where a time of waiting ended
        self._news: asyncio.Queue[_FinishedRequest | None] = asyncio.Queue()

    async def next(self) -> Outcome | None:
        """An outcome; None at the end."""
        while True:
            window = WINDOW * self._config.concurrency
            while self._open < window and (url := next(self._urls, None)) is not None:
                self._open += 1
                self._put(host_of(url), url, 0)
            self._start()
            if self._open == 0:
                return None
            ended = await self._news.get()
            if ended is None:
                continue
            self._busy -= 1
            self._hosts[ended.host].busy -= 1
            if isinstance(ended.result, Exception):
                raise ended.result
            again = self._again(ended.host, ended.attempt, ended.result)
            self._enter(ended.host)
            if not again:
                self._open -= 1
                return replace(ended.result, tries=ended.attempt + 1)

    async def stop(self) -> None:
        """End what is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _put(self, host: str, url: str, attempt: int) -> None:
        self._hosts.setdefault(host, _Host()).waiting.append((url, attempt))
        self._enter(host)

    def _enter(self, name: str) -> None:
        """Let a host stand in line if it may be asked; forget it where nothing is left of it."""
        host = self._hosts[name]
        free = host.busy < self._config.per_host and not host.rests
        if host.waiting and free and not host.ready:
            host.ready = True
            self._line.append(name)
        elif not (host.waiting or host.busy or host.rests):
            del self._hosts[name]

    def _start(self) -> None:
        while self._line and self._busy < self._config.concurrency:
            name = self._line.popleft()
            host = self._hosts[name]
            host.ready = False
            if host.rests:  # since it stood in line
                continue
            url, attempt = host.waiting.popleft()
            host.busy += 1
            self._busy += 1
            task = asyncio.create_task(self._attempt(name, url, attempt))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            self._enter(name)

    async def _attempt(self, host: str, url: str, attempt: int) -> None:
        try:
            result: Outcome | Exception = await self._ask(url)
        except Exception as error:  # raised where the outcomes are read
            result = error
        self._news.put_nowait(_FinishedRequest(host, attempt, result))

    def _again(self, name: str, attempt: int, outcome: Outcome) -> bool:
        """Whether an address gets another attempt; if so, it is set down for it."""
        if not outcome.passing or (outcome.wait or 0.0) > LONGEST_WAIT_S:
            return False
        loop = asyncio.get_running_loop()
        wait = max(backoff(outcome.url, attempt, self._config), outcome.wait or 0.0)
        if outcome.http_status in BUSY:
            self._hosts[name].rests += 1
            loop.call_later(wait, self._wake, name)
        if attempt >= self._config.retries:
            return False
        loop.call_later(wait, self._back, name, outcome.url, attempt + 1)
        return True

    def _wake(self, name: str) -> None:
        self._hosts[name].rests -= 1
        self._enter(name)
        self._news.put_nowait(None)

    def _back(self, name: str, url: str, attempt: int) -> None:
        self._put(name, url, attempt)
        self._news.put_nowait(None)
