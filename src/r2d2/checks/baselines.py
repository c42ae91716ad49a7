"""What half of a pair tells of its label: baselines that must stay at chance.

A matching set that the text alone can solve, or the picture, or how long or how frequent they are,
measures no understanding of both. Each baseline is a logistic regression, learnt on `train` where
it and another split hold labels of both kinds, else on half of the items and asked of the other,
both ways. Rows of one text (or picture) never stand on both sides. The interval is that of
the AUC over clusters of rows with one text (picture): placement values (DeLong et al., Biometrics
1988) summed within the cluster (Obuchowski, Biometrics 1997).
"""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from r2d2.checks.base import TRAIN, Asked, Chunk, Fact, Finding, Glance, Severity
from r2d2.checks.logistic import Rows, dense_rows, learn, sparse_rows
from r2d2.tokenizer import key_hash, text_key

MOST = 20_000  # labelled rows kept, those of the smallest hashes of their text (picture)
FEWEST = 40  # rows to judge by, below which nothing can be told
GRAMS = (1, 2, 3)  # characters
BINS = 1 << 14  # that n-grams are hashed into
SIGMAS = 3.29  # half the interval: a fair set is out of it once in 1,000
SMALL, LARGE = 0.02, 0.1  # distance of an AUC from chance: below, it is let be; above, it stops

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Baseline:
    """How far one gets."""

    name: str
    auc: float  # 0.5 is chance
    half: float  # of the interval about it
    accuracy: float  # at the threshold that the training half sets
    rows: int

    @property
    def above(self) -> float:
        """Distance from chance that the interval does not explain; under chance it counts too."""
        return max(0.0, abs(self.auc - 0.5) - self.half)


class _Kept:
    """Labelled rows of the smallest keys, in the order seen; all rows of a key, or none."""

    def __init__(self) -> None:
        self.limit = 2**63
        self.keys: list[int] = []
        self.rows: list[tuple[str, int, Any]] = []  # split, label, what is known

    def add(self, key: int, split: str, label: int, what: Any) -> None:
        if key >= self.limit:
            return
        self.keys.append(key)
        self.rows.append((split, label, what))
        while len(self.keys) > 2 * MOST:
            self.limit //= 2
            place = [n for n, k in enumerate(self.keys) if k < self.limit]
            self.keys = [self.keys[n] for n in place]
            self.rows = [self.rows[n] for n in place]


class Baselines:
    """Text only, picture only, lengths, and how often each stands in its split."""

    def __init__(self, asked: Asked) -> None:
        self.texts, self.pictures = _Kept(), _Kept()
        self.times: Counter[tuple[str, int]] = Counter()
        self._found: list[Baseline] | None = None

    def see(self, chunk: Chunk) -> None:
        """See `Check`."""
        for pair, seen in zip(chunk.pairs, chunk.glances, strict=True):
            if pair.label not in (0, 1):
                continue
            text = text_key(pair.texts[0].text) if pair.texts else ""
            key, image = key_hash(text) >> 1 & (2**63 - 1), _id_hash(pair.image_id)
            self.times[pair.split, key] += 1
            self.times[pair.split, ~image] += 1
            self.texts.add(key, pair.split, pair.label, (text, ~image))
            if isinstance(seen, Glance):
                self.pictures.add(
                    image, pair.split, pair.label, picture_features(seen, len(pair.image))
                )

    def findings(self) -> list[Finding]:
        """See `Check`."""
        found = []
        for one in self.measure():
            if one.above <= 0 or abs(one.auc - 0.5) < SMALL:
                continue
            severity: Severity = "stop" if one.above > LARGE else "warn"
            found.append(
                Finding(
                    f"{one.name} alone tells matches from non-matches (AUC {one.auc:.3f})",
                    severity, round(one.accuracy * one.rows), one.rows, "rows told right", (),
                    "a model can do well on this set without comparing picture and text: let every "
                    "text and every picture stand as often in a match as in a non-match",
                )
            )  # fmt: skip
        return found

    def facts(self) -> list[Fact]:
        """See `Measure`."""
        return [
            Fact(
                f"baseline, {one.name} only: AUC", round(one.auc, 4),
                f"± {one.half:.4f}; accuracy {one.accuracy:.3f}; {one.rows:,} rows; chance is 0.5",
            )
            for one in self.measure()
        ]  # fmt: skip

    def measure(self) -> list[Baseline]:
        """All of them; none where labels are too few."""
        if self._found is None:
            found = []
            keys, splits, labels, known = _columns(self.texts)
            if len(labels):
                texts = [text for text, _ in known]
                lengths = np.array([[len(text), np.log1p(len(text))] for text in texts])
                often = np.array(
                    [
                        [self.times[split, key], self.times[split, image]]
                        for split, key, (_, image) in zip(splits, keys.tolist(), known, strict=True)
                    ],
                    dtype=np.float64,
                )
                for name, rows in (
                    ("text", sparse_rows([grams(text) for text in texts], BINS)),
                    ("text length", dense_rows(lengths)),
                    ("frequency", dense_rows(often)),
                ):
                    found.append(_judge(name, rows, keys, splits, labels))
            keys, splits, labels, known = _columns(self.pictures)
            if len(labels):
                rows = dense_rows(np.array(known, dtype=np.float64))
                found.append(_judge("picture", rows, keys, splits, labels))
            self._found = [one for one in found if one is not None]
        return self._found


