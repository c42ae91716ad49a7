"""The significance of a map, by comparison with words that have nothing to do with the picture.

Maps of unrelated words are made with the same draws of parts as those of the spans of the text. The
noise is the value that one in twenty of them exceeds somewhere in the picture. Nothing is known of
a span where the whole picture matches it no better than unrelated words, and no part of the picture
stands out more than for the strongest of these words.
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
from r2d2.explain.maps import Map, MapMethod, as_array, attention_maps, place
from r2d2.explain.unrelated import LEAST, unreadable, unrelated_words
from r2d2.model.encoded_states import EncodedStates
from r2d2.models import ImageTextModel
from r2d2.pretrained import Pretrained

USUAL, RARE = 0.95, 0.99  # shares of the unrelated words


@dataclass(frozen=True)
class Evidence:
    """Maps of the spans of one text over one picture, beside those of unrelated words."""

    maps: Map  # (q, P_h, P_w), 0 or more: effects in cosine, or attention
    # q: the share of unrelated words that match the whole picture less; 0 of what is not readable
    levels: tuple[float, ...]
    readable: tuple[bool, ...]  # q: whether the model can read all of a span
    noise: float  # in the unit of the maps; 95% of unrelated words do not exceed it anywhere
    rare: float  # the same of 99%
    words: int  # unrelated words; 0: the model cannot read enough of them

    def over(self, region: tuple[float, float, float, float]) -> Evidence:
        """The same for a whole picture, of which the model sees a region; see `place`."""
        return replace(self, maps=place(self.maps, region))

    def known(self, index: int) -> bool:
        """Whether there is anything to show of a span."""
        if not self.words or not self.readable[index]:
            return False
        return self.matches(index) or float(self.maps[index].max()) > self.rare

    def matches(self, index: int) -> bool:
        """Whether the whole picture matches a readable span, by more than unrelated words do."""
        least = 1 - (1 - USUAL) / sum(self.readable)  # one text in twenty by chance, not one word
        return self.levels[index] >= least

    def strength(self, index: int) -> Map:
        """The map of a span in multiples of the noise (P_h, P_w); 0 where nothing is known."""
        if not self.known(index):
            return np.zeros_like(self.maps[index])
        noise = max(self.noise, float(np.finfo(np.float32).tiny))
        return np.asarray(self.maps[index] / noise, dtype=np.float32)

    def shown(self, index: int) -> Map:
        """The same, 0 where it is within the noise."""
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
    """Maps of the spans of a text by one method, and the noise.

    Args:
        model: any; with cross encoders, where the method reads attention.
        picture: of any mode and size.
        image: the same, encoded: one item.
        text: what the spans are of.
        spans: each within what the model reads (`entities.positions_of`).
        method: of making the maps.

    Raises:
        R2D2Error: no cross encoders, or a model of a single patch.
    """
    words = unrelated_words(model, [span.text for span in spans])
    named = model.encode_texts([span.text for span in spans]).embedding.float().cpu()
    unrelated = words.embeddings
    if len(words) < LEAST:  # then there is no mean that says anything, either
        unrelated = torch.zeros(1, named.shape[1])
    ours, theirs = (directions_among(each, unrelated) for each in (named, unrelated))
    whole = image.embedding[0].float().cpu()
    levels = ((theirs @ whole)[None] < (ours @ whole)[:, None]).float().mean(1)
    if method.dropping:
        side = grid_side(model)
        shown = draw_parts(side)
        parts = encode_parts(model, picture, shown)
        maps, others = (
            as_array(patch_effects(parts, shown, each)).reshape(-1, side, side)
            for each in (ours, theirs)
        )
    else:
        if not isinstance(model, Pretrained):
            raise no_cross_encoders()
        maps = attention_maps(model, image, [text], [spans], [method])[0]
        others = maps[:0]
        if len(words) >= LEAST:
            alone = [[Span(word, 0, len(word))] for word in words.texts]
            index = torch.zeros(len(words), dtype=torch.long, device=image.embedding.device)
            others = attention_maps(model, image[index], words.texts, alone, [method])[0]
    readable = tuple(not any(unreadable(model, span.text)) for span in spans)
    if len(words) < LEAST:
        return Evidence(maps.clip(0), (0.0,) * len(spans), readable, 0.0, 0.0, 0)
    largest = others.reshape(len(others), -1).max(1)
    noise, rare = (float(np.quantile(largest, share)) for share in (USUAL, RARE))
    read = tuple(
        level if can_read else 0.0
        for level, can_read in zip(levels.tolist(), readable, strict=True)
    )
    return Evidence(maps.clip(0), read, readable, noise, rare, len(words))
