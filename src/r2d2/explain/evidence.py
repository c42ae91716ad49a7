"""Tell whether a map is significant, by comparing it with the maps of unrelated words.

The maps of unrelated words are made with the same draws of parts as those of the spans of the text.
The noise is the value that the maps of one in twenty unrelated words exceed somewhere in the
picture. A span counts as unknown when the whole picture matches it no better than unrelated words,
and no part of the picture stands out more than it does for the strongest of these words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image

from r2d2.explain.attention import no_cross_encoders
from r2d2.explain.dropping import (
    directions_among,
    draw_parts,
    encode_parts,
    grid_side,
    patch_effects,
)
from r2d2.explain.entities import Span
from r2d2.explain.maps import Map, MapMethod, as_array, attention_maps, pad_to_picture
from r2d2.explain.unrelated import LEAST, unreadable, unrelated_words
from r2d2.model.encoded_states import EncodedStates
from r2d2.models import ImageTextModel
from r2d2.pretrained import Pretrained

USUAL, RARE = 0.95, 0.99  # shares of the unrelated words


@dataclass(frozen=True)
class Evidence:
    """The maps of the q spans of one text over one picture, with the noise to compare them with."""

    maps: Map  # (q, P_h, P_w), 0 or more: effects on the cosine, or attention
    # (q,): the share of unrelated words that match the whole picture less than the span does; 0 for
    # a span that the model cannot read
    levels: tuple[float, ...]
    readable: tuple[bool, ...]  # (q,): whether the model can read all of a span
    noise: float  # in the unit of the maps; 95% of unrelated words do not exceed it anywhere
    rare: float  # the value that 99% of unrelated words do not exceed anywhere
    words: int  # the number of unrelated words; 0: the model can read too few of them

    def over(self, region: tuple[float, float, float, float]) -> Evidence:
        """Return the same for the whole picture where the model sees only a region of it."""
        return replace(self, maps=pad_to_picture(self.maps, region))

    def known(self, index: int) -> bool:
        """Return whether the map of a span has anything to show."""
        if not self.words or not self.readable[index]:
            return False
        return self.matches(index) or float(self.maps[index].max()) > self.rare

    def matches(self, index: int) -> bool:
        """Return whether the whole picture matches a readable span better than unrelated words."""
        # Divided by the number of spans, so that the error rate of 5% holds for the whole text.
        least = 1 - (1 - USUAL) / sum(self.readable)
        return self.levels[index] >= least

    def strength(self, index: int) -> Map:
        """Return the map of a span in multiples of the noise (P_h, P_w); all 0 if it is unknown."""
        if not self.known(index):
            return np.zeros_like(self.maps[index])
        noise = max(self.noise, float(np.finfo(np.float32).tiny))
        return np.asarray(self.maps[index] / noise, dtype=np.float32)

    def shown(self, index: int) -> Map:
        """Return the same as `strength`, with 0 where the map is within the noise."""
        values = self.strength(index)
        return np.where(values > 1, values, 0).astype(np.float32)


def weigh(
    model: ImageTextModel,
    picture: Image.Image,
    image: EncodedStates,
    text: str,
    spans: Sequence[Span],
    method: MapMethod,
) -> Evidence:
    """Make the maps of the spans of a text by one method, and measure the noise.

    Args:
        model: any model; it needs cross encoders where the method reads attention.
        picture: of any mode and size.
        image: the encoded picture: one item.
        text: the text that the spans are in.
        spans: each within what the model reads (`entities.positions_of`).
        method: how the maps are made.

    Raises:
        R2D2Error: no cross encoders, or a model of a single patch.
    """
    words = unrelated_words(model, [span.text for span in spans])
    embeddings = model.encode_texts([span.text for span in spans]).embedding.float().cpu()
    unrelated = words.embeddings
    if len(words) < LEAST:  # too few for a mean that says anything
        unrelated = torch.zeros(1, embeddings.shape[1])
    directions = directions_among(embeddings, unrelated)
    word_directions = directions_among(unrelated, unrelated)
    whole = image.embedding[0].float().cpu()
    levels = ((word_directions @ whole)[None] < (directions @ whole)[:, None]).float().mean(1)
    if method.dropping:
        side = grid_side(model)
        shown = draw_parts(side)
        parts = encode_parts(model, picture, shown)
        maps, word_maps = (
            as_array(patch_effects(parts, shown, each)).reshape(-1, side, side)
            for each in (directions, word_directions)
        )
    else:
        if not isinstance(model, Pretrained):
            raise no_cross_encoders()
        maps = attention_maps(model, image, [text], [spans], [method])[0]
        word_maps = maps[:0]
        if len(words) >= LEAST:
            word_spans = [[Span(word, 0, len(word))] for word in words.texts]
            index = torch.zeros(len(words), dtype=torch.long, device=image.embedding.device)
            word_maps = attention_maps(model, image[index], words.texts, word_spans, [method])[0]
    readable = tuple(not any(unreadable(model, span.text)) for span in spans)
    if len(words) < LEAST:
        return Evidence(maps.clip(0), (0.0,) * len(spans), readable, 0.0, 0.0, 0)
    largest = word_maps.reshape(len(word_maps), -1).max(1)
    noise, rare = (float(np.quantile(largest, share)) for share in (USUAL, RARE))
    readable_levels = tuple(
        level if can_read else 0.0
        for level, can_read in zip(levels.tolist(), readable, strict=True)
    )
    return Evidence(maps.clip(0), readable_levels, readable, noise, rare, len(words))