def grams(text: str) -> list[int]:
    """The bins of the character n-grams of a text key, its two ends marked."""
    marked = f"\x02{text}\x03"
    return [
        int.from_bytes(hashlib.blake2b(marked[i : i + n].encode(), digest_size=4).digest(), "big")
        % BINS
        for n in GRAMS
        for i in range(len(marked) - n + 1)
    ]


def picture_features(seen: Glance, size: int) -> Floats:
    """(69,) grey thumbnail, mean colour, and the logarithms of width and size of the file."""
    pixels = seen.thumbnail.astype(np.float64) / 255
    grey = pixels.mean(axis=2).reshape(-1)
    extent = (np.log(seen.width * seen.height), np.log1p(size))
    return np.concatenate([grey, pixels.mean(axis=(0, 1)), extent])


def auc_interval(scores: Floats, labels: Mask, clusters: Ints) -> tuple[float, float]:
    """The AUC, ties half, and its standard error over clusters.

    Args:
        scores: (n,).
        labels: (n,) both kinds are there.
        clusters: (n,) rows of one number depend on each other.
    """
    matches, others = np.sort(scores[labels]), np.sort(scores[~labels])

    def placed(values: Floats, among: Floats) -> Floats:
        low, high = (np.searchsorted(among, values, side) for side in ("left", "right"))
        return np.asarray((low + high) / (2 * len(among)))

    values = np.where(labels, placed(scores, others), 1 - placed(scores, matches))
    auc = float(values[labels].mean())
    share = np.where(labels, 1 / len(matches), 1 / len(others))
    sums = np.bincount(np.unique(clusters, return_inverse=True)[1].reshape(-1),
                       (values - auc) * share)  # fmt: skip
    return auc, float(np.sqrt((sums * sums).sum()))


def _judge(
    name: str, rows: Rows, keys: Ints, splits: Sequence[str], labels: Mask
) -> Baseline | None:
    """Learn on one part, ask the other."""
    train = np.array([split == TRAIN for split in splits])
    if _both(labels[train]) and _both(labels[~train]) and (~train).sum() >= FEWEST:
        # what stands on both sides is a leak, and told as such
        fresh = ~train & ~np.isin(keys, keys[train])
        ways = [(train, fresh)]
    else:
        half = keys % 2 == 0
        ways = [(half, ~half), (~half, half)]
    found = []
    for one, other in ways:
        if not (_both(labels[one]) and _both(labels[other])) or other.sum() < FEWEST / 2:
            return None
        learnt = learn(rows.take(np.flatnonzero(one)), labels[one])
        place = np.flatnonzero(other)
        scores = learnt.scores(rows.take(place)).round(9)  # what is equal but for rounding ties
        auc, error = auc_interval(scores, labels[place], keys[place])
        right = ((scores > 0) == labels[place]).mean()
        found.append((auc, error**2, float(right), len(place)))
    auc, error, right, _ = np.mean(found, axis=0).tolist()
    half = SIGMAS * float(np.sqrt(error / len(found)))
    return Baseline(name, auc, half, right, sum(count for *_, count in found))


def _both(labels: Mask) -> bool:
    return bool(labels.any() and not labels.all())


def _columns(kept: _Kept) -> tuple[Ints, list[str], Mask, list[Any]]:
    keys = np.array(array("q", kept.keys), dtype=np.int64)
    splits = [split for split, _, _ in kept.rows]
    labels = np.array([label == 1 for _, label, _ in kept.rows], dtype=np.bool_)
    return keys, splits, labels, [what for _, _, what in kept.rows]


def _id_hash(image_id: str) -> int:
    return key_hash(image_id) >> 1 & (2**63 - 1)
