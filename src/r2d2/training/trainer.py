"""The training loop: one run, stoppable at any step and resumed bit for bit."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from r2d2 import progress
from r2d2.config import Config
from r2d2.data.augment import NUMBERS, augment, normalize
from r2d2.data.loader import PairsLoader, RawBatch
from r2d2.errors import R2D2Error, RunStoppedError
from r2d2.keyed import Draw, key, uniform
from r2d2.model.r2d2 import R2D2
from r2d2.objectives.losses import Batch, Moment, Objectives
from r2d2.pretrained import default_device
from r2d2.table import PairsTable
from r2d2.tokenizer import Tokenizer
from r2d2.training import schedule
from r2d2.training.checkpoint import latest_checkpoint, load_checkpoint, save_checkpoint
from r2d2.training.log import RunLog
from r2d2.training.optimizer import make_optimizer
from r2d2.training.run_folder import CHECKPOINTS

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainSummary:
    """What metrics.json says of the training."""

    steps: int
    seconds: float  # of training, over all sittings
    pairs_per_second: float
    parameters: int
    skipped: dict[str, int]  # rows of the training split, by kind

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return dict(self.__dict__)


class Trainer:
    """Everything one run holds: built from settings, restored from a checkpoint."""

    def __init__(self, table: PairsTable, out: Path, config: Config, tokenizer: Tokenizer) -> None:
        text = replace(config.model.text, vocab_size=tokenizer.vocab_size)
        self.config = replace(config, model=replace(config.model, text=text))
        self.out = out
        self.tokenizer = tokenizer
        train = config.train
        self.device = default_device()
        self.loader = PairsLoader(
            table,
            "train",
            config.model.vision.image_size,
            train.seed,
            train.source_shares,
            train.cache_mb,
            train.neighbours,
            round(train.neighbours_from * train.epochs),
        )
        self.steps = max(1, train.epochs * len(self.loader) // train.batch_size)
        torch.manual_seed(train.seed)
        self.model = R2D2(self.config.model).to(self.device)
        self.objectives = Objectives(
            self.model, config.objectives, tokenizer.mask_id, tokenizer.special_ids
        ).to(self.device)
        self.optimizer = make_optimizer(self.model, train)
        self.step = 0
        self.seconds = 0.0

    def moment(self) -> Moment:
        """The schedules at this step."""
        train, objectives = self.config.train, self.config.objectives
        per_epoch = len(self.loader) / train.batch_size
        return Moment(
            train.seed,
            self.step,
            schedule.alpha(self.step, per_epoch, objectives),
            schedule.uniform_share(self.step, self.steps, objectives),
        )

    def prepare(self, raw: RawBatch) -> Batch:
        """Tokenize, augment and normalise on the device."""
        train = self.config.train
        pixels = torch.from_numpy(raw.pixels).to(self.device)
        index = torch.arange(len(raw.texts), device=self.device)
        if train.augment:
            x = augment(pixels, uniform(train.seed, self.step, Draw.AUGMENT, index, NUMBERS))
        else:
            x = normalize(pixels)
        ids, mask = self.tokenizer(raw.texts)
        keys = torch.from_numpy(raw.keys)
        return Batch(x, ids.to(self.device), mask.to(self.device), keys.to(self.device), index)

    def train_step(self, batch: Batch) -> dict[str, Tensor]:
        """One step of the optimiser; the losses, the gradient's norm and the learning rate."""
        train = self.config.train
        if self.config.model.dropout:
            torch.manual_seed(key(train.seed, self.step, Draw.DROPOUT))
        lr = schedule.learning_rate(self.step, self.steps, train)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.model.train()
        losses: dict[str, Tensor] = self.objectives(self.model, batch, self.moment())
        self.optimizer.zero_grad(set_to_none=True)
        losses["total"].backward()  # type: ignore[no-untyped-call]
        limit = train.clip_norm or float("inf")
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), limit)
        if not torch.isfinite(norm):
            raise R2D2Error(
                f"step {self.step}: the gradient is not finite; lower train.lr (now {train.lr}) "
                "or raise train.warmup_steps, and start anew in another --out"
            )
        self.optimizer.step()
        self.objectives.after_step(self.model)
        self.step += 1
        return losses | {"grad_norm": norm, "lr": torch.tensor(lr)}

    def save(self) -> Path:
        """Write a checkpoint."""
        state = {
            "step": self.step,
            "steps": self.steps,
            "seconds": self.seconds,
            "bad": self.loader.bad,
        }
        return save_checkpoint(
            self.out / CHECKPOINTS, self.model, self.objectives, self.optimizer, state
        )

    def restore(self) -> None:
        """Go on from the newest checkpoint, if there is one."""
        checkpoint = latest_checkpoint(self.out / CHECKPOINTS)
        if checkpoint is None:
            return
        state = load_checkpoint(checkpoint, self.model, self.objectives, self.optimizer)
        self.step, self.seconds = int(state["step"]), float(state["seconds"])
        self.loader.mark_bad({int(item): kind for item, kind in state["bad"].items()})
        log.info("resumed from %s at step %d of %d", checkpoint, self.step, self.steps)

    def run(self) -> TrainSummary:
        """Train to the end.

        Raises:
            RunStoppedError: SIGINT or SIGTERM came; a checkpoint is written.
        """
        train = self.config.train
        run_log = RunLog(self.out, self.step)
        batches = self.loader.batches(self.step, self.steps, train.batch_size)
        try:
            with (
                _signals() as signals,
                progress.bars() as update,
            ):
                began, logged = time.perf_counter() - self.seconds, (self.step, self.seconds)
                update("pre-training", self.step, self.steps)
                note = ""
                for raw in batches:
                    scalars = self.train_step(self.prepare(raw))
                    self.seconds = time.perf_counter() - began
                    if self.step % train.log_every == 0 or self.step == self.steps:
                        values = self._scalars(scalars)
                        done, took = self.step - logged[0], self.seconds - logged[1]
                        values["pairs_per_second"] = done * train.batch_size / max(took, 1e-9)
                        logged = (self.step, self.seconds)
                        run_log.write(self.step - 1, values)
                        note = f"loss {values['loss/total']:.3f}"
                    update("pre-training", self.step, self.steps, note)
                    if signals:
                        raise RunStoppedError(signals[0], self.save())
                    if self.step % train.checkpoint_every == 0 and self.step < self.steps:
                        self.save()
        finally:
            batches.close()  # type: ignore[attr-defined]
            run_log.close()
        self.save()
        return self.summary()

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
        )

    def _scalars(self, scalars: dict[str, Tensor]) -> dict[str, float]:
        """Named for the log; one transfer from the device."""
        others = {"grad_norm", "lr"}
        values = torch.stack([v.detach().float().cpu() for v in scalars.values()]).tolist()
        named = {
            (name if name in others else f"loss/{name}"): value
            for name, value in zip(scalars, values, strict=True)
        }
        return named | {"temperature": self.model.temperature.item()}


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Collects SIGINT and SIGTERM: the step in hand ends first; a second one stops at once."""
    came: list[int] = []
    old: dict[signal.Signals, Any] = {}

    def note(signum: int, _frame: object) -> None:
        if came:
            raise KeyboardInterrupt
        came.append(signum)

    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            old[number] = signal.signal(number, note)
    except ValueError:  # not the main thread: signals are somebody else's there
        pass
    try:
        yield came
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
