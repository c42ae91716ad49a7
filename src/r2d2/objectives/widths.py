"""Matryoshka widths (arXiv 2205.13147): the first numbers of an embedding are an embedding too.

The contrast is computed at each width, so that the first numbers carry most; a user who must save
space keeps as many numbers as one of those widths.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def at_width(x: Tensor, width: int) -> Tensor:
    """The first `width` numbers of embeddings (n, d), set to unit length; all d: as they are."""
    return x if width == x.shape[-1] else F.normalize(x[..., :width], dim=-1)
