"""Metrics of binary scores besides the AUC: average precision, best accuracy, calibration."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from r2d2.ranking.metrics import Bools, Floats, counts_by_score

BINS = 15  # of equal width, over [0, 1] (Guo et al., arXiv 1706.04599)


@dataclass(frozen=True)
class Threshold:
    """A score from which on a pair counts as a match."""

    value: float  # a pair matches if its score is at least this
    accuracy: float  # in %, on what it was chosen on


def average_precision(scores: Floats, match: Bools, weight: Floats | None = None) -> float:
    """Area under precision over recall in %, by steps; equal scores are taken together.

    Args:
        scores: (n,), see `usable_scores`.
        match: (n,) whether the pair matches.
        weight: (n,) how often each pair counts; None: once.

    Returns:
        NaN where no match has a weight.
    """
    true, false = _counts_from_top(scores, match, weight)
    if not true.sum():
        return math.nan
    above = np.cumsum(true)
    precision = above / np.maximum(above + np.cumsum(false), 1e-300)
    return float(100 * (true * precision).sum() / true.sum())


def best_threshold(scores: Floats, match: Bools) -> Threshold:
    """The threshold with the highest accuracy, in the middle between two scores.

    Of several the highest is taken. A threshold above every score means that nothing matches.
    """
    values = np.unique(scores)[::-1]
    true, false = _counts_from_top(scores, match)
    right = (
        np.concatenate([[0], np.cumsum(true)])
        + false.sum()
        - np.concatenate([[0], np.cumsum(false)])
    )
    best = int(right.argmax())
    finite = np.nan_to_num(
        values, posinf=np.finfo(np.float64).max, neginf=-np.finfo(np.float64).max
    )
    if best == 0:
        value = np.nextafter(finite[0], np.inf)
    elif best == len(values):
        value = finite[-1]
    else:
        value = finite[best - 1] / 2 + finite[best] / 2
        if not finite[best] < value <= finite[best - 1]:  # neighbours: nothing lies between
            value = finite[best - 1]
    return Threshold(float(value), float(100 * right[best] / len(match)))


def accuracy_at(scores: Floats, match: Bools, threshold: float) -> float:
    """The share of pairs in % that a threshold classifies correctly."""
    return float(100 * ((scores >= threshold) == match).mean())


@dataclass(frozen=True)
class Bin:
    """Pairs whose score lies between two bounds; the upper one belongs to the last bin only."""

    low: float
    high: float
    pairs: int
    score: float | None  # their mean score, in [0, 1]
    match: float | None  # the share that does match


def reliability(scores: Floats, match: Bools, bins: int = BINS) -> list[Bin]:
    """Predicted probabilities, scores in [0, 1], against the share of pairs that match."""
    bin_of = np.minimum((scores * bins).astype(np.int64), bins - 1)
    count = np.bincount(bin_of, minlength=bins)
    score = np.bincount(bin_of, weights=scores, minlength=bins)
    true = np.bincount(bin_of, weights=match.astype(np.float64), minlength=bins)
    return [
        Bin(
            i / bins,
            (i + 1) / bins,
            int(count[i]),
            float(score[i] / count[i]) if count[i] else None,
            float(true[i] / count[i]) if count[i] else None,
        )
        for i in range(bins)
    ]


def calibration_error(bins: list[Bin]) -> float:
    """ECE in %: the mean distance of score and share of matches, bins weighted by their pairs."""
    total = sum(one.pairs for one in bins)
    gaps = [
        one.pairs * abs(one.score - one.match)
        for one in bins
        if one.score is not None and one.match is not None
    ]
    return 100 * sum(gaps) / total


def _counts_from_top(
    scores: Floats, match: Bools, weight: Floats | None = None
) -> tuple[Floats, Floats]:
    """Matches and others at each distinct score, the highest first."""
    weight = np.ones(len(match)) if weight is None else weight
    matches, others = counts_by_score(scores, match, weight)
    return matches[::-1], others[::-1]
