"""Both training steps, set up alike: same weights, teachers, full queues, batch and draws."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from benchmarks.speed.plain.layers import PlainR2D2, plain_names
from benchmarks.speed.plain.step import Draws, PlainStep
from r2d2.config import Config, make_config
from r2d2.keyed import Draw, uniform
from r2d2.model.r2d2 import R2D2
from r2d2.objectives.batch import StepContext, TrainingBatch
from r2d2.objectives.losses import Objectives
from r2d2.objectives.mlm import choose_masked
from r2d2.training.distributed import ALONE
from r2d2.training.optimizer import make_optimizer
from r2d2.training.sharding import clip_gradients
from r2d2.training.step import Passes, Step, backward

PAD, UNK, CLS, SEP, MASK = SPECIAL = range(5)
CONTEXT = StepContext(seed=0, step=1, alpha=0.4, uniform_share=0.5)
SHORTEST, LONGEST = 8, 40  # tokens a text, both ends included: even between them


def settings(size: str, *more: str) -> Config:
    """A size to measure at: small (batch 32), base, large (batch 4), or toy (for tests)."""
    if size == "toy":
        toy = (
            "model.vision.image_size=32", "model.vision.patch_size=8", "model.vision.width=32",
            "model.vision.layers=2", "model.vision.heads=2", "model.text.width=48",
            "model.text.layers=2", "model.text.heads=2", "model.text.vocab_size=300",
            "model.cross_layers=2", "model.embed_dim=24", "objectives.queue_size=64",
            "train.batch_size=8",
        )  # fmt: skip
        return make_config("small", "r2d2", (*toy, *more))
    batch = 32 if size == "small" else 4
    return make_config(size, "r2d2", (f"train.batch_size={batch}", *more))


def make_batch(config: Config, device: torch.device, length: int = 0) -> TrainingBatch:
    """Random pictures, and texts of uneven length padded to the longest of them, or to `length`."""
    n, size = config.train.batch_size, config.model.vision.image_size
    generator = torch.Generator().manual_seed(1)
    lengths = torch.linspace(SHORTEST, LONGEST, n).round().long()
    lengths = lengths[torch.randperm(n, generator=generator)]
    padded = length or int(lengths.max())
    ids = torch.randint(len(SPECIAL), config.model.text.vocab_size, (n, padded),
                        generator=generator)  # fmt: skip
    places = torch.arange(padded)
    mask = places < lengths[:, None]
    ids[:, 0] = CLS
    ids[places == lengths[:, None] - 1] = SEP
    ids[~mask] = PAD
    pixels = torch.randn(n, 3, size, size, generator=generator)
    keys = torch.arange(2 * n).view(n, 2)
    return TrainingBatch(pixels, ids, mask, keys, torch.arange(n)).to(device)


def pad(batch: TrainingBatch, length: int) -> TrainingBatch:
    """The same texts, padded further."""
    more = length - batch.ids.shape[1]
    ids = torch.nn.functional.pad(batch.ids, (0, more), value=PAD)
    return replace(batch, ids=ids, mask=torch.nn.functional.pad(batch.mask, (0, more)))


def draws_of(batch: TrainingBatch, config: Config, context: StepContext) -> Draws:
    """What `Objectives` draws in a step, for texts padded to batch's length."""

    def u(draw: Draw, width: int) -> Tensor:
        return uniform(context.seed, context.step, draw, batch.index, width)

    patches = config.model.vision.patches
    kept = max(1, round(config.objectives.image_keep * patches))
    share = config.objectives.mask_share
    return Draws(
        choose_masked(batch.ids, batch.mask, SPECIAL, share, u(Draw.MASK, batch.ids.shape[1])),
        u(Draw.COIN, 1)[:, 0] < config.objectives.et_masked_share,
        u(Draw.PATCHES, patches).argsort(dim=1)[:, :kept],
        u(Draw.NEGATIVE_TEXT, 1)[:, 0],
        u(Draw.NEGATIVE_IMAGE, 1)[:, 0],
    )


@dataclass
class Sides:
    """The two ways, each with a state of its own."""

    config: Config
    batch: TrainingBatch
    step: Step
    optimizer: torch.optim.Optimizer
    plain: PlainStep
    plain_optimizer: torch.optim.Optimizer
    padded: TrainingBatch
    bfloat16: bool

    def ours(self) -> dict[str, Tensor]:
        """One step as the trainer runs it."""
        self.optimizer.zero_grad(set_to_none=True)
        output = backward(self.step, self.batch, CONTEXT, Passes(bfloat16=self.bfloat16))
        clip_gradients(self.step.model.parameters(), self.config.train.clip_norm)
        self.optimizer.step()
        self.step.objectives.after_step(self.step.model, output.queue_entries)
        return output.losses

    def usual(self) -> dict[str, Tensor]:
        """One step of the plain side."""
        batch, context = self.padded, CONTEXT
        self.plain_optimizer.zero_grad()
        with torch.autocast(batch.pixels.device.type, torch.bfloat16, enabled=self.bfloat16):
            losses = self.plain.losses(
                batch.pixels, batch.ids, batch.mask, batch.keys,
                draws_of(batch, self.config, context), context.alpha, context.uniform_share,
            )  # fmt: skip
        losses["total"].backward()
        torch.nn.utils.clip_grad_norm_(self.plain.model.parameters(), self.config.train.clip_norm)
        self.plain_optimizer.step()
        self.plain.after_step()
        return losses


def make_sides(config: Config, device: torch.device, full_queue: bool = True) -> Sides:
    """Both sides with the same random weights; match heads too, which else begin at zero."""
    torch.manual_seed(0)
    o, train = config.objectives, config.train
    model = R2D2(config.model)
    for head in (model.match_head_text, model.match_head_image):
        torch.nn.init.normal_(head.weight, std=0.5)
    model.to(device)
    objectives = Objectives(model, o, MASK, SPECIAL).to(device)
    assert objectives.queue is not None
    assert objectives.teacher is not None
    with torch.no_grad():
        for parameter in objectives.teacher.parameters():
            parameter += 0.01 * torch.randn_like(parameter) * parameter.abs().mean()
    if full_queue and o.queue_size:
        queued = torch.nn.functional.normalize(torch.randn(2, o.queue_size, config.model.embed_dim))
        keys = torch.arange(10**6, 10**6 + 2 * o.queue_size).view(-1, 2)
        objectives.queue.push(*queued.to(device), keys.to(device))
    patch = config.model.vision.patch_size
    usual = PlainR2D2(config.model)
    usual.load_state_dict(plain_names(model.state_dict(), patch))
    plain = PlainStep(usual.to(device), o, MASK)
    plain.teacher.load_state_dict(plain_names(objectives.teacher.state_dict(), patch))
    plain.image_queue.copy_(objectives.queue.images)
    plain.text_queue.copy_(objectives.queue.texts)
    plain.queue_keys.copy_(objectives.queue.keys)
    plain.queue_weights.copy_(objectives.queue.weights)
    decayed = [p for p in usual.parameters() if p.dim() >= 2]
    rest = [p for p in usual.parameters() if p.dim() < 2]
    plain_optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": train.weight_decay},
         {"params": rest, "weight_decay": 0.0}],
        lr=train.lr, betas=train.betas, eps=train.eps,
    )  # fmt: skip
    batch = make_batch(config, device)
    step = Step(model, objectives, ALONE)
    step.train()
    return Sides(
        config, batch, step, make_optimizer(model, train, config.system.updates), plain,
        plain_optimizer, pad(batch, config.model.text.max_length), device.type == "cuda",
    )  # fmt: skip
