"""Search in two stages: the nearest by cosine, the first of them again by both cross encoders."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from r2d2.errors import R2D2Error
from r2d2.fingerprint import fingerprint
from r2d2.model.side import Side
from r2d2.pretrained import SHIPPED, Pretrained, load
from r2d2.search.gallery import Floats, Gallery, Item, Rows
from r2d2.search.query import (
    MAX_CANDIDATES,
    MAX_DEPTH,
    MAX_RESULTS,
    Found,
    Hit,
    Query,
)
from r2d2.search.second_stage import Asked, Matched, match_again
from r2d2.search.states import KEPT_BYTES, ImageStates
from r2d2.vectors import Directions

STAGES = ("both", "text")  # as results stand below each other
MAX_CHARACTERS = 2000  # of a text, before it is cut into tokens


class Searcher:
    """A model and the gallery that it indexed.

        searcher = Searcher.open()                              # the emoji that come along
        searcher = Searcher.open("photos.lance", "runs/mine")
        searcher.search("生日蛋糕", k=5).hits[0].texts
        searcher.search(Image.open("cake.jpg"))                 # images like it
        searcher.search(Image.open("cake.jpg"), target="texts")

    Not for several threads at once.
    """

    def __init__(self, model: Pretrained, gallery: Gallery, kept_bytes: int = KEPT_BYTES) -> None:
        """R2D2Error where another model made the gallery's vectors."""
        self.model = model
        self.gallery = gallery
        self.fingerprint = fingerprint(model)
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
        model: str | Path | Pretrained | None = None,
        device: str | torch.device | None = None,
    ) -> Searcher:
        """Open an indexed table; None: the emoji corpus, with whatever model.

        Of a folder of pictures the table is made, or brought up to date, first. No model: the one
        that a folder's table was made with, else the shipped one.

        R2D2Error where the table has no index, or another model's.
        """
        from r2d2.photo_folder.gallery import FolderGallery
        from r2d2.photo_folder.open import open_folder
        from r2d2.photo_folder.place import FolderOptions, is_picture_folder
        from r2d2.search.shipped import EmojiGallery
        from r2d2.search.table_gallery import TableGallery

        if table is not None and is_picture_folder(table):
            if isinstance(model, Pretrained):
                raise R2D2Error(f"{table} is a folder of pictures: give its model by name")
            opened = open_folder(table, FolderOptions(model=None if model is None else str(model)))
            net = opened.model if device is None else opened.model.to(device)
            return cls(net, FolderGallery(opened))
        model = SHIPPED if model is None else model
        there = None if table is None else TableGallery(table)  # before a model is loaded
        loaded = model if isinstance(model, Pretrained) else load(model, device)
        return cls(loaded, EmojiGallery.open(loaded) if there is None else there)

    def search(self, question: str | Image.Image, **options: Any) -> Found:
        """One question; `options` are the other fields of `Query`."""
        if isinstance(question, str):
            return self.answer([Query(text=question, **options)])[0]
        return self.answer([Query(image=question, **options)])[0]

    def check(self, query: Query) -> None:
        """R2D2Error where a query cannot be answered; reads nothing."""
        if (query.text is None) == (query.image is None):
            raise R2D2Error("a query is a text or an image: give one of them")
        if query.text is not None:
            self.check_text(query.text)
        if query.target not in ("images", "texts"):
            raise R2D2Error(f"target is {query.target!r}: choose images or texts")
        if query.text is not None and query.target == "texts":
            raise R2D2Error("a text is searched among images: give an image to search among texts")
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

    def check_text(self, text: str, *, cut: bool = False) -> None:
        """R2D2Error where a text is empty, or longer than the model reads; `cut`: it may be."""
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
        if cut:
            return
        count, room = len(self.model.tokenizer.uncut([text])[0]), self.longest_text
        if count > room:
            raise R2D2Error(
                f"the text has {count} tokens, and the model reads {room}: shorten it",
                code="text_too_long",
            )

    @property
    def longest_text(self) -> int:
        """Tokens of a text that the model reads, without [CLS] and [SEP]."""
        return self.model.tokenizer.max_length - 2

    def encode(self, queries: Sequence[Query]) -> list[Side]:
        """Each query as a Side of one; texts together, images together."""
        sides: dict[int, Side] = {}
        texts = [(place, q.text) for place, q in enumerate(queries) if q.text is not None]
        images = [(place, q.image) for place, q in enumerate(queries) if q.image is not None]
        if texts:
            encoded = self.model.encode_texts([text for _, text in texts])
            sides |= {place: encoded[i : i + 1] for i, (place, _) in enumerate(texts)}
        if images:
            encoded = self.model.encode_images([image for _, image in images])
            sides |= {place: encoded[i : i + 1] for i, (place, _) in enumerate(images)}
        directions = Directions("queries", "the weights of the model are broken: give another")
        found = [sides[place] for place in range(len(queries))]
        for place, side in enumerate(found):
            directions.add(side.embedding.float().cpu().numpy(), [f"query {place}"])
        return found

    @torch.inference_mode()
    def answer(self, queries: Sequence[Query]) -> list[Found]:
        """Several queries at once, much faster than one by one.

        R2D2Error where one of them cannot be answered: `check` them before.
        """
        for query in queries:
            self.check(query)
        sides = self.encode(queries)
        first = self._pre_rank(queries, sides)
        match = self._match(queries, sides, first)
        return [
            self._found(query, rows, cosine, scores)
            for query, (rows, cosine), scores in zip(queries, first, match, strict=True)
        ]

    def depth(self, query: Query) -> int:
        """How many candidates are ranked again: 0 where nothing is."""
        crosses = query.text is not None or query.target == "texts"
        if not (query.two_stage and crosses and self.model.has_match):
            return 0
        return min(MAX_CANDIDATES, query.candidates or self.model.top_k)

    def _pre_rank(
        self, queries: Sequence[Query], sides: Sequence[Side]
    ) -> list[tuple[Rows, Floats]]:
        groups: dict[tuple[str, str | None], list[int]] = defaultdict(list)
        for place, query in enumerate(queries):
            groups[query.target, query.where].append(place)
        found: dict[int, tuple[Rows, Floats]] = {}
        for (target, where), places in groups.items():
            vectors = self.gallery.images if target == "images" else self.gallery.texts
            wanted = [max(self.depth(q), q.offset + q.k) for q in (queries[p] for p in places)]
            stacked = torch.cat([sides[place].embedding for place in places])
            best = vectors.best(stacked.float().cpu().numpy(), max(wanted), where)
            for place, k, (rows, cosine) in zip(places, wanted, best, strict=True):
                found[place] = rows[:k], cosine[:k]
        return [found[place] for place in range(len(queries))]

    def _match(
        self,
        queries: Sequence[Query],
        sides: Sequence[Side],
        first: Sequence[tuple[Rows, Floats]],
    ) -> list[list[Matched | None]]:
        """What is said of each query's candidates; empty where nothing is ranked again."""
        chosen = [
            rows[: self.depth(query)].tolist()
            for query, (rows, _) in zip(queries, first, strict=True)
        ]
        images = [row for q, rows in zip(queries, chosen, strict=True)
                  if q.target == "images" for row in rows]  # fmt: skip
        texts = list(dict.fromkeys(row for q, rows in zip(queries, chosen, strict=True)
                                   if q.target == "texts" for row in rows))  # fmt: skip
        image_sides = self._states.get(images) if images else {}
        text_sides: dict[int, Side] = {}
        if texts:
            encoded = self.model.encode_texts(
                [item.texts[0] for item in self.gallery.text_items(texts)]
            )
            text_sides = {row: encoded[i : i + 1] for i, row in enumerate(texts)}
        asked = []
        for query, side, rows, (_, cosine) in zip(queries, sides, chosen, first, strict=True):
            pairs: list[tuple[Side, Side] | None] = []
            for row in rows:
                if query.target == "texts":
                    pairs.append((side, text_sides[row]))
                else:
                    pairs.append((image_sides[row], side) if row in image_sides else None)
            asked.append(Asked(pairs, cosine[: len(rows)], query.cascade))
        return match_again(self.model, asked)

    def _found(
        self, query: Query, rows: Rows, cosine: Floats, match: Sequence[Matched | None]
    ) -> Found:
        weight = self.model.match_weight
        depth = len(match)
        # A cascade's tail falls behind its head, and what could not be read behind both.
        stages = np.array([2 if m is None else STAGES.index(m.stage) for m in match], np.int64)
        again = np.array([weight * (m.match if m else 0.0) for m in match]) + cosine[:depth]
        order = [*np.lexsort((np.arange(depth), -again, stages)), *range(depth, len(rows))]
        page = [int(place) for place in order[query.offset : query.offset + query.k]]
        read = self.gallery.items if query.target == "images" else self.gallery.text_items
        items: list[Item] = read([int(rows[place]) for place in page]) if page else []
        hits = tuple(
            Hit(
                rank=query.offset + number + 1,
                pre_rank=place + 1,
                row=int(rows[place]),
                image_id=item.image_id,
                texts=item.texts,
                cosine=float(cosine[place]),
                match=said.match if said else None,
                score=float(again[place] if said else cosine[place]),
                split=item.split,
                image_row=item.image_row,
                stage=said.stage if said else "cosine",
            )
            for number, (place, item) in enumerate(zip(page, items, strict=True))
            for said in (match[place] if place < depth else None,)
        )
        vectors = self.gallery.images if query.target == "images" else self.gallery.texts
        return Found(hits, depth, len(vectors), weight if depth else None)
