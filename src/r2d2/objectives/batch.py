"""What a step is made of: the pairs, the moment of the run, what a chunk of a batch must know."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter

import torch
from torch import Tensor


@dataclass(frozen=True)
class TrainingBatch:
    """n pairs, as the objectives see them: a process's share of the global batch, or a chunk."""

    pixels: Tensor  # (n, 3, H, W) normalised
    ids: Tensor  # (n, L) token ids
    mask: Tensor  # (n, L) bool, True where a token is real
    keys: Tensor  # (n, 2) int64, image key and text key
    index: Tensor  # (n,) int64, place in the global batch: the key of each pair's random draws
    labels: Tensor | None = None  # (n,) int64, 1 match, 0 not; None: all match

    def to(self, device: torch.device) -> TrainingBatch:
        """The same batch elsewhere."""
        return self._each(lambda x: x.to(device, non_blocking=True))

    def chunks(self, count: int) -> list[TrainingBatch]:
        """Cut into `count` batches of equal size, in order."""
        size = len(self.ids) // count
        parts = [slice(k * size, (k + 1) * size) for k in range(count)]
        return [self._each(itemgetter(part)) for part in parts]

    def _each(self, change: Callable[[Tensor], Tensor]) -> TrainingBatch:
        there = {name: x for name, x in self.__dict__.items() if x is not None}
        return replace(self, **{name: change(x) for name, x in there.items()})


@dataclass(frozen=True)
class StepContext:
    """Where a run stands: what the schedules and the draws need to know."""

    seed: int
    step: int
    alpha: float  # TgD's share of the soft target, now
    uniform_share: float  # of FGR's draws, now
    group_size: int = 0  # pairs, neighbours in the global batch, that draw negatives from each
    # other; 0: all pairs of all processes that are in one forward pass
    ranking: bool = True  # whether FGR and MLM have begun
    towers: bool = True  # whether the towers still learn; False: only the cross encoders do


@dataclass(frozen=True)
class Features:
    """What the contrast needs of n pairs, and what FGR and MLM will divide by."""

    images: Tensor  # (n, d) f_I
    texts: Tensor  # (n, d) f_T
    teacher_images: Tensor | None  # (n, d) f'_I
    teacher_texts: Tensor | None  # (n, d) f'_T
    keys: Tensor  # (n, 2) int64
    ranked: Tensor  # () sum of weights of the pairs to rank
    masked: Tensor  # () masked tokens to predict

    @staticmethod
    def cat(parts: Sequence[Features]) -> Features:
        """The chunks of a share, joined; what is divided by becomes a chunk's average."""

        def joined(name: str) -> Tensor:
            return torch.cat([getattr(part, name) for part in parts])

        teacher_features = parts[0].teacher_images is not None
        return Features(
            joined("images"),
            joined("texts"),
            joined("teacher_images") if teacher_features else None,
            joined("teacher_texts") if teacher_features else None,
            joined("keys"),
            torch.stack([part.ranked for part in parts]).mean(),
            torch.stack([part.masked for part in parts]).mean(),
        )


@dataclass(frozen=True)
class CachedGradients:
    """The contrast of a whole batch, as one chunk of it feels it."""

    images: Tensor  # (n, d) gradient at the chunk's f_I, times the number of chunks
    texts: Tensor  # (n, d) at its f_T, likewise
    parameters: Mapping[str, Tensor]  # () gradients at `R2D2.contrast_parameters` that learn
    ranked: Tensor  # () sum of weights of the pairs to rank: a chunk's average
    masked: Tensor  # () masked tokens to predict: a chunk's average
