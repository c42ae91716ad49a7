"""Batches of a pairs table: a seeded global shuffle, any place of which is reached at once."""

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

AHEAD = 4  # batches prepared while one is trained on
AT_ONCE = 64  # places looked at together for a picture that can be read
VARIETY = 20_000  # rows that tell how much texts repeat


@dataclass(frozen=True)
class _StoredRow:
    """A row as it is kept: a text is drawn of it each time it is shown."""

    pixels: npt.NDArray[np.uint8]  # (H, W, 3)
    texts: tuple[Text, ...]
    image_key: int


@dataclass(frozen=True)
class RawBatch:
    """n pairs, before the tokenizer and the augmentation."""

    pixels: npt.NDArray[np.uint8]  # (n, H, W, 3)
    texts: list[str]
    keys: npt.NDArray[np.int64]  # (n, 2) image key, text key
    rows: list[int]  # of the table, (n,)
    labels: npt.NDArray[np.int64] | None = None  # (n,) 1 match, 0 not; None: all match
    second_texts: list[str] | None = None  # "" where a picture has one text only; None: not read
    second_keys: npt.NDArray[np.int64] | None = None  # (n,) their text keys


@dataclass(frozen=True)
class LoaderSettings:
    """Which pairs a loader gives, in which order, and what it may use for that."""

    image_size: int  # pixels of a side
    seed: int
    source_shares: Mapping[str, float] = field(default_factory=dict)  # by source; of others 1
    cache_mb: int = 1024  # of decoded pictures
    hard_batches: int = 1  # pairs that stand side by side; 1: a plain shuffle
    hard_batches_from: int = 0  # epoch
    threads: int = 1  # that decode
    labelled: bool = False  # whether the labels of pairs are learnt
    hard_batches_by: str = "texts"  # or groups
    second_texts: bool = False  # whether a second text of each picture is read


class PairsLoader:
    """One split of a table, or several, as an endless, seeded sequence of pairs.

    The sequence runs through one epoch's order after another (`epoch_order`): a step is a place in
    it, and resuming is counting. For each row one text is drawn (`draw_text`), and with
    `second_texts` another one of the same picture (`candidates_for_second`).

    Rows without a text are left out at once; a row whose picture cannot be read is replaced by the
    next good one of its epoch's order. `skipped` counts both, by kind. So are pairs labelled as no
    match, unless the labels are what is learnt (`labelled`).

    Of a row no more than its number is held, and what the cache has room for: pictures and texts
    are read when their step comes. (`hard_batches` above 1 reads a text, or the group, of every
    row.)
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
        self._bad: dict[int, str] = {}  # what is wrong with an item's picture
        # Of epochs side by side: a batch may run over the end of one.
        self._orders: dict[int, npt.NDArray[np.int64] | Shuffle] = {}
        # A stretch of the sequence that someone else put in order: its first place, its items.
        self._stretch: tuple[int, npt.NDArray[np.int64]] = (0, np.empty(0, np.int64))
        self._beginnings: list[str] | None = None  # a text of each row, where they are sorted by it
        by_groups = settings.hard_batches > 1 and settings.hard_batches_by == "groups"
        self._groups = row_groups(table, self._rows) if by_groups else None
        # Rows with two different texts; None where second texts are not read
        self.with_second_text: int | None = None
        if settings.second_texts:
            self.with_second_text = count_with_second_text(table, self._rows)

    def __len__(self) -> int:
        """Rows of the split that have a text."""
        return len(self._rows)

    def variety(self, sample: int = VARIETY) -> tuple[int, int]:
        """How many different texts some rows have, spread over the split, and how many rows."""
        some = self._rows[:: -(-len(self._rows) // sample)]
        texts = self.table.texts(some)
        return len({text_key(text.text) for of_row in texts for text in of_row}), len(some)

    def sources(self, sample: int = VARIETY) -> list[str]:
        """The sources of the texts of some rows, spread over the split."""
        texts = self.table.texts(self._rows[:: -(-len(self._rows) // sample)])
        return sorted({text.source for of_row in texts for text in of_row})

    @property
    def bad(self) -> dict[int, str]:
        """The items whose picture proved unusable so far, with its kind."""
        return dict(self._bad)

    def mark_bad(self, bad: Mapping[int, str]) -> None:
        """Count items as skipped and do not read them: a resumed run takes over what it knew."""
        for item, kind in bad.items():
            if item not in self._bad:
                self._bad[item] = kind
                self.skipped[f"image: {kind}"] += 1

    def put_in_order(self, place: int, items: npt.NDArray[np.int64]) -> None:
        """Let these items (s,) stand at `place` and after it, whatever the epochs' order says.

        One stretch is known at a time; no batch may be on its way.
        """
        self._stretch = (place, items)

    def read(self, items: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], RawBatch]:
        """Those of `items` (k,) that can be read, and their pairs; each with its heaviest text."""
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
        """Batches of the steps first, ..., last - 1, prepared ahead in a thread; see `batch`."""
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
        """The pairs of one step: places step * batch_size and following of the sequence.

        Of `size` processes, each reads its own share: all together read what one would.
        """
        n = batch_size // size
        share = slice(rank * n, (rank + 1) * n)
        seed, shares = self.settings.seed, self.settings.source_shares
        u = generator(seed, step, Draw.TEXT).random((batch_size, 2))[share]
        places = np.arange(step * batch_size, (step + 1) * batch_size)[share]
        items = self._items_at(places)
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
        for i, (place, wanted) in enumerate(zip(places.tolist(), items, strict=True)):
            item = wanted if wanted in self._cache else self._next_good(place)
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

    def _items_at(self, places: npt.NDArray[np.int64]) -> list[int]:
        """The items at places (n,) of the endless sequence."""
        first, items = self._stretch
        if len(items) and (there := (places >= first) & (places < first + len(items))).all():
            stretch: list[int] = items[places - first].tolist()
            return stretch
        assert not len(items) or not there.any()  # a batch lies within a stretch or without
        return self._epoch_items(places)

    def _epoch_items(self, places: npt.NDArray[np.int64]) -> list[int]:
        """The items at places (n,) by the order of their epochs."""
        epochs, offsets = np.divmod(places, len(self._rows))
        numbers = np.empty(len(places), dtype=np.int64)
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

    def _next_good(self, place: int) -> int:
        """The first item after `place` within its epoch whose picture can be read."""
        n = len(self._rows)
        epoch_start = place - place % n
        for start in range(0, n, AT_ONCE):
            ahead = np.arange(start, min(start + AT_ONCE, n))
            for item in self._epoch_items(epoch_start + (place + ahead) % n):
                if item not in self._cache and item not in self._bad:
                    self._fetch([item])
                if item in self._cache:
                    return item
        raise R2D2Error(f"{self.table.path}: not one picture can be read: {dict(self.skipped)}")

    def _fetch(self, items: Sequence[int]) -> None:
        """Decode into the cache what is not there."""
        missing = sorted({i for i in items if i not in self._cache and i not in self._bad})
        if not missing:
            return
        pairs = self.table.take(self._rows[missing], ["image_id", "image", "texts"])
        files = [pair.image for pair in pairs]
        if self.settings.threads > 1 and len(files) > 1:  # the decoders let go of the interpreter
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
        """Drop the oldest pictures beyond the cache's room."""
        for item in list(self._cache)[: max(0, len(self._cache) - self._cache_room)]:
            del self._cache[item]
