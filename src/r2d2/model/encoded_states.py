"""The encoder output that the cross encoders, the objectives and the evaluation read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class EncodedStates:
    """The hidden states and embeddings of n items of one modality.

    Any dual encoder that returns this can be used with the cross encoders and the evaluation.
    """

    states: Tensor  # (n, S, width) hidden states, [CLS] at position 0
    mask: Tensor | None  # (n, S) bool, False where a position is padding; None: nothing is padded
    embedding: Tensor  # (n, d) unit length

    def __len__(self) -> int:
        return self.embedding.shape[0]

    def __getitem__(self, index: Tensor | slice) -> EncodedStates:
        """Return the items at `index`, which is a slice, or an integer or bool tensor (k,)."""
        mask = None if self.mask is None else self.mask[index]
        return EncodedStates(self.states[index], mask, self.embedding[index])

    def to(self, target: torch.device | torch.dtype) -> EncodedStates:
        """Return a copy on another device, or with states and embedding in another precision."""
        mask = self.mask
        if mask is not None and isinstance(target, torch.device):
            mask = mask.to(target)
        return EncodedStates(self.states.to(target), mask, self.embedding.to(target))

    def cut(self, dim: int) -> EncodedStates:
        """Return a copy with the first `dim` values of each embedding, normalised again."""
        return EncodedStates(self.states, self.mask, F.normalize(self.embedding[:, :dim], dim=-1))

    @staticmethod
    def cat(parts: Sequence[EncodedStates]) -> EncodedStates:
        """Join along n, padding shorter sequences with zeros to the longest."""
        longest = max(part.states.shape[1] for part in parts)

        def pad(x: Tensor) -> Tensor:
            if x.shape[1] == longest:
                return x
            return torch.cat(
                [x, x.new_zeros(x.shape[0], longest - x.shape[1], *x.shape[2:])], dim=1
            )

        mask = None
        if any(part.mask is not None or part.states.shape[1] != longest for part in parts):
            mask = torch.cat([pad(part.real()) for part in parts])
        return EncodedStates(
            torch.cat([pad(part.states) for part in parts]),
            mask,
            torch.cat([part.embedding for part in parts]),
        )

    def real(self) -> Tensor:
        """(n, S) bool, True where a position is real."""
        if self.mask is not None:
            return self.mask
        return torch.ones(self.states.shape[:2], dtype=torch.bool, device=self.states.device)


def embedded(embedding: Tensor) -> EncodedStates:
    """Embeddings (n, d) without states, set to unit length."""
    return EncodedStates(
        embedding.new_zeros(len(embedding), 1, 0), None, F.normalize(embedding, dim=-1)
    )
