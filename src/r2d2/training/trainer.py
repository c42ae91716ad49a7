"""The training loop: one run, stoppable at any step and resumed bit for bit."""

from __future__ import annotations

import json
import logging
import os
import signal
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from r2d2 import progress
from r2d2.config import Config
from r2d2.data.augment import VIEW_NUMBERS, normalize, views
from r2d2.data.images import Kind
from r2d2.data.loader import PairsLoader, RawBatch
from r2d2.errors import R2D2Error, RunStoppedError
from r2d2.files import write_text
from r2d2.keyed import Draw, uniform
from r2d2.model.dropout import set_dropout
from r2d2.model.r2d2 import R2D2
from r2d2.model.towers import freeze
from r2d2.objectives.losses import Objectives, StepContext, TrainingBatch
from r2d2.pretrained import default_device
from r2d2.table import PairsTable
from r2d2.tokenizer import Tokenizer
from r2d2.training import schedule
from r2d2.training.checkpoint import latest_checkpoint, load_checkpoint, save_checkpoint
from r2d2.training.distributed import ALONE, World
from r2d2.training.epochs import read_epochs
from r2d2.training.log import RunLog
from r2d2.training.lora import add_lora, is_adapted, merged
from r2d2.training.memory import checkpoint_activations, compile_layers
from r2d2.training.mining import Mining
from r2d2.training.optimizer import make_optimizer
from r2d2.training.run_folder import BAD_BATCH, CHECKPOINTS
from r2d2.training.sharding import (
    average_uncut,
    clip_gradients,
    gathered,
    is_cut,
    shard,
)
from r2d2.training.signals import signals
from r2d2.training.step import Passes, Step, backward, leaves_unused, spread, unwrapped
from r2d2.training.watch import Watch

log = logging.getLogger(__name__)

OnEpoch = Callable[[int], bool]

_KINDS = get_args(Kind)


@dataclass(frozen=True)
class TrainSummary:
    """What metrics.json says of the training."""

    steps: int
    seconds: float  # of training, over all sittings
    pairs_per_second: float
    parameters: int
    skipped: dict[str, int]  # rows of the training split, by kind
    bad_steps: int = 0  # whose loss or gradient was not finite: they changed nothing

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return dict(self.__dict__)


