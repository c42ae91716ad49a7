"""k-means in numpy, seeded."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def k_means(
    points: npt.NDArray[np.float32], clusters: int, rounds: int = 25, seed: int = 0
) -> npt.NDArray[np.float32]:
    """Centres (clusters, d) of points (n, d), by Lloyd's rounds from points drawn by seed."""
    centres = _spread(points, clusters, np.random.default_rng(seed))
    for _ in range(rounds):
        place = nearest(points, centres)
        sums = np.zeros_like(centres)
        np.add.at(sums, place, points)
        counts = np.bincount(place, minlength=clusters)
        full = counts > 0  # an empty cluster stays where it is
        centres[full] = sums[full] / counts[full, None]
    return centres


def _spread(
    points: npt.NDArray[np.float32], clusters: int, rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    """Points to start from, each drawn by its squared distance to the nearest one before.

    Drawn evenly, two would often begin in one cluster and stay there.

    Source: Arthur and Vassilvitskii, k-means++ (2007).
    """
    chosen = [int(rng.integers(len(points)))]
    squares = np.einsum("nd,nd->n", points, points, dtype=np.float64)
    reach = np.full(len(points), np.inf)
    for _ in range(1, clusters):
        last = chosen[-1]
        apart = squares + squares[last] - 2.0 * (points @ points[last])
        reach = np.minimum(reach, np.maximum(apart, 0))
        total = reach.sum()
        even = np.full(len(points), 1 / len(points))  # all points are chosen already
        chosen.append(int(rng.choice(len(points), p=reach / total if total > 0 else even)))
    return points[chosen].copy()


def nearest(
    points: npt.NDArray[np.float32], centres: npt.NDArray[np.float32]
) -> npt.NDArray[np.int64]:
    """(n,) the nearest centre of each point, by Euclidean distance."""
    reach = (centres * centres).sum(1)
    places = [
        (reach - 2 * points[start : start + 65536] @ centres.T).argmin(1)
        for start in range(0, len(points), 65536)
    ]
    return np.concatenate(places) if places else np.empty(0, np.int64)
