"""What the evaluation asks of a model: any dual encoder, with or without a match head."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from PIL import Image
from torch import Tensor

from r2d2.model.side import Side

Progress = Callable[[str, int, int], None]  # what is being done, done so far, in all


class DualEncoder(Protocol):
    """A model as the evaluation sees it.

    All of it runs without dropout; what it returns stays on the device it likes. A model without a
    match head may leave the states of its sides empty: see `embedded`.
    """

    @property
    def has_match(self) -> bool:
        """Whether `match` may be called."""

    def encode_images(self, images: list[Image.Image]) -> Side:
        """Encode n pictures; the embedding (n, d) is f_I, of unit length."""

    def encode_texts(self, texts: list[str]) -> Side:
        """Encode n texts; the embedding (n, d) is f_T, of unit length."""

    def match(self, images: Side, texts: Side) -> Tensor:
        """(p_T[match] + p_I[match]) / 2 of n pairs, (n,) in [0, 1]; both sides hold n items."""


@runtime_checkable
class ScoresPairs(Protocol):
    """A model that scores many pairs of few items, and each of its cross encoders by itself.

    What belongs to one item is then computed once for all of its pairs.
    """

    def match_text(self, images: Side, texts: Side, pairs: tuple[Tensor, Tensor]) -> Tensor:
        """p_T[match], (m,), of pairs: indices (m,) into images, and (m,) into texts."""

    def match_image(self, images: Side, texts: Side, pairs: tuple[Tensor, Tensor]) -> Tensor:
        """p_I[match], (m,), of pairs. `match` is the mean of the two."""


@runtime_checkable
class KnowsImages(Protocol):
    """A source that was computed before and finds an image by its id: no picture is decoded."""

    def knows(self, image_id: str) -> bool:
        """Whether there is an embedding."""

    def known_images(self, image_ids: Sequence[str]) -> Side:
        """The embeddings of images it knows."""


def embedded(embedding: Tensor) -> Side:
    """A side of embeddings (n, d) alone, set to unit length."""
    import torch.nn.functional as F

    return Side(embedding.new_zeros(len(embedding), 1, 0), None, F.normalize(embedding, dim=-1))
