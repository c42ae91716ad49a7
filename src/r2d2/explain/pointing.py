"""The pointing game: how often a name's attention falls on its quarter of a composed picture.

Four pictures stand two by two (data/grid.py); chance is 25%. The text that is read is the name of
one of the four ("one"), or of all, each asked after in turn ("all").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from r2d2.data.emoji import emoji_base
from r2d2.data.grid import CELLS, JOIN, Grid, Words, cell_of, compose, draw_grids
from r2d2.data.images import decode_image
from r2d2.explain.attention import check_cross
from r2d2.explain.entities import Span, positions_of
from r2d2.explain.maps import Way, span_maps, ways
from r2d2.pretrained import Pretrained
from r2d2.table import Pair

BATCH = 32  # grids a pass


@dataclass(frozen=True, slots=True)
class Rate:
    """Of one way of asking."""

    way: Way
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
    wanted: Sequence[Way] | None = None,
) -> list[Rate]:
    """Rates of the ways `wanted`, None: of all, over `count` grids of `pairs`.

    Names that are cut off, past the model's longest text, are not asked.

    Raises:
        R2D2Error: no cross encoders, fewer than four groups, or a picture that cannot be read.
    """
    check_cross(model.model)
    every = list(wanted or ways(model.model.config.cross_layers))
    hits = dict.fromkeys(every, 0)
    asked = 0
    usable = [pair for pair in pairs if pair.texts]
    grids = draw_grids([group(pair.image_id) for pair in usable], count, seed)
    for start in range(0, count, BATCH):
        part = grids[start : start + BATCH]
        pictures = [
            compose([decode_image(usable[i].image, name=usable[i].image_id) for i in grid.members])
            for grid in part
        ]
        texts, spans, cells = [], [], []
        for grid in part:
            text, questions = _questions(usable, grid, words)
            offsets = model.tokenizer.offsets(text)
            kept = [(cell, span) for cell, span in questions if positions_of(span, offsets)]
            texts.append(text)
            spans.append([span for _, span in kept])
            cells += [cell for cell, _ in kept]
        found = span_maps(model, pictures, model.encode_images(pictures), texts, spans, every)
        for way, maps in zip(every, found, strict=True):
            hits[way] += sum(cell_of(seen) == cell for seen, cell in zip(maps, cells, strict=True))
        asked += len(cells)
    return [Rate(way, right, asked) for way, right in hits.items()]


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
