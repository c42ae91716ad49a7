"""The pictures that a set may be made of, one text each, in the order of their ids."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from r2d2.checks.base import TableHashes, file_hash
from r2d2.corpus.funnel import StageCount
from r2d2.corpus.images.phash import perceptual_hashes
from r2d2.corpus.report.sample import numbers
from r2d2.downstream.config import DownstreamConfig, TextChoice
from r2d2.downstream.likeness import near_to
from r2d2.images.decode import BadImage, decode_image
from r2d2.inputs.dropped_rows import DroppedRows
from r2d2.progress import Update
from r2d2.table import Pair, PairsTable, Text
from r2d2.tokenizer import key_hash, loose_text_key, text_key

NO_TEXT = "no text of this source and length"
COLUMNS = ("image_id", "image", "texts", "clicks", "label")


@dataclass(frozen=True)
class Candidate:
    """A picture and the text that was chosen for it."""

    row: int  # of the table
    image_id: str
    text: Text
    key: str  # of the text, loose
    hash: int  # perceptual, 64 bits
    file: int  # hash of the encoded file
    clicks: int


class PictureTexts:
    """The texts of all pictures of a table, those of rows outside the set included.

    Some of these are the same picture as one that it gets, and then their texts are true of it.
    """

    def __init__(self) -> None:
        self.ids = array("q")  # of image ids, hashed; one a row whose picture can be read
        self.hashes = array("Q")  # perceptual, of the same rows
        # loose keys, by the hash of the image id
        self.texts: dict[int, set[str]] = defaultdict(set)

    def picture(self, image_id: str, hashed: int) -> None:
        """What a row's picture looks like."""
        self.ids.append(picture_hash(image_id))
        self.hashes.append(hashed)

    def says(self, image_id: str, texts: Sequence[Text]) -> None:
        """What a row says of its picture, whether or not that can be read."""
        self.texts[picture_hash(image_id)].update(
            key for one in texts if (key := loose_text_key(one.text))
        )


def picture_hash(image_id: str) -> int:
    """An image id as 64 bits, apart from those of text keys, which have no zero in them."""
    return key_hash(f"picture\0{image_id}")


def read_candidates(
    table: PairsTable, config: DownstreamConfig, update: Update
) -> tuple[list[Candidate], PictureTexts, StageCount]:
    """Every picture with a text that fits the task; one of each image_id, by the smallest text."""
    dropped, seen = DroppedRows(), PictureTexts()
    by_id: dict[str, Candidate] = {}
    rows = table.rows()
    pairs = table.stream(rows, COLUMNS, stage="reading", update=update)
    for row, pair in zip(rows.tolist(), pairs, strict=True):
        name = f"row {row} ({pair.image_id})"
        if pair.label == 0:
            dropped.add("labelled as no match", name)
            continue
        seen.says(pair.image_id, pair.texts)
        picture = _hash(pair)
        if isinstance(picture, int):
            seen.picture(pair.image_id, picture)
        text = choose_text(pair.texts, config.text, config.seed)
        if text is None:
            told = " · ".join(one.text[:24] for one in pair.texts[:2])
            dropped.add(NO_TEXT, told or name)
            continue
        if isinstance(picture, BadImage):
            dropped.add(f"picture {picture.kind}", name)
            continue
        candidate = Candidate(
            row, pair.image_id, text, loose_text_key(text.text), picture, file_hash(pair.image),
            pair.clicks or 0,
        )  # fmt: skip
        other = by_id.get(pair.image_id)
        if other is not None:
            dropped.add("its image_id stands before", name)
            candidate = min((candidate, other), key=lambda one: (one.key, one.file, one.row))
        by_id[pair.image_id] = candidate
    return [by_id[name] for name in sorted(by_id)], seen, _stage("read", len(rows), dropped)


def choose_text(texts: Sequence[Text], choice: TextChoice, seed: int) -> Text | None:
    """The text of one picture: of the first source that has one, that of the highest weight.

    Equals are told apart by a hash of the text.
    """
    for source in choice.sources:
        fitting = [
            one
            for one in texts
            if one.source == source and choice.least <= len(text_key(one.text)) <= choice.most
        ]
        if fitting:
            draws = numbers([one.text for one in fitting], seed, "text").tolist()
            drawn = zip(fitting, draws, strict=True)
            return min(drawn, key=lambda one: (-one[0].weight, one[1]))[0]
    return None


def set_apart(
    candidates: Sequence[Candidate], known: Sequence[TableHashes], config: DownstreamConfig
) -> tuple[list[Candidate], list[StageCount]]:
    """Leave out what other tables have: by id, file, near-duplicate picture, perhaps text."""
    stages, left = [], list(candidates)
    for table in known:
        near = near_to(table.prints, hashes_of(left), config.same.radius)
        ids, files, texts = (
            np.isin(np.array(values, dtype=there.dtype), there)
            for values, there in (
                ([key_hash(one.image_id) for one in left], table.ids),
                ([one.file for one in left], table.files),
                ([key_hash(one.key) for one in left], table.texts),
            )
        )
        dropped, kept = DroppedRows(), list[Candidate]()
        for n, one in enumerate(left):
            if ids[n]:
                dropped.add("the same image_id", one.image_id)
            elif files[n]:
                dropped.add("the same file", one.image_id)
            elif near[n]:
                dropped.add(f"a picture within {config.same.radius} bits", one.image_id)
            elif config.exclude.texts and texts[n]:
                dropped.add("the same text", one.text.text)
            else:
                kept.append(one)
        stages.append(_stage(f"keep apart from {table.name}", len(left), dropped))
        left = kept
    return left, stages


def pick(
    candidates: Sequence[Candidate], wanted: int | None, config: DownstreamConfig
) -> list[Candidate]:
    """As many as are wanted: the most clicked first, or by hash; in the order of their ids."""
    if wanted is None or wanted >= len(candidates):
        return list(candidates)
    draws = numbers([one.image_id for one in candidates], config.seed, "pick").tolist()
    by_weight = config.pick == "weight"
    order = sorted(
        range(len(candidates)),
        key=lambda n: (
            -(candidates[n].text.clicks or candidates[n].clicks) if by_weight else 0,
            -candidates[n].text.weight if by_weight else 0.0,
            draws[n],
        ),
    )
    return [candidates[n] for n in sorted(order[:wanted])]


def hashes_of(candidates: Sequence[Candidate]) -> npt.NDArray[np.uint64]:
    """(n,) perceptual hashes."""
    return np.array([one.hash for one in candidates], dtype=np.uint64)


def _hash(pair: Pair) -> int | BadImage:
    """The perceptual hash of a picture, or why it has none."""
    try:
        return int(perceptual_hashes([decode_image(pair.image, name=pair.image_id)])[0])
    except BadImage as error:
        return error


def _stage(name: str, seen: int, dropped: DroppedRows) -> StageCount:
    """A stage of the report: pictures that came in, and those that were left out."""
    return StageCount(
        name, "pictures", seen, seen - dropped.total, dict(dropped.counts),
        dropped.first_examples(),
    )  # fmt: skip
