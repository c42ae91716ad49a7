"""Match scores of many pairs of few items, without computing anything twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from r2d2.errors import R2D2Error
from r2d2.evaluation.protocol import DualEncoder, Progress
from r2d2.evaluation.settings import BATCH_SIZE
from r2d2.evaluation.states import StateStore
from r2d2.models import CrossEncoderModel

NEAR_BATCHES = 64  # within which pairs are sorted by the length of their text

By = Literal["both", "text", "image"]  # (p_T + p_I) / 2, p_T, p_I
# Of (p,) images, (p,) texts, the length of every text, and pairs a batch: the pairs of each batch.
Batches = Callable[[Tensor, Tensor, Tensor, int], Iterator[Tensor]]


@torch.no_grad()
def match_scores(
    model: DualEncoder,
    images: StateStore,
    texts: StateStore,
    image_index: Tensor,
    text_index: Tensor,
    *,
    by: By = "both",
    batch_size: int = BATCH_SIZE,
    progress: Progress | None = None,
) -> Tensor:
    """Match score of p pairs; a pair that occurs several times is scored once.

    Args:
        model: with a match head.
        images: encoded.
        texts: encoded.
        image_index: (p,) positions in `images`.
        text_index: (p,) positions in `texts`.
        by: both cross encoders, or one of them.
        batch_size: pairs a forward pass.
        progress: called with ("match", or "match, text" and so on, pairs done, distinct pairs).

    Returns:
        (p,) float32 on the CPU.

    Raises:
        R2D2Error: the model cannot score by one cross encoder alone.
    """
    if by != "both":
        require_halves(model)

    def score(image: Tensor, text: Tensor) -> Tensor:
        if isinstance(model, CrossEncoderModel):
            return _of_few(model, images, texts, image, text, by)
        return model.match(images.take(image), texts.take(text))

    batches = by_image if isinstance(model, CrossEncoderModel) else _by_length
    stage = "match" if by == "both" else f"match, {by}"
    told = None if progress is None else partial(progress, stage)
    return score_pairs(score, image_index, text_index, texts.length, batches, batch_size, told)


def score_pairs(
    score: Callable[[Tensor, Tensor], Tensor],
    image: Tensor,
    text: Tensor,
    length: Tensor,
    batches: Batches,
    batch_size: int,
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Score p pairs in batches; a pair that occurs several times is scored once.

    Args:
        score: gives the scores (b,) of the pairs of positions (b,) of images, and (b,) of texts.
        image: (p,) positions of images.
        text: (p,) positions of texts.
        length: (m,) of each text.
        batches: `by_image`, or another way to put pairs together.
        batch_size: pairs at a time.
        progress: called with (pairs done, distinct pairs).

    Returns:
        (p,) float32 on the CPU.
    """
    texts = len(length)
    pairs, pair_of = torch.unique(image * texts + text, return_inverse=True)
    pair_image, pair_text = pairs // max(1, texts), pairs % max(1, texts)
    scores = torch.empty(len(pairs), dtype=torch.float32)
    done = 0
    for batch in batches(pair_image, pair_text, length, batch_size):
        scores[batch] = score(pair_image[batch], pair_text[batch]).float().cpu()
        done += len(batch)
        if progress is not None:
            progress(done, len(pairs))
    return scores[pair_of]


def require_halves(model: DualEncoder) -> None:
    """Check that a model can score by one of its cross encoders; R2D2Error where it cannot."""
    if not isinstance(model, CrossEncoderModel):
        raise R2D2Error(
            "a cascade needs a model that scores by each of its cross encoders, as r2d2's own do: "
            "leave --cascade out"
        )


def _of_few(
    model: CrossEncoderModel,
    images: StateStore,
    texts: StateStore,
    image: Tensor,
    text: Tensor,
    by: By,
) -> Tensor:
    """Scores of pairs; the keys and values of each item are computed once."""
    some_images, i = torch.unique(image, return_inverse=True)
    some_texts, t = torch.unique(text, return_inverse=True)
    sides = images.take(some_images), texts.take(some_texts)
    device = sides[0].embedding.device
    pairs = i.to(device), t.to(device)
    if by == "text":
        return model.match_text(*sides, pairs)
    if by == "image":
        return model.match_image(*sides, pairs)
    return (model.match_text(*sides, pairs) + model.match_image(*sides, pairs)) / 2


def by_image(image: Tensor, text: Tensor, length: Tensor, size: int) -> Iterator[Tensor]:
    """Batches of positions of pairs, sorted by image and, within an image, by text length.

    The more pairs of one image a batch has, the less its keys and values cost for each. Texts of
    similar length need little padding, which only attention computes.
    """
    order = length[text].sort(stable=True).indices
    order = order[image[order].sort(stable=True).indices]
    for at in range(0, len(order), size):
        yield order[at : at + size]


def _by_length(image: Tensor, text: Tensor, length: Tensor, size: int) -> Iterator[Tensor]:
    """Batches of positions of pairs that are sorted by image: texts of similar length, few images.

    A batch is as long as its longest text, so similar lengths save half of the work. The states of
    an image are read again for every batch that it is in, so lengths are sorted within a window.
    """
    window = NEAR_BATCHES * size
    for start in range(0, len(text), window):
        order = length[text[start : start + window]].sort(stable=True).indices + start
        for at in range(0, len(order), size):
            yield order[at : at + size]
