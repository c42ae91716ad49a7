"""Run the forward and backward passes of a step, on the whole batch or chunk by chunk.

Chunks (`system.accumulate`) save memory without making the contrast smaller (GradCache, arXiv
2101.06983). A first pass without autograd computes the features of every chunk. The contrast over
all of them gives a gradient at each feature. A second pass, chunk by chunk, backpropagates that
gradient together with the losses that a chunk can compute by itself. The sum of the gradients is
that of the large batch.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.nn.parallel import DistributedDataParallel

from r2d2.config import Config
from r2d2.keyed import Draw, key
from r2d2.model.dropout import set_dropout
from r2d2.model.r2d2 import R2D2
from r2d2.model.towers import freeze
from r2d2.objectives.batch import (
    CachedGradients,
    Features,
    StepContext,
    StepOutput,
    TrainingBatch,
)
from r2d2.objectives.losses import Objectives
from r2d2.training.distributed import World
from r2d2.training.lora import add_lora
from r2d2.training.memory import checkpoint_activations, compile_layers


class Step(nn.Module):
    """The model and the objectives as one module, so that DDP has a single forward pass."""

    def __init__(self, model: R2D2, objectives: Objectives, world: World) -> None:
        super().__init__()
        self.model = model
        self.objectives = objectives
        self.world = world
        self.together = False  # under DDP, which waits for the gradient of every parameter

    def forward(
        self, batch: TrainingBatch, context: StepContext, cached: CachedGradients | None = None
    ) -> StepOutput:
        """See `Objectives.forward`."""
        output: StepOutput = self.objectives(self.model, batch, context, self.world, cached)
        if self.together:
            idle = sum(p.sum() for p in resting(self.model, context))
            output.losses["total"] = output.losses["total"] + 0 * idle
        return output

    def features(self, batch: TrainingBatch, context: StepContext) -> Features:
        """See `Objectives.features`."""
        return self.objectives.features(self.model, batch, context)


def make_step(
    model: R2D2, config: Config, mask_id: int, special_ids: Iterable[int], world: World
) -> Step:
    """The step of a run, on the device of the model, which is changed in place by the settings.

    Args:
        model: the student.
        config: of the run.
        mask_id: the id of [MASK].
        special_ids: ids that are never masked.
        world: the processes.
    """
    train = config.train
    if train.dropout is not None:
        set_dropout(model, train.dropout)
    add_lora(model, train)
    objectives = Objectives(model, config.objectives, mask_id, special_ids)
    freeze(model.towers, train.freeze_vision, train.freeze_text)
    if config.system.compile:
        compile_layers(model, objectives.teacher)
    if config.system.checkpoint_activations:
        checkpoint_activations(model)
    return Step(model, objectives.to(model.towers.device), world)


@dataclass(frozen=True)
class Passes:
    """The settings of the passes of a step."""

    accumulate: int = 1  # chunks
    bfloat16: bool = False  # autocast; weights, optimiser and losses stay float32
    dropout: bool = False  # whether anything is drawn by torch's generator

    def prepare(
        self, chunk: TrainingBatch, number: int, context: StepContext, rank: int
    ) -> AbstractContextManager[object]:
        """Seed dropout for a pass over a chunk, and give the pass's autocast.

        Both passes over a chunk have the same dropout, and other chunks have another one.
        """
        if self.dropout:
            position = rank * self.accumulate + number
            torch.manual_seed(key(context.seed, context.step, Draw.DROPOUT) ^ position)
        if not self.bfloat16:
            return nullcontext()
        return torch.autocast(chunk.pixels.device.type, torch.bfloat16)


def leaves_unused(step: Step, labelled: bool) -> bool:
    """Return whether some trained parameters are not in the loss; DDP must then search for them."""
    config = step.objectives.config
    return step.model.has_match and (labelled or not (config.fgr and config.mlm))


def resting(model: R2D2, context: StepContext) -> list[nn.Parameter]:
    """Return the trained parameters that are not in the loss of this step."""
    return [
        p for name, p in model.named_parameters()
        if p.requires_grad
        and not (
            context.towers if name in model.contrast_parameters or name.startswith("towers.")
            else context.ranking
        )
    ]  # fmt: skip


def spread(step: Step, device: torch.device, find_unused: bool) -> Step | DistributedDataParallel:
    """Return the module that a process runs, wrapped in DDP where there are several processes."""
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


def unwrapped(module: Step | DistributedDataParallel) -> Step:
    """Return the module that was passed to `spread`."""
    step = module.module if isinstance(module, DistributedDataParallel) else module
    assert isinstance(step, Step)
    return step


def backward(
    module: Step | DistributedDataParallel,
    batch: TrainingBatch,
    context: StepContext,
    passes: Passes,
) -> StepOutput:
    """Accumulate the gradient of the global batch's loss; return the losses, averaged over chunks.

    Args:
        module: of `spread`.
        batch: this process's share.
        context: of the step.
        passes: how the step runs.
    """
    step = unwrapped(module)
    chunks = batch.chunks(passes.accumulate) if passes.accumulate > 1 else [batch]
    cache = None
    if len(chunks) > 1 and batch.labels is None:  # labelled pairs have no contrast
        cache = GradCache(step, chunks, context, passes)
    outputs = []
    for number, chunk in enumerate(chunks):
        with _no_sync(module, number < len(chunks) - 1):
            with passes.prepare(chunk, number, context, step.world.rank):
                output = module(chunk, context, cache and cache.of_chunk(number))
            (output.losses["total"] / len(chunks)).backward()
        outputs.append(output)
    if step.together:  # zeros: the optimiser would still decay by them
        for parameter in resting(step.model, context):
            parameter.grad = None
    names = outputs[0].losses
    mean = {n: torch.stack([o.losses[n].detach() for o in outputs]).mean() for n in names}
    if cache is None:
        return StepOutput(mean, outputs[0].queue_entries)
    mean |= cache.contrast.losses
    return StepOutput(mean | {"total": step.objectives.total(mean)}, cache.contrast.queue_entries)


class GradCache:
    """Compute the contrast over all chunks of a share, and its gradient at the features of each."""

    def __init__(
        self, step: Step, chunks: Sequence[TrainingBatch], context: StepContext, passes: Passes
    ) -> None:
        self._parts = []
        for number, chunk in enumerate(chunks):
            with torch.no_grad(), passes.prepare(chunk, number, context, step.world.rank):
                self._parts.append(step.features(chunk, context))
        whole = Features.cat(self._parts)
        images, texts = (x.detach().requires_grad_() for x in (whole.images, whole.texts))
        self.contrast = StepOutput()
        self._images, self._texts = torch.zeros_like(images), torch.zeros_like(texts)
        self._second_texts: Tensor | None = None
        self._parameters: dict[str, Tensor] = {}
        if context.towers:
            inputs, leaves = [images, texts], replace(whole, images=images, texts=texts)
            if whole.second is not None:
                inputs.append(whole.second.texts.detach().requires_grad_())
                leaves = replace(leaves, second=replace(whole.second, texts=inputs[2]))
            contrast = step.objectives.contrast(step.model, leaves, context, step.world)
            own = {n: p for n, p in step.model.contrast_parameters.items() if p.requires_grad}
            total = step.objectives.total(contrast.losses)
            gradients = torch.autograd.grad(total, (*inputs, *own.values()))
            self._images, self._texts = gradients[:2]
            if whole.second is not None:
                self._second_texts = gradients[2]
            self._parameters = dict(zip(own, gradients[len(inputs) :], strict=True))
            losses = {name: loss.detach() for name, loss in contrast.losses.items()}
            self.contrast = replace(contrast, losses=losses)
        self._denominators = whole.denominators.average(step.world)

    def of_chunk(self, number: int) -> CachedGradients:
        """Return what the second pass over a chunk needs."""
        count, size = len(self._parts), len(self._parts[0].keys)
        rows = slice(number * size, (number + 1) * size)
        # A step's loss is the mean over its chunks; this gradient is already that of the whole.
        return CachedGradients(
            count * self._images[rows],
            count * self._texts[rows],
            None if self._second_texts is None else count * self._second_texts[rows],
            self._parameters,
            self._parts[number].teacher,
            self._denominators,
        )


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
