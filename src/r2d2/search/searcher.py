"""Search in two stages: by vectors and words, then by the cross encoders for the first results."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from r2d2.errors import R2D2Error
from r2d2.index.gallery.protocol import Gallery, GalleryItem, WordSearch
from r2d2.index.text.reading import read_query
from r2d2.model.encoded_states import EncodedStates
from r2d2.models import (
    CrossEncoderModel,
    ImageTextModel,
    lasting_name,
    load,
    narrowed_model,
    tell_ranking,
)
from r2d2.notes import Note
from r2d2.pretrained import Pretrained
from r2d2.saved_model import SHIPPED
from r2d2.search.confidence import (
    FILTER_MATCHES_NOTHING,
    HEAD,
    NOTHING_FITS,
    UNKNOWN,
    QueryEvidence,
    confidence,
)
from r2d2.search.first_stage import FUSED, FirstStage, by_vectors, by_words, fuse
from r2d2.search.query import (
    MAX_CANDIDATES,
    MAX_DEPTH,
    By,
    Hit,
    SearchQuery,
    SearchResults,
)
from r2d2.search.second_stage import (
    KEPT_BYTES,
    CandidatePairs,
    CandidateScore,
    ImageStates,
    match_again,
    second_order,
    second_score,
)
from r2d2.vectors import DirectionCheck

NOTHING = by_vectors(np.empty(0, np.int64), np.empty(0, np.float32))
SECOND_STAGE_OFF = Note(
    "no second stage: on the validation split this model ranks best without it (weight 0)",
    "second_stage_off",
)
SECOND_STAGE_UNTRAINED = Note(
    "no second stage: the cross encoders of this model are not trained yet",
    "second_stage_untrained",
)


def _at_width_of(gallery: Gallery, model: ImageTextModel) -> ImageTextModel:
    """Return the model, cut to the width of the gallery's vectors if they were made that way."""
    if gallery.fingerprint == model.fingerprint or not isinstance(model, Pretrained):
        return model
    width = gallery.images.width
    if width >= model.embed_dim:
        return model
    narrow = narrowed_model(model, width, warn=False)
    return narrow if narrow.fingerprint == gallery.fingerprint else model


