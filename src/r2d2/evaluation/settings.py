"""The settings of an evaluation: those of every task, and those of ranking."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from r2d2.config import EvaluationConfig
from r2d2.errors import R2D2Error
from r2d2.evaluation.states import Precision
from r2d2.ranking.first_stage import BLOCK_CELLS

RESAMPLES = 1000  # of the images, which the commands draw
VALIDATION = "val"  # the split that weights and thresholds are chosen on
BATCH_SIZE = EvaluationConfig.batch_size


@dataclass(frozen=True)
class EvaluationSettings:
    """What every evaluation of a model on a table takes."""

    # None: the test splits that the table has, or else val; for `evaluate` test and test_novel.
    splits: Sequence[str] | None = None
    batch_size: int = BATCH_SIZE  # items, or pairs, in a forward pass
    sample: int | None = None  # images, or labelled pairs, of a split; None: all
    text_length: int | None = None  # tokens of a text; None: as the model is used
    dim: int | None = None  # numbers of an embedding that are kept; None: all
    resamples: int = 0  # of the images, for intervals of 95%; 0: no intervals
    seed: int = 0  # of the sample and of the resampling
    benchmark: str | None = None  # the published set that the table is; None: as the table says
    setting: str = "zero-shot"  # or fine-tuned: which published rows are comparable

    def __post_init__(self) -> None:
        _at_least(self, {"batch_size": 1, "sample": 1, "resamples": 0})


@dataclass(frozen=True)
class RankingSettings:
    """How images and texts are ranked for each other."""

    full: Sequence[str] = ("test",)  # splits ranked against the whole table too, as NAME_full
    t2i_only: bool = False  # rank images for texts only, as on MUGE: R@M is the mean of three
    top_k: int | None = None  # candidates of the second stage; None: as saved with the model
    weight: float | None = None  # of the match score; None: the best on the split `val`
    cascade: int | None = None  # candidates that both cross encoders score; None: all
    states: Precision = "float32"  # of hidden states on disk; float16 needs half the space
    block_cells: int = BLOCK_CELLS  # scores of queries with items that are held at a time
    matching: bool = True  # measure the AUC of matching too
    pooled_states: int | None = None  # of a picture, for a middle stage by MaxSim; None: none
    pooled_weight: float | None = None  # of MaxSim; None: the best on the split `val`

    @property
    def chooses_pooled(self) -> bool:
        """Whether the weight of MaxSim is chosen on the split `val`."""
        return self.pooled_states is not None and self.pooled_weight is None

    def __post_init__(self) -> None:
        _at_least(self, {"top_k": 1, "cascade": 1, "pooled_states": 1})
        for name, value in (
            ("the match score", self.weight),
            ("the pooled states", self.pooled_weight),
        ):
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise R2D2Error(f"the weight of {name} is {value}: it must be 0 or more")
        if self.pooled_weight is not None and self.pooled_states is None:
            raise R2D2Error("--pooled-weight goes with --pooled-states: give both, or none")


def can_choose(present: Collection[str], measured: Collection[str]) -> bool:
    """Whether weights may be chosen on the validation split."""
    return VALIDATION in present and VALIDATION not in measured


def _at_least(settings: object, bounds: dict[str, int]) -> None:
    for name, least in bounds.items():
        value = getattr(settings, name)
        if value is not None and value < least:
            raise R2D2Error(f"{name} is {value}: it must be at least {least}")
