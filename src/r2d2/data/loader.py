"""Batches of a pairs table: a seeded global shuffle, any place of which is reached at once."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from r2d2.data.images import BadImage, decode_resized
from r2d2.data.order import epoch_order
from r2d2.errors import R2D2Error
from r2d2.keyed import Draw, generator
from r2d2.table import PairsTable, Text
from r2d2.tokenizer import key_hash, text_key

log = logging.getLogger(__name__)

AHEAD = 4  # batches prepared while one is trained on


@dataclass(frozen=True)
class RawBatch:
    """n pairs, before the tokenizer and the augmentation."""

    pixels: npt.NDArray[np.uint8]  # (n, H, W, 3)
    texts: list[str]
    keys: npt.NDArray[np.int64]  # (n, 2) image key, text key
    rows: list[int]  # of the table, (n,)
    labels: npt.NDArray[np.int64] | None = None  # (n,) 1 match, 0 not; None: all match


class PairsLoader:
    """One split of a table as an endless, seeded sequence of pairs.

    The sequence runs through one epoch's order after another (`epoch_order`): a step is a place in
    it, and resuming is counting. For each row one text is drawn: first a source by its share, then
    a text within the source by weight, or a title's 1 would drown a query's CTR of 0.02.

    Rows without a text are left out at once; a row whose picture cannot be read is replaced by the
    next good one of its epoch's order. `skipped` counts both, by kind. So are pairs labelled as no
    match, unless the labels are what is learnt (`labelled`).
    """

    def __init__(
        self,
        table: PairsTable,
        split: str,
        image_size: int,
        seed: int,
        source_shares: Mapping[str, float] | None = None,
        cache_mb: int = 1024,
        neighbours: int = 1,
        neighbours_from: int = 0,
        threads: int = 1,
        labelled: bool = False,
    ) -> None:
        self.table = table
        self.threads = threads  # that decode
        self.image_size = image_size
        self.seed = seed
        self.neighbours = neighbours
        self.neighbours_from = neighbours_from  # epoch
        self.source_shares = dict(source_shares or {})
        self.skipped: Counter[str] = Counter()
        rows = table.rows(split)
        self._texts = [tuple(t for t in texts if text_key(t.text)) for texts in table.texts(rows)]
        good = np.array([bool(texts) for texts in self._texts], dtype=bool)
        if not good.all():
            self.skipped["no text"] = int((~good).sum())
        labels = np.array([-1 if v is None else v for v in table.labels(rows)], dtype=np.int64)
        fit = labels >= 0 if labelled else labels != 0
        if (good & ~fit).any():
            self.skipped["no label" if labelled else "not a match"] = int((good & ~fit).sum())
        good &= fit
        self._labels = labels[good] if labelled else None
        if not good.any():
            raise R2D2Error(
                f"{table.path}: no row of split '{split}' has a text"
                + (" and a label" if labelled else "")
                + f" ({dict(self.skipped)} left out): nothing to train on"
            )
        self._rows = rows[good]
        self._texts = [texts for texts, kept in zip(self._texts, good, strict=True) if kept]
        self._first_texts = [texts[0].text for texts in self._texts]
        self._image_keys = [key_hash(image_id) for image_id in table.image_ids(self._rows)]
        self._cache: dict[int, npt.NDArray[np.uint8]] = {}
        self._pool: ThreadPoolExecutor | None = None
        self._cache_room = cache_mb * 2**20 // (image_size * image_size * 3)
        self._bad: dict[int, str] = {}  # what is wrong with an item's picture
        # Of epochs side by side: a batch may run over the end of one.
        self._orders: dict[int, npt.NDArray[np.int64]] = {}

    def __len__(self) -> int:
        """Rows of the split that have a text."""
        return len(self._rows)

    @property
    def distinct_texts(self) -> int:
        """How many different texts the split has, of all its rows."""
        return len({text_key(text.text) for texts in self._texts for text in texts})

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
        u = generator(self.seed, step, Draw.TEXT).random((batch_size, 2))[share]
        places = range(step * batch_size, (step + 1) * batch_size)[share]
        self._fetch([self._order_at(place) for place in places])
        pixels = np.empty((n, self.image_size, self.image_size, 3), np.uint8)
        texts: list[str] = []
        rows: list[int] = []
        keys = np.empty((n, 2), np.int64)
        labels = None if self._labels is None else np.empty(n, np.int64)
        for i, place in enumerate(places):
            item, pixels[i] = self._good_image(place)
            text = self._draw_text(self._texts[item], *u[i])
            texts.append(text)
            rows.append(int(self._rows[item]))
            if labels is not None and self._labels is not None:
                labels[i] = self._labels[item]
            keys[i] = self._image_keys[item], key_hash(text_key(text))
        self._trim()
        return RawBatch(pixels, texts, keys, rows, labels)

    def _order_at(self, place: int) -> int:
        epoch, offset = divmod(place, len(self._rows))
        if epoch not in self._orders:
            neighbours = self.neighbours if epoch >= self.neighbours_from else 1
            order = epoch_order(self._first_texts, self.seed, epoch, neighbours)
            kept = {e: o for e, o in self._orders.items() if abs(e - epoch) == 1}
            self._orders = {**kept, epoch: order}
        return int(self._orders[epoch][offset])

    def _good_image(self, place: int) -> tuple[int, npt.NDArray[np.uint8]]:
        """The item at `place`, or the next one within its epoch whose picture can be read."""
        n = len(self._rows)
        epoch_start = place - place % n
        for ahead in range(n):
            item = self._order_at(epoch_start + (place + ahead) % n)
            if item not in self._cache and item not in self._bad:
                self._fetch([item])
            if item in self._cache:
                return item, self._cache[item]
        raise R2D2Error(f"{self.table.path}: not one picture can be read: {dict(self.skipped)}")

    def _fetch(self, items: Sequence[int]) -> None:
        """Decode into the cache what is not there."""
        missing = sorted({i for i in items if i not in self._cache and i not in self._bad})
        if not missing:
            return
        files = [pair.image for pair in self.table.take(self._rows[missing], ["image"])]
        if self.threads > 1 and len(files) > 1:  # the decoders let go of the interpreter
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="decode")
            decoded = list(self._pool.map(self._decode, files))
        else:
            decoded = [self._decode(file) for file in files]
        for item, found in zip(missing, decoded, strict=True):
            if isinstance(found, BadImage):
                self.mark_bad({item: found.kind})
                log.warning("%s, row %d: %s; skipped", self.table.path, self._rows[item], found)
            else:
                self._cache[item] = found

    def _decode(self, file: bytes) -> npt.NDArray[np.uint8] | BadImage:
        try:
            return decode_resized(file, self.image_size)
        except BadImage as error:
            return error

    def _trim(self) -> None:
        """Drop the oldest pictures beyond the cache's room."""
        for item in list(self._cache)[: max(0, len(self._cache) - self._cache_room)]:
            del self._cache[item]

    def _draw_text(self, texts: Sequence[Text], u_source: float, u_text: float) -> str:
        sources = sorted({text.source for text in texts})
        shares = [self.source_shares.get(source, 1.0) for source in sources]
        source = sources[_draw(shares, u_source)]
        within = [text for text in texts if text.source == source]
        return within[_draw([text.weight for text in within], u_text)].text


def _draw(weights: Sequence[float], u: float) -> int:
    """An index with probability proportional to its weight; evenly where all weights are 0."""
    if len(weights) == 1:
        return 0
    total = float(sum(weights))
    if total <= 0:
        return min(int(u * len(weights)), len(weights) - 1)
    edges = np.cumsum([0.0, *weights]) / total
    for i, (low, high) in enumerate(pairwise(edges)):
        if low <= u < high:
            return i
    return max(i for i, weight in enumerate(weights) if weight > 0)
