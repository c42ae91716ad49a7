"""Matryoshka widths (arXiv 2205.13147): the first numbers of an embedding are one by themselves.

The contrast is computed at each width, so that what matters most comes first; whoever has little
room keeps as many numbers as he likes of those widths.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch.nn.functional as F
from torch import Tensor

Filled = tuple[Tensor, Tensor, Tensor, Tensor]  # images, texts, keys, weights


class QueuedFeatures(Protocol):
    """Features of the last steps; see `FeatureQueue`."""

    def filled(self) -> Filled:
        """Images (q, d), texts (q, d), keys (q, 2), weights (q,)."""


def at_width(x: Tensor, width: int) -> Tensor:
    """The first `width` numbers of embeddings (n, d), set to unit length; all d: as they are."""
    return x if width == x.shape[-1] else F.normalize(x[..., :width], dim=-1)


@dataclass(frozen=True)
class NarrowQueue:
    """A queue as the contrast at one width sees it."""

    queue: QueuedFeatures
    width: int

    def filled(self) -> Filled:
        """See `QueuedFeatures.filled`, with d the width."""
        images, texts, keys, weights = self.queue.filled()
        return at_width(images, self.width), at_width(texts, self.width), keys, weights
