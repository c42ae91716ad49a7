"""The pointing game: is the named emoji's quarter of a composed picture the one that is marked?

    python benchmarks/pointing.py emoji --split val

Four emoji stand two by two; chance is 25%. The first table is of what `r2d2 explain` shows by
default: how often it marks a part of the picture for an emoji that is in it, how often most of that
is in the right quarter, and how often it marks something for an emoji that is not there. The second
is of all ways of asking (explain/maps.py), by the quarter where each map has its most, shown or
not. The text names one of the four, or all; the half width of a 95% interval stands beside.
Choose on `val`; `test` is for reporting.

The four pictures are composed by r2d2/data/grid.py.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

import r2d2
from r2d2.data.emoji import emoji_base, emoji_pairs
from r2d2.data.grid import CELLS, JOIN, Grid, Words, cell_of, compose, draw_grids
from r2d2.explain.attention import no_cross_encoders
from r2d2.explain.entities import Span, positions_of
from r2d2.explain.evidence import Evidence, weigh
from r2d2.explain.maps import DROPPING, Map, MapMethod, attention_maps, map_methods
from r2d2.images.decode import decode_image
from r2d2.keyed import Draw, generator
from r2d2.models import ImageTextModel
from r2d2.pretrained import Pretrained
from r2d2.table import Pair

WORDS: tuple[Words, ...] = ("one", "all")


@dataclass(frozen=True, slots=True)
class PointingRate:
    """The rate of one method, whether or not its maps would be shown."""

    method: MapMethod
    hits: int
    asked: int

    @property
    def share(self) -> float:
        """Of the questions answered right, 0 to 1."""
        return share_of(self.hits, self.asked)


@dataclass(frozen=True, slots=True)
class ShownRate:
    """Of what is shown by default."""

    asked: int  # things that are in the picture
    shown: int  # of them, with a part marked
    hits: int  # of those shown, most of it in the right quarter
    absent: int  # things that are asked after and not in the picture
    absent_shown: int  # of them, with a part marked


@dataclass(frozen=True)
class PointingQuestion:
    """A grid, a text, and which cell each of its spans names."""

    picture: Image.Image
    text: str
    spans: list[Span]
    cells: list[int]
    absent: str  # the name of a thing that is not in the picture


def share_of(count: int, total: int) -> float:
    """From 0 to 1; 0 of nothing."""
    return count / total if total else 0.0


def draw_questions(
    model: ImageTextModel,
    pairs: Sequence[Pair],
    count: int = 200,
    seed: int = 0,
    words: Words = "one",
    group: Callable[[str], str] = emoji_base,
) -> list[PointingQuestion]:
    """`count` grids of `pairs` with what is asked; names past the longest text are left out.

    Raises:
        R2D2Error: fewer than four groups, or a picture that cannot be read.
    """
    usable = [pair for pair in pairs if pair.texts]
    groups = [group(pair.image_id) for pair in usable]
    questions = []
    for number, grid in enumerate(draw_grids(groups, count, seed)):
        members = [usable[index] for index in grid.members]
        taken = {groups[index] for index in grid.members}
        others = [i for i, own in enumerate(groups) if own not in taken] or [grid.members[0]]
        absent = usable[others[generator(seed, number, Draw.EXPLAIN).integers(len(others))]]
        text, named = _named(usable, grid, words)
        offsets = model.tokenizer.offsets(text)
        kept = [(cell, span) for cell, span in named if positions_of(span, offsets)]
        questions.append(
            PointingQuestion(
                compose([decode_image(pair.image, name=pair.image_id) for pair in members]),
                text,
                [span for _, span in kept],
                [cell for cell, _ in kept],
                absent.texts[0].text,
            )
        )
    return questions


def evaluate_pointing(
    model: ImageTextModel,
    questions: Sequence[PointingQuestion],
    methods: Sequence[MapMethod] | None = None,
) -> list[PointingRate]:
    """Rates of these methods; None: of all that the model has.

    Raises:
        R2D2Error: attention of a model that has no cross encoders.
    """
    cross_layers = model.model.config.cross_layers if isinstance(model, Pretrained) else 0
    every = list(methods or map_methods(cross_layers))
    looks = [method for method in every if not method.dropping]
    hits = dict.fromkeys(every, 0)
    for question in questions:
        if not question.spans:
            continue
        image = model.encode_images([question.picture])
        maps_of: dict[MapMethod, Map] = {}
        if DROPPING in every:
            maps_of[DROPPING] = _evidence(model, question).maps[:-1]
        if looks:
            if not isinstance(model, Pretrained):
                raise no_cross_encoders()
            maps = attention_maps(model, image, [question.text], [question.spans], looks)
            maps_of |= dict(zip(looks, maps, strict=True))
        for method in every:
            hits[method] += count_hits(maps_of[method], question.cells)
    asked = sum(len(question.cells) for question in questions)
    return [PointingRate(method, right, asked) for method, right in hits.items()]


def evaluate_shown(model: ImageTextModel, questions: Sequence[PointingQuestion]) -> ShownRate:
    """What is shown by default, of things in the picture and of one that is not."""
    asked = shown = hits = absent_shown = 0
    for question in questions:
        evidence = _evidence(model, question)
        *maps, absent = (evidence.shown(index) for index in range(len(question.spans) + 1))
        marked = [
            (values, cell)
            for values, cell in zip(maps, question.cells, strict=True)
            if values.any()
        ]
        asked += len(maps)
        shown += len(marked)
        hits += count_hits([values for values, _ in marked], [cell for _, cell in marked])
        absent_shown += bool(absent.any())
    return ShownRate(asked, shown, hits, len(questions), absent_shown)


def count_hits(maps: Sequence[Map] | Map, cells: Sequence[int]) -> int:
    """How many maps (P_h, P_w) have their most in the cell that is named."""
    return sum(
        cell_of(np.asarray(values)) == cell for values, cell in zip(maps, cells, strict=True)
    )


def _evidence(model: ImageTextModel, question: PointingQuestion) -> Evidence:
    """By dropping, of the spans and, last, of what is not in the picture."""
    absent = Span(question.absent, 0, len(question.absent))
    image = model.encode_images([question.picture])
    spans = [*question.spans, absent]
    return weigh(model, question.picture, image, question.text, spans, DROPPING)


def _named(pairs: Sequence[Pair], grid: Grid, words: Words) -> tuple[str, list[tuple[int, Span]]]:
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--split", default="val")
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shown", action="store_true", help="only what is shown by default")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = r2d2.load(arguments.model)
    pairs = [pair for pair in emoji_pairs() if pair.split == arguments.split]
    print(f"{arguments.count} grids of `{arguments.split}`, seed {arguments.seed}; chance: 25.0\n")
    questions = {
        words: draw_questions(model, pairs, arguments.count, arguments.seed, words)
        for words in WORDS
    }
    print("| text names | asked | marked, % | of them right, % | absent ones marked, % |")
    print("|---|---|---|---|---|")
    for words in WORDS:
        shown = evaluate_shown(model, questions[words])
        marked = interval(shown.shown, shown.asked)
        right, absent = (
            interval(shown.hits, shown.shown),
            interval(shown.absent_shown, shown.absent),
        )
        print(f"| {words} | {shown.asked} | {marked} | {right} | {absent} |")
    if arguments.shown:
        return
    print("\n| text names | entity | map | layer | right, % | asked |\n|---|---|---|---|---|---|")
    for words in WORDS:
        for rate in evaluate_pointing(model, questions[words]):
            method = rate.method
            place = "alone" if method.alone else "in the text"
            kind = "weighted" if method.weighted else "plain"
            kind = "dropping" if method.dropping else kind
            figure = interval(rate.hits, rate.asked)
            print(f"| {words} | {place} | {kind} | {method.layer} | {figure} | {rate.asked} |")


def interval(count: int, total: int) -> str:
    """A share in %, with half the width of its 95% interval."""
    share = share_of(count, total)
    return f"{100 * share:.1f} ± {196 * math.sqrt(share * (1 - share) / max(total, 1)):.1f}"


if __name__ == "__main__":
    main()
