"""The store of fetched images: Parquet shards of one row an address; the latest result counts.

An address is known by the hash that is also its image's id. A shard's name tells the range of the
hashes in it, so that whoever looks for some addresses opens few shards: they are fetched in about
the order of their hashes.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import itertools
import re
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from r2d2.corpus.fetching.decision import key_columns
from r2d2.corpus.fetching.outcome import Outcome
from r2d2.corpus.rows import image_id_of, open_own_parquet, part_range
from r2d2.errors import R2D2Error
from r2d2.files import disk_errors, sole_process
from r2d2.progress import Update

STORE_COLUMNS = pa.schema(
    [
        ("url_id", pa.string()),  # image_id_of(url)
        ("url", pa.string()),
        ("status", pa.string()),  # a Cause
        ("reason", pa.string()),
        ("http_status", pa.int16()),
        ("tries", pa.int16()),  # in this run
        ("sha256", pa.string()),  # of the file, in hexadecimal
        ("bytes", pa.int64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("image", pa.large_binary()),  # the file as it came; null where there is none
        ("fetched_at", pa.timestamp("s", "UTC")),
        ("decided_by", pa.string()),  # the settings by which it failed, as JSON
        ("trail", pa.string()),  # what the request met, as JSON; see `RequestTrail`
    ]
)
GROUP_BYTES = 8 << 20  # of images, held until they are written
SHARD_BYTES = 1 << 30
LOOKED_UP = (
    "url_id", "url", "status", "reason", "tries", "bytes", "width", "height", "decided_by", "trail",
)  # fmt: skip
NEWER = {  # columns that early versions did not write
    "tries": pa.scalar(1, pa.int16()),
    "decided_by": pa.scalar(None, pa.string()),
    "trail": pa.scalar(None, pa.string()),
}
PLACE = [("shard", pa.string()), ("group", pa.int32()), ("row", pa.int32())]
SHARDS_A_RANGE = 64  # about, whose addresses are in memory at a time to sum up
_NAME = re.compile(r"(\d{6,})-([0-9a-f]{8})-([0-9a-f]{8})\.parquet")


def url_id(url: str) -> str:
    """The hash by which an address is known: 32 hexadecimal digits."""
    return image_id_of(url.encode("utf-8", "replace"))


@dataclass(frozen=True)
class FetchShard:
    """A file of the store, and the first 8 digits of its least and its greatest hash."""

    path: Path
    number: int
    low: str
    high: str


def shards(store: Path) -> list[FetchShard]:
    """The shards, oldest first; none where there is no store."""
    matches = [(path, _NAME.fullmatch(path.name)) for path in store.glob("*.parquet")]
    listed = [FetchShard(path, int(m[1]), m[2], m[3]) for path, m in matches if m is not None]
    return sorted(listed, key=lambda shard: shard.number)


def newest(store: Path) -> int:
    """The number of the last shard; 0 where there is none."""
    return max((shard.number for shard in shards(store)), default=0)


def shard_number(name: str) -> int:
    """The number of a shard by the name of its file."""
    return int(name.partition("-")[0])


@contextmanager
def locked(store: Path) -> Iterator[None]:
    """Keep a second process from fetching into the store, and clear what a killed one left."""
    busy = f"fetches into {store}: wait for it, or give another folder"
    with sole_process(store / ".lock", busy):
        with disk_errors(store):
            for left in store.glob(".*.partial"):
                left.unlink()
        yield


class ShardWriter:
    """Outcomes into shards. A shard is seen when it is whole; a kill loses the one in work."""

    def __init__(self, store: Path, shard_rows: int, numbers: Iterator[int] | None = None) -> None:
        """`numbers` are those of its shards, ascending; None: those after all that are there."""
        self._store, self._shard_rows = store, shard_rows
        self._numbers = itertools.count(newest(store) + 1) if numbers is None else numbers
        self._writer: pq.ParquetWriter | None = None
        self._part = store / ".partial"
        self._held: list[dict[str, Any]] = []
        self._held_bytes = self._rows = self._bytes = 0
        self._low, self._high = "", ""

    def add(self, outcome: Outcome) -> None:
        """One more row; R2D2Error where it cannot be written."""
        image = outcome.image
        size = 512 + len(image or b"")
        self._held.append(
            {
                "url_id": url_id(outcome.url),
                "url": outcome.url,
                "status": outcome.cause.value,
                "reason": outcome.reason,
                "http_status": outcome.http_status,
                "tries": outcome.tries,
                "sha256": None if image is None else hashlib.sha256(image).hexdigest(),
                "bytes": None if image is None else len(image),
                "width": outcome.width,
                "height": outcome.height,
                "image": image,
                "fetched_at": datetime.datetime.now(datetime.UTC).replace(microsecond=0),
                **key_columns(outcome),
            }
        )
        self._held_bytes += size
        self._bytes += size
        self._rows += 1
        if self._rows >= self._shard_rows or self._bytes >= SHARD_BYTES:
            self.finish()
        elif self._held_bytes >= GROUP_BYTES:
            self._write_group()

    def finish(self) -> None:
        """Make the shard in work visible; nothing where it is empty."""
        self._write_group()
        if self._writer is None:
            return
        with self._or_nothing():
            self._writer.close()
            name = f"{next(self._numbers):06d}-{self._low[:8]}-{self._high[:8]}.parquet"
            self._part.replace(self._store / name)
        self._forget()

    def _write_group(self) -> None:
        if not self._held:
            return
        rows = sorted(self._held, key=lambda row: str(row["url_id"]))
        low, high = rows[0]["url_id"], rows[-1]["url_id"]
        self._low, self._high = min(self._low or low, low), max(self._high, high)
        with self._or_nothing():
            if self._writer is None:
                self._part = self._store / f".{uuid.uuid4().hex}.partial"
                self._writer = pq.ParquetWriter(
                    self._part,
                    STORE_COLUMNS,
                    # images are compressed already
                    compression={name: "zstd" for name in STORE_COLUMNS.names if name != "image"},
                    use_dictionary=["status", "reason", "decided_by", "trail"],
                    write_statistics=["url_id"],
                )
            self._writer.write_table(pa.Table.from_pylist(rows, STORE_COLUMNS))
        self._held, self._held_bytes = [], 0

    @contextmanager
    def _or_nothing(self) -> Iterator[None]:
        """What cannot be written leaves nothing behind."""
        try:
            with disk_errors(self._store):
                yield
        except R2D2Error:
            with contextlib.suppress(OSError):
                if self._writer is not None:
                    self._writer.close()
            self._part.unlink(missing_ok=True)
            self._forget()
            raise

    def _forget(self) -> None:
        self._writer, self._held = None, []
        self._held_bytes = self._rows = self._bytes = 0
        self._low, self._high = "", ""


def look_up(store: Path, low: str, high: str, only: pa.Array | None = None) -> pa.Table:
    """The latest result of addresses, without the images.

    Args:
        store: its folder.
        low: hashes from this
        high: up to, but without this.
        only: the hashes wanted; None: all in the range.

    Returns:
        Columns LOOKED_UP and PLACE, sorted by url_id, each once; `tries` are those of all results.
    """
    schema = pa.schema([*(STORE_COLUMNS.field(name) for name in LOOKED_UP), *PLACE])
    schema = schema.set(schema.get_field_index("tries"), pa.field("tries", pa.int64()))
    tables = [schema.empty_table()]
    for shard in shards(store):
        if shard.high < low[:8] or shard.low > high:
            continue
        with open_shard(shard.path) as file:
            for group in range(file.num_row_groups):
                if not _overlaps(file, group, low, high):
                    continue
                rows = file.read_row_group(group, columns=list(LOOKED_UP))
                for name, value in NEWER.items():  # a shard of before they were noted
                    if name not in rows.column_names:
                        rows = rows.append_column(name, pa.repeat(value, len(rows)))
                here = pc.and_(pc.greater_equal(rows["url_id"], low), pc.less(rows["url_id"], high))
                if only is not None:
                    here = pc.and_(here, pc.is_in(rows["url_id"], only))
                rows = rows.append_column("shard", pa.repeat(shard.path.name, len(rows)))
                rows = rows.append_column(
                    "group", pa.repeat(pa.scalar(group, pa.int32()), len(rows))
                )
                rows = rows.append_column("row", pa.array(range(len(rows)), pa.int32()))
                tables.append(rows.filter(here).select(schema.names).cast(schema))
    rows = pa.concat_tables(tables)
    rows = rows.append_column("order", pa.array(range(len(rows)), pa.int64()))
    merged = rows.group_by("url_id").aggregate([("order", "max"), ("tries", "sum")])
    latest = rows.drop_columns("order").take(merged["order_max"])
    place = schema.get_field_index("tries")
    return latest.set_column(place, "tries", merged["tries_sum"]).sort_by("url_id")


def read_stored(store: Path, places: pa.Table) -> dict[str, bytes]:
    """The images of some rows of `look_up`, by url_id; the caller bounds how many."""
    images: dict[str, bytes] = {}
    places = places.sort_by([("shard", "ascending"), ("group", "ascending")])
    rows = places.select(["url_id", *(name for name, _ in PLACE)]).to_pylist()
    start = 0
    while start < len(rows):
        name = rows[start]["shard"]
        with open_shard(store / name) as file:
            while start < len(rows) and rows[start]["shard"] == name:
                group = rows[start]["group"]
                column = file.read_row_group(group, columns=["image"])["image"]
                while start < len(rows) and (name, group) == (
                    rows[start]["shard"],
                    rows[start]["group"],
                ):
                    image = column[rows[start]["row"]].as_py()
                    if image is not None:
                        images[rows[start]["url_id"]] = image
                    start += 1
    return images


def latest_results(store: Path, update: Update) -> Iterator[pa.Table]:
    """The latest result of every address as `look_up` gives it, in tables of bounded size."""
    ranges = 1 + len(shards(store)) // SHARDS_A_RANGE
    for number in range(ranges):
        update("summing up", number, ranges)
        low, high = part_range(number, ranges)
        yield look_up(store, low, high)
    update("summing up", ranges, ranges)


def open_shard(path: Path) -> AbstractContextManager[pq.ParquetFile]:
    """A shard to read; R2D2Error where it is damaged."""
    return open_own_parquet(path, "remove this file, and what was in it is fetched again")


def _overlaps(file: pq.ParquetFile, group: int, low: str, high: str) -> bool:
    statistics = file.metadata.row_group(group).column(0).statistics
    return (
        statistics is None
        or not statistics.has_min_max
        or not (statistics.max < low or statistics.min >= high)
    )
