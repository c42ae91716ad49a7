"""Fetching over a cluster: each worker asks some hosts, and nobody else asks these.

The addresses are sorted by the share of their host. Workers fetch share after share into one store.
Redirects to hosts of other shares are fetched by those in a next round, until none is left.
"""

from __future__ import annotations

import asyncio
import itertools
import shutil
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds

from r2d2.corpus.config import FetchConfig
from r2d2.corpus.fetching.addresses import Lookup
from r2d2.corpus.fetching.failures import write_failures
from r2d2.corpus.fetching.fetch import fetch_list, retried_causes
from r2d2.corpus.fetching.host_lists import host_of
from r2d2.corpus.fetching.host_share import HostShare, PassedAddress, share_of
from r2d2.corpus.fetching.store import locked, newest, url_id
from r2d2.corpus.fetching.url_list import needed_urls, url_list
from r2d2.corpus.funnel import StageCount, add_sorted_counts
from r2d2.corpus.rows import DROPPED, IMAGES, DroppedFile, new_part, part_file
from r2d2.corpus.runner import Job, Runner, map_jobs
from r2d2.progress import Update

SHARES_A_WORKER = 4  # so that a worker with few addresses takes another share
SORTED = ".by-host"  # in the store, while it is fetched
ADDRESSES = pa.schema(
    [
        ("share", pa.int32()),
        ("url", pa.string()),
        ("start", pa.string()),  # these three of an address that was passed on; else null
        ("trail", pa.string()),
        ("tries", pa.int64()),
    ]
)


def fetch_by_host(
    images: Path,
    parts: int,
    store: Path,
    config: FetchConfig,
    runner: Runner,
    *,
    retry_failed: bool | Collection[str] = False,
    update: Update,
    lookup: Lookup | None = None,
    stage: Path | None = None,
) -> StageCount | None:
    """`fetch_images` for what parts of images lack, by the workers of a cluster.

    Args:
        images: folder of the parts.
        parts: how many there are.
        store: as in `fetch_images`, on storage that all workers share.
        config: limits. `concurrency` is a worker's; `per_host` holds over all of them.
        runner: the cluster.
        retry_failed: as in `fetch_images`.
        update: progress.
        lookup: as in `fetch_images`; it travels to the workers.
        stage: folder in which addresses without an image are kept; see `DroppedFile`.

    Returns:
        As `fetch_images`; None where no image lacks its file.
    """
    again = retried_causes(retry_failed)
    count = runner.workers * SHARES_A_WORKER
    home = store if stage is None else stage
    for old in (home / DROPPED).glob("addresses-*.parquet"):  # of a run that was cut off
        old.unlink()
    with locked(store):
        folder = store / SORTED
        shutil.rmtree(folder, ignore_errors=True)
        try:
            jobs = [
                {"images": str(images), "out": str(folder / "0"), "part": str(part)}
                for part in range(parts)
            ]
            listed = map_jobs(SortByHost(count), jobs, runner, "sorting addresses", update)
            if not sum(listed):
                return None
            work = FetchShare(str(store), config, again, count, newest(store), lookup)
            counts: list[StageCount] = []
            wanted = set(range(count))
            for number in itertools.count():
                jobs = [
                    {
                        "addresses": str(folder / str(number)),
                        "passed_on": str(folder / str(number + 1)),
                        "share": str(share),
                        "stage": str(home),
                        "round": str(number),
                    }
                    for share in sorted(wanted)
                ]
                done = map_jobs(work, jobs, runner, "fetching", update)
                counts += [fetched.count for fetched in done]
                wanted = {share for fetched in done for share in fetched.passed_on}
                if not wanted:
                    break
            write_failures(store, update)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            for left in store.glob(".*.partial"):  # of workers that were killed
                left.unlink(missing_ok=True)
    return add_sorted_counts(counts, key=lambda shown: url_id(shown.partition(" (")[0]))


@dataclass(frozen=True)
class SortByHost:
    """The addresses that a part of images lacks, sorted by share; gives how many there are."""

    shares: int

    def __call__(self, job: Job) -> int:
        """See `map_jobs`."""
        part = int(job["part"])
        urls = list(needed_urls(part_file(Path(job["images"]), IMAGES, part)))
        rows = [{"share": share_of(host_of(url), self.shares), "url": url} for url in urls]
        _write(part_file(Path(job["out"]), "addresses", part), rows)
        return len(urls)


@dataclass(frozen=True)
class FetchedShare:
    """What a worker has done of a share in one round."""

    count: StageCount  # of the addresses that have come to an end
    passed_on: tuple[int, ...]  # the shares to which the others were


@dataclass(frozen=True)
class FetchShare:
    """The addresses of one share, fetched into the store."""

    store: str
    config: FetchConfig
    again: frozenset[str]
    shares: int
    since: int  # number of the store's last shard before this run
    lookup: Lookup | None

    def __call__(self, job: Job) -> FetchedShare:
        """See `map_jobs`."""
        number = int(job["share"])
        starts: dict[str, PassedAddress] = {}

        def urls() -> Iterator[str]:
            for row in _read(Path(job["addresses"]), number):
                if row["start"] is not None:
                    starts[row["url"]] = PassedAddress.from_row(row)
                yield row["url"]

        share = HostShare(number, self.shares, self.since, starts)
        with tempfile.TemporaryDirectory() as own, url_list(urls(), Path(own)) as listed:
            place = Path(job["stage"]), "fetch", "addresses", f"{job['round']}-{number}"
            with DroppedFile(*place) as dropped:
                fetched = fetch_list(
                    listed, Path(self.store), self.config, self.again, share, _silent, self.lookup,
                    dropped,
                )  # fmt: skip
                count, passed = asyncio.run(fetched)
        rows = [
            {"share": share_of(host_of(one.start), self.shares), **one.to_row()} for one in passed
        ]
        _write(part_file(Path(job["passed_on"]), "addresses", number), rows)
        return FetchedShare(count, tuple({row["share"] for row in rows}))


def _write(file: Path, rows: list[dict[str, Any]]) -> None:
    """Addresses sorted by share, each share a row group of its own."""
    table = pa.Table.from_pylist(rows, ADDRESSES).sort_by("share")
    shares = table["share"].to_numpy()
    with new_part(file, ADDRESSES) as writer:
        for share in sorted(set(shares.tolist())):
            first, last = shares.searchsorted([share, share + 1])
            writer.write_table(table.slice(first, last - first), row_group_size=len(table))


def _read(folder: Path, share: int) -> Iterator[dict[str, Any]]:
    """The addresses of one share."""
    scanned = ds.dataset(folder, format="parquet", exclude_invalid_files=False)
    for batch in scanned.to_batches(filter=ds.field("share") == share, batch_readahead=1):
        yield from batch.to_pylist()


def _silent(*progress: object) -> None:
    pass
