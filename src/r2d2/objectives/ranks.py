"""What a loss may ask of the other processes; alone, there are none.

A run's loss is the mean over its processes of each one's loss: that is how DDP averages gradients.
A mean over something whose number differs from process to process (masked tokens, pairs to rank)
divides by the average number, so that the mean of the means is the mean over all.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Ranks(Protocol):
    """The processes of a run, as the losses see them."""

    def gather(self, x: Tensor) -> Tensor:
        """Join (n, ...) over the processes, in their order, to (N, ...); with gradient."""

    def average(self, x: Tensor) -> Tensor:
        """Mean over the processes, without gradient."""


class Alone:
    """One process."""

    def gather(self, x: Tensor) -> Tensor:
        """The tensor itself."""
        return x

    def average(self, x: Tensor) -> Tensor:
        """The tensor itself, without gradient."""
        return x.detach()


ALONE = Alone()
