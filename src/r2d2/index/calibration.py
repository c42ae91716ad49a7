"""Estimate how reliable a result is by how often unrelated texts find one that is as good.

A cosine means nothing by itself: a small model gives 0.9 to all pairs. Therefore each index keeps
what a fixed list of texts on many other subjects (`unrelated_texts.txt`) finds in it. The chance of
a result is the share of such texts that find a picture in this gallery which is at least as near,
or shares as much of their words. Where both were compared, the smaller share counts.

Two measures are calibrated, each by the best result of each unrelated text:

nearness: log((1 - m) / (1 - c)) of a picture, where c is its cosine with the query, and m its mean
    cosine with the unrelated texts. So a picture that is near to all texts is not near to a query.
coverage: see `TermWeights.coverage`.

The best results follow a Gumbel distribution (of extreme values). It is fitted to the lower
quartile and the median, so that unrelated texts which do have an answer in a gallery change little.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from r2d2.index.gallery.protocol import Floats
from r2d2.index.layout import CALIBRATION, existing_lance
from r2d2.index.text.terms import TermWeights

VERSION = 1  # of the stored format and of the list of texts
LIKELY, POSSIBLE = 0.01, 0.1  # the largest chances of results with these levels
LEAST_DISTANCE = 1e-6  # of a cosine from 1
QUARTILE, MEDIAN = 0.25, 0.5
LEAST_SCALE = 1e-4  # for galleries where most unrelated texts find equally near pictures

# How sure a result is. Of an answer: of its best result, where "unlikely" says that nothing fits.
Level = Literal["likely", "possible", "unlikely"]
Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Gumbel:
    """The distribution of the best result of an unrelated text."""

    location: float
    scale: float

    @classmethod
    def fit(cls, maxima: Doubles, least_scale: float = LEAST_SCALE) -> Gumbel:
        """Fit it to the lower quartile and the median of best results, (n,)."""
        low, middle = np.quantile(maxima, (QUARTILE, MEDIAN))
        below, above = (-math.log(-math.log(share)) for share in (QUARTILE, MEDIAN))
        scale = max(float(middle - low) / (above - below), least_scale)
        return cls(float(middle) - scale * above, scale)

    def chance(self, values: npt.NDArray[np.floating]) -> Doubles:
        """The probability that a best result is at least as large as each value, (n,)."""
        standard = np.clip((values.astype(np.float64) - self.location) / self.scale, -30, 700)
        chances: Doubles = -np.expm1(-np.exp(-standard))
        return chances


@dataclass(frozen=True)
class PictureChance:
    """The chance of a result by its vector."""

    mean: Floats  # (d,) of the vectors of the unrelated texts
    nearness: Gumbel

    def chance(self, cosine: Floats, mean_cosine: Floats) -> Doubles:
        """The chances of pictures, (n,), by their cosines with a query and with `mean`."""
        return self.nearness.chance(nearness(cosine, mean_cosine))


@dataclass(frozen=True)
class WordChance:
    """The chance of a result by its words."""

    weights: TermWeights
    coverage: Gumbel

    def chance(self, query: Sequence[str], documents: Sequence[frozenset[str]]) -> Doubles:
        """The chances of pictures, (n,), by the terms of a query and those of their texts."""
        share = np.array([self.weights.coverage(query, terms) for terms in documents])
        return np.where(share > 0, self.coverage.chance(share), 1.0)


@dataclass(frozen=True)
class Calibration:
    """The figures that an index keeps about the results of the unrelated texts."""

    fingerprint: str  # of the model
    count: int  # vectors of pictures in the gallery
    pictures: PictureChance | None  # None: the model can read too few of the texts
    words: WordChance | None  # None: the pictures have no texts
    table_version: int | None = None  # of the Lance table that it was made of

    def to_json(self) -> str:
        """As JSON, for the metadata of a table or for a file."""
        plain = asdict(self) | {"version": VERSION}
        if self.pictures is not None:
            mean = self.pictures.mean.astype("<f4").tobytes()
            plain["pictures"]["mean"] = base64.b64encode(mean).decode()
        return json.dumps(plain, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Calibration | None:
        """Read the JSON of `to_json`; None where it is of another version or damaged."""
        try:
            plain = json.loads(text)
            if plain.pop("version") != VERSION:
                return None
            pictures, words = plain.pop("pictures"), plain.pop("words")
            return cls(
                **plain,
                pictures=pictures
                and PictureChance(
                    np.frombuffer(base64.b64decode(pictures["mean"]), "<f4").astype(np.float32),
                    Gumbel(**pictures["nearness"]),
                ),
                words=words
                and WordChance(TermWeights(**words["weights"]), Gumbel(**words["coverage"])),
            )
        except (ValueError, TypeError, KeyError, AttributeError):
            return None


def nearness(
    cosine: npt.NDArray[np.floating], mean_cosine: npt.NDArray[np.floating]
) -> npt.NDArray[np.floating]:
    """The nearness of pictures, (n,), or of queries and pictures, (q, n), by their cosines."""
    distances: npt.NDArray[np.floating] = np.log(
        np.maximum(1 - mean_cosine, LEAST_DISTANCE) / np.maximum(1 - cosine, LEAST_DISTANCE)
    )
    return distances


def level_of(chance: float | None) -> Level:
    """The level of a chance; None, without any evidence for a result, is unlikely."""
    if chance is None or chance > POSSIBLE:
        return "unlikely"
    return "likely" if chance <= LIKELY else "possible"


def stored_calibration(dataset: Any) -> Calibration | None:
    """The calibration of a Lance dataset; None where it has none of this version."""
    stored = (dataset.metadata or {}).get(CALIBRATION)
    return None if stored is None else Calibration.from_json(stored)


def is_current(calibration: Calibration, dataset: Any) -> bool:
    """Whether the dataset has not changed since its calibration was made."""
    # Storing the calibration in the metadata made one more version.
    return bool(calibration.table_version == dataset.version - 1)


def store_calibration(dataset: Any, calibration: Calibration) -> None:
    """Store a calibration that was made of this version of the dataset."""
    stamped = replace(calibration, table_version=dataset.version)
    dataset.update_metadata({CALIBRATION: stamped.to_json()})


@contextmanager
def calibration_kept(uri: str) -> Iterator[None]:
    """Keep the calibration of a table current through changes that change none of its rows."""
    before = existing_lance(uri)
    known, rows = stored_calibration(before), _rows(before)
    yield
    if known is None or not is_current(known, before):
        return
    after = existing_lance(uri)
    if _rows(after) == rows:  # another process may have added rows meanwhile
        store_calibration(after, known)


def _rows(dataset: Any) -> Any:
    """What identifies the rows of a dataset: its files and the deletions in them."""
    return dataset.schema, [part.metadata.to_json() for part in dataset.get_fragments()]
