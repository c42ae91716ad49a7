"""How sure the results of one search are; see `calibration`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from r2d2.index.calibration import Doubles, Level, PictureChance, level_of
from r2d2.index.gallery.protocol import Gallery, GalleryItem
from r2d2.index.text.terms import image_terms, text_terms
from r2d2.notes import Note
from r2d2.search.first_stage import FirstStage

HEAD = 20  # first results that tell whether anything fits
NOTHING_FITS = Note(
    "nothing here fits the text (没有合适的图片): the results are only the nearest", "nothing_fits"
)
FILTER_MATCHES_NOTHING = Note(
    "no picture matches the filter (没有符合筛选的图片): change it, or leave it out",
    "filter_matches_nothing",
)


@dataclass(frozen=True)
class QueryEvidence:
    """What may speak for the results of a text."""

    text: str  # as it is searched for
    pictures: bool  # whether they were compared
    complete: bool  # whether the model knows all of the text: else pictures speak for nothing
    words: bool  # whether they were searched


@dataclass(frozen=True)
class Confidence:
    """Of results by their places in the first stage, and of the whole answer."""

    chances: Mapping[int, float]  # of those that something speaks for
    levels: Mapping[int, Level]  # empty: not known
    answer: Level | None  # None: not known


UNKNOWN = Confidence({}, {}, None)


def confidence(
    gallery: Gallery,
    evidence: QueryEvidence,
    first: FirstStage,
    head: Sequence[int],
    items: Mapping[int, GalleryItem],
) -> Confidence:
    """Of the results of a text.

    Args:
        gallery: that was searched.
        evidence: how.
        first: the results of the first stage.
        head: places of the best results, whatever page is asked for.
        items: of the places that are of interest, `head` among them.
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
    """Of the results at `places` (n,), which are `items`; NaN: nothing speaks for it.

    None: not known.
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
