"""Decide which pictures are the same, and which texts of other pictures may be true of a picture.

A text may be true of a picture if it is nearly the same as one of its texts. Two texts are nearly
the same if their text keys are equal, if the shorter is contained in the longer, or if their sets
of character bigrams have a Jaccard index of at least `same.jaccard`.
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
        """Return the perceptual hash of 64 bits."""
        return int(perceptual_hashes([picture])[0])

    def groups(self, hashes: Hashes) -> Ints:
        """Return the group (n,) of each hash (n,), named by its leader."""
        return near_groups(hashes, self.radius)

    def within(self, known: Hashes, hashes: Hashes) -> npt.NDArray[np.bool_]:
        """Return (n,) whether each hash (n,) is near one of the hashes `known` (m,)."""
        return near_to(known, hashes, self.radius)


def near_to(known: Hashes, hashes: Hashes, radius: int) -> npt.NDArray[np.bool_]:
    """Return (n,) whether each hash (n,) is at most `radius` bits from one of `known` (m,)."""
    if not len(known):
        return np.zeros(len(hashes), np.bool_)
    # Equal hashes are looked up first, which is fast; there are many where tables share rows.
    distinct, inverse = np.unique(hashes, return_inverse=True)
    distinct_known = np.unique(known)
    near = np.isin(distinct, distinct_known)
    near[~near] = first_near(distinct_known, distinct[~near], radius) >= 0
    is_near: npt.NDArray[np.bool_] = near[inverse.reshape(-1)]
    return is_near


def bigrams(key: str) -> frozenset[str]:
    """Return the character bigrams of a text key; for a single character, the character."""
    return frozenset(key[i : i + 2] for i in range(len(key) - 1)) or frozenset((key,))


def near_same(a: str, b: str, same: SimilaritySettings) -> bool:
    """Return whether two text keys are nearly the same, so that they may say the same."""
    if a == b or not a or not b:
        return True
    if same.contained and (a in b or b in a):
        return True
    bigrams_a, bigrams_b = bigrams(a), bigrams(b)
    common = len(bigrams_a & bigrams_b)
    return common >= same.jaccard * (len(bigrams_a) + len(bigrams_b) - common)


def may_be_true(key: str, picture_keys: Collection[str], same: SimilaritySettings) -> bool:
    """Return whether a text key may be true of a picture that has the text keys `picture_keys`."""
    return any(near_same(key, other, same) for other in picture_keys)
