"""Select the pictures that a set may be made of, each with one text, in the order of their ids."""

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

    row: int  # the row number in the table
    image_id: str
    text: Text
    key: str  # the loose key of the text
    hash: int  # the perceptual hash, 64 bits
    file: int  # the hash of the encoded file
    clicks: int


class PictureTexts:
    """The texts of all pictures of a table, also of rows that do not get into the set.

    Such a row may show the same picture as a row of the set; its texts are then true of that.
    """

    def __init__(self) -> None:
        self.ids = array("q")  # the hashed image id of each row whose picture can be read
        self.hashes = array("Q")  # the perceptual hashes of the same rows
        self.texts: dict[int, set[str]] = defaultdict(set)  # loose keys, by hashed image id

    def add_picture(self, image_id: str, perceptual_hash: int) -> None:
        """Add the perceptual hash of a row's picture."""
        self.ids.append(picture_hash(image_id))
        self.hashes.append(perceptual_hash)

    def add_texts(self, image_id: str, texts: Sequence[Text]) -> None:
        """Add the texts of a row, whether or not its picture can be read."""
        self.texts[picture_hash(image_id)].update(
            key for text in texts if (key := loose_text_key(text.text))
        )


def picture_hash(image_id: str) -> int:
    """Hash an image id to 64 bits; the zero byte keeps it different from the hash of a text key."""
    return key_hash(f"picture\0{image_id}")


def read_candidates(
    table: PairsTable, config: DownstreamConfig, update: Update
) -> tuple[list[Candidate], PictureTexts, StageCount]:
    """Return each picture that has a text for the task, its table's texts, and the count.

    Of several rows with the same image_id, the one with the smallest text key is taken.
    """
    dropped, seen = DroppedRows(), PictureTexts()
    by_id: dict[str, Candidate] = {}
    rows = table.rows()
    pairs = table.stream(rows, COLUMNS, stage="reading", update=update)
    for row, pair in zip(rows.tolist(), pairs, strict=True):
        name = f"row {row} ({pair.image_id})"
        if pair.label == 0:
            dropped.add("labelled as no match", name)
            continue
        seen.add_texts(pair.image_id, pair.texts)
        picture = _hash(pair)
        if isinstance(picture, int):
            seen.add_picture(pair.image_id, picture)
        text = choose_text(pair.texts, config.text, config.seed)
        if text is None:
            example = " · ".join(text.text[:24] for text in pair.texts[:2])
            dropped.add(NO_TEXT, example or name)
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
            candidate = min((candidate, other), key=lambda each: (each.key, each.file, each.row))
        by_id[pair.image_id] = candidate
    return [by_id[name] for name in sorted(by_id)], seen, _stage("read", len(rows), dropped)


def choose_text(texts: Sequence[Text], choice: TextChoice, seed: int) -> Text | None:
    """Choose the text of a picture: the text with the highest weight of the first source with any.

    A hash of the text decides between equal weights.
    """
    for source in choice.sources:
        fitting = [
            text
            for text in texts
            if text.source == source and choice.least <= len(text_key(text.text)) <= choice.most
        ]
        if fitting:
            draws = numbers([text.text for text in fitting], seed, "text").tolist()
            drawn = zip(fitting, draws, strict=True)
            return min(drawn, key=lambda text_draw: (-text_draw[0].weight, text_draw[1]))[0]
    return None


def set_apart(
    candidates: Sequence[Candidate], known: Sequence[TableHashes], config: DownstreamConfig
) -> tuple[list[Candidate], list[StageCount]]:
    """Leave out pictures that other tables have too, with the same id, file, picture or text."""
    stages, left = [], list(candidates)
    for table in known:
        near = near_to(table.prints, hashes_of(left), config.same.radius)
        ids, files, texts = (
            np.isin(np.array(values, dtype=known_hashes.dtype), known_hashes)
            for values, known_hashes in (
                ([key_hash(candidate.image_id) for candidate in left], table.ids),
                ([candidate.file for candidate in left], table.files),
                ([key_hash(candidate.key) for candidate in left], table.texts),
            )
        )
        dropped, kept = DroppedRows(), list[Candidate]()
        for n, candidate in enumerate(left):
            if ids[n]:
                dropped.add("the same image_id", candidate.image_id)
            elif files[n]:
                dropped.add("the same file", candidate.image_id)
            elif near[n]:
                dropped.add(f"a picture within {config.same.radius} bits", candidate.image_id)
            elif config.exclude.texts and texts[n]:
                dropped.add("the same text", candidate.text.text)
            else:
                kept.append(candidate)
        stages.append(_stage(f"keep apart from {table.name}", len(left), dropped))
        left = kept
    return left, stages


def pick(
    candidates: Sequence[Candidate], count: int | None, config: DownstreamConfig
) -> list[Candidate]:
    """Take `count` candidates, the most clicked or by hash, and return them in order of their ids.

    A count of None takes all.
    """
    if count is None or count >= len(candidates):
        return list(candidates)
    draws = numbers([each.image_id for each in candidates], config.seed, "pick").tolist()
    by_weight = config.pick == "weight"
    order = sorted(
        range(len(candidates)),
        key=lambda n: (
            -(candidates[n].text.clicks or candidates[n].clicks) if by_weight else 0,
            -candidates[n].text.weight if by_weight else 0.0,
            draws[n],
        ),
    )
    return [candidates[n] for n in sorted(order[:count])]


def hashes_of(candidates: Sequence[Candidate]) -> npt.NDArray[np.uint64]:
    """Return the perceptual hashes (n,)."""
    return np.array([candidate.hash for candidate in candidates], dtype=np.uint64)


def _hash(pair: Pair) -> int | BadImage:
    """Return the perceptual hash of a picture, or the error of decoding it."""
    try:
        return int(perceptual_hashes([decode_image(pair.image, name=pair.image_id)])[0])
    except BadImage as error:
        return error


def _stage(name: str, seen: int, dropped: DroppedRows) -> StageCount:
    """Return a stage of the report, with the pictures that came in and those left out."""
    return StageCount(
        name, "pictures", seen, seen - dropped.total, dict(dropped.counts),
        dropped.first_examples(),
    )  # fmt: skip
