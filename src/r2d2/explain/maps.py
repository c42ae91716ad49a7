"""Maps over the picture for spans of a text, by each method.

Alone: the span is a text of its own, and the map is what its [CLS] looks at; so does the paper,
which shows the attention of pairs of image and entity. In the text: the map is what the span's own
tokens look at, while the whole text is read, the mean over them. Dropping: the span alone, and the
map is what each part of the picture adds to its match (dropping.py); no attention at all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from r2d2.errors import R2D2Error
from r2d2.explain.attention import FRONT, AttentionWeights, no_cross_encoders, text_to_image
from r2d2.explain.entities import Span, positions_of
from r2d2.model.encoded_states import EncodedStates
from r2d2.pretrained import Pretrained

LONGEST = 64  # times what is seen: of a picture that is longer, more than that is marked
FULL = 3.0  # times the noise: the brightest colour, in every picture and for every model
Map = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class MapMethod:
    """Which of the maps of a span."""

    layer: int  # of the text-to-image cross encoder, from 1; 0: dropping
    weighted: bool  # by the gradient of the match score
    alone: bool  # the span as a text of its own

    @property
    def dropping(self) -> bool:
        """Whether parts of the picture are left out."""
        return self == DROPPING


DROPPING = MapMethod(0, False, True)


def map_methods(layers: int) -> list[MapMethod]:
    """All that a model of so many cross layers has; without any, dropping alone."""
    every = [
        MapMethod(layer, weighted, alone)
        for alone in (True, False)
        for weighted in (False, True)
        for layer in range(1, layers + 1)
    ]
    last = MapMethod(layers, True, False)  # no gradient there
    return [DROPPING, *(method for method in every if method != last)]


def choose(
    layers: int,
    layer: int | None = None,
    weighted: bool | None = None,
    alone: bool | None = None,
    dropping: bool | None = None,
) -> MapMethod:
    """The method, where a part of it is left open: what is best on the embedded corpus' `val`.

    Raises:
        R2D2Error: there are no cross encoders, no such layer, no gradient in it, or no layer at all
            in dropping.
    """
    attention = any(argument is not None for argument in (layer, weighted, alone))
    if dropping and attention:
        raise R2D2Error("dropping looks at no attention: give no layer and no kind of attention")
    if not attention and dropping is not False:
        return DROPPING
    if not layers:
        raise no_cross_encoders()
    if layer is not None and not 1 <= layer <= layers:
        raise R2D2Error(f"there is no layer {layer}: the cross encoders have layers 1 to {layers}")
    alone = True if alone is None else alone
    weighted = alone if weighted is None else weighted
    if weighted and not alone and layers in (layer, 1):
        raise R2D2Error(
            f"layer {layers} is the last, where the match score reads [CLS] alone and the words of "
            "a text have no gradient: choose an earlier layer, plain maps, or entities alone"
        )
    if layer is None:
        layer = layers - 1 if weighted and not alone else layers
    return MapMethod(layer, weighted, alone)


def describe(method: MapMethod) -> str:
    """In words, for people."""
    if method.dropping:
        return "what each part adds to the match"
    kind = "gradient-weighted" if method.weighted else "plain"
    scope = "entities alone" if method.alone else "entities within the text"
    return f"{kind} attention of layer {method.layer}, {scope}"


def attention_maps(
    model: Pretrained,
    images: EncodedStates,
    texts: Sequence[str],
    spans: Sequence[Sequence[Span]],
    methods: Sequence[MapMethod],
) -> list[Map]:
    """For each method, the maps (q, P_h, P_w) of all spans in their order.

    Args:
        model: with cross encoders.
        images: n, encoded.
        texts: n, text i for image i.
        spans: n times those of text i; each within what the model reads (`positions_of`).
        methods: those that read attention.
    """
    owners = [item for item, own in enumerate(spans) for _ in own]
    flat = [span for own in spans for span in own]
    rows: list[list[int]] = [[0]] * len(flat)  # [CLS]
    asked: dict[bool, tuple[AttentionWeights, list[int], list[list[int]]]] = {}
    for alone in {method.alone for method in methods}:
        gradient = any(method.weighted for method in methods if method.alone is alone)
        if alone:
            index = torch.tensor(owners, device=images.embedding.device)
            side, picked = model.encode_texts([span.text for span in flat]), images[index]
            asked[alone] = (_look(model, picked, side, gradient), list(range(len(flat))), rows)
        else:
            shift = model.model.towers.text_offset
            offsets = [model.tokenizer.offsets(text) for text in texts]
            own = [
                [shift + position for position in positions_of(span, offsets[owner])]
                for span, owner in zip(flat, owners, strict=True)
            ]
            asked[alone] = (
                _look(model, images, model.encode_texts(texts), gradient),
                owners,
                own,
            )
    return [_read(model, method, *asked[method.alone]) for method in methods]


def place(values: Map, region: tuple[float, float, float, float]) -> Map:
    """What is seen of a picture (..., P_h, P_w), laid over the whole of it: 0 where it is not seen.

    Parts keep their size, so that the whole may have more of them; they move by up to half of one.

    Args:
        values: of the parts.
        region: left, top, right and bottom of what is seen, 0 to 1 of the whole.
    """
    left, top, right, bottom = region
    rows, columns = values.shape[-2:]
    height = round(rows * min(1 / (bottom - top), LONGEST))
    width = round(columns * min(1 / (right - left), LONGEST))
    whole = np.zeros((*values.shape[:-2], height, width), dtype=np.float32)
    row, column = (height - rows) // 2, (width - columns) // 2
    whole[..., row : row + rows, column : column + columns] = values
    return whole


def upsample(values: Map, size: tuple[int, int]) -> Map:
    """(P_h, P_w) to (H, W) of a picture of `size` (width, height), bilinear."""
    picture = Image.fromarray(values.astype(np.float32))
    return np.asarray(picture.resize(size, Image.Resampling.BILINEAR), dtype=np.float32)


def as_array(x: Tensor) -> Map:
    """Of any shape, float32."""
    return np.asarray(x.float().cpu().numpy(), dtype=np.float32)


def _look(
    model: Pretrained, images: EncodedStates, texts: EncodedStates, gradient: bool
) -> AttentionWeights:
    with torch.inference_mode(False):
        return text_to_image(model.model, images, texts, gradient)


def _read(
    model: Pretrained,
    method: MapMethod,
    weights: AttentionWeights,
    items: list[int],
    rows: list[list[int]],
) -> Map:
    layer = as_array((weights.weighted if method.weighted else weights.plain)[method.layer - 1])
    side = math.isqrt(layer.shape[-1] - FRONT)
    maps = [layer[item, own, FRONT:].mean(0) for item, own in zip(items, rows, strict=True)]
    return np.stack(maps).reshape(-1, side, side)
