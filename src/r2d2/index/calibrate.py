"""Compute the calibration of a gallery from the best result of each unrelated text in it.

The vectors are read once and the texts twice, in batches, so that memory does not grow with the
gallery.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from importlib.resources import files
from typing import Protocol

import numpy as np
import torch

from r2d2.index.calibration import (
    Calibration,
    Doubles,
    Gumbel,
    PictureChance,
    WordChance,
    is_current,
    nearness,
    store_calibration,
    stored_calibration,
)
from r2d2.index.gallery.protocol import Floats
from r2d2.index.gallery.table import TableGallery
from r2d2.index.layout import existing_lance
from r2d2.index.text.reading import read_query
from r2d2.index.text.terms import SAY_NOTHING, TermWeights, count_terms, text_terms
from r2d2.models import ImageTextModel
from r2d2.vectors import without_direction

LEAST_TEXTS = 50  # unrelated texts that a model must be able to read
LEAST_COVERAGE_SCALE = 0.03  # for galleries where few unrelated texts share a term with a picture
BLOCK = 8192  # pictures compared at a time


class CalibratedGallery(Protocol):
    """The parts of a gallery that a calibration needs."""

    def vector_batches(self) -> Iterator[Floats]:
        """The vectors of all pictures, in batches (n, d)."""

    def term_batches(self) -> Iterator[list[str]]:
        """The terms of the texts of each picture, joined by spaces, in batches; may be empty."""


@lru_cache(maxsize=1)
def unrelated_texts() -> tuple[str, ...]:
    """Everyday texts on many subjects."""
    text = files("r2d2.index").joinpath("unrelated_texts.txt").read_text("utf-8")
    return tuple(text.split())


def calibrate(model: ImageTextModel, gallery: CalibratedGallery) -> Calibration:
    """The calibration of a gallery whose vectors the model made."""
    texts = unrelated_texts()
    count, pictures = _pictures(model, gallery, texts)
    words = _words(gallery, text_terms(texts))
    return Calibration(model.fingerprint, count, pictures, words)


@torch.inference_mode()
def _pictures(
    model: ImageTextModel, gallery: CalibratedGallery, texts: Sequence[str]
) -> tuple[int, PictureChance | None]:
    readable = [text for text in texts if read_query(text, model.tokenizer).complete]
    count = 0
    if len(readable) < LEAST_TEXTS:
        return sum(map(len, gallery.vector_batches())), None
    vectors = model.encode_texts(readable).embedding.float().cpu().numpy()
    vectors = vectors[~without_direction(vectors)]
    if len(vectors) < LEAST_TEXTS:
        return sum(map(len, gallery.vector_batches())), None
    mean: Floats = vectors.mean(0)
    best = np.full(len(vectors), -np.inf, np.float32)
    for batch in gallery.vector_batches():
        for start in range(0, len(batch), BLOCK):
            block = batch[start : start + BLOCK]
            count += len(block)
            np.maximum(best, nearness(vectors @ block.T, block @ mean).max(1), out=best)
    if not count:
        return 0, None
    return count, PictureChance(mean, Gumbel.fit(best.astype(np.float64)))


def _words(gallery: CalibratedGallery, queries: Sequence[Sequence[str]]) -> WordChance | None:
    weights = count_terms(_documents(gallery))
    if not weights.documents:
        return None
    best = _best_coverage(weights, queries, _documents(gallery))
    return WordChance(weights, Gumbel.fit(best, LEAST_COVERAGE_SCALE))


def _documents(gallery: CalibratedGallery) -> Iterator[frozenset[str]]:
    """The distinct terms of each picture with texts."""
    for batch in gallery.term_batches():
        yield from (frozenset(terms.split(" ")) for terms in batch if terms)


def _best_coverage(
    weights: TermWeights, queries: Sequence[Sequence[str]], documents: Iterable[frozenset[str]]
) -> Doubles:
    """The largest coverage of each query, (q,), in any document; see `TermWeights.coverage`."""
    having: dict[str, list[int]] = {}  # queries by their terms
    for number, query in enumerate(queries):
        for term in dict.fromkeys(query):
            having.setdefault(term, []).append(number)
    total = np.zeros(len(queries))
    for term, numbers in having.items():
        total[numbers] += weights.weight(term)
    shares = {
        term: (at := np.array(numbers), weights.weight(term) / total[at])
        for term, numbers in having.items()
    }
    best = np.zeros(len(queries))
    for document in documents:
        shared = document & shares.keys()
        if shared <= SAY_NOTHING:
            continue
        coverage, says = np.zeros(len(queries)), np.zeros(len(queries), bool)
        for term in shared:
            positions, share = shares[term]
            coverage[positions] += share
            says[positions] |= term not in SAY_NOTHING
        np.maximum(best, np.where(says, coverage, 0), out=best)
    return best


def update_calibration(uri: str, model: ImageTextModel) -> int:
    """Calibrate an indexed table, unless it has not changed since its last calibration.

    Args:
        uri: the table.
        model: the model that made its vectors.

    Returns:
        The number of vectors of images.
    """
    dataset = existing_lance(uri)
    known = stored_calibration(dataset)
    if known is not None and known.fingerprint == model.fingerprint and is_current(known, dataset):
        return known.count
    made = calibrate(model, TableGallery(uri))
    if made.count:
        store_calibration(dataset, made)
    return made.count
