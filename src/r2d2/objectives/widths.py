"""Matryoshka widths (arXiv 2205.13147): the first values of an embedding are an embedding too.

The contrast is computed at each width, so that the first values carry most of the information. A
user who must save space cuts the embeddings to one of these widths.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def at_width(x: Tensor, width: int) -> Tensor:
    """Cut embeddings (n, d) to their first `width` values, and normalise them if width < d."""
    return x if width == x.shape[-1] else F.normalize(x[..., :width], dim=-1)
