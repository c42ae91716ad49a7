"""Match scores of many pairs of few items: each pair once, what belongs to one item once."""

from __future__ import annotations

from collections.abc import Iterator
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
    """Match score of p pairs, each pair once however often it is asked for.

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
        R2D2Error: one cross encoder is asked of a model that has only both together to offer.
    """
    if by != "both":
        require_halves(model)
    pairs, pair_of = torch.unique(image_index * len(texts) + text_index, return_inverse=True)
    pair_image, pair_text = pairs // max(1, len(texts)), pairs % max(1, len(texts))
    scores = torch.empty(len(pairs), dtype=torch.float32)
    done = 0
    alone = not isinstance(model, CrossEncoderModel)
    batches = _by_length if alone else _by_image
    for batch in batches(pair_image, pair_text, texts.length, batch_size):
        i, t = pair_image[batch], pair_text[batch]
        if isinstance(model, CrossEncoderModel):
            batch_scores = _of_few(model, images, texts, i, t, by)
        else:
            batch_scores = model.match(images.take(i), texts.take(t))
        scores[batch] = batch_scores.float().cpu()
        done += len(batch)
        if progress is not None:
            progress("match" if by == "both" else f"match, {by}", done, len(pairs))
    return scores[pair_of]


def require_halves(model: DualEncoder) -> None:
    """R2D2Error where a model cannot score by one of its cross encoders."""
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
    """Scores of pairs, from each item's states once."""
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


def _by_image(image: Tensor, text: Tensor, length: Tensor, size: int) -> Iterator[Tensor]:
    """Positions of pairs, image after image and, of each, by the length of the text.

    The more pairs a batch has of an image, the less its keys and values cost each; and texts of
    like length leave little padding to attention, the only part that sees it.
    """
    order = length[text].sort(stable=True).indices
    order = order[image[order].sort(stable=True).indices]
    for at in range(0, len(order), size):
        yield order[at : at + size]


def _by_length(image: Tensor, text: Tensor, length: Tensor, size: int) -> Iterator[Tensor]:
    """Positions of pairs that come by image: short texts together, and yet few images at a time.

    A batch is as long as its longest text, so like lengths save half of the work; and the states of
    an image are read again for every batch that it is in.
    """
    window = NEAR_BATCHES * size
    for start in range(0, len(text), window):
        order = length[text[start : start + window]].sort(stable=True).indices + start
        for at in range(0, len(order), size):
            yield order[at : at + size]
