"""How sure a result is: how often a text that has nothing to do with a gallery finds as good a one.

The similarity of a model means nothing by itself: that of a small model is 0.9 for everything. So
each index keeps what a fixed list of texts on other subjects finds in it (`unrelated_texts.txt`). A
result's chance is the share of such texts that would find a picture in this gallery at least as
near, or with as much of their words; the smaller of the two, where both were compared.

Two measures are calibrated, each by the best result of each unrelated text:

nearness: log((1 - m) / (1 - c)) of a picture whose cosine with the query is c, and on average m
    with the unrelated texts. So a picture that is near to everything is not near to the query.
coverage: see `term_weights`.

The maxima follow a Gumbel distribution (extreme values). It is fitted to the lower quartile and the
median, so that the unrelated texts that do have an answer in a gallery do not matter.
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

VERSION = 1  # of what is stored, and of the list of texts
LIKELY, POSSIBLE = 0.01, 0.1  # the largest chance of a result that is called so
LEAST_DISTANCE = 1e-6  # between 1 and a cosine
QUARTILE, MEDIAN = 0.25, 0.5
LEAST_SCALE = 1e-4  # where most unrelated texts find pictures that are equally near

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
        """To the lower quartile and the median of some maxima (n,)."""
        low, middle = np.quantile(maxima, (QUARTILE, MEDIAN))
        below, above = (-math.log(-math.log(share)) for share in (QUARTILE, MEDIAN))
        scale = max(float(middle - low) / (above - below), least_scale)
        return cls(float(middle) - scale * above, scale)

    def chance(self, values: npt.NDArray[np.floating]) -> Doubles:
        """Of each value (n,), that of a maximum at least as large."""
        standard = np.clip((values.astype(np.float64) - self.location) / self.scale, -30, 700)
        chances: Doubles = -np.expm1(-np.exp(-standard))
        return chances


@dataclass(frozen=True)
class PictureChance:
    """By the vectors."""

    mean: Floats  # (d,) of the vectors of the unrelated texts
    nearness: Gumbel

    def chance(self, cosine: Floats, mean_cosine: Floats) -> Doubles:
        """Of pictures (n,), by their cosine with a query, and with `mean`."""
        return self.nearness.chance(nearness(cosine, mean_cosine))


@dataclass(frozen=True)
class WordChance:
    """By the words."""

    weights: TermWeights
    coverage: Gumbel

    def chance(self, query: Sequence[str], documents: Sequence[frozenset[str]]) -> Doubles:
        """Of pictures (n,), by the terms of a query and those of their texts."""
        share = np.array([self.weights.coverage(query, terms) for terms in documents])
        return np.where(share > 0, self.coverage.chance(share), 1.0)


@dataclass(frozen=True)
class Calibration:
    """What an index keeps of the unrelated texts."""

    fingerprint: str  # of the model
    count: int  # vectors of pictures that were looked at
    pictures: PictureChance | None  # None: the model can read too few of the texts
    words: WordChance | None  # None: the pictures have no texts
    table_version: int | None = None  # of the Lance table that was looked at

    def to_json(self) -> str:
        """For the metadata of a table, or a file."""
        plain = asdict(self) | {"version": VERSION}
        if self.pictures is not None:
            mean = self.pictures.mean.astype("<f4").tobytes()
            plain["pictures"]["mean"] = base64.b64encode(mean).decode()
        return json.dumps(plain, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Calibration | None:
        """What `to_json` wrote; None: it is of another version, or damaged."""
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
    """Of pictures (n,), or of queries and pictures (q, n), by their cosines."""
    distances: npt.NDArray[np.floating] = np.log(
        np.maximum(1 - mean_cosine, LEAST_DISTANCE) / np.maximum(1 - cosine, LEAST_DISTANCE)
    )
    return distances


def level_of(chance: float | None) -> Level:
    """A chance in a word; None: nothing speaks for a result."""
    if chance is None or chance > POSSIBLE:
        return "unlikely"
    return "likely" if chance <= LIKELY else "possible"


def stored_calibration(dataset: Any) -> Calibration | None:
    """That of a Lance dataset; None: it has none, or one of another version."""
    stored = (dataset.metadata or {}).get(CALIBRATION)
    return None if stored is None else Calibration.from_json(stored)


def is_current(calibration: Calibration, dataset: Any) -> bool:
    """Whether nothing of the dataset that holds a calibration has changed since it was made."""
    # Setting the metadata makes a version, too.
    return bool(calibration.table_version == dataset.version - 1)


def store_calibration(dataset: Any, calibration: Calibration) -> None:
    """Keep one that was made of the dataset as it stands."""
    stamped = replace(calibration, table_version=dataset.version)
    dataset.update_metadata({CALIBRATION: stamped.to_json()})


@contextmanager
def calibration_kept(uri: str) -> Iterator[None]:
    """Around what makes versions of a table, but changes no row: its calibration stays current."""
    before = existing_lance(uri)
    known, rows = stored_calibration(before), _rows(before)
    yield
    if known is None or not is_current(known, before):
        return
    after = existing_lance(uri)
    if _rows(after) == rows:  # somebody else may have added some meanwhile
        store_calibration(after, known)


def _rows(dataset: Any) -> Any:
    """Files, and deletions in them; reads none of them."""
    return dataset.schema, [part.metadata.to_json() for part in dataset.get_fragments()]
