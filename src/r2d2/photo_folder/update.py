"""Bring the table of a folder up to date: only what is new or changed is embedded.

New rows are appended before old ones are removed. An update that was stopped keeps its finished
rows; where a file has two rows then, the next update removes the older one.
"""

from __future__ import annotations

import logging
import os
import posixpath
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

from r2d2.formats.picture_captions import CaptionSource
from r2d2.index.layout import BAD, VECTOR
from r2d2.inputs.dropped_rows import DroppedRows
from r2d2.inputs.picture_listing import UNREADABLE_FILE, ListedPicture, Listing
from r2d2.models import ImageTextModel
from r2d2.photo_folder.plan import FolderPlan
from r2d2.photo_folder.reading import (
    CHANGING,
    ChangingFileError,
    PictureContent,
    read_picture,
)
from r2d2.photo_folder.rows import (
    BYTES,
    CAPTIONS,
    DIGEST,
    FILE,
    FOLDER,
    MODIFIED,
    CaptionsState,
    FolderTable,
    KnownPicture,
)
from r2d2.progress import Update
from r2d2.vectors import NO_DIRECTION, without_direction

log = logging.getLogger(__name__)

READERS = max(1, min(4, os.cpu_count() or 1))  # files that are decoded at once
EMBEDDED_AT_ONCE = 64  # pictures in a pass of the model
ROWS_AT_ONCE = 1024  # appended to the table together, or ...
BYTES_AT_ONCE = 32 << 20  # ... so many bytes of pictures, or ...
SECONDS = 30  # ... the rows of so many seconds; a killed run loses no more
AHEAD = 16  # files that are read in advance; each may need 64 MB
REWRITTEN_AT_ONCE = 256  # rows of known pictures ...
COPIES_AT_ONCE = 8  # ... and where they hold whole files


@dataclass
class FolderChanges:
    """The numbers of changes of an update, and the files that it left out."""

    new: int = 0
    changed: int = 0
    moved: int = 0
    deleted: int = 0
    unchanged: int = 0
    captions: int = 0  # pictures whose captions were changed, nothing else
    dropped: DroppedRows = field(default_factory=DroppedRows)
    bad: DroppedRows = field(default_factory=DroppedRows)  # pictures of the table without a vector

    @property
    def any(self) -> bool:
        """Whether the table was changed."""
        return any((self.new, self.changed, self.moved, self.deleted, self.captions))

    def line(self) -> str:
        """All counts in a line."""
        counts = (
            f"{self.new:,} new, {self.changed:,} changed, {self.moved:,} moved, "
            f"{self.deleted:,} deleted, {self.unchanged:,} unchanged"
        )
        return counts + (f"; captions of {self.captions:,} changed" if self.captions else "")


