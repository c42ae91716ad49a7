"""The operations between processes that the losses use.

A run's loss is the mean over its processes of each one's loss: that is how DDP averages gradients.
A mean over something whose number differs from process to process (masked tokens, pairs to rank)
divides by the average number, so that the mean of the means is the mean over all.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from r2d2.model.encoded_states import EncodedStates


class Collectives(Protocol):
    """The processes of a run, as the losses see them."""

    @property
    def rank(self) -> int:
        """The number of this process; its pairs have positions rank * n to rank * n + n - 1."""

    def gather(self, x: Tensor) -> Tensor:
        """Join (n, ...) over the processes, in their order, to (N, ...); with gradient."""

    def average(self, x: Tensor) -> Tensor:
        """Mean over the processes, without gradient."""

    def fetch(
        self, sides: tuple[EncodedStates, EncodedStates], wanted: tuple[Tensor, Tensor]
    ) -> tuple[tuple[EncodedStates, EncodedStates], tuple[Tensor, Tensor]]:
        """Fetch rows that other processes hold, with gradient; only these rows are sent.

        Args:
            sides: images and texts of this process's n pairs.
            wanted: (n,) images and (n,) texts, as positions in the global batch.

        Returns:
            The states with the fetched rows behind their own, each row once, and the positions
            of the wanted rows in them.
        """


class SingleProcess:
    """`Collectives` of a run of one process."""

    rank = 0

    def gather(self, x: Tensor) -> Tensor:
        """The tensor itself."""
        return x

    def average(self, x: Tensor) -> Tensor:
        """The tensor itself, without gradient."""
        return x.detach()

    def fetch(
        self, sides: tuple[EncodedStates, EncodedStates], wanted: tuple[Tensor, Tensor]
    ) -> tuple[tuple[EncodedStates, EncodedStates], tuple[Tensor, Tensor]]:
        """All rows are in this process."""
        return sides, wanted


SINGLE_PROCESS = SingleProcess()
