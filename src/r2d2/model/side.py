"""What the cross encoders, the objectives and the evaluation see of one modality."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Side:
    """One modality of n items, encoded.

    Any dual encoder that gives this can stand under the cross encoders and the evaluation.
    """

    states: Tensor  # (n, S, width) hidden states, [CLS] at position 0
    mask: Tensor | None  # (n, S) bool, False where a position is padding; None: nothing is padded
    embedding: Tensor  # (n, d) unit length

    def __len__(self) -> int:
        return self.embedding.shape[0]

    def __getitem__(self, index: Tensor | slice) -> Side:
        """The items at `index`: a slice, or an integer or bool tensor (k,)."""
        mask = None if self.mask is None else self.mask[index]
        return Side(self.states[index], mask, self.embedding[index])

    def to(self, place: torch.device | torch.dtype) -> Side:
        """On another device, or with states and embedding in another precision."""
        mask = self.mask
        if mask is not None and isinstance(place, torch.device):
            mask = mask.to(place)
        return Side(self.states.to(place), mask, self.embedding.to(place))

    def cut(self, dim: int) -> Side:
        """With the first `dim` numbers of each embedding, of unit length again."""
        return Side(self.states, self.mask, F.normalize(self.embedding[:, :dim], dim=-1))

    @staticmethod
    def cat(sides: Sequence[Side]) -> Side:
        """Join along n, padding shorter sequences with zeros to the longest."""
        longest = max(side.states.shape[1] for side in sides)

        def pad(x: Tensor) -> Tensor:
            if x.shape[1] == longest:
                return x
            return torch.cat(
                [x, x.new_zeros(x.shape[0], longest - x.shape[1], *x.shape[2:])], dim=1
            )

        mask = None
        if any(side.mask is not None or side.states.shape[1] != longest for side in sides):
            mask = torch.cat([pad(side.real()) for side in sides])
        return Side(
            torch.cat([pad(side.states) for side in sides]),
            mask,
            torch.cat([side.embedding for side in sides]),
        )

    def real(self) -> Tensor:
        """(n, S) bool, True where a position is real."""
        if self.mask is not None:
            return self.mask
        return torch.ones(self.states.shape[:2], dtype=torch.bool, device=self.states.device)


def embedded(embedding: Tensor) -> Side:
    """A side of embeddings (n, d) alone, set to unit length."""
    return Side(embedding.new_zeros(len(embedding), 1, 0), None, F.normalize(embedding, dim=-1))
