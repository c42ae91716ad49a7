"""The feed-forward block of all transformers of the model."""

from __future__ import annotations

from torch import Tensor, nn

from r2d2.model import fast
from r2d2.model.fast.feed_forward import feed_forward
from r2d2.model.linear import Linear


class FeedForward(nn.Sequential):
    """Two linear maps, four times the width between them unless `inner_width` is given."""

    def __init__(self, width: int, activation: nn.Module, inner_width: int = 0) -> None:
        inner = inner_width or 4 * width
        super().__init__(Linear(width, inner), activation, Linear(inner, width))

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor in the shape of x (..., width)."""
        first, act, second = self
        if fast.enabled() and isinstance(first, Linear) and isinstance(second, Linear):
            return feed_forward(x, first, act, second)
        return second(act(first(x)))  # type: ignore[no-any-return]  # also with LoRA's matrices
