"""The values that change over a run: learning rate, TgD's alpha, FGR's uniform share."""

from __future__ import annotations

import math

from r2d2.config import ObjectiveConfig, TrainConfig
from r2d2.errors import R2D2Error

LOWEST = 0.05  # of the peak, where the triangle begins and ends (official)


def warmup_end(steps: int, config: TrainConfig) -> int:
    """Return the step at which the warm-up ends; it is earlier in a short run.

    The official schedules do not depend on the length of a run.
    """
    short = steps // 2 if config.schedule == "cosine" else steps
    return min(config.warmup_steps, short)


def learning_rate(step: int, steps: int, config: TrainConfig) -> float:
    """Return the learning rate of one step (`TrainConfig.schedule`).

    cosine: linear warm-up to `lr`, then a cosine to `min_lr` at the last step. epochs: the cosine
    changes with every epoch, and the whole first epoch belongs to the warm-up, which starts at
    `warmup_lr`. triangular: from LOWEST of `lr` up in `warmup_steps`, down in as many, over again.
    """
    if config.schedule == "triangular":
        half = max(1, config.warmup_steps)
        height = 1 - abs(step % (2 * half) / half - 1)
        return config.lr * (LOWEST + (1 - LOWEST) * height)
    if config.schedule == "epochs":
        epoch = epochs_done(step, steps, config.epochs)
        if epoch == 0 or step < config.warmup_steps:
            rise = min(1.0, step / max(1, config.warmup_steps))
            return min(config.lr, config.warmup_lr + (config.lr - config.warmup_lr) * rise)
        wave = (1 + math.cos(math.pi * epoch / config.epochs)) / 2
        return config.min_lr + (config.lr - config.min_lr) * wave
    warmup = warmup_end(steps, config)
    if step < warmup:
        return config.lr * (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return config.min_lr + (config.lr - config.min_lr) * (1 + math.cos(math.pi * progress)) / 2


def epochs_done(step: int, steps: int, epochs: int) -> int:
    """Return how many epochs are finished after a step; steps are spread evenly.

    The last step ends the last epoch. Where epochs of rows are no multiple of the batch, an epoch
    ends with the step that shows its last row or with the one before: so that each has a step of
    its own to end with, if there are as many.
    """
    return step * epochs // steps


def alpha(step: int, steps_per_epoch: float, config: ObjectiveConfig) -> float:
    """From 0 to `alpha` over the first epoch."""
    return config.alpha * min(1.0, step / max(1.0, steps_per_epoch))


def uniform_share(step: int, steps: int, config: ObjectiveConfig) -> float:
    """From `uniform_share`, where ranking begins, to none at `uniform_until` of the run."""
    start, end = config.ranking_from * steps, config.uniform_until * steps
    if step >= end:
        return 0.0
    if start >= end:  # every step before the end is before ranking begins, too
        return config.uniform_share
    return config.uniform_share * min(1.0, (end - step) / (end - start))


def ranking(step: int, steps: int, config: ObjectiveConfig) -> bool:
    """Return whether FGR and MLM have begun; before that, only the towers are trained."""
    return step >= config.ranking_from * steps


def unlabelled(step: int, steps: int, config: ObjectiveConfig) -> bool:
    """Return whether candidates may be unlabelled, where `unlabelled_margin` is set."""
    return step >= config.unlabelled_from * steps


def second_stage_start(steps: int, config: ObjectiveConfig) -> int:
    """Return the first step that trains only the cross encoders; `steps` if there is none."""
    return math.ceil(config.second_stage_from * steps)


def check_joint_steps(steps: int, config: ObjectiveConfig) -> None:
    """Refuse a run whose second stage is to teach the towers, and never meets them; R2D2Error."""
    first = math.ceil(config.ranking_from * steps)
    if config.weight_rerank and first >= second_stage_start(steps, config):
        raise R2D2Error(
            f"objectives.weight_rerank lets cross encoders teach the towers, and none of {steps} "
            f"steps trains both: lower objectives.ranking_from={config.ranking_from:g}, or raise "
            f"objectives.second_stage_from={config.second_stage_from:g}"
        )


def mining_start(steps: int, config: ObjectiveConfig) -> int:
    """Return the first step of the second stage whose blocks have similar pairs."""
    start = second_stage_start(steps, config)
    return start + math.ceil(config.mining_from * (steps - start))


def stage_learning_rate(step: int, steps: int, start: int, config: TrainConfig) -> float:
    """Return the learning rate of one step; the schedule starts again at the second stage.

    Args:
        step: of the run.
        steps: of the run.
        start: of `second_stage_start`.
        config: settings.
    """
    if step < start:
        return learning_rate(step, start, config)
    return learning_rate(step - start, steps - start, config)
