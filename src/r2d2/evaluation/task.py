"""One task: a split's queries in both directions, with their candidates, and its matching pairs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from r2d2.evaluation.encode import EncodedSet
from r2d2.evaluation.matching import MatchingPairs, balanced_pairs, group_pairs
from r2d2.ranking.first_stage import BLOCK_CELLS, Candidates, best_by_cosine
from r2d2.ranking.relevance import Relevance
from r2d2.tokenizer import key_hash

MATCHING_TEXTS = 5000  # texts, drawn by hash, that get a wrong image, which takes long to find
Keys = Sequence[Collection[int]]


@dataclass(frozen=True)
class Direction:
    """Images as queries for texts, or texts as queries for images."""

    queries: Tensor  # (q,) int64, positions in the corpus
    gallery: Tensor  # (c,) int64, positions in the corpus
    relevance: Relevance
    first: Candidates
    own: Relevance  # what the published protocol takes for a match
    pooled: Candidates | None = None  # those that a middle stage keeps; None: there is none

    @property
    def last(self) -> Candidates:
        """The candidates of the second stage."""
        return self.first if self.pooled is None else self.pooled

    def pairs(self) -> tuple[Tensor, Tensor]:
        """Each query with each of its candidates: positions of both, (q * k,)."""
        return self.pairs_with(self.last.items)

    def pairs_with(self, items: Tensor) -> tuple[Tensor, Tensor]:
        """Each query with k items (q, k) of the gallery: positions of both, (q * k,)."""
        positions = self.gallery[items]
        return self.queries[:, None].expand_as(positions).reshape(-1), positions.reshape(-1)


@dataclass(frozen=True)
class Task:
    """The rankings of a split's images and texts, and its matching pairs."""

    name: str
    i2t: Direction | None  # None where only texts are queries, as on MUGE
    t2i: Direction
    matching: MatchingPairs

    @property
    def directions(self) -> list[Direction]:
        """Both directions, or the only one."""
        return [self.t2i] if self.i2t is None else [self.i2t, self.t2i]

    @property
    def queries(self) -> int:
        """How many queries there are in all directions."""
        return sum(len(direction.queries) for direction in self.directions)

    @property
    def pairs(self) -> int:
        """How many pairs the second stage scores: the candidates of every query, and `matching`."""
        return sum(direction.last.items.numel() for direction in self.directions) + len(
            self.matching
        )


@dataclass(frozen=True)
class TaskPlan:
    """Which split a task ranks, and against what."""

    name: str
    split: str
    whole: bool = False  # ranked against the whole corpus, not against the split
    t2i_only: bool = False


def make_task(
    encoded: EncodedSet,
    plan: TaskPlan,
    top_k: int,
    block_cells: int = BLOCK_CELLS,
    *,
    matching: bool = True,
) -> Task:
    """Rank a split by cosine and make its matching pairs.

    Raises:
        R2D2Error: top_k is below 1.
    """
    data = encoded.data
    own_images = [i for i, split in enumerate(data.splits) if split == plan.split]
    own_texts = [t for t, i in enumerate(data.text_image) if data.splits[i] == plan.split]
    images = list(range(len(data.splits))) if plan.whole else own_images
    texts = list(range(len(data.texts))) if plan.whole else own_texts
    image_keys, text_keys = data.keys()
    image_own, text_own = data.own_keys()
    f_image, f_text = encoded.images.embedding, encoded.texts.embedding

    def direction(
        queries: list[int],
        gallery: list[int],
        keys: tuple[Keys, Keys],
        own_keys: tuple[Keys, Keys],
        embeddings: tuple[Tensor, Tensor],
    ) -> Direction:
        relevance, own = (
            Relevance.of([asking[i] for i in queries], [answering[i] for i in gallery])
            for asking, answering in (keys, own_keys)
        )
        query_index, item_index = torch.tensor(queries), torch.tensor(gallery)
        f_query, f_item = embeddings[0][query_index], embeddings[1][item_index]
        first = best_by_cosine(f_query, f_item, relevance, top_k, block_cells, own)
        return Direction(query_index, item_index, relevance, first, own)

    i2t = None
    if not plan.t2i_only:
        with_text = [i for i in own_images if image_keys[i]]  # the others only compete in galleries
        i2t = direction(
            with_text, texts, (image_keys, text_keys), (image_own, text_own), (f_image, f_text)
        )
    t2i = direction(
        own_texts, images, (text_keys, image_keys), (text_own, image_own), (f_text, f_image)
    )
    drawn = sorted(own_texts, key=lambda t: key_hash(data.texts[t]))[:MATCHING_TEXTS]
    queries = sorted(drawn) if matching else []
    if data.group_ids and any(data.group_ids[i] is not None for i in own_images):
        pairs = group_pairs(
            data.group_ids, data.text_image, image_keys, data.texts, queries=queries
        )
    else:
        pairs = balanced_pairs(
            data.texts, data.text_image, image_keys, queries=queries, gallery=texts
        )
    return Task(plan.name, i2t, t2i, pairs)
