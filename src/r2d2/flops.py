"""The cost of a training step: GFLOPs of every part, parameters, and memory a GPU.

The step of the trainer runs on tensors that have shapes and no values, and its matrix products are
counted for the modules in which they run, so that the figures follow the code. One
multiply-accumulate is two floating-point operations.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, UntypedStorage, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.flop_counter import FlopCounterMode

from r2d2.config import Config
from r2d2.model.encoded_states import EncodedStates
from r2d2.model.r2d2 import R2D2
from r2d2.objectives.batch import SecondTexts, StepContext, TrainingBatch
from r2d2.training.distributed import World
from r2d2.training.step import Passes, Step, backward, make_step

TRACED = 128  # pairs of a chunk at most: enough for the shares of tokens that are masked at random
SPECIAL, MASK, TOKEN = 0, 1, 2  # ids of the traced texts
LOSSES = "losses"  # what runs outside of the model's parts
PARTS = {  # modules that are reported by another name, or together; the others by their own
    "vision": "image encoder",
    "pooled_norm": "image encoder",
    "image_projection": "image encoder",
    "text": "text encoder",
    "text_projection": "text encoder",
    "text_to_image": "text-to-image cross encoder",
    "match_head_text": "text-to-image cross encoder",
    "image_to_text": "image-to-text cross encoder",
    "match_head_image": "image-to-text cross encoder",
    "image_cross_projection": "image-to-text cross encoder",
    "mlm_head": "masked tokens' head",
}


@dataclass(frozen=True)
class Cost:
    """The cost of one part of a step, for one pair: of all passes through the part."""

    name: str
    parameters: int
    forward: float  # FLOPs
    backward: float  # FLOPs; 0 if nothing is trained
    activations: float  # bytes, in float32, that the forward pass saves for the backward pass

    @property
    def step(self) -> float:
        """FLOPs of both passes."""
        return self.forward + self.backward


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes on each GPU."""

    weights: float
    gradients: float
    optimizer: float  # both moments of Adam
    teachers: float  # and queues
    activations: float  # of a chunk

    @property
    def total(self) -> float:
        """The sum of all parts; kernels, communication buffers and fragments are not included."""
        return float(sum(asdict(self).values()))


@dataclass(frozen=True)
class FlopsReport:
    """The cost of a configuration."""

    config: Config
    length: int  # tokens a text
    gpus: int
    parts: tuple[Cost, ...]
    memory: MemoryEstimate
    trainable: int  # parameters
    everything: int  # parameters, teachers included
    teachers: int  # parameters of the teachers

    @property
    def forward(self) -> float:
        """FLOPs a pair of all forward passes of a training step, with those of the teachers."""
        return sum(part.forward for part in self.parts)

    @property
    def step(self) -> float:
        """FLOPs a pair of a training step."""
        return sum(part.step for part in self.parts)

    def lines(self) -> list[str]:
        """A table to print."""
        config = self.config
        head = (
            f"preset {config.preset}, variant {config.variant}: {config.model.vision.patches} "
            f"patches, {self.length} tokens a text, {config.train.batch_size} pairs a step on "
            f"{self.gpus} GPU{'s' if self.gpus > 1 else ''}"
        )
        rows = [f"{'part':28}{'parameters':>12}{'forward':>10}{'step':>10}   GFLOPs a pair"]
        rows += [
            f"{part.name:28}{part.parameters / 1e6:>11.1f}M{part.forward / 1e9:>10.2f}"
            f"{part.step / 1e9:>10.2f}"
            for part in self.parts
        ]
        rows.append(
            f"{'all':28}{self.everything / 1e6:>11.1f}M{self.forward / 1e9:>10.2f}"
            f"{self.step / 1e9:>10.2f}"
        )
        kinds = ", ".join(f"{k} {v / 2**30:.2f}" for k, v in asdict(self.memory).items())
        memory = f"memory a GPU: {self.memory.total / 2**30:.1f} GiB ({kinds})"
        return [head, *rows, f"trainable parameters: {self.trainable / 1e6:.1f}M", memory]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "preset": self.config.preset,
            "variant": self.config.variant,
            "length": self.length,
            "gpus": self.gpus,
            "forward": self.forward,
            "step": self.step,
            "trainable": self.trainable,
            "everything": self.everything,
            "parts": [asdict(part) for part in self.parts],
            "memory": asdict(self.memory) | {"total": self.memory.total},
        }


