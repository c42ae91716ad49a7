"""Which pictures count as the same, and which texts may be true of a picture they are not of.

Near-same texts: equal text keys; or the shorter stands within the longer, letter for letter; or
their sets of character bigrams have a Jaccard index of at least `same.jaccard`.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import numpy.typing as npt
from PIL import Image

from r2d2.corpus.images.near import first_near, near_groups
from r2d2.corpus.images.phash import perceptual_hashes
from r2d2.downstream.config import SimilaritySettings

Hashes = npt.NDArray[np.uint64]
Ints = npt.NDArray[np.int64]


class PerceptualDuplicates:
    """The `DuplicateFinder` of `r2d2.checks`, by perceptual hash."""

    def __init__(self, radius: int) -> None:
        self.radius = radius

    def hash(self, picture: Image.Image) -> int:
        """64 bits."""
        return int(perceptual_hashes([picture])[0])

    def groups(self, hashes: Hashes) -> Ints:
        """The group (n,) of each hash (n,), by its leader."""
        return near_groups(hashes, self.radius)

    def within(self, known: Hashes, hashes: Hashes) -> npt.NDArray[np.bool_]:
        """(n,) whether a hash (n,) is near to one of those known (m,)."""
        return near_to(known, hashes, self.radius)


def near_to(known: Hashes, hashes: Hashes, radius: int) -> npt.NDArray[np.bool_]:
    """(n,) whether a hash (n,) is at most `radius` bits from one of those known (m,)."""
    if not len(known):
        return np.zeros(len(hashes), np.bool_)
    # what is equal is found at once, and is much of it where tables share rows
    distinct, inverse = np.unique(hashes, return_inverse=True)
    there = np.unique(known)
    near = np.isin(distinct, there)
    near[~near] = first_near(there, distinct[~near], radius) >= 0
    is_near: npt.NDArray[np.bool_] = near[inverse.reshape(-1)]
    return is_near


def bigrams(key: str) -> frozenset[str]:
    """The character bigrams of a text key; of a single character, itself."""
    return frozenset(key[i : i + 2] for i in range(len(key) - 1)) or frozenset((key,))


def near_same(a: str, b: str, same: SimilaritySettings) -> bool:
    """Whether two text keys may say the same."""
    if a == b or not a or not b:
        return True
    if same.contained and (a in b or b in a):
        return True
    one, two = bigrams(a), bigrams(b)
    common = len(one & two)
    return common >= same.jaccard * (len(one) + len(two) - common)


def may_be_true(key: str, own: Collection[str], same: SimilaritySettings) -> bool:
    """Whether a text key may be true of a picture whose own text keys are these."""
    return any(near_same(key, other, same) for other in own)
