"""The order of asking: never more at a time than allowed, everything once, again what may pass."""

import asyncio
from collections import Counter
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from r2d2.corpus.config import FetchConfig
from r2d2.corpus.fetching.outcome import Cause, Outcome
from r2d2.corpus.fetching.queue import backoff, outcomes
from r2d2.errors import R2D2Error


def run(urls, ask, config):
    async def main():
        return [outcome async for outcome in outcomes(urls, ask, config)]

    return asyncio.run(main())


@settings(deadline=None, max_examples=60)
@given(
    hosts=st.lists(st.integers(0, 4), max_size=120),
    concurrency=st.integers(1, 9),
    per_host=st.integers(1, 4),
    retries=st.integers(0, 2),
    rule=st.integers(0, 2**31),
)
def test_limits_hold_and_every_address_ends_once(hosts, concurrency, per_host, retries, rule):
    config = FetchConfig(concurrency=concurrency, per_host=per_host, retries=retries, backoff_s=0.0)
    urls = [f"http://h{host}/{n}" for n, host in enumerate(hosts)]
    busy, asked = Counter(), Counter()
    failures = {url: (rule >> n % 29) % 5 for n, url in enumerate(urls)}  # attempts that fail

    async def ask(url):
        host = urlsplit(url).hostname
        busy[host] += 1
        asked[url] += 1
        assert busy[host] <= per_host
        assert busy.total() <= concurrency
        for _ in range((rule >> asked.total() % 23) % 3):
            await asyncio.sleep(0)
        busy[host] -= 1
        good = asked[url] > failures[url]
        status = 200 if good else (500, 429)[failures[url] % 2]
        return Outcome(
            url, Cause.OK if good else Cause.HTTP_ERROR, http_status=status, passing=not good
        )

    found = run(urls, ask, config)
    assert Counter(outcome.url for outcome in found) == Counter(urls)
    for outcome in found:
        assert asked[outcome.url] == min(failures[outcome.url], retries) + 1
        assert (outcome.cause == Cause.OK) == (failures[outcome.url] <= retries)


def test_a_busy_host_does_not_hold_up_the_others():
    """All places but the busy host's own serve the rest."""
    config = FetchConfig(concurrency=4, per_host=1)
    gate = asyncio.Event()
    urls = [f"http://slow/{n}" for n in range(30)] + [f"http://h{n}/" for n in range(30)]
    order = []

    async def ask(url):
        if "slow" in url:
            await gate.wait()
        order.append(url)
        if len(order) == 30:
            gate.set()
        return Outcome(url, Cause.OK)

    assert len(run(urls, ask, config)) == 60
    assert not any("slow" in url for url in order[:30])


def test_a_host_that_is_busy_is_left_alone_for_as_long_as_it_asks():
    config = FetchConfig(concurrency=4, per_host=1, backoff_s=0.0)
    times = []

    async def ask(url):
        times.append(asyncio.get_running_loop().time())
        if len(times) == 1:
            return Outcome(url, Cause.HTTP_ERROR, http_status=429, passing=True, wait=0.2)
        return Outcome(url, Cause.OK)

    assert len(run([f"http://h/{n}" for n in range(3)], ask, config)) == 3
    assert len(times) == 4
    assert times[1] - times[0] >= 0.19  # a lower bound, whatever the machine


def test_who_asks_for_too_long_a_wait_is_not_asked_again():
    asked = []

    async def ask(url):
        asked.append(url)
        return Outcome(url, Cause.HTTP_ERROR, http_status=503, passing=True, wait=3600.0)

    assert len(run(["http://h/1", "http://h/2"], ask, FetchConfig())) == 2
    assert len(asked) == 2


def test_addresses_are_taken_a_window_ahead_and_no_more():
    config = FetchConfig(concurrency=2, per_host=1)
    taken = 0

    def urls():
        nonlocal taken
        for n in range(1000):
            taken += 1
            yield f"http://h/{n}"

    ended = 0

    async def ask(url):
        nonlocal ended
        assert taken - ended <= 2 * 16 + 2
        ended += 1
        return Outcome(url, Cause.OK)

    assert len(run(urls(), ask, config)) == 1000


def test_an_error_of_the_user_stops_everything():
    stopped = []

    async def ask(url):
        if url.endswith("/3"):
            raise R2D2Error("too many files are open")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            stopped.append(url)
            raise

    with pytest.raises(R2D2Error, match="too many files"):
        run([f"http://h{n}/{n}" for n in range(6)], ask, FetchConfig())
    assert len(stopped) == 5


def test_backoff_doubles_is_spread_and_is_the_same_each_time():
    config = FetchConfig(backoff_s=2.0)
    waits = [backoff(f"http://h/{n}", 0, config) for n in range(200)]
    assert waits == [backoff(f"http://h/{n}", 0, config) for n in range(200)]
    assert min(waits) >= 1.0
    assert max(waits) <= 3.0
    assert max(waits) - min(waits) > 1.5
    assert min(backoff(f"http://h/{n}", 3, config) for n in range(200)) >= 8.0
