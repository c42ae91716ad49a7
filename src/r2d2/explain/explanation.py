"""Why a picture and a text match: a map over the picture for each entity, words for each patch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from r2d2.data.images import to_rgb
from r2d2.errors import R2D2Error
from r2d2.explain.attention import FRONT, Weights, check_cross, image_to_text, text_to_image
from r2d2.explain.entities import Span, entities, positions_of, shorten, spans_of, words
from r2d2.pretrained import Pretrained

Map = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Explanation:
    """One picture, one text."""

    picture: Image.Image  # RGB, upright
    text: str
    entities: tuple[Span, ...]  # k, at least one
    maps: Map  # (k, P_h, P_w), 0 or more: what an entity's tokens look at
    words: tuple[Span, ...]  # w
    patches: Map  # (P_h, P_w, w), 0 or more: what a patch looks at
    cosine: float  # of the embeddings
    match: float  # (p_T + p_I) / 2
    layer: int  # of the cross encoders, from 1
    weighted: bool  # by the gradient of the match score
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


@torch.inference_mode()
def explain(
    model: Pretrained,
    picture: Image.Image,
    text: str,
    *,
    weighted: bool | None = None,
    layer: int | None = None,
    only: Sequence[str] | None = None,
) -> Explanation:
    """What the entities of a text look at in a picture, and what its patches look at in the text.

    Args:
        model: with cross encoders.
        picture: of any mode and size.
        text: Chinese; what is past the model's longest text is not seen.
        weighted: by the gradient of the match score; None: as is best (docs/explain.md).
        layer: of the cross encoders, from 1; None: as is best.
        only: words of the text to take as entities, in place of its nouns.

    Raises:
        R2D2Error: no cross encoders, no such layer, no entity, a text or picture that is too large.
    """
    check_cross(model.model)
    layer, weighted = choose(model.model.config.cross_layers, layer, weighted)
    found = entities(text) if only is None else spans_of(text, only)
    if not found:
        raise R2D2Error(
            f"there is no noun in '{shorten(text)}': name a thing, as in 一只狗在草地上追飞盘, "
            "or say which words to explain"
        )
    offsets = model.tokenizer.offsets(text)
    shown = [span for span in found if positions_of(span, offsets)]
    longest = model.model.config.text.max_length
    if not shown:
        raise R2D2Error(
            f"no entity is within the {longest} tokens that the model reads of a text: "
            "give a shorter text"
        )
    notes = []
    if shown != found:
        lost = "、".join(span.text for span in found if span not in shown)
        notes.append(f"the model reads {longest} tokens of a text: {lost} came later")
    rgb = to_rgb(picture, name="the picture")
    images, texts = model.encode_images([rgb]), model.encode_texts([text])
    shift = model.model.towers.text_offset
    side = model.model.config.vision.image_size // model.model.config.vision.patch_size
    with torch.inference_mode(False):
        over_image = _at(text_to_image(model.model, images, texts, weighted), layer, weighted)
        over_text = _at(image_to_text(model.model, images, texts, weighted), layer, weighted)
    maps = [over_image[[shift + p for p in positions_of(s, offsets)], FRONT:] for s in shown]
    seen = [span for span in words(text) if positions_of(span, offsets)]
    columns = [
        over_text[FRONT:, [shift + p for p in positions_of(span, offsets)]].sum(1) for span in seen
    ]
    return Explanation(
        rgb,
        text,
        tuple(shown),
        np.stack([each.mean(0).reshape(side, side) for each in maps]),
        tuple(seen),
        np.stack(columns, axis=-1).reshape(side, side, -1),
        float((images.embedding * texts.embedding).sum()),
        float(model.match(images, texts)),
        layer,
        weighted,
        tuple(notes),
    )


def choose(layers: int, layer: int | None, weighted: bool | None) -> tuple[int, bool]:
    """The layer and the kind of map, where one or both are left to us; see docs/explain.md.

    Raises:
        R2D2Error: there is no such layer, or no gradient in it.
    """
    if layer is not None and not 1 <= layer <= layers:
        raise R2D2Error(f"there is no layer {layer}: the cross encoders have layers 1 to {layers}")
    if weighted is None:
        weighted = layers > 1 and layer != layers
    if not weighted:
        return (layer or layers), False
    if layers == 1 or layer == layers:
        raise R2D2Error(
            f"layer {layers} is the last, where the match score reads [CLS] alone and words "
            "have no gradient: choose an earlier layer, or plain maps"
        )
    return (layer or layers - 1), True


def upsample(values: Map, size: tuple[int, int]) -> Map:
    """(P_h, P_w) to (H, W) of a picture of `size` (width, height), bilinear; the largest is 1."""
    top = float(values.max()) or 1.0
    picture = Image.fromarray((values / top).astype(np.float32))
    return np.asarray(picture.resize(size, Image.Resampling.BILINEAR), dtype=np.float32)


def _at(weights: Weights, layer: int, weighted: bool) -> Map:
    """(L, S) of one layer, of one pair."""
    chosen = (weights.weighted if weighted else weights.plain)[layer - 1, 0]
    return np.asarray(chosen.float().cpu().numpy(), dtype=np.float32)
