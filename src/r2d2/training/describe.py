"""Describe in one line how a run uses its machines."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from r2d2.training.trainer import Trainer


def describe(trainer: Trainer) -> str:
    """Return the first line of the log, which tells how the run uses its machines."""
    system, size = trainer.config.system, trainer.world.size
    trained = sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)
    words = [
        f"{size} process{'es' if size > 1 else ''} on {trainer.device.type}"
        + (f" ({system.parallel})" if size > 1 else ""),
        f"{trainer.config.train.batch_size} pairs a step in {size * system.accumulate} parts",
        "bfloat16" if trainer.passes.bfloat16 else "float32",
        f"{trained / 1e6:.1f}M parameters trained",
    ]
    if trainer.config.objectives.teachers and not trainer.config.train.labelled:
        words += [f"teachers of momentum {trainer.config.objectives.momentum:g}"]
    margin = trainer.config.objectives.unlabelled_margin
    words += [] if margin is None else [f"unlabelled from {margin:g} above the positive"]
    if trainer.config.objectives.fgr and not trainer.config.train.labelled:
        words += [_describe_negatives(trainer)]
        if trainer.config.objectives.weight_rerank:
            words += [f"towers taught by both stages ({trainer.config.objectives.rerank_loss})"]
    if (count := trainer.loader.with_second_text) is not None:
        words += [f"second texts of {count} of {len(trainer.loader)} pictures"]
    group = trainer.optimizer.param_groups[0]
    kind = "fused" if group["fused"] else "foreach" if group["foreach"] else "single"
    words += [f"{kind} updates"]
    words += ["compiled"] if system.compile else []
    words += ["activations recomputed"] if system.checkpoint_activations else []
    words += ["image tower frozen"] if trainer.config.train.freeze_vision else []
    words += ["text tower frozen"] if trainer.config.train.freeze_text else []
    rank = trainer.config.train.lora_rank
    words += [f"LoRA of rank {rank}"] if rank else []
    decay = trainer.config.train.layer_decay
    words += [f"layer decay {decay:g}"] if decay < 1 else []
    return ", ".join(words)


def _describe_negatives(trainer: Trainer) -> str:
    """Return from how many pairs FGR draws negatives, and the reason if these are not all."""
    if size := trainer.config.objectives.list_size:
        return f"all pairs of blocks of {size} ranked"
    if not trainer.group_size:
        return f"negatives drawn from all {trainer.config.train.batch_size} pairs"
    chunks = trainer.config.system.accumulate
    reason = f" (system.accumulate={chunks}: each chunk from itself)" if chunks > 1 else ""
    return f"negatives drawn from {trainer.group_size} pairs each{reason}"
