"""Search in two stages: by vectors and words, then the first again by both cross encoders."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from r2d2.errors import R2D2Error
from r2d2.index.gallery.protocol import Gallery, GalleryItem, WordSearch
from r2d2.index.text.reading import QueryReading, read_query, spell
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
from r2d2.pretrained import SHIPPED, Pretrained
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
    MAX_RESULTS,
    By,
    Hit,
    SearchQuery,
    SearchResults,
)
from r2d2.search.second_stage import (
    CandidatePairs,
    CandidateScore,
    match_again,
    second_order,
    second_score,
)
from r2d2.search.states import KEPT_BYTES, ImageStates
from r2d2.vectors import DirectionCheck

MAX_CHARACTERS = 2000  # of a text, before it is cut into tokens
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
    """The model with embeddings as long as the gallery's vectors, where it made them so."""
    if gallery.fingerprint == model.fingerprint or not isinstance(model, Pretrained):
        return model
    width = gallery.images.width
    if width >= model.embed_dim:
        return model
    narrow = narrowed_model(model, width, warn=False)
    return narrow if narrow.fingerprint == gallery.fingerprint else model


class Searcher:
    """A model and the gallery that it indexed.

        searcher = Searcher.open()                              # the emoji that come along
        searcher = Searcher.open("photos.lance", "runs/mine")
        searcher.search("生日蛋糕", k=5).hits[0].texts
        searcher.search(Image.open("cake.jpg"))                 # images like it
        searcher.search(Image.open("cake.jpg"), target="texts")

    Not for several threads at once.
    """

    def __init__(
        self, model: ImageTextModel, gallery: Gallery, kept_bytes: int = KEPT_BYTES
    ) -> None:
        """R2D2Error where another model made the gallery's vectors."""
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
        """Open an indexed table; None: the emoji corpus, with whatever model.

        Of a folder of pictures the table is made, or brought up to date, first. No model: the one
        that a folder's table was made with, else the shipped one.

        R2D2Error where the table has no index, or another model's.
        """
        from r2d2.index.gallery.emoji import EmojiGallery
        from r2d2.index.gallery.table import TableGallery
        from r2d2.photo_folder.gallery import FolderGallery
        from r2d2.photo_folder.open import open_folder
        from r2d2.photo_folder.place import FolderOptions, is_picture_folder

        if table is not None and is_picture_folder(table):
            if not (model is None or isinstance(model, (str, Path))):
                raise R2D2Error(f"{table} is a folder of pictures: give its model by name")
            opened = open_folder(
                table, FolderOptions(model=None if model is None else lasting_name(model))
            )
            net = opened.model
            if device is not None and isinstance(net, Pretrained):
                net = net.to(device)
            tell_ranking(net)
            return cls(net, FolderGallery(opened))
        model = SHIPPED if model is None else model
        gallery = None if table is None else TableGallery(table)  # before a model is loaded
        loaded = load(model, device) if isinstance(model, (str, Path)) else model
        tell_ranking(loaded)
        return cls(loaded, EmojiGallery.open(loaded) if gallery is None else gallery)

    def search(self, question: str | Image.Image, **options: Any) -> SearchResults:
        """One question; `options` are the other fields of `SearchQuery`."""
        if isinstance(question, str):
            return self.answer([SearchQuery(text=question, **options)])[0]
        return self.answer([SearchQuery(image=question, **options)])[0]

    def check(self, query: SearchQuery) -> None:
        """R2D2Error where a query cannot be answered; reads nothing."""
        if (query.text is None) == (query.image is None):
            raise R2D2Error("a query is a text or an image: give one of them")
        if query.text is not None:
            self.check_text(query.text)
        if query.target not in ("images", "texts"):
            raise R2D2Error(f"target is {query.target!r}: choose images or texts")
        if query.text is not None and query.target == "texts":
            raise R2D2Error("a text is searched among images: give an image to search among texts")
        self._check_by(query)
        if not 1 <= query.k <= MAX_RESULTS:
            raise R2D2Error(f"k is {query.k}: it must be 1 to {MAX_RESULTS}")
        if query.offset < 0 or query.offset + query.k > MAX_DEPTH:
            raise R2D2Error(
                f"results {query.offset} to {query.offset + query.k} are asked for: "
                f"only the first {MAX_DEPTH} are given",
                code="too_deep",
            )
        if query.candidates is not None and not 1 <= query.candidates <= MAX_CANDIDATES:
            raise R2D2Error(f"candidates is {query.candidates}: it must be 1 to {MAX_CANDIDATES}")
        if query.cascade is not None and not 1 <= query.cascade <= MAX_CANDIDATES:
            raise R2D2Error(f"cascade is {query.cascade}: it must be 1 to {MAX_CANDIDATES}")
        if query.cascade is not None and not isinstance(self.model, CrossEncoderModel):
            raise R2D2Error(
                f"cascade asks one cross encoder at a time, which {self.model.name} cannot: leave "
                "it out"
            )

    def by(self, query: SearchQuery) -> By:
        """What is compared with a query."""
        if query.by is not None:
            return query.by
        return "vectors" if query.text is None or not self.gallery.has_words else "both"

    def _check_by(self, query: SearchQuery) -> None:
        """R2D2Error where a query asks for words that there are not, or for a second stage."""
        if query.by not in (None, "both", "vectors", "words"):
            raise R2D2Error(f"by is {query.by!r}: choose both, vectors or words")
        if query.by in ("both", "words"):
            if query.text is None:
                raise R2D2Error(
                    f"by is {query.by}, and an image has no words: leave it out, or say vectors"
                )
            if not self.gallery.has_words:
                raise R2D2Error(
                    f"there is no full-text index of {self.gallery.name}: its images have no "
                    "texts, or it was indexed without them; search by vectors, or run `r2d2 index` "
                    "with its texts",
                    code="no_words",
                )
        if query.candidates is not None or query.cascade is not None:
            if query.by == "words":
                raise R2D2Error(
                    "candidates and cascade are of the second stage, and a search by words alone "
                    "has none: leave them out"
                )
            if self.second_stage_off is not None:
                raise R2D2Error(
                    "candidates and cascade are of the second stage, and there is "
                    f"{self.second_stage_off.note}: leave them out"
                )

    @property
    def second_stage_off(self) -> Note | None:
        """Why the cross encoders of a model are not asked; None: they are, or it has none."""
        if not self.model.has_match:
            return None
        if self.model.match_weight == 0:
            return SECOND_STAGE_OFF
        return SECOND_STAGE_UNTRAINED if self._match_is_constant else None

    @cached_property
    def _match_is_constant(self) -> bool:
        return isinstance(self.model, Pretrained) and self.model.model.match_is_constant

    def check_text(self, text: str) -> None:
        """R2D2Error where a text is empty, no valid Unicode, or of too many characters.

        One of more tokens than the model reads is cut, which is noted: see `cut_notes`.
        """
        if not text.strip():
            raise R2D2Error("the text is empty: give some words", code="text_empty")
        if len(text) > MAX_CHARACTERS:
            raise R2D2Error(
                f"the text has {len(text)} characters, more than {MAX_CHARACTERS}: shorten it",
                code="text_too_long",
            )
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise R2D2Error(
                f"the text is no valid Unicode ({error.reason}): mend it", code="text_unreadable"
            ) from error
        if not spell(text):
            raise R2D2Error(
                "the text holds no character that can be seen: give some words", code="text_empty"
            )

    @property
    def longest_text(self) -> int:
        """Tokens of a text that the model reads, without [CLS] and [SEP]."""
        return self.model.tokenizer.room

    def encode(self, queries: Sequence[SearchQuery]) -> list[EncodedStates]:
        """Each query as an EncodedStates of one; texts together, images together."""
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
        """Several queries at once, much faster than one by one.

        R2D2Error where one of them cannot be answered: `check` them before.
        """
        for query in queries:
            self.check(query)
        readings = [
            None if q.text is None else read_query(q.text, self.model.tokenizer) for q in queries
        ]
        spelt_queries = [
            query if reading is None else replace(query, text=reading.text)
            for query, reading in zip(queries, readings, strict=True)
        ]
        plans = [
            self._plan(query, reading) for query, reading in zip(queries, readings, strict=True)
        ]
        compared = [number for number, plan in enumerate(plans) if plan.vectors]
        encoded = self.encode([spelt_queries[number] for number in compared])
        sides = dict(zip(compared, encoded, strict=True))
        first = self._first(spelt_queries, plans, sides)
        match = self._match(spelt_queries, plans, sides, first)
        return [self._found(*parts) for parts in zip(queries, plans, first, match, strict=True)]

    def _plan(self, query: SearchQuery, reading: QueryReading | None) -> _QueryPlan:
        by = self.by(query)
        words = self.gallery.words if by != "vectors" else None
        if reading is None:
            return _QueryPlan(
                by, None, vectors=True, depth=self._depth(query), notes=(), evidence=None
            )
        notes = reading.notes(query.text or "")
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
        return _QueryPlan(by, words, vectors, depth, tuple(notes), evidence)

    def _depth(self, query: SearchQuery) -> int:
        """How many candidates are ranked again: 0 where nothing is."""
        crosses = query.text is not None or query.target == "texts"
        if not (query.two_stage and crosses and self.model.has_match):
            return 0
        if self.second_stage_off is not None:
            return 0
        return min(MAX_CANDIDATES, query.candidates or self.model.top_k)

    def _first(
        self,
        queries: Sequence[SearchQuery],
        plans: Sequence[_QueryPlan],
        sides: Mapping[int, EncodedStates],
    ) -> list[FirstStage]:
        near = self._near(queries, plans, sides)
        first_stages = []
        for number, (query, plan) in enumerate(zip(queries, plans, strict=True)):
            if plan.words is None or query.text is None:
                first_stages.append(near.get(number, NOTHING))
                continue
            # As many for each page, so that the order of what is on it does not depend on it.
            k = FUSED if plan.vectors else MAX_DEPTH
            named = by_words(*plan.words.best(query.text, k, query.where))
            if plan.vectors:
                vector = sides[number].embedding[0].float().cpu().numpy()
                cosine = self.gallery.images.cosines(vector, named.rows)
                named = fuse(near[number], named, cosine)
            first_stages.append(named)
        return first_stages

    def _near(
        self,
        queries: Sequence[SearchQuery],
        plans: Sequence[_QueryPlan],
        sides: Mapping[int, EncodedStates],
    ) -> dict[int, FirstStage]:
        """What the vectors find of each query that they are compared with."""
        groups: dict[tuple[str, str | None], list[int]] = defaultdict(list)
        for number in sides:
            groups[queries[number].target, queries[number].where].append(number)
        first_stages: dict[int, FirstStage] = {}
        for (target, where), numbers in groups.items():
            vectors = self.gallery.images if target == "images" else self.gallery.texts
            wanted = [
                max(
                    plans[number].depth,
                    HEAD,
                    queries[number].offset + queries[number].k,
                    FUSED if plans[number].words else 0,
                )
                for number in numbers
            ]
            stacked = torch.cat([sides[number].embedding for number in numbers])
            best = vectors.best(stacked.float().cpu().numpy(), max(wanted), where)
            for number, k, (rows, cosine) in zip(numbers, wanted, best, strict=True):
                first_stages[number] = by_vectors(rows[:k], cosine[:k])
        return first_stages

    def _match(
        self,
        queries: Sequence[SearchQuery],
        plans: Sequence[_QueryPlan],
        sides: Mapping[int, EncodedStates],
        first: Sequence[FirstStage],
    ) -> list[list[CandidateScore | None]]:
        """What is said of each query's candidates; empty where nothing is ranked again."""
        chosen = [
            results.rows[: plan.depth].tolist() for plan, results in zip(plans, first, strict=True)
        ]
        images = [row for q, rows in zip(queries, chosen, strict=True)
                  if q.target == "images" for row in rows]  # fmt: skip
        texts = list(dict.fromkeys(row for q, rows in zip(queries, chosen, strict=True)
                                   if q.target == "texts" for row in rows))  # fmt: skip
        image_sides = self._states.get(images) if images else {}
        text_sides: dict[int, EncodedStates] = {}
        if texts:
            encoded = self.model.encode_texts(
                [item.texts[0] for item in self.gallery.text_items(texts)]
            )
            text_sides = {row: encoded[i : i + 1] for i, row in enumerate(texts)}
        candidates = []
        for number, (query, rows, results) in enumerate(zip(queries, chosen, first, strict=True)):
            pairs: list[tuple[EncodedStates, EncodedStates] | None] = []
            for row in rows:
                side = sides[number]
                if query.target == "texts":
                    pairs.append((side, text_sides[row]))
                else:
                    pairs.append((image_sides[row], side) if row in image_sides else None)
            candidates.append(CandidatePairs(pairs, results.cosine[: len(rows)], query.cascade))
        return match_again(self.model, candidates)

    def _found(
        self,
        query: SearchQuery,
        plan: _QueryPlan,
        first: FirstStage,
        match: Sequence[CandidateScore | None],
    ) -> SearchResults:
        weight = self.model.match_weight
        depth = len(match)
        again = second_score(weight, first, match)
        order = second_order(first, match, again)
        page = [int(position) for position in order[query.offset : query.offset + query.k]]
        head = [] if plan.evidence is None else order[:HEAD].tolist()
        items = self._items(query, first, [*page, *head])
        sure = UNKNOWN
        notes = plan.notes
        if not order.size and query.where is not None and not self._any_match(query):
            notes = (*notes, FILTER_MATCHES_NOTHING)
        elif plan.evidence is not None:
            sure = confidence(self.gallery, plan.evidence, first, head, items)
            if sure.answer == "unlikely" and order.size:
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
                chance=sure.chances.get(position),
                level=sure.levels.get(position),
            )
            for number, position in enumerate(page)
            for item in (items[position],)
            for scored in (match[position] if position < depth else None,)
        )
        vectors = self.gallery.images if query.target == "images" else self.gallery.texts
        return SearchResults(
            hits, depth, len(vectors), weight if depth else None, plan.by, notes, sure.answer
        )

    def _any_match(self, query: SearchQuery) -> bool:
        """Whether anything that has a vector fulfils the condition of a query, however unlike."""
        vectors = self.gallery.images if query.target == "images" else self.gallery.texts
        anywhere = np.full((1, vectors.width), vectors.width**-0.5, np.float32)
        return bool(len(vectors.best(anywhere, 1, query.where)[0][0]))

    def _items(
        self, query: SearchQuery, first: FirstStage, positions: Sequence[int]
    ) -> dict[int, GalleryItem]:
        """What is at some places of the first stage."""
        distinct = list(dict.fromkeys(positions))
        read = self.gallery.items if query.target == "images" else self.gallery.text_items
        rows = [int(first.rows[position]) for position in distinct]
        return dict(zip(distinct, read(rows) if rows else (), strict=True))


@dataclass(frozen=True)
class _QueryPlan:
    """How a query is answered."""

    by: By  # as it was asked
    words: WordSearch | None  # searched; None: not by words
    vectors: bool  # whether they are compared: not with a text of which the model reads nothing
    depth: int  # candidates that are ranked again
    notes: tuple[Note, ...]
    evidence: QueryEvidence | None  # None: of an image


def number_or_none(value: float) -> float | None:
    """A number; None for NaN."""
    return None if np.isnan(value) else float(value)
