"""The operations between processes that the losses use.

The loss of a run is the mean of the losses of its processes, because DDP averages gradients. The
number of masked tokens and of pairs to rank differs between processes. A mean over them divides by
the average number, so that the mean over the processes is the mean over all tokens or pairs.
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
        """Join the tensors (n, ...) of the processes in their order to (N, ...), with gradient."""

    def average(self, x: Tensor) -> Tensor:
        """Return the mean over the processes, without gradient."""

    def fetch(
        self, sides: tuple[EncodedStates, EncodedStates], wanted: tuple[Tensor, Tensor]
    ) -> tuple[tuple[EncodedStates, EncodedStates], tuple[Tensor, Tensor]]:
        """Fetch rows that other processes hold, with gradient; only these rows are sent.

        Args:
            sides: images and texts of this process's n pairs.
            wanted: (n,) images and (n,) texts, as positions in the global batch.

        Returns:
            The states of this process followed by the fetched rows, each row once; and the
            positions of the wanted rows in them.
        """


class SingleProcess:
    """The `Collectives` of a run of one process."""

    rank = 0

    def gather(self, x: Tensor) -> Tensor:
        """Return the tensor itself."""
        return x

    def average(self, x: Tensor) -> Tensor:
        """Return the tensor itself, without gradient."""
        return x.detach()

    def fetch(
        self, sides: tuple[EncodedStates, EncodedStates], wanted: tuple[Tensor, Tensor]
    ) -> tuple[tuple[EncodedStates, EncodedStates], tuple[Tensor, Tensor]]:
        """Return the arguments, because all rows are in this process."""
        return sides, wanted


SINGLE_PROCESS = SingleProcess()