def flops(config: Config, length: int | None = None, gpus: int = 1) -> FlopsReport:
    """Trace a training step, of all objectives and with a full queue.

    The search for unlabelled candidates (`objectives.unlabelled_margin`) is left out.

    Args:
        config: configuration of a run; its batch size is that of all GPUs together.
        length: tokens of a text; None: the maximum length.
        gpus: number of GPUs over which the batch is spread.

    Raises:
        R2D2Error: a package is missing that the configuration needs, such as peft for LoRA.
    """
    length = length or config.model.text.max_length
    exchanges = exchanges_states(config, gpus)
    world = _TracedWorld(batch=config.train.batch_size, exchanges=exchanges)
    # Which candidates are unlabelled depends on values, which the trace has not
    objectives = replace(config.objectives, unlabelled_margin=None)
    system = replace(config.system, compile=False)
    plain = replace(config, objectives=objectives, system=system)
    with torch.device("meta"):
        step = make_step(R2D2(config.model), plain, MASK, (SPECIAL,), world)
    parts = _trace_step(step, plain, length, gpus)
    everything = sum(p.numel() for p in step.model.parameters())
    trainable = sum(p.numel() for p in step.model.parameters() if p.requires_grad)
    teacher = None if config.train.labelled else step.objectives.teacher
    teachers = 0 if teacher is None else sum(p.numel() for p in teacher.parameters())
    memory = _memory(config, parts, gpus, everything, trainable, teachers)
    return FlopsReport(
        config, length, gpus, parts, memory, trainable, everything + teachers, teachers
    )


def on_gpus(report: FlopsReport, gpus: int) -> FlopsReport:
    """Estimate the configuration on another number of GPUs; both must be above 1, or equal."""
    own = report.everything - report.teachers
    memory = _memory(report.config, report.parts, gpus, own, report.trainable, report.teachers)
    return replace(report, gpus=gpus, memory=memory)


def exchanges_states(config: Config, gpus: int) -> bool:
    """Whether hidden states of hard negatives are sent between GPUs."""
    ranks = config.objectives.fgr and config.model.cross_layers > 0 and not config.train.labelled
    # a chunk draws from itself only, and a block is within one process
    drawn = config.system.accumulate == 1 and not config.objectives.list_size
    groups = config.objectives.negative_groups
    within = groups > 0 and groups % gpus == 0  # then each group is within one process
    return ranks and gpus > 1 and drawn and not within


def _memory(
    config: Config,
    parts: Sequence[Cost],
    gpus: int,
    everything: int,
    trainable: int,
    teachers: int,
) -> MemoryEstimate:
    """`everything`, `trainable`, `teachers`: parameters, the first without the teachers'."""
    share = 1 / gpus if config.system.parallel == "fsdp" else 1.0
    queues = (
        2 * config.objectives.queue_size * config.model.embed_dim if config.objectives.tgd else 0
    )
    chunk = config.train.batch_size / gpus / config.system.accumulate
    return MemoryEstimate(
        weights=4 * everything * share,
        gradients=4 * trainable * share,
        optimizer=8 * trainable * share,
        teachers=4 * (teachers * share + queues),
        activations=chunk * sum(part.activations for part in parts) * _width(config),
    )


def _width(config: Config) -> float:
    """The size of an activation relative to float32: autocast saves them in two bytes."""
    return 1.0 if config.system.precision == "float32" else 0.5


def part_of(name: str) -> str:
    """The part of the report to which a module or a parameter of `Step` belongs, by its name."""
    teacher = "objectives.teacher."
    for parent, owner in (("model.towers.", ""), ("model.", ""), (teacher, "teacher's ")):
        if name.startswith(parent):
            module = name.removeprefix(parent).split(".")[0]
            return owner + PARTS.get(module, module)
    return LOSSES


