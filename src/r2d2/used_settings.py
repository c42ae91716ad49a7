"""Settings that a user gave and a command does not use: a warning, or an error.

A setting that the variant turns off is only a warning, for variants often share their settings.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from r2d2.config import Config
from r2d2.errors import R2D2Error
from r2d2.processes import first_process
from r2d2.settings import named_settings

log = logging.getLogger(__name__)


def _contrast(config: Config) -> bool:
    return not config.train.labelled


def _tgd(config: Config) -> bool:
    return _contrast(config) and config.objectives.tgd


def _fgd(config: Config) -> bool:
    return _contrast(config) and config.objectives.fgd


def _fgr(config: Config) -> bool:
    return _contrast(config) and config.objectives.fgr


def _mlm(config: Config) -> bool:
    return _contrast(config) and config.objectives.mlm


# The condition under which a setting has an effect.
CONDITIONS: dict[str, Callable[[Config], bool]] = {
    **dict.fromkeys(("alpha", "queue_size", "queue_decay"), _tgd),
    "momentum": lambda c: _tgd(c) or _fgd(c),
    **dict.fromkeys(("weight_contrastive", "contrast", "widths", "unlabelled_margin"), _contrast),
    "weight_second_text": lambda c: (
        c.reads_second_texts or (_contrast(c) and not c.objectives.weight_second_text)
    ),
    **dict.fromkeys(
        ("image_keep", "teacher_temperature", "student_temperature", "weight_fgd"), _fgd
    ),
    **dict.fromkeys(
        (
            "ranking_from",
            "positive_weight",
            "list_size",
            "weight_listwise",
            "weight_rerank",
            "second_stage_from",
        ),
        _fgr,
    ),
    "unlabelled_from": lambda c: _contrast(c) and c.objectives.unlabelled_margin is not None,
    "rerank_loss": lambda c: _fgr(c) and c.objectives.weight_rerank > 0,
    **dict.fromkeys(
        ("uniform_share", "uniform_until", "negative_groups"),
        lambda c: _fgr(c) and not c.objectives.list_size,
    ),
    "mining_from": lambda c: _fgr(c) and c.objectives.second_stage_from < 1,
    "ranking_gradient": lambda c: _fgr(c) or c.train.labelled,
    "weight_fgr": lambda c: _fgr(c) or c.train.labelled,
    "weight_mlm": _mlm,
    "mask_share": lambda c: _mlm(c) or _fgd(c),
    "et_masked_share": lambda c: _contrast(c) and c.objectives.et,
}
CONDITIONS = {f"objectives.{name}": condition for name, condition in CONDITIONS.items()}
CONDITIONS["objectives.text_positives"] = _contrast
CONDITIONS["objectives.label_loss"] = lambda c: c.train.labelled
CONDITIONS["train.min_lr"] = lambda c: c.train.schedule != "triangular"
CONDITIONS["train.warmup_lr"] = lambda c: c.train.schedule == "epochs"
for _name in ("hard_batches_by", "hard_batches_from"):
    CONDITIONS[f"train.{_name}"] = lambda c: c.train.hard_batches > 1

# The commands that use a setting, and the reason to give to users of the others.
ADAPTS = (("finetune", "pretrain"), "LoRA adapts a trained model, as by --init")
COMMANDS = {
    "train.lora_rank": ADAPTS,
    "train.lora_alpha": ADAPTS,
    "tuning.patience": (("finetune",), "only `r2d2 finetune` stops early"),
    "train.splits": (("pretrain",), "only `r2d2 pretrain` trains on other splits than train"),
    "train.validate": (("pretrain",), "`r2d2 pretrain` alone has a choice, and `r2d2 finetune` "
                       "measures every epoch"),
    "train.labelled": (("pretrain",), "`r2d2 finetune` learns labels by the task matching, and "
                       "`r2d2 pretrain` by this setting"),
}  # fmt: skip


def check_used(settings: Sequence[str], command: str) -> None:
    """Refuse settings ("group.name=value") that a command has no use for.

    Args:
        settings: as the user gave them.
        command: pretrain, finetune, demo or ablate.

    Raises:
        R2D2Error: a setting is another command's.
    """
    for name in named_settings(settings):
        commands, reason = COMMANDS.get(name, ((command,), ""))
        if command not in commands:
            raise R2D2Error(
                f"setting {name}: `r2d2 {command}` does not use it ({reason}); leave it out"
            )


def tell_idle(configs: Sequence[Config], settings: Sequence[str]) -> None:
    """Warn of settings that none of the configurations uses; the first process of a run does."""
    names = [name for name in named_settings(settings) if name in CONDITIONS]
    idle = [name for name in names if not any(CONDITIONS[name](config) for config in configs)]
    if idle and first_process():
        variants = ", ".join(dict.fromkeys(config.variant for config in configs))
        log.warning("not used by variant %s with these settings: %s", variants, ", ".join(idle))
