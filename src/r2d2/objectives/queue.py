"""The weighted queue, which holds the teachers' features of the last steps."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from r2d2.objectives.widths import at_width


class FeatureQueue(nn.Module):
    """Two queues of Q teacher features with their keys and weights.

    They start empty, and only filled entries are used. Each entry has its image key and text key,
    because it may be a positive of a later pair. Every step multiplies the weight of each entry by
    the decay.
    """

    images: Tensor  # (Q, d)
    texts: Tensor  # (Q, d)
    keys: Tensor  # (Q, 2) int64
    weights: Tensor  # (Q,)
    pushed: Tensor  # () int64, pairs pushed so far

    def __init__(self, size: int, dim: int, decay: float) -> None:
        super().__init__()
        self.size = size
        self.decay = decay
        self.register_buffer("images", torch.zeros(size, dim))
        self.register_buffer("texts", torch.zeros(size, dim))
        self.register_buffer("keys", torch.zeros(size, 2, dtype=torch.int64))
        self.register_buffer("weights", torch.zeros(size))
        self.register_buffer("pushed", torch.zeros((), dtype=torch.int64))
        self.count = (
            0  # equal to `pushed`, but in memory, so that a step need not wait for the device
        )

    def filled(self, width: int | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return images (q, d), texts (q, d), keys (q, 2), weights (q,) of the q filled entries.

        Args:
            width: d, to which the features are cut; None: their full width.
        """
        q = min(self.count, self.size)
        images, texts = self.images[:q], self.texts[:q]
        if width is not None:
            images, texts = at_width(images, width), at_width(texts, width)
        return images, texts, self.keys[:q], self.weights[:q]

    @torch.no_grad()
    def push(self, images: Tensor, texts: Tensor, keys: Tensor) -> None:
        """Multiply the weights of the queue by the decay, then add entries with weight 1.

        If the queue is full, the oldest entries are replaced.

        Args:
            images: (N, d) f'_I of the global batch.
            texts: (N, d) f'_T.
            keys: (N, 2) int64.
        """
        if not self.size:
            return
        images, texts, keys = (x[-self.size :] for x in (images, texts, keys))
        self.weights.mul_(self.decay)
        rows = (torch.arange(len(images), device=self.images.device) + self.count) % self.size
        self.images[rows] = images.to(self.images.dtype)
        self.texts[rows] = texts.to(self.texts.dtype)
        self.keys[rows] = keys
        self.weights[rows] = 1.0
        self.count += len(images)
        self.pushed.fill_(self.count)

    def _load_from_state_dict(self, *args: object, **kwargs: object) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self.count = int(self.pushed)
