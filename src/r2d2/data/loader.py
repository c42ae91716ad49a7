"""Read batches of a pairs table in a seeded global shuffle, from any position of it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from r2d2.data.order import Shuffle, epoch_order, epoch_shuffle, group_order
from r2d2.data.text_draw import candidates_for_second, draw_text, not_empty
from r2d2.data.usable import count_with_second_text, row_groups, usable_rows
from r2d2.errors import R2D2Error
from r2d2.images.decode import BadImage, decode_resized
from r2d2.keyed import Draw, generator
from r2d2.table import PairsTable, Text
from r2d2.tokenizer import key_hash, text_key

log = logging.getLogger(__name__)

AHEAD = 4  # how many batches are prepared while one is trained on
AT_ONCE = 64  # how many positions at a time are searched for a picture that can be read
VARIETY = 20_000  # how many rows are read to estimate how much texts repeat


@dataclass(frozen=True)
class _StoredRow:
    """A row in the cache, with all its texts, because one is drawn each time it is shown."""

    pixels: npt.NDArray[np.uint8]  # (H, W, 3)
    texts: tuple[Text, ...]
    image_key: int


@dataclass(frozen=True)
class RawBatch:
    """A batch of n pairs before tokenising and augmentation."""

    pixels: npt.NDArray[np.uint8]  # (n, H, W, 3)
    texts: list[str]
    keys: npt.NDArray[np.int64]  # (n, 2) image key, text key
    rows: list[int]  # (n,) row numbers in the table
    labels: npt.NDArray[np.int64] | None = None  # (n,) 1 match, 0 not; None: all match
    second_texts: list[str] | None = None  # "" where a picture has only one; None: not read
    second_keys: npt.NDArray[np.int64] | None = None  # (n,) text keys of the second texts


@dataclass(frozen=True)
class LoaderSettings:
    """Which pairs a loader reads, in which order, and with what resources."""

    image_size: int  # pixels of a side
    seed: int
    source_shares: Mapping[str, float] = field(default_factory=dict)  # by source; others have 1
    cache_mb: int = 1024  # the size of the cache of decoded pictures
    hard_batches: int = 1  # how many similar pairs are put side by side; 1: a plain shuffle
    hard_batches_from: int = 0  # the first epoch in which they are
    threads: int = 1  # the number of threads that decode pictures
    labelled: bool = False  # whether the labels of pairs are trained on
    hard_batches_by: str = "texts"  # what makes pairs similar: "texts" or "groups"
    second_texts: bool = False  # whether a second text of each picture is read


class PairsLoader:
    """Reads one or several splits of a table as an endless, seeded sequence of pairs.

    The sequence consists of the orders of the epochs (`epoch_order`), one after another. A step is
    a position in it, so a resumed run only needs the number of its step. For each row one text is
    drawn (`draw_text`), and with `second_texts` another text of the same picture
    (`candidates_for_second`).

    Rows without a text are left out from the start, and so are pairs that are labelled as
    non-matches unless `labelled` is set. A row whose picture cannot be read is replaced by the next
    readable one in the order of its epoch. `skipped` counts all of them by reason.

    Memory holds the number of each row and the cache; pictures and texts are read when their step
    comes. With `hard_batches` above 1, a text or the group of every row is read in advance.
    """

    def __init__(
        self, table: PairsTable, split: str | Sequence[str], settings: LoaderSettings
    ) -> None:
        self.table = table
        self.settings = settings
        usable = usable_rows(table, split, settings.labelled)
        self._rows, self._labels = usable.rows, usable.labels
        self.skipped: Counter[str] = Counter(usable.left_out)
        self._cache: dict[int, _StoredRow] = {}
        self._pool: ThreadPoolExecutor | None = None
        self._cache_room = settings.cache_mb * 2**20 // (settings.image_size**2 * 3)
        self._bad: dict[int, str] = {}  # the items with an unusable picture, with the reason
        # The orders of adjacent epochs, because a batch may extend over the end of an epoch.
        self._orders: dict[int, npt.NDArray[np.int64] | Shuffle] = {}
        # A stretch of the sequence that `put_in_order` has set: its first position and its items.
        self._stretch: tuple[int, npt.NDArray[np.int64]] = (0, np.empty(0, np.int64))
        self._beginnings: list[str] | None = None  # a text of each row, if rows are sorted by them
        by_groups = settings.hard_batches > 1 and settings.hard_batches_by == "groups"
        self._groups = row_groups(table, self._rows) if by_groups else None
        # The number of rows with two different texts; None where second texts are not read.
        self.with_second_text: int | None = None
        if settings.second_texts:
            self.with_second_text = count_with_second_text(table, self._rows)

    def __len__(self) -> int:
        """The number of usable rows."""
        return len(self._rows)

    def variety(self, sample: int = VARIETY) -> tuple[int, int]:
        """Count the different texts in a sample of rows, and the rows of the sample."""
        rows = self._rows[:: -(-len(self._rows) // sample)]
        texts = self.table.texts(rows)
        return len({text_key(text.text) for of_row in texts for text in of_row}), len(rows)

    def sources(self, sample: int = VARIETY) -> list[str]:
        """Return the sources of the texts in a sample of rows."""
        texts = self.table.texts(self._rows[:: -(-len(self._rows) // sample)])
        return sorted({text.source for of_row in texts for text in of_row})

    @property
    def bad(self) -> dict[int, str]:
        """The items whose pictures have been found to be unusable so far, with the reason."""
        return dict(self._bad)

    def mark_bad(self, bad: Mapping[int, str]) -> None:
        """Count items as skipped and never read them; a resumed run passes those it had found."""
        for item, kind in bad.items():
            if item not in self._bad:
                self._bad[item] = kind
                self.skipped[f"image: {kind}"] += 1

    def put_in_order(self, position: int, items: npt.NDArray[np.int64]) -> None:
        """Set the items (s,) from a position of the sequence on, instead of the epoch's order.

        Only the last stretch that was set is known. No batch may be in preparation.
        """
        self._stretch = (position, items)

    def read(self, items: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], RawBatch]:
        """Return those of `items` (k,) that can be read, and their pairs.

        Each pair has the text with the largest weight.
        """
        self._fetch(items.tolist())
        good = np.array([i for i in items.tolist() if i in self._cache], np.int64)
        held = [self._cache[item] for item in good.tolist()]
        texts = [max(item.texts, key=lambda text: text.weight).text for item in held]
        side = self.settings.image_size
        pixels = np.array([item.pixels for item in held], np.uint8).reshape(-1, side, side, 3)
        keys = np.empty((len(held), 2), np.int64)
        for k, (item, text) in enumerate(zip(held, texts, strict=True)):
            keys[k] = item.image_key, key_hash(text_key(text))
        self._trim()
        return good, RawBatch(pixels, texts, keys, self._rows[good].tolist())

    def batches(
        self, first: int, last: int, batch_size: int, rank: int = 0, size: int = 1
    ) -> Iterator[RawBatch]:
        """Yield the batches of the steps first, ..., last - 1, which a thread prepares ahead."""
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="loader") as pool:
            ahead: list[Future[RawBatch]] = []
            try:
                for step in range(first, min(first + AHEAD, last)):
                    ahead.append(pool.submit(self.batch, step, batch_size, rank, size))
                for step in range(first, last):
                    batch = ahead.pop(0).result()
                    if step + AHEAD < last:
                        ahead.append(pool.submit(self.batch, step + AHEAD, batch_size, rank, size))
                    yield batch
            finally:
                for future in ahead:
                    future.cancel()

    def batch(self, step: int, batch_size: int, rank: int = 0, size: int = 1) -> RawBatch:
        """Return the pairs of one step, which start at position step * batch_size of the sequence.

        With `size` processes, each reads its own share of the batch; together they read the batch
        that a single process would read.
        """
        n = batch_size // size
        share = slice(rank * n, (rank + 1) * n)
        seed, shares = self.settings.seed, self.settings.source_shares
        u = generator(seed, step, Draw.TEXT).random((batch_size, 2))[share]
        positions = np.arange(step * batch_size, (step + 1) * batch_size)[share]
        items = self._items_at(positions)
        self._fetch(items)
        pixels = np.empty((n, self.settings.image_size, self.settings.image_size, 3), np.uint8)
        texts: list[str] = []
        rows: list[int] = []
        keys = np.empty((n, 2), np.int64)
        second_texts: list[str] | None = None
        if self.with_second_text is not None:
            second_texts = []
            u_second = generator(seed, step, Draw.SECOND_TEXT).random((batch_size, 2))[share]
        labels = None if self._labels is None else np.empty(n, np.int64)
        for i, (position, drawn) in enumerate(zip(positions.tolist(), items, strict=True)):
            item = drawn if drawn in self._cache else self._next_good(position)
            row = self._cache[item]
            pixels[i] = row.pixels
            text = draw_text(row.texts, shares, *u[i])
            texts.append(text.text)
            if second_texts is not None:
                others = candidates_for_second(row.texts, text)
                second = draw_text(others, shares, *u_second[i]).text if others else ""
                second_texts.append(second)
            rows.append(int(self._rows[item]))
            if labels is not None and self._labels is not None:
                labels[i] = self._labels[item]
            keys[i] = row.image_key, key_hash(text_key(text.text))
        self._trim()
        if second_texts is None:
            return RawBatch(pixels, texts, keys, rows, labels)
        second_keys = np.array([key_hash(text_key(text)) for text in second_texts], np.int64)
        return RawBatch(pixels, texts, keys, rows, labels, second_texts, second_keys)

    def _items_at(self, positions: npt.NDArray[np.int64]) -> list[int]:
        """Return the items at positions (n,) of the endless sequence."""
        first, items = self._stretch
        inside = (positions >= first) & (positions < first + len(items))
        if len(items) and inside.all():
            stretch: list[int] = items[positions - first].tolist()
            return stretch
        assert not inside.any()  # a batch is either inside the stretch or outside it
        return self._epoch_items(positions)

    def _epoch_items(self, positions: npt.NDArray[np.int64]) -> list[int]:
        """Return the items at positions (n,) by the order of their epochs."""
        epochs, offsets = np.divmod(positions, len(self._rows))
        numbers = np.empty(len(positions), dtype=np.int64)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            numbers[here] = self._order(int(epoch))[offsets[here]]
        return numbers.tolist()

    def _order(self, epoch: int) -> npt.NDArray[np.int64] | Shuffle:
        if epoch not in self._orders:
            order: npt.NDArray[np.int64] | Shuffle
            seed, together = self.settings.seed, self.settings.hard_batches
            if together == 1 or epoch < self.settings.hard_batches_from:
                order = epoch_shuffle(len(self._rows), seed, epoch)
            elif self._groups is not None:
                order = group_order(self._groups, seed, epoch, together)
            else:
                if self._beginnings is None:
                    texts = self.table.texts(self._rows)
                    self._beginnings = [not_empty(of_row)[0].text for of_row in texts]
                order = epoch_order(self._beginnings, seed, epoch, together)
            kept = {e: o for e, o in self._orders.items() if abs(e - epoch) == 1}
            self._orders = {**kept, epoch: order}
        return self._orders[epoch]

    def _next_good(self, position: int) -> int:
        """Return the first item after a position, within its epoch, whose picture can be read."""
        n = len(self._rows)
        epoch_start = position - position % n
        for start in range(0, n, AT_ONCE):
            ahead = np.arange(start, min(start + AT_ONCE, n))
            for item in self._epoch_items(epoch_start + (position + ahead) % n):
                if item not in self._cache and item not in self._bad:
                    self._fetch([item])
                if item in self._cache:
                    return item
        raise R2D2Error(f"{self.table.path}: not one picture can be read: {dict(self.skipped)}")

    def _fetch(self, items: Sequence[int]) -> None:
        """Read and decode the items that are not in the cache."""
        missing = sorted({i for i in items if i not in self._cache and i not in self._bad})
        if not missing:
            return
        pairs = self.table.take(self._rows[missing], ["image_id", "image", "texts"])
        files = [pair.image for pair in pairs]
        if self.settings.threads > 1 and len(files) > 1:  # decoders release the interpreter lock
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self.settings.threads, thread_name_prefix="decode")
            decoded = list(self._pool.map(self._decode, files))
        else:
            decoded = [self._decode(file) for file in files]
        for item, pair, picture in zip(missing, pairs, decoded, strict=True):
            if isinstance(picture, BadImage):
                self.mark_bad({item: picture.kind})
                log.warning("%s, row %d: %s; skipped", self.table.path, self._rows[item], picture)
            else:
                texts, image_key = not_empty(pair.texts), key_hash(pair.image_id)
                self._cache[item] = _StoredRow(picture, texts, image_key)

    def _decode(self, file: bytes) -> npt.NDArray[np.uint8] | BadImage:
        try:
            return decode_resized(file, self.settings.image_size)
        except BadImage as error:
            return error

    def _trim(self) -> None:
        """Remove the oldest pictures that exceed the size of the cache."""
        for item in list(self._cache)[: max(0, len(self._cache) - self._cache_room)]:
            del self._cache[item]
