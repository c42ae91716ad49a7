"""Estimate how reliable the results of a search are; see `r2d2.index.calibration`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from r2d2.index.calibration import Doubles, Level, PictureChance, level_of
from r2d2.index.gallery.protocol import Gallery, GalleryItem
from r2d2.index.text.terms import image_terms, text_terms
from r2d2.notes import Note
from r2d2.search.first_stage import FirstStage

HEAD = 20  # the number of first results that decide whether anything fits the query
NOTHING_FITS = Note(
    "nothing here fits the text (没有合适的图片): the results are only the nearest", "nothing_fits"
)
FILTER_MATCHES_NOTHING = Note(
    "no picture matches the filter (没有符合筛选的图片): change it, or leave it out",
    "filter_matches_nothing",
)


@dataclass(frozen=True)
class QueryEvidence:
    """The kinds of evidence for the results of a text query."""

    text: str  # the query in the spelling of the corpus
    pictures: bool  # whether the text was compared with pictures
    complete: bool  # whether the model can read the whole text; if not, pictures are no evidence
    words: bool  # whether the words of the text were searched


@dataclass(frozen=True)
class Confidence:
    """How reliable the results and the whole answer are.

    Results are identified by their positions in the first stage.
    """

    chances: Mapping[int, float]  # the chance of each result that has evidence
    levels: Mapping[int, Level]  # the level of each result; empty where they are unknown
    answer: Level | None  # None where it is unknown


UNKNOWN = Confidence({}, {}, None)


def confidence(
    gallery: Gallery,
    evidence: QueryEvidence,
    first: FirstStage,
    head: Sequence[int],
    items: Mapping[int, GalleryItem],
) -> Confidence:
    """Estimate how reliable the results of a text are.

    Args:
        gallery: the gallery that was searched.
        evidence: how it was searched.
        first: the results of the first stage.
        head: the positions of the best results, which are the same for all pages.
        items: the results to judge, by position, including `head`.
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
    """Return the chances (n,) of the results at `positions`, whose items are `items`.

    A chance is NaN where there is no evidence for a result. None means that no chance is known.
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