def _trace_step(step: Step, config: Config, length: int, gpus: int) -> tuple[Cost, ...]:
    """The parts of the step, in the order in which it uses them first."""
    chunks = min(2, config.system.accumulate)  # a third one costs what the second does
    block = config.objectives.list_size if config.objectives.fgr else 0
    size = min(TRACED, config.train.batch_size // (gpus * config.system.accumulate))
    size = max(1, size // block) * block if block else max(1, size)
    pairs, pixels = size * chunks, config.model.vision.image_size
    ids, index = torch.full((pairs, length), TOKEN), torch.arange(pairs)
    real = torch.ones_like(ids, dtype=torch.bool)
    batch = TrainingBatch(
        pixels=torch.empty(pairs, 3, pixels, pixels, device="meta"),
        ids=ids,
        mask=real,
        keys=torch.arange(2 * pairs).view(pairs, 2),
        index=index,
        labels=torch.ones_like(index) if config.train.labelled else None,
        second=SecondTexts(ids, real, index, real[:, 0]) if config.reads_second_texts else None,
    )
    if step.objectives.queue is not None:
        step.objectives.queue.count = step.objectives.queue.size
    trace = _Trace(step)
    context = StepContext(seed=0, step=1, alpha=0.4, uniform_share=0.5, group_size=block)
    with trace:
        backward(step, batch, context, Passes(chunks))
    parameters: Counter[str] = Counter()
    for name, parameter in step.named_parameters():
        parameters[part_of(name)] += parameter.numel()
    return tuple(
        Cost(
            part,
            parameters[part],
            *(c[part] / pairs for c in (trace.forward, trace.backward, trace.saved)),
        )
        for part in trace.forward
    )


@dataclass(frozen=True)
class _TracedWorld(World):
    """One process of a run whose batch has `batch` pairs; the others send nothing but shapes."""

    batch: int = 1  # pairs of all processes
    exchanges: bool = False  # whether hard negatives come from other processes

    def gather(self, x: Tensor) -> Tensor:
        """The rows of all processes; those of the others are like no row of this one."""
        return torch.cat([x, x.new_full((max(0, self.batch - len(x)), *x.shape[1:]), -1)])

    def average(self, x: Tensor) -> Tensor:
        """The tensor itself, without gradient."""
        return x.detach()

    def fetch(
        self, sides: tuple[EncodedStates, EncodedStates], wanted: tuple[Tensor, Tensor]
    ) -> tuple[tuple[EncodedStates, EncodedStates], tuple[Tensor, Tensor]]:
        """As many rows of other processes as there are pairs: the most that can be drawn."""
        if not self.exchanges:
            return sides, wanted
        images, texts = (EncodedStates.cat([side, side]) for side in sides)
        return (images, texts), wanted


class Shapes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Lets tensors with values and tensors without values ("meta") meet in one operation.

    The result then has no values either. So masks and draws, on which shapes depend, are computed,
    and what the model makes of pixels and weights is not.
    """

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        if len({x.is_meta for x in tensors}) > 1:
            args = tuple(_indices(x) if isinstance(x, list | tuple) else x for x in args)
            args, kwargs = tree_map(_shape_of, (args, kwargs))
        return func(*args, **kwargs)


def _indices(arguments: Sequence[Any]) -> list[Any]:
    """Masks with values, by which a tensor is indexed, as the indices that they stand for."""
    expanded: list[Any] = []
    for x in arguments:
        mask = isinstance(x, Tensor) and x.dtype == torch.bool and not x.is_meta
        expanded += x.nonzero().unbind(1) if mask else [x]
    return expanded


def _shape_of(x: Any) -> Any:
    return x.to("meta") if isinstance(x, Tensor) else x


class _Trace(TorchFunctionMode):
    """Counts the operations and the saved bytes of a step, for each of its parts.

    In the backward pass an operation counts for the part that saved its inputs, and where a layer
    runs again, by activation checkpointing, for the layer's part.
    """

    def __init__(self, step: Step) -> None:
        super().__init__()
        self.forward: Counter[str] = Counter()  # FLOPs
        self.backward: Counter[str] = Counter()  # FLOPs
        self.saved: Counter[str] = Counter()  # bytes, each storage once
        self._operations = FlopCounterMode(display=False)
        self._contexts = ExitStack()
        self._counted = 0
        self._part = LOSSES
        self._callers: list[str] = []  # parts that wait for an inner one
        self._in_backward = False
        self._in_attention = self._saves_attention = False
        self._storages: dict[int, UntypedStorage] = {}  # a freed address could be used again
        for name, module in step.named_modules():
            if part_of(name) != LOSSES:
                module.register_forward_pre_hook(partial(self._enter, part_of(name)))
                module.register_forward_hook(self._leave)

    def __enter__(self) -> _Trace:
        super().__enter__()  # type: ignore[no-untyped-call]
        self._contexts.enter_context(saved_tensors_hooks(self._save, self._restore))
        self._contexts.enter_context(Shapes())  # type: ignore[no-untyped-call]
        self._contexts.enter_context(self._operations)
        return self

    def __exit__(self, *error: object) -> None:
        self._contexts.close()
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        self._switch(LOSSES)

    def _switch(self, part: str) -> None:
        """Count what ran since the last call for the part so far."""
        total = self._operations.get_total_flops()
        if total > self._counted:
            counts = self.backward if self._in_backward else self.forward
            counts[self._part] += total - self._counted
        self._counted, self._part = total, part

    def _enter(self, part: str, *_: Any) -> None:
        if not self._in_backward:  # a layer that runs again may stop before its end
            self._callers.append(self._part)
        self._switch(part)

    def _leave(self, *_: Any) -> None:
        if not self._in_backward:
            self._switch(self._callers.pop())

    def _save(self, x: Tensor) -> tuple[Tensor, str]:
        if self._in_attention:
            self._saves_attention = True
        else:
            self._count_bytes(x)
        return x, self._part

    def _restore(self, saved: tuple[Tensor, str]) -> Tensor:
        self._switch(saved[1])
        return saved[0]

    def _count_bytes(self, x: Tensor) -> None:
        """Count a tensor that autograd saves; weights and views of them are counted elsewhere."""
        storage = x.untyped_storage()
        weight = isinstance(x, nn.Parameter) or isinstance(x._base, nn.Parameter)
        if not weight and storage._cdata not in self._storages:
            self._storages[storage._cdata] = storage
            self.saved[self._part] += storage.nbytes()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in (Tensor.backward, torch.autograd.grad):
            self._switch(LOSSES)
            self._in_backward = True
            result = func(*args, **kwargs)
            self._switch(LOSSES)
            self._in_backward = False
            return result
        if func is not nn.functional.scaled_dot_product_attention:
            return func(*args, **kwargs)
        # Kernels on GPUs save the inputs and the result, and not the probabilities.
        self._in_attention, self._saves_attention = True, False
        attended = func(*args, **kwargs)
        self._in_attention = False
        for x in (*args[:3], attended) if self._saves_attention else ():
            self._count_bytes(x)
        return attended
