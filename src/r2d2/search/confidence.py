"""How sure the results of a search are; see `r2d2.index.calibration`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from r2d2.index.calibration import Doubles, Level, PictureChance, level_of
from r2d2.index.gallery.protocol import Gallery, GalleryItem
from r2d2.index.text.terms import image_terms, text_terms
from r2d2.notes import Note
from r2d2.search.first_stage import FirstStage

HEAD = 20  # first results, which decide whether anything fits
NOTHING_FITS = Note(
    "nothing here fits the text (没有合适的图片): the results are only the nearest", "nothing_fits"
)
FILTER_MATCHES_NOTHING = Note(
    "no picture matches the filter (没有符合筛选的图片): change it, or leave it out",
    "filter_matches_nothing",
)


@dataclass(frozen=True)
class QueryEvidence:
    """The kinds of evidence that there are for the results of a text."""

    text: str  # the query in the spelling of the corpus
    pictures: bool  # whether pictures were compared
    complete: bool  # whether the model knows the whole text; else pictures are no evidence
    words: bool  # whether words were searched


@dataclass(frozen=True)
class Confidence:
    """How sure results are, by their positions in the first stage, and the whole answer."""

    chances: Mapping[int, float]  # of results with evidence
    levels: Mapping[int, Level]  # empty where they are not known
    answer: Level | None  # None where it is not known


UNKNOWN = Confidence({}, {}, None)


def confidence(
    gallery: Gallery,
    evidence: QueryEvidence,
    first: FirstStage,
    head: Sequence[int],
    items: Mapping[int, GalleryItem],
) -> Confidence:
    """How sure the results of a text are.

    Args:
        gallery: the gallery that was searched.
        evidence: how it was searched.
        first: the results of the first stage.
        head: positions of the best results, the same for all pages.
        items: the results that are judged, by position; `head` is among them.
    """
    if not evidence.pictures and not evidence.words:
        return Confidence({}, {}, "unlikely")
    positions = list(items)
    values = _chances(gallery, evidence, first, positions, list(items.values()))
    if values is None:
        return UNKNOWN
    chances = {
        position: float(value)
        for position, value in zip(positions, values, strict=True)
        if not np.isnan(value)
    }
    best = min((chances[position] for position in head if position in chances), default=None)
    levels = {position: level_of(chances.get(position)) for position in positions}
    return Confidence(chances, levels, level_of(best))


def _chances(
    gallery: Gallery,
    evidence: QueryEvidence,
    first: FirstStage,
    positions: Sequence[int],
    items: Sequence[GalleryItem],
) -> Doubles | None:
    """The chances of the results at `positions`, (n,), which are `items`.

    A chance is NaN where there is no evidence for a result. None where no chance is known.
    """
    calibration = gallery.calibration
    if calibration is None:
        return None
    chances = np.full((2, len(positions)), np.nan)
    is_known = False
    if evidence.pictures and calibration.pictures is not None:
        is_known = True
        if evidence.complete:
            chances[0] = _picture_chances(gallery, calibration.pictures, first, positions)
    if evidence.words and calibration.words is not None:
        is_known = True
        documents = [frozenset(terms.split(" ")) for terms in image_terms([i.texts for i in items])]
        chances[1] = calibration.words.chance(text_terms([evidence.text])[0], documents)
    return np.fmin(*chances) if is_known else None


def _picture_chances(
    gallery: Gallery, pictures: PictureChance, first: FirstStage, positions: Sequence[int]
) -> Doubles:
    at = np.array(positions, np.int64)
    mean_cosine = gallery.images.cosines(pictures.mean, first.rows[at])
    return pictures.chance(first.cosine[at], mean_cosine)
