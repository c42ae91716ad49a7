"""How far a figure would move with other pictures: bootstrap over images, 95%.

The captions of one image are not independent of one another, so an image is drawn with all of its
queries (Efron's percentile interval).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from r2d2.evaluation.retrieval import RECALL_AT

LOW, HIGH = 2.5, 97.5  # percentiles

Floats = NDArray[np.float64]


def draws(groups: int, resamples: int, seed: int) -> Iterator[Floats]:
    """How often each of g groups was drawn, (g,), for each resample."""
    generator = np.random.Generator(np.random.Philox(key=seed))
    for _ in range(resamples):
        drawn = generator.integers(groups, size=groups)
        yield np.bincount(drawn, minlength=groups).astype(np.float64)


def recall_intervals(
    ranks: Mapping[str, Tensor], groups: Mapping[str, Tensor], resamples: int, seed: int
) -> dict[str, list[float]]:
    """The interval of each figure of `recalls`, in %.

    Args:
        ranks: (q,) of each direction.
        groups: (q,) the image that each query belongs to.
        resamples: how many.
        seed: of the draws.

    Returns:
        [low, high] by name, such as "t2i_r5" and "r_mean".
    """
    images, place = torch.unique(torch.cat(list(groups.values())), return_inverse=True)
    places = dict(zip(groups, place.split([len(g) for g in groups.values()]), strict=True))
    count = len(images)
    hits: dict[str, Floats] = {}  # of each image, and how many queries it has
    sizes: dict[str, Floats] = {}
    for way, found in ranks.items():
        index = places[way].numpy()
        for at in RECALL_AT:
            hit = (found <= at).double().numpy()
            hits[f"{way}_r{at}"] = np.bincount(index, weights=hit, minlength=count).astype(
                np.float64
            )
            sizes[f"{way}_r{at}"] = np.bincount(index, minlength=count).astype(np.float64)
    names = list(hits)
    hit_rows, size_rows = np.stack([hits[n] for n in names]), np.stack([sizes[n] for n in names])
    figures = []
    for weight in draws(count, resamples, seed):
        asked = size_rows @ weight
        if (asked > 0).all():
            figures.append(100 * (hit_rows @ weight) / asked)
    drawn = np.stack(figures)
    columns = dict(zip(names, drawn.T, strict=True)) | {"r_mean": drawn.mean(axis=1)}
    return {name: interval(values) for name, values in columns.items()}


def interval(values: Floats) -> list[float]:
    """[low, high] of resampled figures."""
    return [float(bound) for bound in np.percentile(values, [LOW, HIGH])]


def grouped_interval(
    figure: Callable[[Floats], float | None], group: NDArray[np.int64], resamples: int, seed: int
) -> list[float] | None:
    """The interval of any figure of weighted items.

    Args:
        figure: of the items' weights (n,); None where these leave it without a value.
        group: (n,) what each item is drawn with, numbered from 0.
        resamples: how many.
        seed: of the draws.

    Returns:
        [low, high], or None where no resample gave a value.
    """
    found = []
    for weight in draws(int(group.max()) + 1, resamples, seed):
        value = figure(weight[group])
        if value is not None:
            found.append(value)
    return interval(np.array(found)) if found else None
