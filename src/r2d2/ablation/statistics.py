"""Compute recall and AUC on resampled test sets.

The unit of the bootstrap is an image with all its texts and pairs. In a resample, the weight of an
image is how often it was drawn. Each figure is computed for many resamples in one matrix product.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from r2d2.ablation.outcome import PairScores, QueryRanks, TaskOutcome
from r2d2.ranking.metrics import (
    Floats,
    GroupedHits,
    Ints,
    interval,
    usable_scores,
    weighted_auc,
)

FIGURES = ("r_mean", "r_1", "auc", "prerank_r_mean", "prerank_r_1")


def units(task: TaskOutcome) -> Ints:
    """Return the images (u,) that a resample draws from, in ascending order."""
    return np.unique(np.concatenate([task.i2t.image, task.t2i.image]))


def draw_images(count: int, resamples: int, seed: int) -> Ints:
    """Draw how often each of `count` images is in each resample: (resamples, count)."""
    random = np.random.default_rng([seed, 1])
    drawn: Ints = random.multinomial(count, np.full(count, 1 / count), size=resamples)
    return drawn


def draw_seeds(count: int, resamples: int, seed: int) -> Floats:
    """Draw the share of each seed in each resample: (resamples, count); rows sum to 1.

    Each resample draws n - 1 of n seeds with replacement. With n draws, the variance of the mean
    would be too small by the factor (n - 1) / n (Rao and Wu, 1988). A single seed is always drawn.
    """
    draws = max(1, count - 1)
    random = np.random.default_rng([seed, 2])
    counts = random.multinomial(draws, np.full(count, 1 / count), size=resamples)
    return counts / draws


def figures(task: TaskOutcome, weights: npt.NDArray[np.number]) -> dict[str, Floats]:
    """Compute every figure in % for each row of weights.

    Args:
        task: the outcome of a task in one run.
        weights: (b, u), how often each image of `units(task)` counts.

    Returns:
        The values (b,) of each figure in FIGURES. r_1 is the mean of R@1 of both directions, and
        r_mean the mean of R@1, R@5 and R@10 of both. AUC is NaN without pairs, and in a resample
        that lacks one class.
    """
    images = units(task)
    times = weights.astype(np.float64)
    values: dict[str, Floats] = {}
    for prefix, stage in (("prerank_", "prerank"), ("", "last")):
        by_direction = [
            _recalls(direction, getattr(direction, stage), images, times)
            for direction in (task.i2t, task.t2i)
        ]
        both = np.stack(by_direction)  # (2, 3, b)
        values[f"{prefix}r_1"] = both[:, 0].mean(axis=0)
        values[f"{prefix}r_mean"] = both.mean(axis=(0, 1))
    values["auc"] = _auc(task.pairs, images, times)
    return {name: values[name] for name in FIGURES}


def _recalls(direction: QueryRanks, ranks: Ints, images: Ints, weights: Floats) -> Floats:
    """Return R@1, R@5 and R@10 of one direction: (3, b)."""
    group = np.searchsorted(images, direction.image)
    return GroupedHits.of(ranks, group, len(images)).recalls(weights)


def _auc(pairs: PairScores, images: Ints, weights: Floats) -> Floats:
    """Return the area under the ROC curve in %: (b,)."""
    if len(np.unique(pairs.label)) < 2:
        return np.full(len(weights), np.nan)
    scores = usable_scores(pairs.score.astype(np.float64), pairs.label)
    return weighted_auc(scores, pairs.label, weights[:, np.searchsorted(images, pairs.image)])


@dataclass(frozen=True)
class Estimate:
    """The mean of a figure, or of a difference of two figures, over the seeds."""

    mean: float
    low: float  # the ends of the bootstrap interval
    high: float
    by_seed: tuple[float, ...]

    @property
    def spread(self) -> float:
        """The difference between the largest and the smallest value."""
        return max(self.by_seed) - min(self.by_seed)


def estimate(points: Floats, resampled: Floats, seeds: Floats) -> Estimate:
    """Return the mean over the seeds with its bootstrap interval.

    Args:
        points: (s,) a value per seed: of a run, or the difference of two runs with the same seed.
        resampled: (s, b) the same values in each resample of the images, which all seeds share.
        seeds: (b, s), from `draw_seeds`.
    """
    low, high = interval(np.einsum("sb,bs->b", resampled, seeds))
    return Estimate(float(points.mean()), low, high, tuple(points.tolist()))
