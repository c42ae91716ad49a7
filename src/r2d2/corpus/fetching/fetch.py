"""Fetching images by their addresses: many at a time, few of one host, in any number of runs.

Every address ends in the store with one cause. What is there is not fetched again, unless it failed
and failures are asked for, or the settings that decided it have other values by now.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Collection, Iterable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pyarrow as pa

from r2d2.corpus.config import FetchConfig
from r2d2.corpus.fetching.addresses import Lookup
from r2d2.corpus.fetching.decision import StoredResult, is_open_again, refusal
from r2d2.corpus.fetching.failures import write_failures
from r2d2.corpus.fetching.host_share import HostShare, PassedAddress
from r2d2.corpus.fetching.outcome import FAILURES, MAY_PASS, Cause, Outcome
from r2d2.corpus.fetching.queue import outcomes
from r2d2.corpus.fetching.request import open_client, request
from r2d2.corpus.fetching.store import ShardWriter, locked, look_up
from r2d2.corpus.fetching.url_list import UrlList, url_list, urls_of_file
from r2d2.corpus.funnel import StageCount, StageCounter
from r2d2.corpus.rows import DroppedFile
from r2d2.errors import R2D2Error
from r2d2.inputs.dropped_rows import DroppedRows
from r2d2.progress import Update
from r2d2.settings import one_of


def fetch_images(
    urls: Iterable[str],
    store: Path,
    config: FetchConfig,
    *,
    retry_failed: bool | Collection[str] = False,
    update: Update,
    lookup: Lookup | None = None,
    dropped: DroppedFile | None = None,
) -> StageCount:
    """Fetch what the store lacks of some images.

    Args:
        urls: their addresses, in any order; repeated ones count once.
        store: folder of the results, made where there is none; see `fetch_store`.
        config: limits. They hold for what was fetched before, too: see `fetch_decision`.
        retry_failed: fetch failures again: those that may pass (True), or of these causes.
        update: progress.
        lookup: resolves a host's name into addresses; the system does by default.
        dropped: takes the addresses without an image.

    Returns:
        How many of the addresses have an image now; the rest by cause. Which they are stands in
        the store's FAILURES_FILE, beside what failed of earlier lists.

    Raises:
        R2D2Error: the store cannot be written, or another process writes it.
    """
    again = retried_causes(retry_failed)
    with locked(store), url_list(urls, store) as listed:
        fetched = fetch_list(listed, store, config, again, HostShare(), update, lookup, dropped)
        count, _ = asyncio.run(fetched)
        write_failures(store, update)
    return count


def retried_causes(retry_failed: bool | Collection[str]) -> frozenset[str]:
    """The causes of failures that are fetched again: those that may pass (True), or those named.

    Raises:
        R2D2Error: there is no such cause.
    """
    if isinstance(retry_failed, bool):
        return frozenset(MAY_PASS if retry_failed else ())
    for cause in retry_failed:
        one_of("--cause", cause, sorted(FAILURES))
    return frozenset(retry_failed)


def need_fetching(config: FetchConfig, what: str) -> None:
    """R2D2Error where fetching is switched off, and so `what` has no meaning."""
    if not config.enabled:
        raise R2D2Error(f"{what} fetches, and fetch.enabled is false: leave out one of the two")


def fetch_table(
    file: Path,
    store: Path,
    config: FetchConfig,
    *,
    column: str = "url",
    retry_failed: bool | Collection[str] = False,
    update: Update,
) -> StageCount:
    """`fetch_images` for the addresses in a table of Parquet, CSV or JSONL.

    The notes of the count say how many rows were passed over for which reason.

    Raises:
        R2D2Error: as `fetch_images`; or the file cannot be read, or has no address.
    """
    need_fetching(config, "corpus fetch")
    dropped = DroppedRows()
    urls: Iterator[str] = urls_of_file(file, column, dropped)
    first = next(urls, None)
    if first is None:
        why = dropped.reasons() or "it holds no row"
        raise R2D2Error(
            f"{file} has no address in its column {column!r} ({why}): give a file "
            "with some, or name another column by --column"
        )
    urls = chain([first], urls)
    count = fetch_images(urls, store, config, retry_failed=retry_failed, update=update)
    notes = {"passed over": dict(dropped.counts), "of these": dropped.first_examples()}
    return replace(count, notes=notes)


async def fetch_list(
    listed: UrlList,
    store: Path,
    config: FetchConfig,
    again: frozenset[str],
    share: HostShare,
    update: Update,
    lookup: Lookup | None,
    dropped: DroppedFile | None = None,
) -> tuple[StageCount, list[PassedAddress]]:
    """Fetch a list into a store that the caller has locked.

    Returns:
        The count of the addresses that have come to an end, and those that are passed on.
    """
    tally = StageCounter("fetch", "addresses", dropped)
    passed: list[PassedAddress] = []

    def add(key: str, url: str, cause: str, reason: str) -> None:
        rule = None if cause == Cause.OK else str(cause)
        tally.add(rule, {"url": url}, f"{url} ({reason})", key=key, reason=reason)

    update("fetching", 0, listed.count)
    writer = ShardWriter(store, config.shard_rows, share.numbers(store))
    try:
        async with open_client(config, lookup, share.owns) as client:

            def ask(url: str) -> Awaitable[Outcome]:
                if (start := share.starts.get(url)) is None:
                    return request(client, url)
                return request(client, url, start.start, start.trail)

            for batch in listed:
                missing = []
                known = _known(store, batch)
                for key, url in batch:
                    stored, shard = known.get(key, (None, ""))
                    if stored is None or (
                        not share.is_of_this_sitting(shard)
                        and (stored.cause in again or is_open_again(stored, client.policy))
                    ):
                        missing.append(url)
                        continue
                    refused = refusal(stored, client.policy)
                    if refused is not None:
                        writer.add(refused)
                    known_as = refused or stored
                    add(key, url, known_as.cause, known_as.reason)
                keys = {url: key for key, url in batch}
                known.clear()
                async for outcome in outcomes(missing, ask, config):
                    outcome = share.with_earlier_tries(outcome)
                    if outcome.passed_on is not None:
                        passed.append(PassedAddress.of(outcome))
                        continue
                    writer.add(outcome)
                    add(keys[outcome.url], outcome.url, outcome.cause, outcome.reason)
                    kept = tally.kept / tally.seen
                    update("fetching", tally.seen, listed.count, f"{kept:.0%} have an image")
        update("fetching", listed.count, listed.count)
    except (Exception, asyncio.CancelledError):  # Ctrl-C comes as the latter
        writer.finish()
        raise
    writer.finish()
    return tally.count(), passed


def _known(store: Path, batch: list[tuple[str, str]]) -> dict[str, tuple[StoredResult, str]]:
    """The results that the store has, by hash, each with the name of its shard."""
    if not batch:
        return {}
    keys = pa.array([key for key, _ in batch], pa.string())
    rows = look_up(store, batch[0][0], batch[-1][0] + "g", keys)
    return {row["url_id"]: (StoredResult.from_row(row), row["shard"]) for row in rows.to_pylist()}
