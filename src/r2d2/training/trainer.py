"""The training loop of a run, which can be stopped at any step and resumed bit for bit."""

from __future__ import annotations

import logging
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
from r2d2.arguments import default_device
from r2d2.config import Config
from r2d2.data.augment import VIEW_NUMBERS, normalize, views
from r2d2.data.loader import LoaderSettings, PairsLoader, RawBatch
from r2d2.errors import R2D2Error, RunStoppedError
from r2d2.images.decode import Kind
from r2d2.keyed import Draw, uniform
from r2d2.model.r2d2 import R2D2
from r2d2.objectives.batch import SecondTexts
from r2d2.objectives.losses import StepContext, TrainingBatch
from r2d2.table import PairsTable
from r2d2.tokenizer import Tokenizer
from r2d2.training import schedule
from r2d2.training.bad_steps import BadSteps
from r2d2.training.checkpoint import latest_checkpoint, load_checkpoint, save_checkpoint
from r2d2.training.describe import describe
from r2d2.training.distributed import ALONE, World
from r2d2.training.division import group_size
from r2d2.training.epochs import read_epochs
from r2d2.training.hardware import bfloat16, decoders
from r2d2.training.lora import is_adapted, merged
from r2d2.training.mining import Mining
from r2d2.training.optimizer import make_optimizer
from r2d2.training.run_folder import CHECKPOINTS
from r2d2.training.sharding import (
    average_uncut,
    clip_gradients,
    gathered,
    is_cut,
    shard,
)
from r2d2.training.signals import signals
from r2d2.training.step import (
    Passes,
    Step,
    backward,
    leaves_unused,
    make_step,
    spread,
    unwrapped,
)
from r2d2.training.step_log import StepLog
from r2d2.training.watch import Watch

log = logging.getLogger(__name__)

OnEpoch = Callable[[int], bool]

_KINDS = get_args(Kind)


@dataclass(frozen=True)
class TrainSummary:
    """The figures of the training that training.json and metrics.json contain."""

    steps: int
    seconds: float  # of training, over all parts of a resumed run
    pairs_per_second: float
    parameters: int
    skipped: dict[str, int]  # rows of the training split, by kind
    bad_steps: int = 0  # whose loss or gradient was not finite: they changed nothing

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return dict(self.__dict__)


