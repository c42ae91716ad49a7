"""Warn before the first step of settings with which a run can learn little or nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from r2d2.config import Config, TrainConfig
from r2d2.training.schedule import learning_rate, warmup_end

BATCHES = 4  # a table that fills fewer shows the same pictures in nearly every batch
WEIGHT = 0.02  # a weight's usual size: the standard deviation that BERT and CLIP begin with
# Of that size: a run that can move a weight by less leaves the model as it is. Fine-tuned on 753
# photographs, the emoji model stayed at chance with sums of rates up to this, and rose with twice.
MOVED = 0.1
SAMPLES = 1000  # steps whose rates are looked at, to add up a schedule without a formula
HIGHEST = 1e-3  # train.lr of the smallest preset; larger models have lower ones


def warnings(rows: int, steps: int, config: TrainConfig) -> list[str]:
    """Return the warnings to show before a run starts.

    Args:
        rows: of the training split, that can be used.
        steps: of the whole run.
        config: its settings.
    """
    messages = []
    if rows < BATCHES * config.batch_size:
        smaller = max(2, 2 ** (max(1, rows // BATCHES).bit_length() - 1))
        messages.append(
            f"the training split fills less than {BATCHES} batches of {config.batch_size} (it has "
            f"{_counted(rows, 'row')}): every batch holds nearly the same pictures, which leaves "
            "few wrong pairs to tell apart. Give more rows, or smaller batches by "
            f"--set train.batch_size={smaller}"
        )
    if steps < config.warmup_steps and config.schedule != "cosine":
        highest = max(learning_rate(steps - 1, steps, config), learning_rate(0, steps, config))
        messages.append(
            f"the plan has {_counted(steps, 'step')}, fewer than "
            f"train.warmup_steps={config.warmup_steps}, so that the rate rises to {highest:.2g} of "
            f"train.lr={config.lr:g} only. Raise train.epochs, or lower train.batch_size or "
            "train.warmup_steps"
        )
    elif steps < config.warmup_steps:
        messages.append(
            f"the plan has {_counted(steps, 'step')}, fewer than "
            f"train.warmup_steps={config.warmup_steps}, so that the warm-up is cut to "
            f"{_counted(warmup_end(steps, config), 'step')}. Raise train.epochs, or "
            f"--set train.warmup_steps={steps // 10}"
        )
    if message := too_slow(steps, config):
        messages.append(message)
    return messages


def idle_parts(
    config: Config, sources: Callable[[], Sequence[str]], processes: int = 1
) -> list[str]:
    """Return warnings of what a run does not use: cross encoders, shares of sources, sharding.

    `sources` returns the sources of the texts; it is only called where they are needed.
    """
    messages = []
    objectives, train = config.objectives, config.train
    if config.system.parallel == "fsdp" and processes == 1:
        messages.append(
            "system.parallel=fsdp cuts a model over processes, and there is one: it stays whole. "
            "Give --processes N, or leave the setting out; in one process "
            "system.checkpoint_activations=true saves memory"
        )
    if config.model.cross_layers and not (objectives.fgr or train.labelled):
        messages.append(
            "objectives.fgr=false trains no cross encoders, and this model has them: it will rank "
            "by what they do not know of its towers. Turn FGR on, or take --variant prd2"
        )
    if train.source_shares:
        known = sources()
        unknown = sorted(train.source_shares.keys() - set(known))
        if unknown:
            messages.append(
                f"train.source_shares names {', '.join(unknown)}, which no text looked at has: the "
                f"sources are {', '.join(sorted(known))}"
            )
    return messages


def too_slow(steps: int, config: TrainConfig) -> str | None:
    """Return a warning if the learning rates of a run add up to too little; otherwise None.

    A step of AdamW moves a weight by about the learning rate at most, however large its gradient.
    """
    moved = path(steps, config)
    if moved >= MOVED * WEIGHT:
        return None
    enough = config.lr * WEIGHT / moved
    remedy = f"--set train.lr={float(f'{min(enough, HIGHEST):.0e}'):g}"
    if enough > HIGHEST:
        remedy += " and a higher train.epochs"
    return (
        f"{_counted(steps, 'step')} at train.lr={config.lr:g} can move a weight by "
        f"{moved:.1g} at most, where weights are about {WEIGHT:g}: the model will stay "
        f"nearly as it is. {remedy}"
    )


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"


def path(steps: int, config: TrainConfig) -> float:
    """Return the sum of the learning rates of all steps."""
    if config.schedule == "cosine":
        warmup = warmup_end(steps, config)
        return (config.lr * steps + config.min_lr * (steps - warmup)) / 2
    looked_at = range(0, steps, max(1, steps // SAMPLES))
    return steps * sum(learning_rate(s, steps, config) for s in looked_at) / len(looked_at)


def held_back(steps: int, config: TrainConfig) -> str | None:
    """Return why the settings would leave a model unchanged, with the remedy; None: they do not."""
    reasons = [message] if (message := too_slow(steps, config)) else []
    for tower in ("vision", "text"):
        if getattr(config, f"freeze_{tower}"):
            reasons.append(
                f"train.freeze_{tower}=true leaves a tower as it is, and --set "
                f"train.freeze_{tower}=false trains it"
            )
    return "; ".join(reasons) or None
