"""Why a picture and a text match: a map over the picture for each entity, words for each patch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from r2d2.data.images import to_rgb
from r2d2.errors import R2D2Error
from r2d2.explain.attention import FRONT, check_cross, image_to_text
from r2d2.explain.entities import Span, entities, positions_of, shorten, spans_of, words
from r2d2.explain.maps import Map, Way, as_array, choose, grid_side, span_maps
from r2d2.model.side import Side
from r2d2.pretrained import Pretrained


@dataclass(frozen=True)
class Explanation:
    """One picture, one text."""

    picture: Image.Image  # RGB, upright
    text: str
    entities: tuple[Span, ...]  # k, at least one
    maps: Map  # (k, P_h, P_w), 0 or more: what an entity looks at
    words: tuple[Span, ...]  # w
    patches: Map  # (P_h, P_w, w), 0 or more: what a patch looks at, plain attention
    cosine: float  # of the embeddings
    match: float  # (p_T + p_I) / 2
    way: Way  # of the maps
    notes: tuple[str, ...] = ()  # what was left out, and why

    def over_picture(self, index: int) -> Map:
        """The map of entity `index`, up-sampled over the picture: (H, W), its largest value 1."""
        return upsample(self.maps[index], self.picture.size)

    def words_at(self, row: int, column: int) -> list[tuple[str, float]]:
        """The words that a patch looks at, most first, with their shares of what all words get."""
        rows, columns = self.patches.shape[:2]
        if not (0 <= row < rows and 0 <= column < columns):
            raise R2D2Error(
                f"there is no patch ({row}, {column}): the picture has {rows}x{columns}"
            )
        values = self.patches[row, column]
        shares = values / (values.sum() or 1)
        order = np.argsort(-shares, kind="stable")
        return [(self.words[i].text, float(shares[i])) for i in order]

    def draw(self) -> Image.Image:
        """A panel for people: the picture, then a copy for each entity with its map over it."""
        from r2d2.explain.panel import draw_panel

        return draw_panel(self)


class NoNounError(R2D2Error):
    """A text that names nothing; a program may ask for the whole text instead."""

    code: str = "no_noun"


@torch.inference_mode()
def explain(
    model: Pretrained,
    picture: Image.Image,
    text: str,
    *,
    weighted: bool | None = None,
    alone: bool | None = None,
    layer: int | None = None,
    dropping: bool | None = None,
    only: Sequence[str] | None = None,
) -> Explanation:
    """What the entities of a text look at in a picture, and what its patches look at in the text.

    Args:
        model: with cross encoders.
        picture: of any mode and size.
        text: Chinese; what is past the model's longest text is not seen.
        weighted: by the gradient of the match score; None: as is best (docs/explain.md).
        alone: each entity as a text of its own, or its tokens within the text; None: as is best.
        layer: of the cross encoders, from 1; None: as is best.
        dropping: no attention, but what the cosine loses without each part; None: where none of the
            three is given.
        only: words of the text to take as entities, in place of its nouns.

    Raises:
        R2D2Error: no cross encoders, no such layer, no entity, a text or picture that is too large.
    """
    check_cross(model.model)
    way = choose(model.model.config.cross_layers, layer, weighted, alone, dropping)
    shown, notes = _entities(model, text, only)
    rgb = to_rgb(picture, name="the picture")
    images, texts = model.encode_images([rgb]), model.encode_texts([text])
    maps = span_maps(model, [rgb], images, [text], [shown], [way])[0]
    seen, patches = _patches(model, images, texts, text, way.layer)
    return Explanation(
        rgb,
        text,
        tuple(shown),
        maps,
        tuple(seen),
        patches,
        float((images.embedding * texts.embedding).sum()),
        float(model.match(images, texts)),
        way,
        tuple(notes),
    )


def upsample(values: Map, size: tuple[int, int]) -> Map:
    """(P_h, P_w) to (H, W) of a picture of `size` (width, height), bilinear; the largest is 1."""
    top = float(values.max()) or 1.0
    picture = Image.fromarray((values / top).astype(np.float32))
    return np.asarray(picture.resize(size, Image.Resampling.BILINEAR), dtype=np.float32)


def _entities(
    model: Pretrained, text: str, only: Sequence[str] | None
) -> tuple[list[Span], list[str]]:
    """Those within what the model reads, and what to say about the others."""
    found = entities(text) if only is None else spans_of(text, only)
    if not found:
        raise NoNounError(
            f"there is no noun in '{shorten(text)}': name a thing, as in 一只狗在草地上追飞盘, "
            "or say which words to explain"
        )
    offsets = model.tokenizer.offsets(text)
    shown = [span for span in found if positions_of(span, offsets)]
    longest = model.tokenizer.max_length
    if not shown:
        raise R2D2Error(
            f"no entity is within the {longest} tokens that the model reads of a text: "
            "give a shorter text"
        )
    lost = "、".join(span.text for span in found if span not in shown)
    note = f"the model reads {longest} tokens of a text: {lost or 'the rest'} came later"
    return shown, [note] if lost or model.tokenizer.cut([text]) else []


def _patches(
    model: Pretrained, images: Side, texts: Side, text: str, layer: int
) -> tuple[list[Span], Map]:
    """The words that the model reads, and how much each patch looks at each (P_h, P_w, w)."""
    with torch.inference_mode(False):
        weights = image_to_text(model.model, images, texts, gradient=False)
    looks = as_array(weights.plain[layer - 1, 0])[FRONT:]  # (P, S); layer 0: of the last
    shift, offsets = model.model.towers.text_offset, model.tokenizer.offsets(text)
    side = grid_side(model)
    seen = [span for span in words(text) if positions_of(span, offsets)]
    columns = [looks[:, [shift + p for p in positions_of(s, offsets)]].sum(1) for s in seen]
    return seen, np.stack(columns, axis=-1).reshape(side, side, -1)
