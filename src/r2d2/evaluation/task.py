"""One task: which images and texts ask which, and the candidates that pre-ranking gives them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from r2d2.evaluation.encode import Encoded
from r2d2.evaluation.matching import MatchingPairs, balanced_pairs
from r2d2.evaluation.rerank import Candidates, best_by_cosine
from r2d2.evaluation.retrieval import Relevance


@dataclass(frozen=True)
class Direction:
    """Images asking texts, or texts asking images."""

    queries: Tensor  # (q,) int64, positions in the corpus
    gallery: Tensor  # (c,) int64, positions in the corpus
    relevance: Relevance
    first: Candidates

    def pairs(self) -> tuple[Tensor, Tensor]:
        """Each query with each of its candidates, (q * k,) positions of either."""
        items = self.gallery[self.first.items]
        return self.queries[:, None].expand_as(items).reshape(-1), items.reshape(-1)


@dataclass(frozen=True)
class Task:
    """A split's images and texts, each ranking the other side of a gallery."""

    name: str
    i2t: Direction
    t2i: Direction
    matching: MatchingPairs

    def pairs(self) -> list[tuple[Tensor, Tensor]]:
        """What the match head is asked: (images, texts) of i2t, of t2i and of matching."""
        texts, images = self.t2i.pairs()
        return [self.i2t.pairs(), (images, texts), (self.matching.image, self.matching.text)]


def make_task(encoded: Encoded, name: str, split: str, top_k: int, *, whole: bool) -> Task:
    """Pre-rank a split against itself, or against the whole corpus.

    Raises:
        R2D2Error: top_k is below 1.
    """
    data = encoded.data
    own_images = [i for i, found in enumerate(data.splits) if found == split]
    own_texts = [t for t, image in enumerate(data.text_image) if data.splits[image] == split]
    images = list(range(len(data.splits))) if whole else own_images
    texts = list(range(len(data.texts))) if whole else own_texts
    image_keys, text_keys = data.keys()

    def direction(
        queries: list[int],
        gallery: list[int],
        query_keys: Sequence[Collection[int]],
        gallery_keys: Sequence[Collection[int]],
        embeddings: tuple[Tensor, Tensor],
    ) -> Direction:
        relevance = Relevance.of(
            [query_keys[i] for i in queries], [gallery_keys[i] for i in gallery]
        )
        asking, asked = torch.tensor(queries), torch.tensor(gallery)
        from_, to = embeddings
        first = best_by_cosine(from_[asking], to[asked], relevance, top_k)
        return Direction(asking, asked, relevance, first)

    f_image, f_text = encoded.images.embedding, encoded.texts.embedding
    return Task(
        name,
        direction(own_images, texts, image_keys, text_keys, (f_image, f_text)),
        direction(own_texts, images, text_keys, image_keys, (f_text, f_image)),
        balanced_pairs(data.texts, data.text_image, image_keys, queries=own_texts, gallery=texts),
    )
