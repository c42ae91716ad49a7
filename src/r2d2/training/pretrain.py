"""Pre-train a model from a pairs table and settings."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import torch

from r2d2.arguments import default_device
from r2d2.config import Config, to_dict
from r2d2.errors import R2D2Error
from r2d2.files import disk_errors, write_text
from r2d2.objectives.contrast import check_contrast
from r2d2.pretrained import Pretrained
from r2d2.table import PairsTable
from r2d2.tokenizer import Tokenizer
from r2d2.training import preflight
from r2d2.training.describe import describe
from r2d2.training.distributed import ALONE, World, world
from r2d2.training.division import group_size, groups_of
from r2d2.training.lora import check_lora
from r2d2.training.memory import memory_errors
from r2d2.training.run_folder import (
    MODEL,
    SUMMARY,
    TOKENIZER,
    check_folder,
    check_run,
    remember,
    saved_run,
)
from r2d2.training.start import Start, find_start
from r2d2.training.trainer import Trainer, TrainSummary

log = logging.getLogger(__name__)

CHUNK = 65536  # rows whose texts are in memory while a tokenizer is trained


@dataclass(frozen=True)
class RunHooks:
    """What the caller of a training run adds to it."""

    # Is called after every epoch with the trainer and the number of the epoch; see `Trainer.run`.
    on_epoch: Callable[[Trainer, int], bool] | None = None
    stage: str = "pre-training"  # the name of the training in the log and on the progress bar
    preflight_warnings: bool = True  # whether problems of the plan are logged before the first step


def pretrain(
    table_path: str | Path,
    out: str | Path,
    config: Config,
    *,
    resume: bool = False,
    vocab: str | Path | None = None,
    init: str | Path | None = None,
    hooks: RunHooks = RunHooks(),
) -> TrainSummary:
    """Train on a table's splits `train.splits` and write the model to `out`/model.

    With several processes, each of them calls this function, and only the first one writes.

    Args:
        table_path: a pairs table.
        out: the folder of the run.
        config: the settings.
        resume: continue the run in the folder; without it, a folder with a run is refused.
        vocab: a BERT vocab.txt, for settings that do not train a tokenizer.
        init: a saved model to start from, whose shape fits the settings; the run uses its
            tokenizer. A run that is resumed has recorded the model that it started from.
        hooks: what the caller adds to the run.

    Raises:
        R2D2Error: a setting, the table or the folder does not fit.
        RunStoppedError: a signal stopped the run.
    """
    out = Path(out)
    if config.system.threads:
        torch.set_num_threads(config.system.threads)
    table = PairsTable.open(table_path)
    start = find_start(out, init, resume)
    check_vocab(config, vocab, start)
    check_lora(config.train, None if start is None else start.model)
    if start is not None:
        config = start.fit(config)
    elif config.objectives.fgr and config.objectives.second_stage_from == 0:
        raise R2D2Error(
            "objectives.second_stage_from=0 leaves the towers as they are, and there are none yet: "
            "give a model by --init, or a share above 0"
        )
    check_contrast(config)
    with world(timedelta(minutes=config.system.timeout_minutes)) as here:
        group_size(config, here)  # before anything is written
        run: dict[str, Any] = {
            "config": to_dict(config),
            "table": str(table_path),
            "init": None if start is None else start.init,
            "groups": groups_of(config, here),
        }
        model = None if start is None else start.open(out)
        if here.first:
            check_folder(out, resume=resume)
            run["fingerprint"] = table.fingerprint
            if start is not None and model is not None:
                run["init_hash"] = start.hash(out, model)
            check_run(out, run)
        here.wait()
        config = same_groups(out, config, here)
        tokenizer = model.tokenizer if model else run_tokenizer(table, out, config, vocab, here)
        trainer = Trainer(table, out, config, tokenizer, here, model.model if model else None)
        if here.first:
            # Only now, so that a run that was refused above can be started again.
            remember(out, run)
            trainer.tokenizer.save(out / TOKENIZER)
        here.wait()
        if resume:
            trainer.restore()
            if not here.same(trainer.step, trainer.device):
                raise R2D2Error(
                    f"process {here.rank} finds other checkpoints in {out} than another one: give "
                    "an --out that all machines share"
                )
        if hooks.preflight_warnings and here.first and trainer.step == 0:
            for warning in (
                *preflight.warnings(len(trainer.loader), trainer.steps, config.train),
                *preflight.idle_parts(config, trainer.loader.sources, here.size),
            ):
                log.warning("%s", warning)
        on_epoch = partial(hooks.on_epoch, trainer) if hooks.on_epoch else None
        with memory_errors(describe(trainer)):
            summary = trainer.run(on_epoch, hooks.stage)
        _save(trainer, out, summary)
    return summary


def check_vocab(config: Config, vocab: str | Path | None, start: Start | None = None) -> None:
    """Raise R2D2Error for a vocab.txt where the tokenizer comes from somewhere else."""
    if vocab is None:
        return
    if start is not None:
        raise R2D2Error(
            f"--vocab {vocab} gives a tokenizer, and {start.init} comes with its own: leave one of "
            "them out"
        )
    if config.train.train_vocab:
        raise R2D2Error(
            f"--vocab {vocab} gives a tokenizer, and train.train_vocab=true trains one: leave one "
            "of them out"
        )


def same_groups(out: Path, config: Config, here: World) -> Config:
    """Draw FGR's negatives within as many groups as the run began with, if the processes allow it.

    Where the settings leave their number open, it is the one with which the run began, from
    run.json: another number would change the run.
    """
    first = (saved_run(out) or {}).get("groups") if here.first else None
    known = {0: first} if isinstance(first, int) else {}
    groups = here.union(known, default_device()).get(0)  # the first process reads it for all
    ranks = config.objectives.fgr and not config.train.labelled
    if groups is None or not ranks or groups == groups_of(config, here):
        return config
    fixed = replace(config, objectives=replace(config.objectives, negative_groups=groups))
    try:
        group_size(fixed, here)
    except R2D2Error:
        if here.first:
            log.warning(
                "%s began with %d groups of negatives and goes on with %d: FGR draws other ones "
                "from here on. To hold them, resume with system.accumulate=1, or with processes "
                "times chunks that divide %d", out, groups, groups_of(config, here), groups,
            )  # fmt: skip
        return config
    return fixed


def _save(trainer: Trainer, out: Path, summary: TrainSummary) -> None:
    """The finished model and its figures; parameters that are cut are gathered on the way."""
    whole = trainer.plain_weights()
    if trainer.world.first:
        write_text(out / SUMMARY, json.dumps(summary.as_dict(), indent=1))
        top_k = trainer.config.evaluation.top_k
        widths = trainer.config.objectives.widths
        model = Pretrained(trainer.model, trainer.tokenizer, top_k=top_k, widths=widths)
        model.save(out / MODEL, whole)
    trainer.world.wait()


def run_tokenizer(
    table: PairsTable,
    out: Path,
    config: Config,
    vocab: str | Path | None = None,
    here: World = ALONE,
) -> Tokenizer:
    """The run's own where it has one, else trained on the split, or read from a BERT vocab.txt.

    The first process makes it, and the others read what it wrote.
    """
    saved = out / TOKENIZER
    if here.first:
        if saved.exists():
            tokenizer = Tokenizer.load(saved)
            if vocab is not None and _state(_fresh(table, config, vocab)) != _state(tokenizer):
                raise R2D2Error(
                    f"{saved} was not made from {vocab} as it is now: leave --vocab out, or start "
                    "anew in another --out"
                )
        else:
            tokenizer = _fresh(table, config, vocab)
        if here.size == 1:
            return tokenizer
        with disk_errors(out):
            out.mkdir(parents=True, exist_ok=True)
        tokenizer.save(saved)
    here.wait()
    return Tokenizer.load(saved)


def _state(tokenizer: Tokenizer) -> str:
    """What a tokenizer does, as its file has it."""
    return tokenizer.__getstate__()


def _fresh(table: PairsTable, config: Config, vocab: str | Path | None) -> Tokenizer:
    max_length = config.model.text.max_length
    if not config.train.train_vocab:
        if vocab is None:
            raise R2D2Error(
                f"preset {config.preset} reads its tokenizer from a BERT vocab.txt: give --vocab "
                "FILE, or --set train.train_vocab=true to train one on this table"
            )
        return Tokenizer.from_vocab(vocab, max_length)
    rows = table.rows(config.train.splits)
    parts = (rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK))
    texts = (t.text for part in parts for row in table.texts(part) for t in row)
    return Tokenizer.train(texts, config.model.text.vocab_size, max_length)
