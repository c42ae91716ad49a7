"""Figures of resampled test sets: recalls and AUC under weights on the images, all at once.

The unit of a bootstrap is the image with all its texts and pairs. A resample is a weight for each
image, how often it was drawn; every figure is computed under many weights in one matrix product.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from r2d2.ablation.outcome import Pairs, Ranks, TaskOutcome

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

RECALL_AT = (1, 5, 10)
FIGURES = ("r_mean", "r_1", "auc", "prerank_r_mean", "prerank_r_1")
LEVEL = 95.0  # % of the resamples that an interval holds


def units(task: TaskOutcome) -> Ints:
    """The images that a resample draws from, (u,) ascending."""
    return np.unique(np.concatenate([task.i2t.image, task.t2i.image]))


def draw_images(count: int, resamples: int, seed: int) -> Ints:
    """How often each of `count` images is drawn in each resample, (resamples, count)."""
    random = np.random.default_rng([seed, 1])
    drawn: Ints = random.multinomial(count, np.full(count, 1 / count), size=resamples)
    return drawn


def draw_seeds(count: int, resamples: int, seed: int) -> Floats:
    """The share of each seed in each resample, (resamples, count); rows sum to 1.

    One fewer than there are is drawn: the variance of the mean of so few would come out too small
    by (n - 1) / n otherwise (Rao and Wu, 1988). A single seed is always itself.
    """
    draws = max(1, count - 1)
    random = np.random.default_rng([seed, 2])
    counts = random.multinomial(draws, np.full(count, 1 / count), size=resamples)
    return counts / draws


def figures(task: TaskOutcome, weights: npt.NDArray[np.int64]) -> dict[str, Floats]:
    """Every figure in %, under each row of weights.

    Args:
        task: of one run.
        weights: (b, u), how often each image of `units(task)` counts.

    Returns:
        By the names in FIGURES, (b,) each; r_1 is the mean of both directions, r_mean that of R@1,
        R@5 and R@10 of both. Without pairs, or where a resample lacks one class, AUC is NaN.
    """
    images = units(task)
    found: dict[str, Floats] = {}
    for prefix, stage in (("prerank_", "prerank"), ("", "last")):
        ways = [_recalls(way, getattr(way, stage), images, weights) for way in (task.i2t, task.t2i)]
        both = np.stack(ways)  # (2, 3, b)
        found[f"{prefix}r_1"] = both[:, 0].mean(axis=0)
        found[f"{prefix}r_mean"] = both.mean(axis=(0, 1))
    found["auc"] = _auc(task.pairs, images, weights)
    return {name: found[name] for name in FIGURES}


def _recalls(way: Ranks, ranks: Ints, images: Ints, weights: Ints) -> Floats:
    """R@1, R@5 and R@10 of one direction, (3, b)."""
    place = np.searchsorted(images, way.image)
    queries = np.bincount(place, minlength=len(images))
    hits = np.stack([np.bincount(place, ranks <= at, len(images)) for at in RECALL_AT])
    recalled: Floats = 100 * (hits @ weights.T) / (queries @ weights.T)
    return recalled


def _auc(pairs: Pairs, images: Ints, weights: Ints) -> Floats:
    """Area under the ROC curve, ties half, (b,)."""
    if not len(pairs.score):
        return np.full(len(weights), np.nan)
    harm = np.where(pairs.label, -np.inf, np.inf)  # a score that is not a number counts against us
    score = np.where(np.isnan(pairs.score), harm, pairs.score)
    order = np.argsort(score, kind="stable")
    _, first = np.unique(score[order], return_index=True)  # where each run of equal scores begins
    of_pair = weights[:, np.searchsorted(images, pairs.image)[order]].astype(np.float64)
    label = pairs.label[order]
    right = np.add.reduceat(of_pair * label, first, axis=1)  # (b, distinct scores)
    wrong = np.add.reduceat(of_pair * ~label, first, axis=1)
    below = np.cumsum(wrong, axis=1) - wrong
    wins = (right * (below + wrong / 2)).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        area: Floats = 100 * wins / (right.sum(axis=1) * wrong.sum(axis=1))
    return area


@dataclass(frozen=True)
class Estimate:
    """A figure, or the difference of two, over seeds."""

    mean: float
    low: float  # of the bootstrap interval
    high: float
    by_seed: tuple[float, ...]

    @property
    def spread(self) -> float:
        """The largest less the smallest."""
        return max(self.by_seed) - min(self.by_seed)


def estimate(points: Floats, resampled: Floats, seeds: Floats) -> Estimate:
    """The mean over seeds with the interval that resampling gives it.

    Args:
        points: (s,) a value a seed: of a run, or of one run less another of the same seed.
        resampled: (s, b) the same under each resample of the images, which all seeds share.
        seeds: (b, s) of `draw_seeds`.
    """
    means = np.einsum("sb,bs->b", resampled, seeds)
    means = means[np.isfinite(means)]
    tail = (100 - LEVEL) / 2
    low, high = np.percentile(means, [tail, 100 - tail]) if len(means) else (np.nan, np.nan)
    return Estimate(float(points.mean()), float(low), float(high), tuple(points.tolist()))
