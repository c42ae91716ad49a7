"""The pointing game: how often a name's attention falls on its quarter of a composed picture.

Four pictures stand two by two (data/grid.py); chance is 25%. It is asked two ways: the text names
one of the four ("one"), or all of them, and each name is asked after in turn ("all").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from r2d2.data.emoji import emoji_base
from r2d2.data.grid import CELLS, JOIN, Grid, Words, cell_of, compose, draw_grids
from r2d2.data.images import decode_image
from r2d2.explain.attention import FRONT, check_cross, text_to_image
from r2d2.explain.entities import Span, positions_of
from r2d2.pretrained import Pretrained
from r2d2.table import Pair

BATCH = 32  # grids a pass


@dataclass(frozen=True, slots=True)
class Rate:
    """Of one kind of map in one layer."""

    layer: int  # from 1
    weighted: bool
    hits: int
    asked: int

    @property
    def share(self) -> float:
        """Of the questions answered right, 0 to 1."""
        return self.hits / self.asked if self.asked else 0.0


def evaluate_pointing(
    model: Pretrained,
    pairs: Sequence[Pair],
    count: int = 200,
    seed: int = 0,
    words: Words = "one",
    group: Callable[[str], str] = emoji_base,
) -> list[Rate]:
    """Rates of every layer, plain and weighted, over `count` grids of `pairs`.

    Names that are cut off, past the model's longest text, are not asked.

    Raises:
        R2D2Error: no cross encoders, fewer than four groups, or a picture that cannot be read.
    """
    check_cross(model.model)
    layers = model.model.config.cross_layers
    side = model.model.config.vision.image_size // model.model.config.vision.patch_size
    hits = {(layer, kind): 0 for kind in (False, True) for layer in range(layers - kind)}
    asked = 0
    shift = model.model.towers.text_offset
    usable = [pair for pair in pairs if pair.texts]
    grids = draw_grids([group(pair.image_id) for pair in usable], count, seed)
    for start in range(0, count, BATCH):
        part = grids[start : start + BATCH]
        questions = [_questions(usable, grid, words) for grid in part]
        pictures = [
            compose([decode_image(usable[i].image, name=usable[i].image_id) for i in grid.members])
            for grid in part
        ]
        images = model.encode_images(pictures)
        texts = model.encode_texts([text for text, _ in questions])
        with torch.inference_mode(False):
            found = text_to_image(model.model, images, texts)
        kinds = {False: found.plain.cpu().numpy(), True: found.weighted.cpu().numpy()}
        for place, (text, spans) in enumerate(questions):
            offsets = model.tokenizer.offsets(text)
            for cell, span in spans:
                rows = [shift + p for p in positions_of(span, offsets)]
                if not rows:
                    continue
                asked += 1
                for layer, kind in hits:
                    seen: np.ndarray = kinds[kind][layer, place, rows, FRONT:].mean(0)
                    hits[layer, kind] += cell_of(seen.reshape(side, side)) == cell
    return [Rate(layer + 1, kind, right, asked) for (layer, kind), right in hits.items()]


def _questions(
    pairs: Sequence[Pair], grid: Grid, words: Words
) -> tuple[str, list[tuple[int, Span]]]:
    """A text, and the cells with the span that names them."""
    names = [pairs[index].texts[0].text for index in grid.members]
    if words == "one":
        name = names[grid.named]
        return name, [(grid.named, Span(name, 0, len(name)))]
    spans, at = [], 0
    for cell in range(CELLS):
        spans.append((cell, Span(names[cell], at, at + len(names[cell]))))
        at += len(names[cell]) + len(JOIN)
    return JOIN.join(names), spans
