"""Position embeddings of an image at another resolution: bicubic over the grid of patches."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from r2d2.errors import R2D2Error

Grid = tuple[int, int]  # rows, columns of patches


def square_grid(rows: int) -> Grid:
    """The grid of a table with 1 + P rows.

    Raises:
        R2D2Error: P is no square.
    """
    side = math.isqrt(max(rows - 1, 0))
    if side == 0 or side * side != rows - 1:
        raise R2D2Error(
            f"{rows} position embeddings are no [CLS] and a square of patches: only square "
            "pictures with a class token are read"
        )
    return side, side


def resize_positions(table: Tensor, new: Grid, old: Grid | None = None) -> Tensor:
    """A table (1 + P, width) for another grid of patches; [CLS], row 0, stays as it is.

    Corners are not aligned (align_corners=False), which is what `transformers` does with
    interpolate_pos_encoding=True; the original Chinese-CLIP code aligns them.

    Args:
        table: (1 + rows x columns, width).
        new: the grid wanted.
        old: its grid; None: a square.

    Raises:
        R2D2Error: the table has not the rows of its grid.
    """
    old = old or square_grid(len(table))
    if len(table) != 1 + old[0] * old[1]:
        raise R2D2Error(
            f"{len(table)} position embeddings are not [CLS] and {old[0]} x {old[1]} patches: "
            "give the grid that they were trained with"
        )
    if old == new:
        return table
    grid = table[1:].T.reshape(1, -1, *old)  # (1, width, rows, columns)
    resized = F.interpolate(grid, size=new, mode="bicubic", align_corners=False)
    return torch.cat([table[:1], resized[0].flatten(1).T])
