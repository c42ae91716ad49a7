"""The pointing game: whether the map of a named object lies in its quarter of a composed picture.

Four pictures stand two by two (data/grid.py); chance is 25%. The text that is read is the name of
one of the four ("one"), or of all, each asked after in turn ("all"). Maps are scored in two ways:
where each has its most, whether or not it would be shown; and what is shown by default, where
nothing may be shown, and should not be for what is not in the picture.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from r2d2.data.emoji import emoji_base
from r2d2.data.grid import CELLS, JOIN, Grid, Words, cell_of, compose, draw_grids
from r2d2.data.images import decode_image
from r2d2.explain.attention import no_cross_encoders
from r2d2.explain.entities import Span, positions_of
from r2d2.explain.evidence import Evidence, weigh
from r2d2.explain.maps import DROPPING, Map, MapMethod, attention_maps, map_methods
from r2d2.keyed import Draw, generator
from r2d2.models import ImageTextModel
from r2d2.pretrained import Pretrained
from r2d2.table import Pair


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
