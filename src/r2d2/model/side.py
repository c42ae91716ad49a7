"""What the cross encoders, the objectives and the evaluation see of one modality."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Side:
    """One modality of n items, encoded.

    Any dual encoder that gives this can stand under the cross encoders and the evaluation.
    """

    states: Tensor  # (n, S, width) hidden states, [CLS] at position 0
    mask: Tensor  # (n, S) bool, True where a position is real, False where it is padding
    embedding: Tensor  # (n, d) unit length

    def __len__(self) -> int:
        return self.embedding.shape[0]

    def __getitem__(self, index: Tensor | slice) -> Side:
        """The items at `index`: a slice, or an integer or bool tensor (k,)."""
        return Side(self.states[index], self.mask[index], self.embedding[index])

    @staticmethod
    def cat(sides: Sequence[Side]) -> Side:
        """Join along n, padding shorter sequences with zeros to the longest."""
        longest = max(side.mask.shape[1] for side in sides)

        def pad(x: Tensor) -> Tensor:
            if x.shape[1] == longest:
                return x
            return torch.cat([x, x.new_zeros(x.shape[0], longest - x.shape[1], *x.shape[2:])], dim=1)

        return Side(
            torch.cat([pad(side.states) for side in sides]),
            torch.cat([pad(side.mask) for side in sides]),
            torch.cat([side.embedding for side in sides]),
        )
