"""Two-stage retrieval as it is usually evaluated: a query at a time, its states repeated k times.

Texts stay as they were encoded, padded to the model's length; both cross encoders run on all
positions of both sides; each direction scores its own candidates.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.speed.plain.layers import PlainR2D2


@dataclass(frozen=True)
class Corpus:
    """Both sides of a corpus, encoded."""

    image_states: Tensor  # (n, 1 + P, d_v)
    image_embeds: Tensor  # (n, d)
    text_states: Tensor  # (m, L, d_t), L the longest that a text can be
    text_mask: Tensor  # (m, L) bool
    text_embeds: Tensor  # (m, d)


def match(model: PlainR2D2, images: Tensor, texts: Tensor, mask: Tensor) -> Tensor:
    """(p_T + p_I) / 2 of k pairs, (k,)."""
    projected = model.image_cross_projection(images)
    by_text = model.match_head_text(model.text_to_image(texts, mask, images, None)[:, 0])
    by_image = model.match_head_image(model.image_to_text(projected, None, texts, mask)[:, 0])
    found: Tensor = (by_text.softmax(-1)[:, 1] + by_image.softmax(-1)[:, 1]) / 2
    return found


@torch.no_grad()
def images_ask(
    model: PlainR2D2, corpus: Corpus, queries: list[int], top_k: int, weight: float
) -> list[dict[int, float]]:
    """Of each image its k best texts by cosine, with weight x match + cosine."""
    found = []
    for query in queries:
        cosine, texts = (corpus.image_embeds[query] @ corpus.text_embeds.T).topk(top_k)
        states = corpus.image_states[query].repeat(top_k, 1, 1)
        scores = match(model, states, corpus.text_states[texts], corpus.text_mask[texts])
        found.append(dict(zip(texts.tolist(), (weight * scores + cosine).tolist(), strict=True)))
    return found


@torch.no_grad()
def texts_ask(
    model: PlainR2D2, corpus: Corpus, queries: list[int], top_k: int, weight: float
) -> list[dict[int, float]]:
    """Of each text its k best images by cosine, with weight x match + cosine."""
    found = []
    for query in queries:
        cosine, images = (corpus.text_embeds[query] @ corpus.image_embeds.T).topk(top_k)
        states = corpus.text_states[query].repeat(top_k, 1, 1)
        mask = corpus.text_mask[query].repeat(top_k, 1)
        scores = match(model, corpus.image_states[images], states, mask)
        found.append(dict(zip(images.tolist(), (weight * scores + cosine).tolist(), strict=True)))
    return found