class Trainer:
    """Everything one process of a run holds: built from settings, restored from a checkpoint."""

    def __init__(
        self,
        table: PairsTable,
        out: Path,
        config: Config,
        tokenizer: Tokenizer,
        world: World = ALONE,
        model: R2D2 | None = None,
    ) -> None:
        """`model`: what to start from, of the settings' shape; None: random weights.

        Raises:
            R2D2Error: the batch does not divide by processes, chunks and groups.
        """
        self.config = config
        if model is not None:
            self.config = replace(config, model=model.config)
        elif config.model.hf_towers is None:
            text = replace(config.model.text, vocab_size=tokenizer.vocab_size)
            self.config = replace(config, model=replace(config.model, text=text))
        self.out = out
        self.tokenizer = tokenizer
        self.world = world
        train, system = config.train, config.system
        self.device = default_device()
        self.loader = PairsLoader(
            table,
            "train",
            config.model.vision.image_size,
            train.seed,
            train.source_shares,
            train.cache_mb,
            train.hard_batches,
            round(train.hard_batches_from * train.epochs),
            system.decode_threads or decoders(world),
            train.labelled,
            train.hard_batches_by,
        )
        self.steps = max(1, train.epochs * len(self.loader) // train.batch_size)
        ranks = config.objectives.fgr and not train.labelled
        self.second_stage = (
            schedule.second_stage_start(self.steps, config.objectives) if ranks else self.steps
        )
        self.group_size = group_size(config, world)
        cut = system.parallel == "fsdp" and world.size > 1
        # What is to be cut stays in main memory until each unit is cut: no GPU ever holds all of it
        built_on = torch.device("cpu") if cut else self.device
        torch.manual_seed(train.seed)
        self.model = (model or R2D2(self.config.model)).to(built_on)
        if train.dropout is not None:
            set_dropout(self.model, train.dropout)
        add_lora(self.model, train)
        self.objectives = Objectives(
            self.model, config.objectives, tokenizer.mask_id, tokenizer.special_ids
        ).to(built_on)
        freeze(self.model.towers, train.freeze_vision, train.freeze_text)
        if system.compile:
            compile_layers(self.model, self.objectives.teacher)
        if system.checkpoint_activations:
            checkpoint_activations(self.model)
        step = Step(self.model, self.objectives, world)
        self.module: Step | DistributedDataParallel = (
            shard(step, self.device)
            if cut
            else spread(step, self.device, leaves_unused(step, train.labelled))
        )
        dropout = self.config.model.dropout if train.dropout is None else train.dropout
        self.passes = Passes(
            system.accumulate, bfloat16(system.precision, self.device), dropout > 0
        )
        self.optimizer = make_optimizer(self.model, train, system.updates)
        self.step = 0
        self.seconds = 0.0
        self.bad_steps = 0  # over the run
        self._bad_in_row = 0
        self._saved = -1  # step of the newest checkpoint

    def describe(self) -> str:
        """What the log says first: how the run uses its machines."""
        system, size = self.config.system, self.world.size
        trained = sum(p.numel() for p in self.model.parameters() if p.requires_grad)
        words = [
            f"{size} process{'es' if size > 1 else ''} on {self.device.type}"
            + (f" ({system.parallel})" if size > 1 else ""),
            f"{self.config.train.batch_size} pairs a step in {size * system.accumulate} parts",
            "bfloat16" if self.passes.bfloat16 else "float32",
            f"{trained / 1e6:.1f}M parameters trained",
        ]
        if self.config.objectives.teachers and not self.config.train.labelled:
            words += [f"teachers of momentum {self.config.objectives.momentum:g}"]
        if self.config.objectives.fgr and not self.config.train.labelled:
            words += [self._describe_negatives()]
        group = self.optimizer.param_groups[0]
        kind = "fused" if group["fused"] else "foreach" if group["foreach"] else "single"
        words += [f"{kind} updates"]
        words += ["compiled"] if system.compile else []
        words += ["activations recomputed"] if system.checkpoint_activations else []
        words += ["image tower frozen"] if self.config.train.freeze_vision else []
        words += ["text tower frozen"] if self.config.train.freeze_text else []
        rank = self.config.train.lora_rank
        words += [f"LoRA of rank {rank}"] if rank else []
        decay = self.config.train.layer_decay
        words += [f"layer decay {decay:g}"] if decay < 1 else []
        return ", ".join(words)

    def _describe_negatives(self) -> str:
        """Among how many pairs FGR draws its negatives, and why not among all."""
        if size := self.config.objectives.list_size:
            return f"all pairs of blocks of {size} ranked"
        if not self.group_size:
            return f"negatives drawn from all {self.config.train.batch_size} pairs"
        chunks = self.config.system.accumulate
        reason = f" (system.accumulate={chunks}: each chunk from itself)" if chunks > 1 else ""
        return f"negatives drawn from {self.group_size} pairs each{reason}"

    def step_context(self) -> StepContext:
        """The schedules at this step."""
        train, objectives = self.config.train, self.config.objectives
        per_epoch = len(self.loader) / train.batch_size
        return StepContext(
            train.seed,
            self.step,
            schedule.alpha(self.step, per_epoch, objectives),
            schedule.uniform_share(self.step, self.steps, objectives),
            self.group_size,
            schedule.ranking(self.step, self.steps, objectives),
            self.step < self.second_stage,
        )

    def prepare(self, raw: RawBatch) -> TrainingBatch:
        """Tokenize, augment and normalise this process's share on the device."""
        train = self.config.train
        pixels = torch.from_numpy(raw.pixels)
        if self.device.type == "cuda":  # only then the copy runs beside the last step
            pixels = pixels.pin_memory()
        pixels = pixels.to(self.device, non_blocking=True)
        n = len(raw.texts)
        index = torch.arange(n, device=self.device) + self.world.rank * n
        u = uniform(train.seed, self.step, Draw.AUGMENT, index, VIEW_NUMBERS)
        x = views(pixels, train.augment, train.flip, u)
        ids, mask = self.tokenizer(raw.texts)
        keys = torch.from_numpy(raw.keys).clone()
        if not self.config.objectives.text_positives:  # then each text is like no other of the run
            keys[:, 1] = index.cpu() + self.step * train.batch_size
        labels = None if raw.labels is None else torch.from_numpy(raw.labels)
        return TrainingBatch(x, ids, mask, keys, index, labels).to(self.device)

    def train_step(self, batch: TrainingBatch) -> dict[str, Tensor]:
        """One step of the optimiser; the losses, the gradient's norm and the learning rate.

        A step whose loss or gradient is not finite, in any process, changes nothing.
        """
        train = self.config.train
        lr = schedule.stage_learning_rate(self.step, self.steps, self.second_stage, train)
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group["scale"]
        self.module.train()
        self.optimizer.zero_grad(set_to_none=True)
        output = backward(self.module, batch, self.step_context(), self.passes)
        losses = output.losses
        if self.config.system.parallel == "fsdp" and self.world.size > 1:
            average_uncut(self.model.parameters(), self.world)
        norm = clip_gradients(self.model.parameters(), train.clip_norm or float("inf"))
        # Each process has a loss of its own; a mean is finite only where all of them are.
        total = self.world.average(losses["total"])
        if torch.isfinite(norm) and torch.isfinite(total):
            self.optimizer.step()
            at_once = self.config.system.updates != "single"
            self.objectives.after_step(self.model, output.queue_entries, at_once)
            self._bad_in_row = 0
        else:
            self.bad_steps += 1
            self._bad_in_row += 1
        self.step += 1
        return losses | {"grad_norm": norm, "lr": torch.tensor(lr)}

    def plain_weights(self) -> dict[str, Tensor] | None:
        """Weights of a plain model, where this one holds them cut or with products beside them.

        None: as it is. Every process calls it; all but the first get an empty dict.
        """
        if not is_cut(self.module) and not is_adapted(self.model):
            return None
        whole = gathered(self.model.state_dict(), self.world.first)
        return merged(whole, self.config.train) if whole else {}

    def save(self) -> Path:
        """Write a checkpoint; every process calls it."""
        known = {item: _KINDS.index(kind) for item, kind in self.loader.bad.items()}
        bad = self.world.union(known, self.device)
        self.loader.mark_bad({item: _KINDS[kind] for item, kind in bad.items()})
        state = {
            "step": self.step,
            "steps": self.steps,
            "seconds": self.seconds,
            "bad": self.loader.bad,
            "bad_steps": self.bad_steps,
        }
        self._saved = self.step
        return save_checkpoint(
            self.out / CHECKPOINTS, self.model, self.objectives, self.optimizer, state,
            self.config.train.keep_checkpoints, self.world,
        )  # fmt: skip

    def restore(self) -> None:
        """Go on from the newest checkpoint, if there is one."""
        checkpoint = latest_checkpoint(self.out / CHECKPOINTS)
        if checkpoint is None:
            return
        state = load_checkpoint(checkpoint, self.model, self.objectives, self.optimizer)
        self.step, self.seconds = int(state["step"]), float(state["seconds"])
        self.bad_steps = int(state.get("bad_steps", 0))
        self._saved = self.step
        self.loader.mark_bad({int(item): kind for item, kind in state["bad"].items()})
        log.info("resumed from %s at step %d of %d", checkpoint, self.step, self.steps)

    def run(self, on_epoch: OnEpoch | None = None, stage: str = "pre-training") -> TrainSummary:
        """Train to the end.

        Args:
            on_epoch: called by every process when an epoch is over, its checkpoint written, with
                the number of epochs done; True ends the run. A resumed run that stands at the end
                of an epoch calls it again.
            stage: what the log and the progress bar call the training.

        Raises:
            RunStoppedError: SIGINT or SIGTERM came; a checkpoint is written.
            R2D2Error: too many steps in a row were not finite.
        """
        train, world = self.config.train, self.world
        if on_epoch and self.epochs_done and self._ends_epoch() and on_epoch(self.epochs_done):
            return self.summary()
        if self.step == self.steps:
            return self.summary()
        run_log = RunLog(self.out, self.step) if world.first else None
        batches = self._batches()
        log.info("%s: %s", stage, self.describe())
        measured = partial(read_epochs, self.out)
        watch = Watch(self.steps, self.config, self.loader.variety, measured)
        try:
            with signals(world.size > 1) as came, progress.bars(hidden=not world.first) as update:
                began, logged = time.perf_counter() - self.seconds, (self.step, self.seconds)
                update(stage, self.step, self.steps)
                note = ""
                for raw in self._until_lost(batches, run_log):
                    scalars = self.train_step(self.prepare(raw))
                    self.seconds = time.perf_counter() - began
                    if self._bad_in_row:
                        self._tell_bad_step(raw)
                    if self.step % train.log_every == 0 or self.step == self.steps:
                        values = self._scalars(scalars)
                        done, took = self.step - logged[0], self.seconds - logged[1]
                        values["pairs_per_second"] = done * train.batch_size / max(took, 1e-9)
                        logged = (self.step, self.seconds)
                        if run_log:
                            run_log.write(self.step - 1, values)
                        note = f"loss {values['loss/total']:.3f}"
                    update(stage, self.step, self.steps, note)
                    if warning := watch.see(self.step, scalars):
                        log.warning("%s", warning)
                    self._stop(came, run_log)
                    over = on_epoch is not None and self._ends_epoch()
                    regular = self.step % train.checkpoint_every == 0
                    if over or regular:
                        check(run_log)
                        self.save()
                    if over and on_epoch and on_epoch(self.epochs_done):
                        break
                self._stop(came, run_log)  # a signal may have come while the epoch was measured
            check(run_log)
        finally:
            batches.close()
            if run_log:
                run_log.close()
        if self._saved != self.step:
            self.save()
        return self.summary()

    def _batches(self) -> Generator[RawBatch]:
        """From this step to the end: in the second stage, what the towers then find alike."""
        train, start = self.config.train, self.second_stage
        share = (train.batch_size, self.world.rank, self.world.size)
        if self.step < start:
            yield from self.loader.batches(self.step, start, *share)
        if start == self.steps:
            return
        size = self.config.objectives.list_size
        mining = Mining(
            self.loader, train.batch_size, size, train.seed, self.embed_pairs, self.world
        )
        while self.step < self.steps:
            number = (self.step - start) // mining.steps
            first = start + number * mining.steps
            log.info("step %d: the towers seek like pairs for the second stage", self.step)
            self.loader.put_in_order(first * train.batch_size, mining.stretch(number))
            last = min(first + mining.steps, self.steps)
            yield from self.loader.batches(self.step, last, *share)

    @torch.no_grad()
    def embed_pairs(self, raw: RawBatch) -> tuple[Tensor, Tensor, Tensor]:
        """f_I and f_T (n, d) of pairs as they are, and their keys (n, 2), on the device."""
        ids, mask = self.tokenizer(raw.texts)
        keys = torch.from_numpy(raw.keys)
        x = normalize(torch.from_numpy(raw.pixels).to(self.device))
        batch = TrainingBatch(x, ids, mask, keys, torch.arange(len(keys))).to(self.device)
        context = replace(self.step_context(), ranking=False, towers=False)
        self.module.eval()
        features = unwrapped(self.module).features(batch, context)
        return features.images, features.texts, features.keys

    def _stop(self, came: list[int], run_log: RunLog | None) -> None:
        """Leave with a checkpoint, if a signal came to any process; RunStoppedError."""
        if self.world.any(bool(came), self.device):
            check(run_log)
            raise RunStoppedError(came[0] if came else signal.SIGTERM, self.save())

    def _until_lost(
        self, batches: Iterator[RawBatch], run_log: RunLog | None
    ) -> Iterator[RawBatch]:
        """The batches; where no more can be read, what was learnt so far is kept.

        Only by a process that is alone: another one may not have lost the table, and train on.
        """
        try:
            yield from batches
        except R2D2Error:
            if self.world.size == 1 and self.step not in (0, self._saved):
                with suppress(R2D2Error):  # of the two errors the table's is to be told
                    check(run_log)
                    log.info("%s is written", self.save())
            raise

    @property
    def epochs_done(self) -> int:
        """Epochs behind this step; see `schedule.epochs_done`."""
        return schedule.epochs_done(self.step, self.steps, self.config.train.epochs)

    def _ends_epoch(self) -> bool:
        """Whether the last step ended an epoch."""
        before = schedule.epochs_done(self.step - 1, self.steps, self.config.train.epochs)
        return self.epochs_done > before

    def summary(self) -> TrainSummary:
        """The figures of the training so far."""
        return TrainSummary(
            steps=self.step,
            seconds=round(self.seconds, 1),
            pairs_per_second=round(
                self.step * self.config.train.batch_size / max(self.seconds, 1e-9), 1
            ),
            parameters=sum(p.numel() for p in self.model.parameters()),
            skipped=dict(self.loader.skipped),
            bad_steps=self.bad_steps,
        )

    def _tell_bad_step(self, raw: RawBatch) -> None:
        """Warn of a step that was not finite; after too many in a row, note the batch and stop."""
        step, train = self.step - 1, self.config.train
        log.warning("step %d: the loss or the gradient is not finite; the step is left out", step)
        if self._bad_in_row < train.max_bad_steps:
            return
        first = self.world.rank * len(raw.rows)
        places = {first + k: row for k, row in enumerate(raw.rows)}
        rows = [row for _, row in sorted(self.world.union(places, self.device).items())]
        if self.world.first:
            ids = self.loader.table.image_ids(rows)
            noted = {"step": step, "rows": rows, "image_ids": ids}
            write_text(self.out / BAD_BATCH, json.dumps(noted, ensure_ascii=False, indent=1))
        raise R2D2Error(
            f"step {step}: the loss or the gradient is not finite, {self._bad_in_row} times in a "
            f"row, the last batch in {self.out / BAD_BATCH}: lower train.lr (now {train.lr}) or "
            "raise train.warmup_steps, and start anew in another --out"
        )

    def _scalars(self, scalars: dict[str, Tensor]) -> dict[str, float]:
        """Named for the log, a mean over the processes; one transfer from the device."""
        others = {"grad_norm", "lr"}
        stacked = torch.stack([v.detach().float().to(self.device) for v in scalars.values()])
        named = {
            (name if name in others else f"loss/{name}"): value
            for name, value in zip(scalars, self.world.average(stacked).tolist(), strict=True)
        }
        return named | {"temperature": self.model.temperature.item()}


def check(run_log: RunLog | None) -> None:
    """Look before writing whether the run's folder is still there; see `RunLog.check`."""
    if run_log is not None:
        run_log.check()


def decoders(world: World) -> int:
    """Threads that read and decode, a process: its share of this machine's cores, at most 8."""
    # What a container or a cluster's scheduler leaves to us may be fewer than the machine has.
    there = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else ()
    return max(1, min(8, (len(there) or os.cpu_count() or 1) // world.local_size))


def groups_of(config: Config, world: World) -> int:
    """Groups of a batch that draw FGR's negatives among themselves: one, or one a chunk."""
    chunks = config.system.accumulate
    return config.objectives.negative_groups or (world.size * chunks if chunks > 1 else 1)


def group_size(config: Config, world: World) -> int:
    """Pairs that draw negatives from each other; 0 where that is the whole batch.

    Raises:
        R2D2Error: the batch does not divide by processes, chunks and groups.
    """
    batch, chunks = config.train.batch_size, config.system.accumulate
    size = config.objectives.list_size if config.objectives.fgr and not config.train.labelled else 0
    parts, groups = world.size * chunks, groups_of(config, world)
    if batch % parts:
        raise R2D2Error(
            f"train.batch_size={batch} does not divide into {parts} equal parts (processes: "
            f"{world.size}, chunks of each by system.accumulate: {chunks}): --set "
            f"train.batch_size={parts * max(1, round(batch / parts))}, or another multiple of "
            f"{parts}"
        )
    if size:
        if batch // parts % size:
            raise R2D2Error(
                f"train.batch_size={batch} in {parts} equal parts does not divide into blocks of "
                f"objectives.list_size={size}: give a batch that is a multiple of {parts * size}"
            )
        return size
    if batch % groups:
        raise R2D2Error(
            f"train.batch_size={batch} does not divide into objectives.negative_groups={groups}: "
            "give a batch that is a multiple of the groups"
        )
    if chunks > 1 and groups % parts:
        raise R2D2Error(
            f"objectives.negative_groups={groups} does not divide into {parts} parts (processes: "
            f"{world.size}, chunks of each by system.accumulate: {chunks}): a chunk draws "
            f"negatives from itself alone, so give a multiple of {parts}, or 0"
        )
    return batch // groups if groups > 1 else 0


def check_division(config: Config, processes: int) -> None:
    """Refuse a batch that does not divide before processes are started, and not by each of them.

    Where torchrun has started them `processes` is 1, and the run itself checks.

    Raises:
        R2D2Error: as `group_size`.
    """
    if processes > 1:
        group_size(config, World(size=processes))


def bfloat16(precision: str, device: torch.device) -> bool:
    """Whether a step computes in it; see `SystemConfig`."""
    if precision == "auto":
        # Older GPUs than Ampere emulate it, and are faster in float32.
        return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return precision == "bfloat16"
