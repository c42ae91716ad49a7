"""The forward and backward passes of a step: one process or many, whole batch or chunk by chunk.

Chunks (`system.accumulate`) save memory without making the contrast smaller (GradCache, arXiv
2101.06983): a first pass without autograd gives every chunk's features; the contrast over all of
them gives the gradient at each; a second pass pulls that gradient through, chunk by chunk, together
with the losses that a chunk can compute by itself. All other passes are the same, so that the sum
of gradients is the large batch's.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.nn.parallel import DistributedDataParallel

from r2d2.keyed import Draw, key
from r2d2.model.r2d2 import R2D2
from r2d2.objectives.batch import CachedGradients, Features, StepContext, TrainingBatch
from r2d2.objectives.losses import Objectives
from r2d2.training.distributed import World


class Step(nn.Module):
    """Model and objectives as one module, so that DDP sees one forward pass."""

    def __init__(self, model: R2D2, objectives: Objectives, world: World) -> None:
        super().__init__()
        self.model = model
        self.objectives = objectives
        self.world = world
        self.together = False  # under DDP, which waits for the gradient of every parameter

    def forward(
        self,
        batch: TrainingBatch,
        context: StepContext,
        pull: CachedGradients | None = None,
        teacher_features: tuple[Tensor, Tensor] | None = None,
        only_features: bool = False,
    ) -> dict[str, Tensor] | Features:
        """See `Objectives.forward`, or `Objectives.features`."""
        if only_features:
            return self.objectives.features(self.model, batch, context)
        losses: dict[str, Tensor] = self.objectives(
            self.model, batch, context, self.world, pull, teacher_features
        )
        if self.together:
            idle = sum(p.sum() for p in resting(self.model, context))
            losses["total"] = losses["total"] + 0 * idle
        return losses


@dataclass(frozen=True)
class Passes:
    """How a step runs."""

    accumulate: int = 1  # chunks
    bfloat16: bool = False  # autocast; weights, optimiser and losses stay float32
    dropout: bool = False  # whether anything is drawn by torch's generator


def leaves_unused(step: Step, labelled: bool) -> bool:
    """Whether parameters that learn take no part in the loss: DDP must then look for them."""
    config = step.objectives.config
    return step.model.has_match and (labelled or not (config.fgr and config.mlm))


def resting(model: R2D2, context: StepContext) -> list[nn.Parameter]:
    """What learns in the run, but takes no part in the loss at this moment of it."""
    return [
        p for name, p in model.named_parameters()
        if p.requires_grad
        and not (
            context.towers if name in model.contrast_parameters or name.startswith("towers.")
            else context.ranking
        )
    ]  # fmt: skip


def spread(step: Step, device: torch.device, find_unused: bool) -> Step | DistributedDataParallel:
    """The module that a process runs: under DDP where there are several."""
    if step.world.size == 1:
        return step
    # Queue and counters are equal everywhere by construction: sending them each step is waste.
    names = inspect.signature(DistributedDataParallel.__init__).parameters
    step.together = not find_unused
    new = "forward_sync_buffers" in names  # from PyTorch 2.13 on; the old name warns
    buffers: dict[str, Any] = {"forward_sync_buffers" if new else "broadcast_buffers": False}
    return DistributedDataParallel(
        step,
        device_ids=[torch.cuda.current_device()] if device.type == "cuda" else None,
        **buffers,
        gradient_as_bucket_view=True,
        find_unused_parameters=find_unused,
    )


def backward(
    module: Step | DistributedDataParallel,
    batch: TrainingBatch,
    context: StepContext,
    passes: Passes,
) -> dict[str, Tensor]:
    """Accumulate the gradient of the global batch's loss; gives the losses, a mean over chunks.

    Args:
        module: of `spread`.
        batch: this process's share.
        context: of the run.
        passes: how.
    """
    step = module if isinstance(module, Step) else module.module
    assert isinstance(step, Step)
    chunks = batch.chunks(passes.accumulate) if passes.accumulate > 1 else [batch]

    def autocast() -> AbstractContextManager[object]:
        if not passes.bfloat16:
            return nullcontext()
        return torch.autocast(batch.pixels.device.type, torch.bfloat16)

    def reseed(number: int) -> None:
        """The same dropout in both passes over a chunk, another one in every other chunk."""
        if passes.dropout:
            place = step.world.rank * passes.accumulate + number
            torch.manual_seed(key(context.seed, context.step, Draw.DROPOUT) ^ place)

    pulls: list[CachedGradients | None] = [None] * len(chunks)
    teacher_features: list[tuple[Tensor, Tensor] | None] = [None] * len(chunks)
    contrast: dict[str, Tensor] = {}
    if len(chunks) > 1 and batch.labels is None:  # labelled pairs have no contrast
        features = []
        for number, chunk in enumerate(chunks):
            reseed(number)
            with torch.no_grad(), autocast():
                features.append(module(chunk, context, only_features=True))
        contrast, pulls = _pulls(step, features, context)
        teacher_features = [
            None
            if f.teacher_images is None or f.teacher_texts is None
            else (f.teacher_images, f.teacher_texts)
            for f in features
        ]
    seen: list[dict[str, Tensor]] = []
    for number, chunk in enumerate(chunks):
        reseed(number)
        with _no_sync(module, number < len(chunks) - 1):
            with autocast():
                losses = module(chunk, context, pulls[number], teacher_features[number])
            (losses["total"] / len(chunks)).backward()
        seen.append({name: loss.detach() for name, loss in losses.items()})
    if step.together:  # zeros: the optimiser would still decay by them
        for parameter in resting(step.model, context):
            parameter.grad = None
    mean = {name: torch.stack([s[name] for s in seen]).mean() for name in seen[0]}
    if contrast:
        weights = step.objectives.weights
        mean |= contrast
        terms = [weights[name] * loss for name, loss in mean.items() if name in weights]
        mean["total"] = torch.stack(terms).sum()
    return mean


@contextmanager
def _no_sync(module: Step | DistributedDataParallel, waits: bool) -> Iterator[None]:
    """Keep gradients in this process until the last chunk's backward pass."""
    if isinstance(module, DistributedDataParallel) and waits:
        with module.no_sync():
            yield
    else:
        if isinstance(module, FSDPModule):
            module.set_requires_gradient_sync(not waits)
        yield


