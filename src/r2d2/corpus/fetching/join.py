"""The images of a part get their files: from the log, from a path, or from what was fetched."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from r2d2.corpus.clicks.log_files import open_file
from r2d2.corpus.config import FetchConfig
from r2d2.corpus.fetching.outcome import Cause, FetchFailed, Outcome, failed
from r2d2.corpus.fetching.sniff import image_size
from r2d2.corpus.fetching.store import look_up, read_stored, url_id
from r2d2.corpus.funnel import StageCount
from r2d2.corpus.keep import ImageVerdict, keep_images
from r2d2.corpus.rows import COUNTED_IMAGES, IMAGES, open_part, part_file, read_images
from r2d2.errors import R2D2Error
from r2d2.inputs.spellings import existing_file

NOT_FETCHED = "not fetched"
BLOCK_BYTES = 32 << 20  # of stored images in memory at a time
BLOCK_ROWS = 4096

Row = dict[str, Any]


@dataclass(frozen=True)
class FetchWork:
    """A part of images with the files that are to be had; the others are dropped by cause.

    A job names `images` (folder of the stage to read), `out` (folder to write to) and `part`. A row
    keeps the file that it has; else it gets that at its path, or, where it has none, that of its
    address in the store. Its id stays what it was.
    """

    store: str
    config: FetchConfig

    def __call__(self, job: dict[str, str]) -> StageCount:
        """See `map_jobs`."""
        part = part_file(Path(job["images"]), IMAGES, int(job["part"]))
        return keep_images(job, self._verdicts(part), COUNTED_IMAGES, "fetch")

    def _verdicts(self, part: Path) -> Iterator[ImageVerdict]:
        for row, cause, reason in self._rows(part):
            rule = None if cause == Cause.OK else str(cause)
            shown = row["path"] or row["url"] or row["image_id"]
            yield ImageVerdict(row, rule, f"{shown} ({reason})", reason)

    def _rows(self, part: Path) -> Iterator[tuple[Row, str, str]]:
        """Every row in order: with its file, OK and nothing, or with the cause and the reason."""
        stored = self._stored(part)
        places = {key: n for n, key in enumerate(stored["url_id"].to_pylist())}
        sizes = stored["bytes"].to_pylist()
        block: list[tuple[Row, int | None]] = []
        size = 0
        for row in read_images(part, COUNTED_IMAGES.names):
            lacks = row["image"] is None and row["path"] is None and row["url"] is not None
            place = places.get(url_id(row["url"])) if lacks else None
            block.append((row, place))
            size += len(row["image"] or b"") + (0 if place is None else sizes[place] or 0)
            if size >= BLOCK_BYTES or len(block) >= BLOCK_ROWS:
                yield from self._filled(block, stored)
                block, size = [], 0
        yield from self._filled(block, stored)

    def _stored(self, part: Path) -> pa.Table:
        """What the store knows of a part's addresses."""
        with open_part(part) as file:
            rows = file.read(columns=["url", "path"])
        urls = rows["url"].filter(pc.is_null(rows["path"])).drop_null()
        keys = pa.array(sorted(map(url_id, urls.to_pylist())), pa.string())
        if len(keys) == 0:
            return look_up(Path(self.store), "g", "g")
        return look_up(Path(self.store), keys[0].as_py(), keys[-1].as_py() + "g", keys)

    def _filled(
        self, block: list[tuple[Row, int | None]], stored: pa.Table
    ) -> Iterator[tuple[Row, str, str]]:
        places = [place for _, place in block if place is not None]
        known = stored.take(pa.array(places, pa.int64()))
        images = read_stored(Path(self.store), known.filter(pc.equal(known["status"], Cause.OK)))
        for row, place in block:
            if row["image"] is not None:
                yield row, Cause.OK, ""
            elif row["path"] is not None:
                outcome = read_path(row["path"], self.config)
                row["image"] = outcome.image
                yield row, outcome.cause, outcome.reason
            elif place is None:
                yield row, NOT_FETCHED, "there is no result of it"
            else:
                row["image"] = images.get(stored["url_id"][place].as_py())
                yield row, stored["status"][place].as_py(), stored["reason"][place].as_py()


def read_path(path: str, config: FetchConfig) -> Outcome:
    """An image from a file, local or by an object store's URL, within the limits of fetching."""
    try:
        data = _read(path, config.max_bytes)
        width, height = image_size(data, config.max_pixels)
    except FetchFailed as error:
        return failed(path, error)
    return Outcome(path, Cause.OK, "", None, data, width, height)


def _read(path: str, most: int) -> bytes:
    try:
        if "://" not in path:
            path = existing_file(path)
        if "://" not in path and not stat.S_ISREG(Path(path).stat().st_mode):
            raise FetchFailed(Cause.REFUSED, "no plain file")  # a pipe would never end
        with open_file(path) as stream:
            data = stream.read(most + 1)
    except (FetchFailed, R2D2Error):
        raise
    except FileNotFoundError as error:
        raise FetchFailed(Cause.GONE, "no such file") from error
    except Exception as error:  # an object store's errors have no base of their own
        raise FetchFailed(Cause.NO_CONNECTION, f"it cannot be read: {error}") from error
    if len(data) > most:
        raise FetchFailed(Cause.TOO_LARGE, f"more than {most} bytes")
    return data
