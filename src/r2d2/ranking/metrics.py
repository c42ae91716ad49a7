"""Metrics of rankings: recall with its rule for ties, ROC AUC, and bootstrap intervals.

The rule for ties: the rank of a query is 1 + the number of non-matching items that score at least
as high as its best match (docs/method.md, "Scores at inference"). So a tie counts against the
model, and so does a score that is not finite: on a match it ranks last, on any other item first.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from r2d2.errors import R2D2Error
from r2d2.ranking.relevance import Relevance, require_answers

RECALL_AT = (1, 5, 10)
RECALLS = tuple(f"{direction}_r{at}" for direction in ("i2t", "t2i") for at in RECALL_AT)
PERCENTILES = (2.5, 97.5)  # of an interval of 95%

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
T = TypeVar("T")
StageRecalls = tuple[Mapping[str, float], Mapping[str, Floats]]  # on all queries, and resampled


# Ranks


def worst_if_broken(scores: Tensor, relevant: Tensor) -> Tensor:
    """Scores with -inf for each match, and +inf for each other item, that is not finite."""
    worst = torch.where(relevant, -torch.inf, torch.inf).to(scores)
    return torch.where(torch.isfinite(scores), scores, worst)


def rank_of_best(scores: Tensor, relevant: Tensor) -> Tensor:
    """Rank of each query's best match, from 1.

    Args:
        scores: (q, c), higher is better.
        relevant: (q, c) bool, at least one True in each row.

    Returns:
        (q,) int64.

    Raises:
        R2D2Error: the shapes differ, or a query has no match.
    """
    if scores.shape != relevant.shape or scores.ndim != 2:
        raise R2D2Error(
            f"scores {tuple(scores.shape)} and relevance {tuple(relevant.shape)} differ: "
            "both must be (queries, items)"
        )
    require_answers(relevant)
    scores = worst_if_broken(scores, relevant)
    best = scores.masked_fill(~relevant, -torch.inf).amax(dim=1, keepdim=True)
    return 1 + ((scores >= best) & ~relevant).sum(dim=1)


def two_stage_ranks(scores: Tensor, relevant: Tensor, below: Tensor) -> Tensor:
    """Rank of each query's best match after k candidates are ranked again.

    Args:
        scores: (q, k) of the candidates, see `two_stage_scores`.
        relevant: (q, k) bool.
        below: (q,) int64, the rank where no candidate is a match with a finite score: that of the
            best match outside the candidates, which all stand above it.

    Returns:
        (q,) int64.
    """
    usable = (relevant & torch.isfinite(scores)).any(dim=1)
    ranks = below.clone()
    if usable.any():
        ranks[usable] = rank_of_best(scores[usable], relevant[usable])
    return ranks


def published_ranks(scores: Tensor, own: Tensor, position: Tensor) -> Tensor:
    """Rank of each query's best own item as the official code counts it.

    The official code sorts a row of scores, reverses it and looks for the first own item. So a tie
    costs nothing where the own item stands later in the gallery, and an equal caption of another
    image counts as wrong. A score that is not finite counts against the model here too.

    Args:
        scores: (q, c).
        own: (q, c) bool, the items that the data give to the query.
        position: (q, c) or (c,), of each item in the gallery.

    Returns:
        (q,) int64; c + 1 where no own item has a finite score.
    """
    usable = (own & torch.isfinite(scores)).any(dim=1)
    scores = worst_if_broken(scores, own)
    position = position.expand_as(scores)
    best = scores.masked_fill(~own, -torch.inf).amax(dim=1, keepdim=True)
    equal = scores == best
    last = position.masked_fill(~(equal & own), -1).amax(dim=1, keepdim=True)
    ranks = 1 + (scores > best).sum(dim=1) + (equal & (position > last)).sum(dim=1)
    return torch.where(usable, ranks, scores.shape[1] + 1)


# Recall


def recall(ranks: Tensor, at: int) -> float:
    """R@at in %: the share of the ranks (q,), from 1, that are `at` or better."""
    return 100 * float((ranks <= at).double().mean())


def recalls(i2t: Tensor | None, t2i: Tensor) -> dict[str, float]:
    """R@1, R@5 and R@10 of both directions and their mean, in %, from the ranks (q,) of each.

    Without `i2t` only text to image counts, as on MUGE: R@M is then the mean of three.

    Raises:
        R2D2Error: a direction has no queries.
    """
    if not all(len(ranks) for ranks in _directions(i2t, t2i).values()):
        raise R2D2Error(
            "recall needs at least one query in each direction: the split has no image or no text"
        )
    return _with_mean(recall, i2t, t2i)


def chance_recalls(i2t: Relevance | None, t2i: Relevance) -> dict[str, float]:
    """The expected recalls of a random ranking, in the layout of `recalls`."""
    return _with_mean(lambda relevance, at: 100 * chance_recall(relevance, at), i2t, t2i)


def chance_recall(relevance: Relevance, at: int) -> float:
    """The share of queries that a random ranking answers within the first `at` items."""
    # 1 - P(none of the first `at` of c items is among the m answers) = 1 - C(c - m, at) / C(c, at)
    size = relevance.gallery
    at = min(at, size)
    times = Counter(relevance.counts().tolist())
    missed = sum(n * math.comb(size - m, at) / math.comb(size, at) for m, n in times.items())
    return 1 - missed / times.total()


def _directions(i2t: T | None, t2i: T) -> dict[str, T]:
    return {"t2i": t2i} if i2t is None else {"i2t": i2t, "t2i": t2i}


def _with_mean(metric: Callable[[T, int], float], i2t: T | None, t2i: T) -> dict[str, float]:
    values = {
        f"{direction}_r{at}": metric(queries, at)
        for direction, queries in _directions(i2t, t2i).items()
        for at in RECALL_AT
    }
    return values | {"r_mean": sum(values.values()) / len(values)}


# ROC AUC


def roc_auc(scores: Tensor, labels: Tensor) -> float:
    """Area under the ROC curve in %: how often a match scores above another pair, ties half.

    Args:
        scores: (n,), see `usable_scores`.
        labels: (n,) bool or 0 and 1, 1 where the pair matches.

    Raises:
        R2D2Error: the lengths differ, or one of the two classes is empty.
    """
    match = labels.cpu().numpy().astype(bool)
    values = usable_scores(scores.detach().cpu().double().numpy(), match)
    return float(weighted_auc(values, match, np.ones(len(match))))


def usable_scores(scores: Floats, match: Bools) -> Floats:
    """Scores with -inf for each match, and +inf for each other pair, that is not a number.

    Raises:
        R2D2Error: the lengths differ, or one of the two classes is empty.
    """
    if scores.shape != match.shape or scores.ndim != 1:
        raise R2D2Error(f"scores {scores.shape} and labels {match.shape} differ: both must be (n,)")
    matches = int(match.sum())
    if matches in (0, len(match)):
        raise R2D2Error(
            f"matching needs pairs of both kinds, and there are {matches} matches and "
            f"{len(match) - matches} others: add the missing kind"
        )
    return np.where(np.isnan(scores), np.where(match, -np.inf, np.inf), scores)


def weighted_auc(scores: Floats, match: Bools, weights: Floats) -> Floats:
    """ROC AUC in %, ties half, of pairs that count more than once.

    Args:
        scores: (n,) without NaN.
        match: (n,).
        weights: (..., n), how often each pair counts.

    Returns:
        (...); NaN where one of the two classes has no weight.
    """
    matches, others = counts_by_score(scores, match, weights)
    wins = (matches * (np.cumsum(others, axis=-1) - others / 2)).sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        area: Floats = 100 * wins / (matches.sum(axis=-1) * others.sum(axis=-1))
    return area


def counts_by_score(scores: Floats, match: Bools, weights: Floats) -> tuple[Floats, Floats]:
    """The weight (..., n) of matches and of others at each of s distinct scores, ascending.

    Returns:
        Two arrays (..., s).
    """
    order = np.argsort(scores, kind="stable")
    # where each run of equal scores begins
    first = np.unique(scores[order], return_index=True)[1]
    ordered, label = weights[..., order], match[order]
    return (
        np.add.reduceat(ordered * label, first, axis=-1),
        np.add.reduceat(ordered * ~label, first, axis=-1),
    )


def auc_with_error(scores: Floats, labels: Bools, clusters: Ints) -> tuple[float, float]:
    """ROC AUC from 0 to 1, ties half, and its standard error over clusters.

    The error is that of placement values (DeLong et al., 1988), summed within each cluster
    (Obuchowski, 1997).

    Args:
        scores: (n,).
        labels: (n,), both kinds are present.
        clusters: (n,), rows of one number depend on each other.
    """
    matches, others = np.sort(scores[labels]), np.sort(scores[~labels])

    def placement(values: Floats, among: Floats) -> Floats:
        low, high = (np.searchsorted(among, values, side) for side in ("left", "right"))
        return np.asarray((low + high) / (2 * len(among)))

    values = np.where(labels, placement(scores, others), 1 - placement(scores, matches))
    auc = float(values[labels].mean())
    share = np.where(labels, 1 / len(matches), 1 / len(others))
    numbers = np.unique(clusters, return_inverse=True)[1].reshape(-1)
    sums = np.bincount(numbers, (values - auc) * share)
    return auc, float(np.sqrt((sums * sums).sum()))


# Bootstrap: the captions of one image depend on each other, so an image is drawn with all of them.


def draws(groups: int, resamples: int, seed: int) -> Iterator[Floats]:
    """How often each of g groups is drawn, (g,), for each resample."""
    generator = np.random.Generator(np.random.Philox(key=seed))
    for _ in range(resamples):
        drawn = generator.integers(groups, size=groups)
        yield np.bincount(drawn, minlength=groups).astype(np.float64)


def interval(values: Floats) -> list[float]:
    """[low, high] that hold 95% of resampled values (Efron's percentile interval); NaN if none."""
    values = values[np.isfinite(values)]
    return np.percentile(values, PERCENTILES).tolist() if len(values) else [math.nan] * 2


@dataclass(frozen=True)
class GroupedHits:
    """How many queries each of g groups has, and how many are answered within RECALL_AT."""

    hits: Floats  # (3, g)
    queries: Floats  # (g,)

    @staticmethod
    def of(ranks: NDArray[np.integer], group: Ints, groups: int) -> GroupedHits:
        """From the ranks (q,) and the group (q,) of each query."""
        hits = [np.bincount(group, ranks <= at, groups) for at in RECALL_AT]
        return GroupedHits(np.stack(hits), np.bincount(group, minlength=groups).astype(np.float64))

    def recalls(self, weights: Floats) -> Floats:
        """R@1, R@5, R@10 in % under weights (..., g) of the groups, (3, ...); NaN: no queries."""
        with np.errstate(invalid="ignore", divide="ignore"):
            values: Floats = 100 * (self.hits @ weights.T) / (self.queries @ weights.T)
        return values


def recall_intervals(
    ranks: Mapping[str, Tensor], groups: Mapping[str, Tensor], resamples: int, seed: int
) -> dict[str, list[float]]:
    """The interval of each value of `recalls`, in %.

    Args:
        ranks: (q,) of each direction.
        groups: (q,) the image that each query belongs to.
        resamples: how many.
        seed: of the draws.

    Returns:
        [low, high] by name, such as "t2i_r5" and "r_mean".
    """
    resampled = resampled_recalls(ranks, groups, resamples, seed)
    return {name: interval(values) for name, values in resampled.items()}


def recall_gains(first: StageRecalls, last: StageRecalls) -> dict[str, list[float]]:
    """What the second stage adds to the recalls, in points: [gain, low, high] of each.

    Args:
        first: `recalls` and `resampled_recalls` of the first stage.
        last: those of the second stage, of the same queries, resamples and seed.

    Returns:
        By name: "r1", the mean of R@1 over the directions, and "r_mean".
    """
    before, resampled_before = map(_summary, first)
    after, resampled_after = map(_summary, last)
    return {
        name: [
            after[name] - before[name],
            *interval(resampled_after[name] - resampled_before[name]),
        ]
        for name in before
    }


def _summary(values: Mapping[str, Any]) -> dict[str, Any]:
    """R@1 as the mean of the directions, and R@M."""
    at_1 = [value for name, value in values.items() if name.endswith("_r1")]
    return {"r1": sum(at_1) / len(at_1), "r_mean": values["r_mean"]}


def resampled_recalls(
    ranks: Mapping[str, Tensor], groups: Mapping[str, Tensor], resamples: int, seed: int
) -> dict[str, Floats]:
    """Each value of `recalls` in each resample (r,) that leaves queries of every direction."""
    images, numbers = torch.unique(torch.cat(list(groups.values())), return_inverse=True)
    group = dict(zip(groups, numbers.split([len(g) for g in groups.values()]), strict=True))
    hits = [
        GroupedHits.of(direction_ranks.numpy(), group[direction].numpy(), len(images))
        for direction, direction_ranks in ranks.items()
    ]
    resampled = np.stack(
        [
            np.concatenate([direction.recalls(weights) for direction in hits])
            for weights in draws(len(images), resamples, seed)
        ]
    )
    resampled = resampled[np.isfinite(resampled).all(axis=1)]
    names = [f"{direction}_r{at}" for direction in ranks for at in RECALL_AT]
    return dict(zip(names, resampled.T, strict=True)) | {"r_mean": resampled.mean(axis=1)}


def grouped_interval(
    metric: Callable[[Floats], float], group: Ints, resamples: int, seed: int
) -> list[float] | None:
    """The interval of any metric of weighted items.

    Args:
        metric: of the weights (n,) of the items; NaN where these leave it without a value.
        group: (n,) what each item is drawn with, numbered from 0.
        resamples: how many.
        seed: of the draws.

    Returns:
        [low, high], or None where no resample gave a value.
    """
    values = [metric(weights[group]) for weights in draws(int(group.max()) + 1, resamples, seed)]
    bounds = interval(np.array(values))
    return None if math.isnan(bounds[0]) else bounds