@dataclass
class FolderUpdate:
    """One update of a table."""

    listing: Listing
    plan: FolderPlan
    table: FolderTable
    model: ImageTextModel
    captions: CaptionSource
    copies: bool  # whether the table holds whole files
    update: Update

    def __post_init__(self) -> None:
        self._rewritten = COPIES_AT_ONCE if self.copies else REWRITTEN_AT_ONCE
        self._rows: list[dict[str, Any]] = []  # to be appended
        self._replaced: list[int] = []  # ids of rows that go when these are appended
        self._bytes = 0
        self._written = time.monotonic()
        self.changes = FolderChanges(dropped=self.listing.dropped)

    def run(self) -> FolderChanges:
        """Run the update; a run that is stopped keeps what it has done."""
        changes, plan = self.changes, self.plan
        try:
            self._read_files()
            self._rewrite_captions()
        finally:
            self._write()
        gone = list(plan.gone)
        changes.deleted = len(gone)
        self.table.remove(gone)
        changes.unchanged += len(plan.same) + len(plan.kept) - changes.captions
        return changes

    def _read_files(self) -> None:
        """Read files that have a row, then new ones; the content tells which files have moved."""
        plan, changes = self.plan, self.changes
        rows = {picture.path: row for picture, row in plan.touched}
        free: dict[str, list[KnownPicture]] = {}  # rows whose file is gone, by digest
        for missing in plan.gone.values():
            free.setdefault(missing.digest, []).append(missing)
        known = {row.digest for row in (*rows.values(), *plan.gone.values())}
        waiting: list[tuple[ListedPicture, PictureContent, KnownPicture | None]] = []
        moves: list[tuple[ListedPicture, PictureContent, KnownPicture]] = []
        total = len(plan.to_read)
        for done, (picture, content) in enumerate(self._contents(plan.to_read, known), 1):
            row: KnownPicture | None = rows.get(picture.path)
            if content is None:
                changes.unchanged += row is not None
            elif row is not None and row.digest == content.digest and row.bad is None:
                changes.unchanged += 1
                moves.append((picture, content, row))
            elif free.get(content.digest):
                source = free[content.digest].pop()
                del plan.gone[source.row_id]
                changes.moved += 1
                moves.append((picture, content, source))
                if row is not None:  # the picture that stood there before is gone, unless it moved
                    plan.gone[row.row_id] = row
                    free.setdefault(row.digest, []).append(row)
            else:
                if not content.decoded:
                    content = self._decoded(picture)
                if content is not None:
                    waiting.append((picture, content, row))
            if len(waiting) == EMBEDDED_AT_ONCE:
                self._embed(waiting)
                waiting = []
            if len(moves) == self._rewritten:
                self._move(moves)
                moves = []
            self.update("pictures", done, total)
        self._embed(waiting)
        self._move(moves)

    def _contents(
        self, pictures: Sequence[ListedPicture], known: set[str]
    ) -> Iterator[tuple[ListedPicture, PictureContent | None]]:
        """Read files in order; None where a file cannot be read, which is counted."""
        held: list[tuple[ListedPicture, Future[PictureContent]]] = []
        with ThreadPoolExecutor(READERS, "read-pictures") as pool:
            try:
                for picture in pictures:
                    path = self.listing.root / picture.path
                    held.append((
                        picture,
                        pool.submit(
                            read_picture, path, self.model.read, known=known, copies=self.copies
                        ),
                    ))  # fmt: skip
                    if len(held) == AHEAD:
                        first, content = held.pop(0)
                        yield first, self._counted(first, content.result)
                for first, content in held:
                    yield first, self._counted(first, content.result)
            finally:
                pool.shutdown(cancel_futures=True)

    def _decoded(self, picture: ListedPicture) -> PictureContent | None:
        path = self.listing.root / picture.path
        return self._counted(
            picture, lambda: read_picture(path, self.model.read, copies=self.copies)
        )

    def _counted(
        self, picture: ListedPicture, read: Callable[[], PictureContent]
    ) -> PictureContent | None:
        try:
            return read()
        except ChangingFileError:
            self.changes.dropped.add(CHANGING, picture.image_id)
        except OSError as error:
            reason = error.strerror or str(error)
            self.changes.dropped.add(UNREADABLE_FILE, f"{picture.image_id}: {reason}")
        return None

    def _embed(
        self, pictures: Sequence[tuple[ListedPicture, PictureContent, KnownPicture | None]]
    ) -> None:
        good = [content.pixels for _, content, _ in pictures if content.pixels is not None]
        vectors: Iterator[Any] = iter(())
        if good:
            made = self.model.encode_pixels(good).embedding.float().cpu().numpy()
            none = without_direction(made)
            vectors = iter(
                [None if bad else vector for vector, bad in zip(made, none, strict=True)]
            )
        for picture, content, row in pictures:
            vector, bad = None, content.bad
            if content.pixels is not None:
                vector = next(vectors)
                bad = NO_DIRECTION if vector is None else None
            image = content.thumbnail if content.file is None else content.file
            fields = {
                "image": image, "width": content.width, "height": content.height, VECTOR: vector,
                BAD: bad, **self._file_fields(picture, content),
            }  # fmt: skip
            self._put(fields, None if row is None else row.row_id)
            if row is None:
                self.changes.new += 1
            else:
                self.changes.changed += 1

    def _move(self, moves: Sequence[tuple[ListedPicture, PictureContent, KnownPicture]]) -> None:
        """Rewrite rows whose file has another path or time; picture and vector stay."""
        records = self.table.take([row for _, _, row in moves])
        for (picture, content, row), record in zip(moves, records, strict=True):
            self._put(record | self._file_fields(picture, content), row.row_id)

    def _rewrite_captions(self) -> None:
        changed = []
        for picture, row in self.plan.same:
            if self.captions.state(picture) != row.captions.source:
                changed.append((picture, row))
            elif row.captions.faulty:
                self.captions.read(picture)  # which counts what is left out of it still
        for first in range(0, len(changed), self._rewritten):
            self.update("captions", first, len(changed))
            part = changed[first : first + self._rewritten]
            records = self.table.take([row for _, row in part])
            for (picture, row), record in zip(part, records, strict=True):
                self._put(record | self._caption_fields(picture), row.row_id)
                self.changes.captions += 1

    def _file_fields(self, picture: ListedPicture, content: PictureContent) -> dict[str, Any]:
        return {
            "image_id": picture.image_id, FILE: os.fsencode(picture.path),
            FOLDER: posixpath.dirname(picture.image_id), BYTES: content.size,
            MODIFIED: content.modified, DIGEST: content.digest, **self._caption_fields(picture),
        }  # fmt: skip

    def _caption_fields(self, picture: ListedPicture) -> dict[str, Any]:
        captions = self.captions.read(picture)
        return {
            "texts": [asdict(text) for text in captions.texts],
            "split": captions.split,
            CAPTIONS: CaptionsState(self.captions.state(picture), captions.faulty).to_column(),
        }

    def _put(self, row: dict[str, Any], replaced: int | None) -> None:
        self._rows.append(row)
        if replaced is not None:
            self._replaced.append(replaced)
        self._bytes += len(row["image"] or b"")
        late = time.monotonic() - self._written > SECONDS
        if len(self._rows) >= ROWS_AT_ONCE or self._bytes >= BYTES_AT_ONCE or late:
            self._write()

    def _write(self) -> None:
        rows, replaced = self._rows, self._replaced
        self._rows, self._replaced, self._bytes = [], [], 0
        self.table.add(rows)
        self.table.remove(replaced)
        self._written = time.monotonic()