class Searcher:
    """Searches a gallery with the model that made the gallery's vectors.

        searcher = Searcher.open()                              # the emoji of the package
        searcher = Searcher.open("photos.lance", "runs/mine")
        searcher.search("生日蛋糕", k=5).hits[0].texts
        searcher.search(Image.open("cake.jpg"))                 # images like it
        searcher.search(Image.open("cake.jpg"), target="texts")

    Only one thread at a time may use it.
    """

    def __init__(
        self, model: ImageTextModel, gallery: Gallery, kept_bytes: int = KEPT_BYTES
    ) -> None:
        """Raise R2D2Error where another model made the vectors of the gallery."""
        model = _at_width_of(gallery, model)
        self.model = model
        self.gallery = gallery
        self.fingerprint = model.fingerprint
        if gallery.fingerprint != self.fingerprint:
            raise R2D2Error(
                f"{gallery.name} was indexed by another model ({gallery.fingerprint}, this one is "
                f"{self.fingerprint}): give --model the one that made the index, or make it anew "
                "by `r2d2 index --overwrite`"
            )
        self._states = ImageStates(model, gallery, kept_bytes)

    @classmethod
    def open(
        cls,
        table: str | Path | None = None,
        model: str | Path | ImageTextModel | None = None,
        device: str | torch.device | None = None,
    ) -> Searcher:
        """Open an indexed table, a folder of pictures or the emoji corpus.

        Args:
            table: a table with an index, or a folder of pictures, whose table is first made or
                updated; None: the emoji corpus.
            model: None: the model that a folder's table was made with, otherwise the shipped one.
            device: the device that the model runs on.

        Raises:
            R2D2Error: the table has no index, or another model made it.
        """
        from r2d2.index.gallery.emoji import EmojiGallery
        from r2d2.index.gallery.table import TableGallery
        from r2d2.photo_folder.gallery import FolderGallery
        from r2d2.photo_folder.open import open_folder
        from r2d2.photo_folder.settings import FolderOptions, is_picture_folder

        if table is not None and is_picture_folder(table):
            if not (model is None or isinstance(model, (str, Path))):
                raise R2D2Error(f"{table} is a folder of pictures: give its model by name")
            opened = open_folder(
                table, FolderOptions(model=None if model is None else lasting_name(model))
            )
            folder_model = opened.model
            if device is not None and isinstance(folder_model, Pretrained):
                folder_model = folder_model.to(device)
            tell_ranking(folder_model)
            return cls(folder_model, FolderGallery(opened))
        model = SHIPPED if model is None else model
        gallery = None if table is None else TableGallery(table)  # before a model is loaded
        loaded = load(model, device) if isinstance(model, (str, Path)) else model
        tell_ranking(loaded)
        return cls(loaded, EmojiGallery.open(loaded) if gallery is None else gallery)

    def search(self, question: str | Image.Image, **options: Any) -> SearchResults:
        """Answer one question; `options` are the other fields of `SearchQuery`."""
        if isinstance(question, str):
            return self.answer([SearchQuery(text=question, **options)])[0]
        return self.answer([SearchQuery(image=question, **options)])[0]

    def check(self, query: SearchQuery) -> None:
        """Raise R2D2Error where a query cannot be answered, without searching."""
        query.check()
        if query.by in ("both", "words") and not self.gallery.has_words:
            raise R2D2Error(
                f"there is no full-text index of {self.gallery.name}: its images have no "
                "texts, or it was indexed without them; search by vectors, or run `r2d2 index` "
                "with its texts",
                code="no_words",
            )
        if query.cascade is not None and not isinstance(self.model, CrossEncoderModel):
            raise R2D2Error(
                f"cascade asks one cross encoder at a time, which {self.model.name} cannot: leave "
                "it out"
            )
        if query.ranks_again and self.second_stage_off is not None:
            raise R2D2Error(
                "candidates and cascade are of the second stage, and there is "
                f"{self.second_stage_off.note}: leave them out"
            )

    def by(self, query: SearchQuery) -> By:
        """Return whether a query is compared with vectors, words or both."""
        if query.by is not None:
            return query.by
        return "vectors" if query.text is None or not self.gallery.has_words else "both"

    @property
    def second_stage_off(self) -> Note | None:
        """Why the cross encoders are not used; None: they are used, or there are none."""
        if not self.model.has_match:
            return None
        if self.model.match_weight == 0:
            return SECOND_STAGE_OFF
        return SECOND_STAGE_UNTRAINED if self._match_is_constant else None

    @cached_property
    def _match_is_constant(self) -> bool:
        return isinstance(self.model, Pretrained) and self.model.model.match_is_constant

    @property
    def longest_text(self) -> int:
        """The number of tokens of a text that the model reads, without [CLS] and [SEP]."""
        return self.model.tokenizer.room

    def encode(self, queries: Sequence[SearchQuery]) -> list[EncodedStates]:
        """Encode the texts in one pass and the images in another; one object for each query."""
        sides: dict[int, EncodedStates] = {}
        texts = [(number, q.text) for number, q in enumerate(queries) if q.text is not None]
        images = [(number, q.image) for number, q in enumerate(queries) if q.image is not None]
        if texts:
            encoded = self.model.encode_texts([text for _, text in texts])
            sides |= {number: encoded[i : i + 1] for i, (number, _) in enumerate(texts)}
        if images:
            encoded = self.model.encode_images([image for _, image in images])
            sides |= {number: encoded[i : i + 1] for i, (number, _) in enumerate(images)}
        directions = DirectionCheck("queries", "the weights of the model are broken: give another")
        encoded_queries = [sides[number] for number in range(len(queries))]
        for number, side in enumerate(encoded_queries):
            directions.add(side.embedding.float().cpu().numpy(), [f"query {number}"])
        return encoded_queries

    @torch.inference_mode()
    def answer(self, queries: Sequence[SearchQuery]) -> list[SearchResults]:
        """Answer several queries together, which is much faster than one by one.

        Raises:
            R2D2Error: one of them cannot be answered; `check` finds this out before.
        """
        for query in queries:
            self.check(query)
        tasks = [self._plan(query) for query in queries]
        compared = [task for task in tasks if task.vectors]
        encoded_queries = self.encode([task.query for task in compared])
        for task, encoded in zip(compared, encoded_queries, strict=True):
            task.encoded = encoded
        self._first(tasks)
        self._match(tasks)
        return [self._results(task) for task in tasks]

    def _plan(self, query: SearchQuery) -> _QueryTask:
        by = self.by(query)
        if query.text is None:
            return _QueryTask(query, by, None, vectors=True, depth=self._depth(query))
        words = self.gallery.words if by != "vectors" else None
        reading = read_query(query.text, self.model.tokenizer)
        notes = reading.notes(query.text)
        vectors = by != "words" and reading.understood
        if by == "words":
            notes = [note for note in notes if note.code == "searched_as"]
        elif not vectors:
            consequence = "so it is searched by words only" if words else "so there is no answer"
            notes.append(
                Note(f"the model can read nothing of the text, {consequence}", "not_understood")
            )
        depth = self._depth(query) if vectors else 0
        if vectors and query.two_stage and self.second_stage_off is not None:
            notes.append(self.second_stage_off)
        evidence = QueryEvidence(reading.text, vectors, reading.complete, words is not None)
        spelt = replace(query, text=reading.text)
        return _QueryTask(spelt, by, words, vectors, depth, tuple(notes), evidence)

    def _depth(self, query: SearchQuery) -> int:
        """Return how many candidates are ranked again."""
        crosses = query.text is not None or query.target == "texts"
        if not (query.two_stage and crosses and self.model.has_match):
            return 0
        if self.second_stage_off is not None:
            return 0
        return min(MAX_CANDIDATES, query.candidates or self.model.top_k)

    def _first(self, tasks: Sequence[_QueryTask]) -> None:
        """Set the results of the first stage."""
        self._near(tasks)
        for task in tasks:
            if task.words is None or task.query.text is None:
                continue
            # The number is the same for all pages, so that the order does not depend on the page.
            k = FUSED if task.vectors else MAX_DEPTH
            named = by_words(*task.words.best(task.query.text, k, task.query.where))
            if task.encoded is not None:
                vector = task.encoded.embedding[0].float().cpu().numpy()
                named = fuse(task.first, named, self.gallery.images.cosines(vector, named.rows))
            task.first = named

    def _near(self, tasks: Sequence[_QueryTask]) -> None:
        """Set the nearest vectors of each query that is compared with vectors."""
        groups: dict[tuple[str, str | None], list[tuple[_QueryTask, Tensor]]] = defaultdict(list)
        for task in tasks:
            if task.encoded is not None:
                group = groups[task.query.target, task.query.where]
                group.append((task, task.encoded.embedding))
        for (target, where), group in groups.items():
            vectors = self.gallery.images if target == "images" else self.gallery.texts
            depths = [task.least_depth for task, _ in group]
            stacked = torch.cat([embedding for _, embedding in group])
            best = vectors.best(stacked.float().cpu().numpy(), max(depths), where)
            for (task, _), k, (rows, cosine) in zip(group, depths, best, strict=True):
                task.first = by_vectors(rows[:k], cosine[:k])

    def _match(self, tasks: Sequence[_QueryTask]) -> None:
        """Set the match scores of each query's candidates; none where nothing is ranked again."""
        rows = {"images": list[int](), "texts": list[int]()}
        for task in tasks:
            rows[task.query.target] += task.candidate_rows
        image_sides = self._states.get(rows["images"]) if rows["images"] else {}
        text_sides: dict[int, EncodedStates] = {}
        if rows["texts"]:
            distinct = list(dict.fromkeys(rows["texts"]))
            items = self.gallery.text_items(distinct)
            encoded = self.model.encode_texts([item.texts[0] for item in items])
            text_sides = {row: encoded[i : i + 1] for i, row in enumerate(distinct)}
        candidates = []
        for task in tasks:
            pairs: list[tuple[EncodedStates, EncodedStates] | None] = []
            for row in task.candidate_rows:
                assert task.encoded is not None  # without vectors there are no candidates
                if task.query.target == "texts":
                    pairs.append((task.encoded, text_sides[row]))
                else:
                    image = image_sides.get(row)
                    pairs.append(None if image is None else (image, task.encoded))
            cosine = task.first.cosine[: len(pairs)]
            candidates.append(CandidatePairs(pairs, cosine, task.query.cascade))
        for task, match in zip(tasks, match_again(self.model, candidates), strict=True):
            task.match = match

    def _results(self, task: _QueryTask) -> SearchResults:
        query, first, match = task.query, task.first, task.match
        weight = self.model.match_weight
        depth = len(match)
        again = second_score(weight, first, match)
        order = second_order(first, match, again)
        page = [int(position) for position in order[query.offset : query.offset + query.k]]
        head = [] if task.evidence is None else order[:HEAD].tolist()
        items = self._items(query, first, [*page, *head])
        reliability = UNKNOWN
        notes = task.notes
        if not order.size and query.where is not None and not self._any_match(query):
            notes = (*notes, FILTER_MATCHES_NOTHING)
        elif task.evidence is not None:
            reliability = confidence(self.gallery, task.evidence, first, head, items)
            if reliability.answer == "unlikely" and order.size:
                notes = (*notes, NOTHING_FITS)
        hits = tuple(
            Hit(
                rank=query.offset + number + 1,
                pre_rank=position + 1,
                row=int(first.rows[position]),
                image_id=item.image_id,
                texts=item.texts,
                cosine=number_or_none(first.cosine[position]),
                match=scored.match if scored else None,
                score=number_or_none(again[position] if scored else first.cosine[position]),
                split=item.split,
                image_row=item.image_row,
                stage=scored.stage if scored else "cosine",
                found_by=first.reason(position),
                words=number_or_none(first.word_score[position]),
                chance=reliability.chances.get(position),
                level=reliability.levels.get(position),
            )
            for number, position in enumerate(page)
            for item in (items[position],)
            for scored in (match[position] if position < depth else None,)
        )
        vectors = self.gallery.images if query.target == "images" else self.gallery.texts
        shown_weight = weight if depth else None
        return SearchResults(
            hits, depth, len(vectors), shown_weight, task.by, notes, reliability.answer
        )

    def _any_match(self, query: SearchQuery) -> bool:
        """Return whether any row with a vector meets the condition of a query."""
        vectors = self.gallery.images if query.target == "images" else self.gallery.texts
        anywhere = np.full((1, vectors.width), vectors.width**-0.5, np.float32)
        return bool(len(vectors.best(anywhere, 1, query.where)[0][0]))

    def _items(
        self, query: SearchQuery, first: FirstStage, positions: Sequence[int]
    ) -> dict[int, GalleryItem]:
        """Return the images or texts at positions of the first stage, by position."""
        distinct = list(dict.fromkeys(positions))
        read = self.gallery.items if query.target == "images" else self.gallery.text_items
        rows = [int(first.rows[position]) for position in distinct]
        return dict(zip(distinct, read(rows) if rows else (), strict=True))


@dataclass
class _QueryTask:
    """How a query is answered, and the results of the stages so far."""

    query: SearchQuery  # its text is in the spelling of the corpus
    by: By
    words: WordSearch | None  # None: words are not searched
    vectors: bool  # whether vectors are compared; False where the model cannot read the text
    depth: int  # how many candidates are ranked again
    notes: tuple[Note, ...] = ()
    evidence: QueryEvidence | None = None  # None where the query is an image
    encoded: EncodedStates | None = None  # None where no vectors are compared
    first: FirstStage = NOTHING
    match: Sequence[CandidateScore | None] = ()

    @property
    def least_depth(self) -> int:
        """The number of nearest vectors that the later steps need."""
        fused = FUSED if self.words else 0
        return max(self.depth, HEAD, self.query.offset + self.query.k, fused)

    @property
    def candidate_rows(self) -> list[int]:
        """The rows that are ranked again."""
        rows: list[int] = self.first.rows[: self.depth].tolist()
        return rows


def number_or_none(value: float) -> float | None:
    """Return the number, or None for NaN."""
    return None if np.isnan(value) else float(value)
