"""The images and texts that an evaluation reads, with their splits."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from PIL import Image

from r2d2.errors import NEEDS_CAPTIONS, R2D2Error
from r2d2.images.decode import BadImage, decode_image
from r2d2.inputs.dropped_rows import DroppedRows
from r2d2.table import Pair, PairsTable
from r2d2.tokenizer import key_hash, text_key

READ = 8192  # rows read at a time, without their pictures
COLUMNS = ("image_id", "texts", "split", "label", "group_id")

Load = Callable[[Sequence[int]], list[Image.Image | BadImage]]


@dataclass(frozen=True)
class EvaluationSet:
    """Images and texts to evaluate on; a picture is decoded when it is needed."""

    image_ids: list[str]
    splits: list[str]  # of each image
    texts: list[str]
    text_image: list[int]  # position of the image of each text
    load: Load  # the pictures at these positions, or why one cannot be used
    dropped: DroppedRows = field(default_factory=DroppedRows)  # rows and texts left out
    also: Mapping[int, tuple[int, ...]] = field(default_factory=dict)  # a text's further images
    text_ids: Sequence[str | None] = ()  # of each text; none where nothing gives them
    group_ids: Sequence[str | None] = ()  # of near misses, of each image; the same

    @staticmethod
    def from_table(
        table: PairsTable,
        splits: Collection[str] | None = None,
        *,
        textless: bool = False,
        need_texts: bool = True,
    ) -> EvaluationSet:
        """Read the rows of a table that have a text; no picture is decoded yet.

        A text whose id stands in several rows of a split is one query with several images.

        Args:
            table: a pairs table.
            splits: whose rows; None: all.
            textless: keep images without a text: they answer no query, but they compete in the
                gallery.
            need_texts: refuse a table without any.

        Raises:
            R2D2Error: no row has a text.
        """
        dropped = DroppedRows()
        rows: list[int] = []
        ids: list[str] = []
        row_splits: list[str] = []
        group_ids: list[str | None] = []
        texts: list[str] = []
        text_ids: list[str | None] = []
        text_image: list[int] = []
        known: dict[tuple[str, str, str], int] = {}
        also: defaultdict[int, tuple[int, ...]] = defaultdict(tuple)
        for row, pair in _read(table, splits):
            if pair.label == 0:  # a matching set's wrong pair: its text does not describe the image
                dropped.add("not a match", pair.image_id)
                continue
            full = [t for t in pair.texts if text_key(t.text)]
            dropped.add("empty text", pair.image_id, len(pair.texts) - len(full))
            if not full and not textless:
                dropped.add("no text", pair.image_id)
                continue
            for text in full:
                name = (pair.split, text.text_id or "", text.text)
                if text.text_id is not None and name in known:
                    also[known[name]] += (len(ids),)
                    continue
                known[name] = len(texts)
                texts.append(text.text)
                text_ids.append(text.text_id)
                text_image.append(len(ids))
            rows.append(row)
            ids.append(pair.image_id)
            row_splits.append(pair.split)
            group_ids.append(pair.group_id)
        if need_texts and not texts:
            raise R2D2Error(
                f"{table.path}: no row has a text, so there is nothing to evaluate: "
                f"{NEEDS_CAPTIONS}"
            )
        load = partial(load_pictures, table, rows)
        return EvaluationSet(
            ids, row_splits, texts, text_image, load, dropped, dict(also), text_ids, group_ids
        )

    @property
    def skipped(self) -> dict[str, int]:
        """How many rows and texts are left out, by reason."""
        return dict(self.dropped.counts)

    def owners(self, text: int) -> tuple[int, ...]:
        """The positions of all images that a text was given to."""
        return (self.text_image[text], *self.also.get(text, ()))

    def sample(self, images: int, seed: int) -> EvaluationSet:
        """At most so many images of each split, drawn by a hash of (seed, image id)."""
        drawn = sorted(
            range(len(self.image_ids)), key=lambda i: key_hash(f"{seed}/{self.image_ids[i]}")
        )
        left = Counter(dict.fromkeys(self.splits, images))
        chosen = []
        for position in drawn:
            if left[self.splits[position]] > 0:
                left[self.splits[position]] -= 1
                chosen.append(position)
        return self.keep(sorted(chosen))

    def keep(self, positions: Sequence[int], dropped: DroppedRows | None = None) -> EvaluationSet:
        """The images at `positions` with their texts; `dropped` counts others as left out."""
        tally = DroppedRows()
        for part in (self.dropped, dropped or DroppedRows()):
            tally.update(part)
        new_position = {old: new for new, old in enumerate(positions)}
        owned = [
            [new_position[i] for i in self.owners(t) if i in new_position]
            for t in range(len(self.texts))
        ]
        kept = [text for text, images in enumerate(owned) if images]

        def load(chosen: Sequence[int]) -> list[Image.Image | BadImage]:
            return self.load([positions[p] for p in chosen])

        return EvaluationSet(
            [self.image_ids[p] for p in positions],
            [self.splits[p] for p in positions],
            [self.texts[i] for i in kept],
            [owned[i][0] for i in kept],
            load,
            tally,
            {new: tuple(owned[i][1:]) for new, i in enumerate(kept) if len(owned[i]) > 1},
            [self.text_ids[i] for i in kept] if self.text_ids else (),
            [self.group_ids[p] for p in positions] if self.group_ids else (),
        )

    def keys(self) -> tuple[list[Collection[int]], list[Collection[int]]]:
        """The relevance keys of each image and of each text.

        A text has its own; an image those of all texts of its id, so that a picture that stands in
        two rows owns the texts of both.
        """
        text_keys = [key_hash(text_key(text)) for text in self.texts]
        by_id: defaultdict[str, set[int]] = defaultdict(set)
        for text, key in enumerate(text_keys):
            for image in self.owners(text):
                by_id[self.image_ids[image]].add(key)
        return [by_id[image_id] for image_id in self.image_ids], [(key,) for key in text_keys]

    def own_keys(self) -> tuple[list[Collection[int]], list[Collection[int]]]:
        """The same keys where a text answers only the images it belongs to.

        Papers count like this: an equal caption of another image is a wrong answer.
        """
        number: dict[str, int] = {}
        images = [number.setdefault(image_id, len(number)) for image_id in self.image_ids]
        texts = [{images[i] for i in self.owners(t)} for t in range(len(self.texts))]
        return [(i,) for i in images], list(texts)


def _read(table: PairsTable, splits: Collection[str] | None) -> Iterator[tuple[int, Pair]]:
    """Row numbers and rows, without their pictures, in the order of the table."""
    if splits is None:
        rows = table.rows(None)
    else:
        rows = np.sort(np.concatenate([table.rows(split) for split in dict.fromkeys(splits)]))
    for start in range(0, len(rows), READ):
        part = rows[start : start + READ]
        pairs = table.take(part, columns=COLUMNS)
        yield from zip(part.tolist(), pairs, strict=True)


def load_pictures(
    table: PairsTable, rows: Sequence[int], positions: Sequence[int]
) -> list[Image.Image | BadImage]:
    """The pictures of the rows at these positions, or the reason why one cannot be used."""
    pairs = table.take([rows[p] for p in positions], ("image_id", "image"))
    return [decoded(pair) for pair in pairs]


def decoded(pair: Pair) -> Image.Image | BadImage:
    """The picture of a row, or why it cannot be used."""
    try:
        return decode_image(pair.image, name=pair.image_id)
    except BadImage as error:
        return error
