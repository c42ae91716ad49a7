"""Make maps over the picture for spans of a text, by one of three methods.

1. The span alone: the model reads the span as a text by itself, and the map is the attention of its
   [CLS]. The paper does this where it shows the attention of pairs of an image and an entity.
2. The span within the text: the model reads the whole text, and the map is the attention of the
   span's tokens, averaged over them.
3. Dropping: the model reads the span alone, and the map is what each part of the picture adds to
   the match (dropping.py). This method reads no attention.
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

# A map is padded to at most this many times the side that the model sees. In a picture that is even
# longer, a marked part looks larger than it is.
LONGEST = 64
FULL = 3.0  # multiples of the noise at which the colour is brightest, for all pictures and models
Map = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class MapMethod:
    """How the map of a span is made."""

    layer: int  # of the text-to-image cross encoder, from 1; 0: dropping
    weighted: bool  # whether attention is weighted by the gradient of the match score
    alone: bool  # whether the model reads the span as a text by itself

    @property
    def dropping(self) -> bool:
        """Whether the maps are the effects of dropping parts of the picture."""
        return self == DROPPING


DROPPING = MapMethod(0, False, True)


def map_methods(layers: int) -> list[MapMethod]:
    """Return all methods that a model with `layers` cross layers has; with 0 only dropping."""
    attention = [
        MapMethod(layer, weighted, alone)
        for alone in (True, False)
        for weighted in (False, True)
        for layer in range(1, layers + 1)
    ]
    without_gradient = MapMethod(layers, True, False)  # see attention.py
    return [DROPPING, *(method for method in attention if method != without_gradient)]


def choose(
    layers: int,
    layer: int | None = None,
    weighted: bool | None = None,
    alone: bool | None = None,
    dropping: bool | None = None,
) -> MapMethod:
    """Return the method that the arguments name.

    An argument that is None gets the value that was best on `val` of the embedded corpus.

    Raises:
        R2D2Error: there are no cross encoders or no such layer, the layer has no gradient, or
            dropping is given together with a layer or a kind of attention.
    """
    attention = any(argument is not None for argument in (layer, weighted, alone))
    if dropping and attention:
        raise R2D2Error("dropping reads no attention: leave out layer, weighted and alone")
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
    """Return the method in words, for a report."""
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
    """Return, for each method, the attention maps (q, P_h, P_w) of all spans in their order.

    Args:
        model: a model with cross encoders.
        images: n encoded images.
        texts: n texts, text i for image i.
        spans: n lists, the spans of each text; each within what the model reads (`positions_of`).
        methods: how to make the maps; without dropping.
    """
    owners = [item for item, text_spans in enumerate(spans) for _ in text_spans]
    flat = [span for text_spans in spans for span in text_spans]
    cls_rows: list[list[int]] = [[0]] * len(flat)
    # By whether spans are read alone: the weights, and the item and the rows of each span in them.
    attention: dict[bool, tuple[AttentionWeights, list[int], list[list[int]]]] = {}
    for alone in {method.alone for method in methods}:
        gradient = any(method.weighted for method in methods if method.alone is alone)
        if alone:
            index = torch.tensor(owners, device=images.embedding.device)
            span_texts = model.encode_texts([span.text for span in flat])
            weights = _attend(model, images[index], span_texts, gradient)
            attention[alone] = (weights, list(range(len(flat))), cls_rows)
        else:
            shift = model.model.towers.text_offset
            offsets = [model.tokenizer.offsets(text) for text in texts]
            span_rows = [
                [shift + position for position in positions_of(span, offsets[owner])]
                for span, owner in zip(flat, owners, strict=True)
            ]
            weights = _attend(model, images, model.encode_texts(texts), gradient)
            attention[alone] = (weights, owners, span_rows)
    return [_read(method, *attention[method.alone]) for method in methods]


def pad_to_picture(values: Map, region: tuple[float, float, float, float]) -> Map:
    """Pad a map of the part of a picture that the model sees to a map of the whole picture.

    The padding is 0. Parts keep their size, so the result has more rows or columns of them; their
    position may be off by up to half a part.

    Args:
        values: (..., P_h, P_w) of the parts that the model sees.
        region: left, top, right and bottom of what it sees, as shares of the picture from 0 to 1.
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
    """Resize a map (P_h, P_w) to (H, W), bilinear; `size` is the picture's (width, height)."""
    picture = Image.fromarray(values.astype(np.float32))
    return np.asarray(picture.resize(size, Image.Resampling.BILINEAR), dtype=np.float32)


def as_array(x: Tensor) -> Map:
    """Return a tensor of any shape as a float32 array."""
    return np.asarray(x.float().cpu().numpy(), dtype=np.float32)


def _attend(
    model: Pretrained, images: EncodedStates, texts: EncodedStates, gradient: bool
) -> AttentionWeights:
    with torch.inference_mode(False):
        return text_to_image(model.model, images, texts, gradient)


def _read(
    method: MapMethod,
    weights: AttentionWeights,
    items: list[int],
    rows: list[list[int]],
) -> Map:
    """Return the maps (q, P_h, P_w) of q spans, the mean over each span's rows in its item."""
    layer = as_array((weights.weighted if method.weighted else weights.plain)[method.layer - 1])
    side = math.isqrt(layer.shape[-1] - FRONT)
    maps = [
        layer[item, span_rows, FRONT:].mean(0) for item, span_rows in zip(items, rows, strict=True)
    ]
    return np.stack(maps).reshape(-1, side, side)
