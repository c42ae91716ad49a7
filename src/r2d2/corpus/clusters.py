"""k-means in numpy, seeded."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def k_means(
    points: npt.NDArray[np.float32], clusters: int, rounds: int = 25, seed: int = 0
) -> npt.NDArray[np.float32]:
    """Centres (clusters, d) of points (n, d), by Lloyd's rounds from points drawn by seed."""
    rng = np.random.default_rng(seed)
    centres = points[np.sort(rng.choice(len(points), clusters, replace=False))].copy()
    for _ in range(rounds):
        place = nearest(points, centres)
        sums = np.zeros_like(centres)
        np.add.at(sums, place, points)
        counts = np.bincount(place, minlength=clusters)
        full = counts > 0  # an empty cluster stays where it is
        centres[full] = sums[full] / counts[full, None]
    return centres


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
