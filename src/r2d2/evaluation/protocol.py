"""The interface of a model that can be evaluated: a dual encoder, perhaps with a match head."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from PIL import Image
from torch import Tensor

from r2d2.model.encoded_states import EncodedStates

Progress = Callable[[str, int, int], None]  # the stage, items done so far, all items


class DualEncoder(Protocol):
    """A model as the evaluation sees it.

    All of it runs without dropout; what it returns stays on the device it likes. A model without a
    match head may leave the states of its sides empty: see `r2d2.model.encoded_states.embedded`.
    """

    @property
    def has_match(self) -> bool:
        """Whether `match` may be called."""

    def encode_images(self, images: list[Image.Image]) -> EncodedStates:
        """Encode n pictures; the embedding (n, d) is f_I, of unit length."""

    def encode_texts(self, texts: list[str]) -> EncodedStates:
        """Encode n texts; the embedding (n, d) is f_T, of unit length."""

    def match(self, images: EncodedStates, texts: EncodedStates) -> Tensor:
        """(p_T[match] + p_I[match]) / 2 of n pairs, (n,) in [0, 1]; both sides hold n items."""


@runtime_checkable
class KnowsImages(Protocol):
    """Embeddings that were computed before and are found by image id, without any picture."""

    def knows(self, image_id: str) -> bool:
        """Whether there is an embedding of this image."""

    def known_images(self, image_ids: Sequence[str]) -> EncodedStates:
        """The embeddings of images that `knows` has confirmed."""
