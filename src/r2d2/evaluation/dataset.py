"""What the evaluation reads: images with their splits, and the texts of each."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from PIL import Image

from r2d2.data.images import BadImage, decode_image
from r2d2.errors import R2D2Error
from r2d2.table import PairsTable
from r2d2.tokenizer import key_hash, text_key

Load = Callable[[Sequence[int]], list[Image.Image | BadImage]]


@dataclass(frozen=True)
class EvaluationSet:
    """Images and texts to evaluate on; a picture is loaded when it is asked for."""

    image_ids: list[str]
    splits: list[str]  # of each image
    texts: list[str]
    text_image: list[int]  # position of the image of each text
    load: Load  # the pictures at these positions, or why one cannot be used
    skipped: Mapping[str, int] = field(default_factory=dict)  # rows and texts left out, by kind

    @staticmethod
    def from_table(table: PairsTable) -> EvaluationSet:
        """Every row of a table but those without a text, all splits; no picture is read yet.

        Raises:
            R2D2Error: no row has a text.
        """
        skipped: Counter[str] = Counter()
        rows: list[int] = []
        ids: list[str] = []
        splits: list[str] = []
        texts: list[str] = []
        text_image: list[int] = []
        every = table.rows(None)
        pairs = table.take(every, columns=("image_id", "texts", "split", "label"))
        for row, pair in zip(every.tolist(), pairs, strict=True):
            if pair.label == 0:  # a matching set's wrong pair: its text is not true of its image
                skipped["not a match"] += 1
                continue
            full = [t.text for t in pair.texts if text_key(t.text)]
            skipped["empty text"] += len(pair.texts) - len(full)
            if not full:
                skipped["no text"] += 1
                continue
            texts += full
            text_image += [len(ids)] * len(full)
            rows.append(row)
            ids.append(pair.image_id)
            splits.append(pair.split)
        if not rows:
            raise R2D2Error(f"{table.path}: no row has a text: there is nothing to evaluate")

        def load(positions: Sequence[int]) -> list[Image.Image | BadImage]:
            chosen = table.take([rows[p] for p in positions], columns=("image_id", "image"))
            return [_decode(pair.image, pair.image_id) for pair in chosen]

        return EvaluationSet(ids, splits, texts, text_image, load, dict(+skipped))

    def keep(self, positions: Sequence[int], skipped: Mapping[str, int]) -> EvaluationSet:
        """The images at `positions` with their texts; `skipped` says what became of the others."""
        place = {old: new for new, old in enumerate(positions)}
        kept = [i for i, image in enumerate(self.text_image) if image in place]

        def load(chosen: Sequence[int]) -> list[Image.Image | BadImage]:
            return self.load([positions[p] for p in chosen])

        return EvaluationSet(
            [self.image_ids[p] for p in positions],
            [self.splits[p] for p in positions],
            [self.texts[i] for i in kept],
            [place[self.text_image[i]] for i in kept],
            load,
            dict(Counter(self.skipped) + Counter(skipped)),
        )

    def keys(self) -> tuple[list[Collection[int]], list[Collection[int]]]:
        """The relevance keys of each image and of each text.

        A text has its own; an image those of all texts of its id, so that a picture that stands in
        two rows owns the texts of both.
        """
        text_keys = [key_hash(text_key(text)) for text in self.texts]
        by_id: defaultdict[str, set[int]] = defaultdict(set)
        for key, image in zip(text_keys, self.text_image, strict=True):
            by_id[self.image_ids[image]].add(key)
        return [by_id[image_id] for image_id in self.image_ids], [(key,) for key in text_keys]


def _decode(data: bytes, name: str) -> Image.Image | BadImage:
    try:
        return decode_image(data, name=name)
    except BadImage as error:
        return error