class Trainer:
    """The state of one process of a run, built from settings or restored from a checkpoint."""

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
            R2D2Error: the batch does not divide by processes, chunks and groups, or no step trains
                what a loss needs.
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
        settings = LoaderSettings(
            config.model.vision.image_size,
            train.seed,
            train.source_shares or {},
            train.cache_mb,
            train.hard_batches,
            round(train.hard_batches_from * train.epochs),
            system.decode_threads or decoders(world),
            train.labelled,
            train.hard_batches_by,
            config.reads_second_texts,
        )
        self.loader = PairsLoader(table, train.splits, settings)
        self.steps = max(1, train.epochs * len(self.loader) // train.batch_size)
        ranks = config.objectives.fgr and not train.labelled
        self.second_stage = (
            schedule.second_stage_start(self.steps, config.objectives) if ranks else self.steps
        )
        schedule.check_joint_steps(self.steps, config.objectives)
        self.group_size = group_size(config, world)
        cut = system.parallel == "fsdp" and world.size > 1
        # Under FSDP the model stays in main memory until each unit is cut: no GPU holds all of it
        built_on = torch.device("cpu") if cut else self.device
        torch.manual_seed(train.seed)
        self.model = (model or R2D2(self.config.model)).to(built_on)
        step = make_step(self.model, config, tokenizer.mask_id, tokenizer.special_ids, world)
        self.objectives = step.objectives
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
        self.bad_steps = BadSteps(train, out, table, world)
        self._saved = -1  # step of the newest checkpoint

    def step_context(self) -> StepContext:
        """Return the values of the schedules at this step."""
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
            schedule.unlabelled(self.step, self.steps, objectives),
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
        second = self._second(raw, keys[:, 1])
        return TrainingBatch(x, ids, mask, keys, index, labels, second).to(self.device)

    def _second(self, raw: RawBatch, first_keys: Tensor) -> SecondTexts | None:
        """Tokenize the second texts of a batch; `first_keys` (n,) are of the first texts."""
        if raw.second_texts is None or raw.second_keys is None:
            return None
        ids, mask = self.tokenizer(raw.second_texts)
        keys = torch.from_numpy(raw.second_keys)
        if not self.config.objectives.text_positives:
            keys = first_keys
        present = torch.tensor([bool(text) for text in raw.second_texts])
        return SecondTexts(ids, mask, keys, present)

    def train_step(self, batch: TrainingBatch) -> dict[str, Tensor]:
        """Do one step; return the losses, the norm of the gradient and the learning rate.

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
        finite = bool(torch.isfinite(norm) and torch.isfinite(total))
        if finite:
            self.optimizer.step()
            at_once = self.config.system.updates != "single"
            self.objectives.after_step(self.model, output.queue_entries, at_once)
        self.bad_steps.add(finite)
        self.step += 1
        return losses | {"grad_norm": norm, "lr": torch.tensor(lr)}

    def plain_weights(self) -> dict[str, Tensor] | None:
        """Return the weights of a plain model, where this one is sharded or has LoRA's products.

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
            "bad_steps": self.bad_steps.count,
        }
        self._saved = self.step
        return save_checkpoint(
            self.out / CHECKPOINTS, self.model, self.objectives, self.optimizer, state,
            self.config.train.keep_checkpoints, self.world,
        )  # fmt: skip

    def restore(self) -> None:
        """Continue from the newest checkpoint, if there is one."""
        checkpoint = latest_checkpoint(self.out / CHECKPOINTS)
        if checkpoint is None:
            return
        state = load_checkpoint(checkpoint, self.model, self.objectives, self.optimizer)
        self.step, self.seconds = int(state["step"]), float(state["seconds"])
        self.bad_steps.count = int(state.get("bad_steps", 0))
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
            RunStoppedError: SIGINT or SIGTERM was received; a checkpoint is written.
            R2D2Error: too many steps in a row were not finite.
        """
        train, world = self.config.train, self.world
        if on_epoch and self.epochs_done and self._ends_epoch() and on_epoch(self.epochs_done):
            return self.summary()
        if self.step == self.steps:
            return self.summary()
        steps_log = StepLog(self.out, world, self.device, train.batch_size, self.step, self.seconds)
        batches = self._batches()
        log.info("%s: %s", stage, describe(self))
        measured = partial(read_epochs, self.out)
        watch = Watch(self.steps, self.config, self.loader.variety, measured)
        try:
            with (
                signals(world.size > 1) as received,
                progress.bars(hidden=not world.first) as update,
            ):
                began = time.perf_counter() - self.seconds
                update(stage, self.step, self.steps)
                for raw in self._until_lost(batches, steps_log):
                    scalars = self.train_step(self.prepare(raw))
                    self.seconds = time.perf_counter() - began
                    self.bad_steps.check(self.step - 1, raw.rows, self.device)
                    if self.step % train.log_every == 0 or self.step == self.steps:
                        tau = self.model.temperature.item()
                        steps_log.write(self.step, self.seconds, scalars, tau)
                    update(stage, self.step, self.steps, steps_log.note)
                    if warning := watch.see(self.step, scalars):
                        log.warning("%s", warning)
                    self._stop(received, steps_log)
                    epoch_over = on_epoch is not None and self._ends_epoch()
                    if epoch_over or self.step % train.checkpoint_every == 0:
                        steps_log.check()
                        self.save()
                    if epoch_over and on_epoch and on_epoch(self.epochs_done):
                        break
                # A signal may have been received while the epoch was measured
                self._stop(received, steps_log)
            steps_log.check()
        finally:
            batches.close()
            steps_log.close()
        if self._saved != self.step:
            self.save()
        return self.summary()

    def _batches(self) -> Generator[RawBatch]:
        """Yield the remaining batches; late in the second stage, they are of similar pairs."""
        train, start = self.config.train, self.steps
        if self.second_stage < self.steps:
            start = schedule.mining_start(self.steps, self.config.objectives)
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
            log.info("step %d: the towers look for similar pairs for the second stage", self.step)
            self.loader.put_in_order(first * train.batch_size, mining.stretch(number))
            last = min(first + mining.steps, self.steps)
            yield from self.loader.batches(self.step, last, *share)

    @torch.no_grad()
    def embed_pairs(self, raw: RawBatch) -> tuple[Tensor, Tensor, Tensor]:
        """Return f_I and f_T (n, d) of pairs without augmentation, and their keys (n, 2)."""
        ids, mask = self.tokenizer(raw.texts)
        keys = torch.from_numpy(raw.keys)
        x = normalize(torch.from_numpy(raw.pixels).to(self.device))
        batch = TrainingBatch(x, ids, mask, keys, torch.arange(len(keys))).to(self.device)
        context = replace(self.step_context(), ranking=False, towers=False)
        self.module.eval()
        features = unwrapped(self.module).features(batch, context)
        return features.images, features.texts, features.keys

    def _stop(self, received: list[int], steps_log: StepLog) -> None:
        """Write a checkpoint and raise RunStoppedError, if any process received a signal."""
        if self.world.any(bool(received), self.device):
            steps_log.check()
            raise RunStoppedError(received[0] if received else signal.SIGTERM, self.save())

    def _until_lost(self, batches: Iterator[RawBatch], steps_log: StepLog) -> Iterator[RawBatch]:
        """Yield the batches; if the table can no longer be read, write a checkpoint first.

        Only in a run of one process: others might still read the table, and go on.
        """
        try:
            yield from batches
        except R2D2Error:
            if self.world.size == 1 and self.step not in (0, self._saved):
                with suppress(R2D2Error):  # the table's error is the one to report
                    steps_log.check()
                    log.info("%s is written", self.save())
            raise

    @property
    def epochs_done(self) -> int:
        """Return the finished epochs; see `schedule.epochs_done`."""
        return schedule.epochs_done(self.step, self.steps, self.config.train.epochs)

    def _ends_epoch(self) -> bool:
        """Return whether the last step ended an epoch."""
        before = schedule.epochs_done(self.step - 1, self.steps, self.config.train.epochs)
        return self.epochs_done > before

    def summary(self) -> TrainSummary:
        """Return the figures of the training so far."""
        return TrainSummary(
            steps=self.step,
            seconds=round(self.seconds, 1),
            pairs_per_second=round(
                self.step * self.config.train.batch_size / max(self.seconds, 1e-9), 1
            ),
            parameters=sum(p.numel() for p in self.model.parameters()),
            skipped=dict(self.loader.skipped),
            bad_steps=self.bad_steps.count,
        )
