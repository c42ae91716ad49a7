"""A small logistic regression in numpy, over dense or sparse rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

ROUNDS = 150
DECAY = 1e-3  # the L2 penalty relative to the mean loss of a row

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class SparseRows:
    """A matrix (n, width) as the list of its e non-zero entries, ordered by row."""

    row: Ints  # (e,)
    column: Ints  # (e,)
    value: Floats  # (e,)
    count: int  # n
    width: int
    dense: bool = False

    def take(self, rows: Ints) -> SparseRows:
        """Return the rows with the given numbers, which must be in ascending order."""
        new = np.full(self.count, -1, np.int64)
        new[rows] = np.arange(len(rows))
        kept = new[self.row] >= 0
        return SparseRows(
            new[self.row[kept]], self.column[kept], self.value[kept], len(rows), self.width,
            self.dense,
        )  # fmt: skip

    def times(self, weight: Floats) -> Floats:
        """Return the product (n,) of the matrix with a vector (width,)."""
        entries = self.value * weight[self.column]
        return np.bincount(self.row, entries, minlength=self.count).astype(np.float64)

    def back(self, slope: Floats) -> Floats:
        """Return the product (width,) of the transposed matrix with a vector (n,)."""
        entries = self.value * slope[self.row]
        return np.bincount(self.column, entries, minlength=self.width).astype(np.float64)


@dataclass(frozen=True)
class LogisticModel:
    """The weights of a regression, and how its columns were scaled."""

    weight: Floats  # (width,)
    bias: float
    middle: Floats  # (width,) subtracted from the columns
    scale: Floats  # (width,) that the columns were then divided by

    def scores(self, rows: SparseRows) -> Floats:
        """Return the log odds (n,) of rows (n, width)."""
        return _scaled(rows, self.middle, self.scale).times(self.weight) + self.bias


def dense_rows(values: Floats) -> SparseRows:
    """Make rows from a matrix (n, width)."""
    count, width = values.shape
    row, column = np.divmod(np.arange(count * width), width)
    return SparseRows(row, column, values.reshape(-1).astype(np.float64), count, width, dense=True)


def sparse_rows(columns: Sequence[Sequence[int]], width: int) -> SparseRows:
    """Make rows of unit length from the numbers of the columns that are set in each row."""
    lengths = np.array([len(row_columns) for row_columns in columns], dtype=np.int64)
    row = np.repeat(np.arange(len(columns)), lengths)
    column = np.array([c for row_columns in columns for c in row_columns], dtype=np.int64)
    value = np.repeat(1 / np.sqrt(np.maximum(lengths, 1)), lengths)
    return SparseRows(row, column, value, len(columns), width)


def learn(rows: SparseRows, labels: npt.NDArray[np.bool_]) -> LogisticModel:
    """Minimise the logistic loss with an L2 penalty by Nesterov's accelerated gradient.

    Args:
        rows: (n, width); dense columns are scaled to mean 0 and standard deviation 1.
        labels: (n,).
    """
    middle, scale = np.zeros(rows.width), np.ones(rows.width)
    if rows.dense:
        ones = np.ones(rows.count)
        middle = rows.back(ones) / rows.count
        squares = SparseRows(
            rows.row, rows.column, rows.value**2, rows.count, rows.width
        ).back(ones)  # fmt: skip
        scale = np.sqrt(np.maximum(squares / rows.count - middle**2, 0))
        scale[scale < 1e-9] = 1.0
        scale *= np.sqrt(rows.width)  # gives the rows about unit length
    x, y = _scaled(rows, middle, scale), labels.astype(np.float64)
    reach = np.bincount(x.row, x.value**2, minlength=x.count).max(initial=0.0) + 1
    step = 1 / (reach / 4 + DECAY)
    weight, ahead = np.zeros(rows.width), np.zeros(rows.width)
    bias = bias_ahead = 0.0
    for n in range(ROUNDS):
        slope = (1 / (1 + np.exp(-np.clip(x.times(ahead) + bias_ahead, -30, 30))) - y) / x.count
        new = ahead - step * (x.back(slope) + DECAY * ahead)
        new_bias = bias_ahead - step * float(slope.sum())
        pace = n / (n + 3)
        ahead, bias_ahead = new + pace * (new - weight), new_bias + pace * (new_bias - bias)
        weight, bias = new, new_bias
    return LogisticModel(weight, bias, middle, scale)


def _scaled(rows: SparseRows, middle: Floats, scale: Floats) -> SparseRows:
    value = (rows.value - middle[rows.column]) / scale[rows.column]
    return SparseRows(rows.row, rows.column, value, rows.count, rows.width, rows.dense)