def _pulls(
    step: Step, parts: list[Features], context: StepContext
) -> tuple[dict[str, Tensor], list[CachedGradients | None]]:
    """The contrast over all chunks, and its gradient at the features of each."""
    whole = Features.cat(parts)
    images = whole.images.detach().requires_grad_()
    texts = whole.texts.detach().requires_grad_()
    leaves = Features(
        images, texts, whole.teacher_images, whole.teacher_texts, whole.keys,
        whole.ranked, whole.masked,
    )  # fmt: skip
    losses: dict[str, Tensor] = {}
    at_images, at_texts = torch.zeros_like(images), torch.zeros_like(texts)
    at_parameters: dict[str, Tensor] = {}
    if context.towers:
        losses = step.objectives.contrast(step.model, leaves, context, step.world)
        weights = step.objectives.weights
        terms = [weights[name] * loss for name, loss in losses.items() if name in weights]
        weighted = torch.stack(terms).sum()
        learn = {n: p for n, p in step.model.contrast_parameters.items() if p.requires_grad}
        gradients = torch.autograd.grad(weighted, (images, texts, *learn.values()))
        at_images, at_texts = gradients[:2]
        at_parameters = dict(zip(learn, gradients[2:], strict=True))
    ranked, masked = step.world.average(whole.ranked), step.world.average(whole.masked)
    count, size = len(parts), len(parts[0].keys)
    pulls: list[CachedGradients | None] = []
    for k in range(count):
        here = slice(k * size, (k + 1) * size)
        # A step's loss is the mean over its chunks; this part of it is already the whole's.
        own = count * at_images[here], count * at_texts[here]
        pulls.append(CachedGradients(*own, at_parameters, ranked, masked))
    return {name: loss.detach() for name, loss in losses.items()}, pulls
