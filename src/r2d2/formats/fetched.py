"""Read the pictures of rows with an address from the store of `r2d2 corpus fetch`.

The store is asked in the order of its hashes, so rows go by way of the disk where they are many.
All rows of one address become one row with several texts.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from r2d2.corpus.fetching.outcome import Cause
from r2d2.corpus.fetching.store import look_up, read_stored, shards, url_id
from r2d2.formats.import_context import ImportContext
from r2d2.formats.record import SourceRow
from r2d2.inputs.dropped_rows import DroppedRows
from r2d2.inputs.ids import REPEATED_TEXT
from r2d2.inputs.texts import TextFault, count_holes
from r2d2.inputs.values import shown, text_value
from r2d2.table import Pair, Text

HELD = 200_000  # rows in memory; more go by way of the disk, in as many ...
PILES = 256  # ... piles as two hexadecimal digits tell apart
BLOCK_BYTES = 32 << 20  # of pictures in memory
NOT_FETCHED = "not fetched"
NO_ADDRESS = "no address"


def address_of(value: Any, where: str, dropped: DroppedRows) -> str | None:
    """The address that a row names; None, where there is none, is counted."""
    address: str | None = None
    with dropped.counting(where, prefix=f"{NO_ADDRESS}: "):
        address = text_value(value)
        if address is None:
            dropped.add(NO_ADDRESS, where)
    return address


def find_store(paths: Iterable[Path]) -> Path | None:
    """Return the first of the paths that is a store, or None."""
    return next((path for path in paths if path.is_dir() and shards(path)), None)


def join(rows: Iterable[SourceRow], store: Path, context: ImportContext) -> Iterator[Pair]:
    """The rows whose picture is in the store, in the order of the hashes of their addresses.

    Every row has a `url`, which may be empty.
    """
    work: Path | None = None
    waiting: list[SourceRow] = []
    try:
        for row in rows:
            waiting.append(row)
            if len(waiting) >= HELD:
                work = work or Path(tempfile.mkdtemp(prefix="r2d2-join-"))
                _pile(waiting, work)
                waiting = []
        if work is None:
            yield from _join(waiting, store, context)
            return
        _pile(waiting, work)
        waiting = []
        for pile in sorted(work.iterdir()):
            with pile.open(encoding="utf-8") as stream:
                yield from _join([_unpack(line) for line in stream], store, context)
    finally:
        if work is not None:
            shutil.rmtree(work, ignore_errors=True)


def _join(rows: list[SourceRow], store: Path, context: ImportContext) -> Iterator[Pair]:
    by_url: dict[str, list[SourceRow]] = {}
    for row in rows:
        by_url.setdefault(url_id(row.url), []).append(row)
    if not by_url:
        return
    keys = pa.array(sorted(by_url), pa.string())
    stored = look_up(store, keys[0].as_py(), keys[-1].as_py() + "g", keys)
    good = stored.filter(pc.equal(stored["status"], Cause.OK))
    for key, status in zip(stored["url_id"].to_pylist(), stored["status"].to_pylist(), strict=True):
        if status != Cause.OK:
            lost_rows = by_url.pop(key)
            context.dropped.add(f"{NOT_FETCHED}: {status}", _named(lost_rows[0]), len(lost_rows))
    start = 0
    sizes = good["bytes"].to_pylist()
    ids = good["url_id"].to_pylist()
    while start < len(ids):
        end, size = start, 0
        while end < len(ids) and (end == start or size + (sizes[end] or 0) <= BLOCK_BYTES):
            size += sizes[end] or 0
            end += 1
        images = read_stored(store, good.slice(start, end - start))
        for key in ids[start:end]:
            by_split: dict[str, list[SourceRow]] = {}  # no text of one split goes to another
            for row in by_url.pop(key):
                by_split.setdefault(row.split, []).append(row)
            for same_split in by_split.values():
                yield from _united(same_split, key).pairs(images.get(key), context.dropped)
        start = end
    for lost_rows in by_url.values():
        context.dropped.add(NOT_FETCHED, _named(lost_rows[0]), len(lost_rows))


def _united(rows: list[SourceRow], key: str) -> SourceRow:
    """One row of those that have the same address, whose hash is `key`."""
    texts: dict[Text, None] = {}
    holes = DroppedRows()
    for row in rows:
        count_holes(row.faults, _named(row), holes)
        for text in row.texts:
            if text in texts:
                holes.add(REPEATED_TEXT, f"{_named(row)}: {shown(text.text)}")
            texts[text] = None
    return replace(
        rows[0], texts=texts, faults=(), image_id=rows[0].image_id or key, rows=len(rows),
        holes=holes,
    )  # fmt: skip


def _named(row: SourceRow) -> str:
    return f"{row.where}: {row.url}"


def _pile(rows: list[SourceRow], work: Path) -> None:
    piles: dict[str, list[str]] = {}
    for row in rows:
        line = json.dumps(asdict(row), ensure_ascii=True)
        piles.setdefault(url_id(row.url)[:2], []).append(line + "\n")
    for name, lines in piles.items():
        with (work / name).open("a", encoding="utf-8") as stream:
            stream.writelines(lines)


def _unpack(line: str) -> SourceRow:
    fields = json.loads(line)
    fields["texts"] = tuple(Text(**text) for text in fields["texts"])
    fields["faults"] = tuple(TextFault(*fault) for fault in fields["faults"])
    return SourceRow(**fields)
