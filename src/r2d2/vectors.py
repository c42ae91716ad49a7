"""Embeddings without a direction: NaN, infinite or zero. All code that reads embeddings uses this.

One such vector among those of a split can spoil the ranks of all others: a cosine that is not a
number is below none.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from r2d2.errors import R2D2Error

NO_DIRECTION = "embedding is NaN, infinite or zero"
NAMED = 5


def without_direction(vectors: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
    """(n,) whether a vector (n, d) is zero or holds a number that is not finite."""
    bad: npt.NDArray[np.bool_] = ~(np.isfinite(vectors).all(axis=1) & vectors.any(axis=1))
    return bad


def refuse_without_direction(
    vectors: npt.NDArray[np.floating], unit: str, names: Sequence[str]
) -> None:
    """R2D2Error where a model gave one of `names` a vector, of (n, d), without a direction."""
    directions = DirectionCheck(unit, "the weights of the model are broken: give another")
    directions.add(vectors, names)
    directions.done()


class DirectionCheck:
    """Looks over embeddings as they come; `done` refuses those without a direction, by name."""

    def __init__(self, unit: str, remedy: str) -> None:
        """Begin.

        Args:
            unit: what they are embeddings of: images, texts.
            remedy: what to do about it.
        """
        self.unit, self.remedy = unit, remedy
        self.bad: list[str] = []
        self.count = self.seen = 0

    def add(self, vectors: npt.NDArray[np.floating], names: Sequence[str]) -> None:
        """Look at vectors (n, d) of n names.

        Raises:
            R2D2Error: not one of them has a direction, so that it is of no use to go on.
        """
        numbers = np.flatnonzero(without_direction(vectors)).tolist()
        self.count += len(numbers)
        self.seen += len(vectors)
        self.bad += [names[number] for number in numbers[: NAMED - len(self.bad)]]
        if len(numbers) == len(vectors):
            self.done()

    def done(self) -> None:
        """No more follow.

        Raises:
            R2D2Error: some of them had no direction.
        """
        if not self.count:
            return
        more = f" and {self.count - len(self.bad):,} more" if self.count > len(self.bad) else ""
        raise R2D2Error(
            f"{self.count:,} of {self.seen:,} embeddings of {self.unit} are NaN, infinite or zero: "
            f"{', '.join(self.bad)}{more}; {self.remedy}"
        )
