"""The addresses to fetch: each once, in the order of their hashes, however many there are.

That order spreads a host's addresses over the whole list, so that a limit per host keeps few
waiting, and it lets the store say by ranges what it has.
"""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from r2d2.corpus.clicks.lines import head_columns, read_lines
from r2d2.corpus.clicks.log import log_format
from r2d2.corpus.clicks.log_files import open_file, open_parquet, reading, unpacked
from r2d2.corpus.fetching.store import url_id
from r2d2.corpus.rows import open_part
from r2d2.errors import R2D2Error
from r2d2.files import disk_errors
from r2d2.inputs.dropped_rows import DroppedRows

HELD = 1 << 20  # addresses in memory; more go by way of the disk, in as many ...
PILES = 256  # ... piles as two hexadecimal digits tell apart
NO_URL = "no address"


@dataclass(frozen=True)
class UrlList:
    """Addresses in memory, or in piles on disk."""

    count: int  # of those given, repeated ones among them
    held: list[str]
    folder: Path | None = None

    def __iter__(self) -> Iterator[list[tuple[str, str]]]:
        """Lists of (hash, address), sorted by hash and each once, in the order of the hashes."""
        if self.folder is None:
            yield _sorted(self.held)
            return
        for pile in range(PILES):
            file = self.folder / f"{pile:02x}"
            lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
            yield _sorted(json.loads(line) for line in lines)


@contextmanager
def url_list(urls: Iterable[str], folder: Path) -> Iterator[UrlList]:
    """Take in all addresses; what does not fit into memory lies in `folder` meanwhile.

    Args:
        urls: in any order, with repetitions.
        folder: of the caller's own; a hidden one is made in it and removed.
    """
    work = folder / f".urls-{uuid.uuid4().hex[:8]}"
    held: list[str] = []
    count = 0
    try:
        for url in urls:
            held.append(url)
            count += 1
            if len(held) >= HELD:
                _pile(held, work)
                held = []
        if count >= HELD and held:
            _pile(held, work)
        yield UrlList(count, held, work) if count >= HELD else UrlList(count, held)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def needed_urls(images: Path) -> Iterator[str]:
    """Addresses in a part of images (IMAGE_COLUMNS) that has neither the file nor a path of it."""
    with open_part(images) as file:
        place = file.schema_arrow.get_field_index("image")
        for group in range(file.num_row_groups):
            meta = file.metadata.row_group(group)
            known = meta.column(place).statistics
            nulls = known.null_count if known is not None and known.has_null_count else None
            if nulls == 0:
                continue
            rows = file.read_row_group(group, columns=["url", "path"])
            here = pc.and_(pc.is_valid(rows["url"]), pc.is_null(rows["path"]))
            if nulls != meta.num_rows:
                image = file.read_row_group(group, columns=["image"])["image"]
                here = pc.and_(here, pc.is_null(image))
            yield from rows["url"].filter(here).to_pylist()


def urls_of_file(file: Path, column: str, dropped: DroppedRows) -> Iterator[str]:
    """The addresses in a table of Parquet, CSV or JSONL; rows without one go to `dropped`.

    Raises:
        R2D2Error: the file cannot be read, or lacks the column.
    """
    name = str(file)
    kind = log_format(name)
    if kind in (None, "lance"):
        raise R2D2Error(f"cannot tell the format of {file}: name it .parquet, .csv or .jsonl")
    if not file.is_file():
        raise R2D2Error(f"no file {file}: give a table with a column of addresses")
    with reading(name):
        if kind == "parquet":
            with open_parquet(name) as parquet:
                _need(file, column, parquet.schema_arrow.names)
                for batch in parquet.iter_batches(columns=[column]):
                    yield from _given(batch.column(0), file, dropped)
            return
        with open_file(name) as stream:
            _need(file, column, head_columns(unpacked(stream, name), kind, name))
        with open_file(name) as stream:
            for chunk in read_lines(unpacked(stream, name), kind, {"url": column}, dropped, name):
                yield from _given(chunk["url"], file, dropped)


def _given(values: pa.Array, file: Path, dropped: DroppedRows) -> list[str]:
    given = pc.utf8_trim_whitespace(values.cast(pa.string()))
    urls: list[str] = given.filter(pc.greater(pc.binary_length(given), 0)).to_pylist()
    if missing := len(given) - len(urls):
        dropped.add(NO_URL, str(file), missing)
    return urls


def _need(file: Path, column: str, names: list[str]) -> None:
    if column not in names:
        raise R2D2Error(
            f"{file} has no column {column!r} (it has {', '.join(names)}): "
            "name that of the addresses by --column"
        )


def _pile(urls: list[str], folder: Path) -> None:
    """Add addresses to the piles that their hashes belong to."""
    piles: dict[str, list[str]] = {}
    for url in urls:
        piles.setdefault(url_id(url)[:2], []).append(json.dumps(url))
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name, lines in piles.items():
            with (folder / name).open("a", encoding="utf-8") as stream:
                stream.write("\n".join(lines) + "\n")


def _sorted(urls: Iterable[str]) -> list[tuple[str, str]]:
    # what UTF-8 cannot hold is no address either, but must be named in the store
    known = {url.encode("utf-8", "replace").decode() for url in urls}
    return sorted((url_id(url), url) for url in known)
