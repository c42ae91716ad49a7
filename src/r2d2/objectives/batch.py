"""The data of a training step: its pairs, the state of its schedules, and its features."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import itemgetter

import torch
from torch import Tensor

from r2d2.objectives.collectives import Collectives


@dataclass(frozen=True)
class SecondTexts:
    """A second text of each of n pictures; the row of a picture without one has a placeholder."""

    ids: Tensor  # (n, L') token ids
    mask: Tensor  # (n, L') bool, True where a token is real
    keys: Tensor  # (n,) int64, text keys
    present: Tensor  # (n,) bool, False where a picture has one text only

    def each(self, change: Callable[[Tensor], Tensor]) -> SecondTexts:
        """Return a copy with `change` applied to every tensor."""
        return SecondTexts(*(change(x) for x in vars(self).values()))


@dataclass(frozen=True)
class TrainingBatch:
    """The n pairs of a process: its share of the global batch, or one chunk of that share."""

    pixels: Tensor  # (n, 3, H, W) normalised
    ids: Tensor  # (n, L) token ids
    mask: Tensor  # (n, L) bool, True where a token is real
    keys: Tensor  # (n, 2) int64, image key and text key
    index: Tensor  # (n,) int64, position in the global batch: the key of each pair's random draws
    labels: Tensor | None = None  # (n,) int64, 1 match, 0 not; None: all match
    second: SecondTexts | None = None  # of the same pictures; None: no second contrast

    def to(self, device: torch.device) -> TrainingBatch:
        """Copy the batch to another device."""
        return self._each(lambda x: x.to(device, non_blocking=True))

    def chunks(self, count: int) -> list[TrainingBatch]:
        """Cut into `count` batches of equal size, in order."""
        size = len(self.ids) // count
        parts = [slice(k * size, (k + 1) * size) for k in range(count)]
        return [self._each(itemgetter(part)) for part in parts]

    def _each(self, change: Callable[[Tensor], Tensor]) -> TrainingBatch:
        tensors = {name: x for name, x in self.__dict__.items() if isinstance(x, Tensor)}
        second = self.second and self.second.each(change)
        return replace(self, **{name: change(x) for name, x in tensors.items()}, second=second)


@dataclass(frozen=True)
class StepContext:
    """The step of a run, with the values of the schedules at this step."""

    seed: int
    step: int
    alpha: float  # TgD's share of the soft target
    uniform_share: float  # the share of a uniform distribution in FGR's draws
    # The number of consecutive pairs of the global batch that draw negatives from each other; 0:
    # all pairs of one forward pass, over all processes, draw from each other
    group_size: int = 0
    ranking: bool = True  # whether FGR and MLM have begun
    towers: bool = True  # whether the towers are trained; False: only the cross encoders
    unlabelled: bool = True  # whether candidates may be unlabelled, where there is a margin


@dataclass(frozen=True)
class TeacherFeatures:
    """The momentum teachers' features of n pairs."""

    images: Tensor  # (n, d) f'_I of the whole images
    texts: Tensor  # (n, d) f'_T of the clean texts


@dataclass(frozen=True)
class SecondTextFeatures:
    """The student's embeddings of n second texts; see `SecondTexts`."""

    texts: Tensor  # (n, d) f_T
    keys: Tensor  # (n,) int64, text keys
    present: Tensor  # (n,) bool

    @staticmethod
    def cat(parts: Sequence[SecondTextFeatures]) -> SecondTextFeatures:
        """Join the chunks of a share."""
        columns = zip(*(vars(part).values() for part in parts), strict=True)
        return SecondTextFeatures(*(torch.cat(column) for column in columns))


@dataclass(frozen=True)
class Denominators:
    """The sums that FGR and MLM divide by."""

    pair_weight: Tensor  # () sum of the weights of the pairs to rank
    masked_tokens: Tensor  # () masked tokens to predict

    def average(self, collectives: Collectives) -> Denominators:
        """Return the mean over the processes."""
        return Denominators(
            collectives.average(self.pair_weight), collectives.average(self.masked_tokens)
        )


@dataclass(frozen=True)
class Features:
    """The features of n pairs for the contrast, and the denominators of FGR and MLM."""

    images: Tensor  # (n, d) f_I
    texts: Tensor  # (n, d) f_T
    teacher: TeacherFeatures | None  # None: no teacher is used at this step
    keys: Tensor  # (n, 2) int64
    denominators: Denominators
    second: SecondTextFeatures | None = None  # None: no second contrast

    @staticmethod
    def cat(parts: Sequence[Features]) -> Features:
        """Join the chunks of a share; the denominators become the average over the chunks."""
        teachers = [part.teacher for part in parts if part.teacher is not None]
        totals = [part.denominators for part in parts]
        seconds = [part.second for part in parts if part.second is not None]
        return Features(
            torch.cat([part.images for part in parts]),
            torch.cat([part.texts for part in parts]),
            TeacherFeatures(
                torch.cat([teacher.images for teacher in teachers]),
                torch.cat([teacher.texts for teacher in teachers]),
            )
            if teachers
            else None,
            torch.cat([part.keys for part in parts]),
            Denominators(
                torch.stack([total.pair_weight for total in totals]).mean(),
                torch.stack([total.masked_tokens for total in totals]).mean(),
            ),
            SecondTextFeatures.cat(seconds) if seconds else None,
        )


@dataclass(frozen=True)
class CachedGradients:
    """What the second pass over a chunk needs from the first pass over all chunks.

    The gradients are those of the contrast, multiplied by the number of chunks.
    """

    images: Tensor  # (n, d) gradient with respect to the chunk's f_I
    texts: Tensor  # (n, d) gradient with respect to its f_T
    second_texts: Tensor | None  # (n, d) gradient with respect to the f_T of its second texts
    # () gradients with respect to the trained `R2D2.contrast_parameters`
    parameters: Mapping[str, Tensor]
    teacher: TeacherFeatures | None  # of the chunk
    denominators: Denominators  # the average over the chunks


@dataclass(frozen=True)
class QueueEntries:
    """Teacher features of the global batch that enter the queue after the step."""

    images: Tensor  # (N, d) f'_I
    texts: Tensor  # (N, d) f'_T
    keys: Tensor  # (N, 2) int64


@dataclass(frozen=True)
class StepOutput:
    """The losses of a step, or of a part of it."""

    losses: dict[str, Tensor] = field(default_factory=dict)  # float32 scalars, by name
    queue_entries: QueueEntries | None = None  # None: nothing enters the queue
