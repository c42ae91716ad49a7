"""The cost of a training step: GFLOPs of every part, parameters, and memory a GPU.

Every part of the model is traced by tensor shapes only, and its matrix products are counted, so
that the figures follow the code. One multiply-accumulate is two floating-point operations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from r2d2.config import Config
from r2d2.model.encoded_states import EncodedStates
from r2d2.model.r2d2 import R2D2
from r2d2.model.towers import freeze

TRACED = 4  # pairs; the cost of a pair depends on their number only in the contrast
NEGATIVES = 2  # negatives that FGR ranks for each positive: another text, and another image


@dataclass(frozen=True)
class Cost:
    """The cost of one part of a step, for one pair."""

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
    """Trace a configuration.

    Args:
        config: configuration of a run; its batch size is that of all GPUs together.
        length: tokens of a text; None: the maximum length.
        gpus: number of GPUs over which the batch is spread.
    """
    length = length or config.model.text.max_length
    with torch.device("meta"):
        model = R2D2(config.model)
    freeze(model.towers, config.train.freeze_vision, config.train.freeze_text)
    parts = tuple(_parts(config, model, length, gpus))
    everything = sum(p.numel() for p in model.parameters())
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    teachers = sum(p.numel() for p in model.towers.parameters()) if _taught(config) else 0
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
    return ranks and gpus > 1 and drawn


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


def _taught(config: Config) -> bool:
    return config.objectives.teachers and not config.train.labelled


def _width(config: Config) -> float:
    """The size of an activation relative to float32: autocast saves them in two bytes."""
    return 1.0 if config.system.precision == "float32" else 0.5


def _parts(config: Config, model: R2D2, length: int, gpus: int) -> Iterator[Cost]:
    """Every part of the step, in the order in which the losses use it; see objectives/losses.py."""
    o, n = config.objectives, TRACED
    towers, vision, text = model.towers, config.model.vision, config.model.text
    pixels = torch.empty(n, 3, vision.image_size, vision.image_size, device="meta")
    ids = torch.empty(n, length, dtype=torch.long, device="meta")
    real = torch.empty(n, length, dtype=torch.bool, device="meta")
    both = config.objectives.mlm or o.fgd  # clean and masked texts
    labelled = config.train.labelled
    fixed_images, fixed_texts = config.train.freeze_vision, config.train.freeze_text
    # Activation checkpointing does not run frozen layers again
    image_layers = 0 if fixed_images else vision.layers
    text_layers = 0 if fixed_texts else text.layers
    keep = config.system.checkpoint_activations
    children = dict(towers.named_children())
    in_text = [children.pop("text"), children.pop("text_projection")]
    in_vision = list(children.values())

    def cost(name: str, modules: list[nn.Module], call: Callable[..., Any], *inputs: Tensor,
             learns: bool = True, layers: int = 0) -> Cost:  # fmt: skip
        parameters = sum(p.numel() for module in modules for p in module.parameters())
        forward, backward, saved = _trace(call, inputs, learns)
        if keep and layers:  # only the layers' inputs are saved, and their forward pass runs again
            backward += forward if learns else 0.0
            saved = min(saved, layers * sum(x.numel() for x in inputs if x.is_floating_point()) * 4)
        return Cost(name, parameters, forward / n, backward / n, saved / n)

    # Where no cross encoder reads an item's states, the last layer runs at [CLS] only.
    ranks = bool(model.has_match and (o.fgr or labelled))

    def embed_texts(i: Tensor, m: Tensor) -> Tensor:
        return towers.embed_texts(i, m)

    def read_texts(i: Tensor, m: Tensor) -> Tensor:
        side = towers.encode_texts(i, m)
        return side.embedding.sum() + side.states.sum()

    def read_images(x: Tensor) -> Tensor:
        side = towers.encode_images(x)
        return side.embedding.sum() + side.states.sum()

    encoders = [
        cost("image encoder", in_vision, read_images if ranks else towers.embed_images, pixels,
             layers=image_layers),
        cost("text encoder", in_text, read_texts if ranks else embed_texts, ids, real,
             layers=text_layers),
    ]  # fmt: skip
    if both and not labelled:  # under ET the cross encoders read one of the two forms of a text
        apart = ranks and o.mlm and not o.et
        encoders.append(
            cost("text encoder, masked text", [], read_texts if apart else embed_texts, ids, real,
                 layers=text_layers)
        )  # fmt: skip
    if config.reads_second_texts:
        encoders.append(
            cost("text encoder, second text", [], embed_texts, ids, real, layers=text_layers)
        )
    yield from encoders
    if config.system.accumulate > 1 and not labelled:  # the contrast sees all chunks first
        yield Cost("features of all chunks", 0, sum(part.forward for part in encoders), 0.0, 0.0)
    if o.fgd and not labelled:
        kept = max(1, round(o.image_keep * vision.patches))
        chosen = torch.empty(n, kept, dtype=torch.long, device="meta")
        yield cost(f"image encoder, {kept} patches", [], towers.embed_images, pixels, chosen,
                   layers=image_layers)  # fmt: skip
    if _taught(config):
        for name, modules, call, inputs in (
            ("teacher of images", in_vision, towers.embed_images, (pixels,)),
            ("teacher of texts", in_text, towers.embed_texts, (ids, real)),
        ):
            yield cost(name, modules, call, *inputs, learns=False)
    if not labelled:
        yield _contrast(config, gpus)
    if config.reads_second_texts:
        yield _second_contrast(config)
    if not model.has_match or not (o.fgr or labelled):
        return
    # each pair's own states, and at most one image and one text from other GPUs as negatives
    items = 2 * n if exchanges_states(config, gpus) else n
    states = torch.empty(items, 1 + vision.patches, vision.width, device="meta")
    states.requires_grad_(not fixed_images)
    words = torch.empty(items, length, text.width, device="meta", requires_grad=not fixed_texts)
    real = torch.empty(items, length, dtype=torch.bool, device="meta")
    pairs = n if labelled else (o.list_size or 1 + NEGATIVES) * n
    index = torch.empty(pairs, dtype=torch.long, device="meta")
    masked = max(1, round(o.mask_share * length))
    side = _sides(states, words, real)
    together = o.et and not labelled

    def cross_text(read: int) -> Cost:
        """The cost if the last layer runs at `read` positions of each pair."""
        positions = torch.empty(pairs, read, dtype=torch.long, device="meta")
        return cost("text-to-image cross encoder", [model.text_to_image, model.match_head_text],
                    lambda v, t, i, k: model.cross_text(*side(v, t), (i, i), k), states, words,
                    index, positions, layers=config.model.cross_layers)  # fmt: skip

    # [CLS] of every pair, and the masked tokens of the positives that are read masked
    share = n / pairs * o.et_masked_share if together else 0.0
    yield _between(cross_text(1), cross_text(1 + masked), share)
    yield cost("image-to-text cross encoder",
               [model.image_to_text, model.match_head_image, model.image_cross_projection],
               lambda v, t, i: model.cross_image(*side(v, t), (i, i)), states, words, index,
               layers=config.model.cross_layers)  # fmt: skip
    if not o.mlm or labelled:
        return
    if not together:
        where = torch.empty(n, 1 + masked, dtype=torch.long, device="meta")
        alone = _sides(states[:n], words[:n], real[:n])
        yield cost("text-to-image, masked text", [],
                   lambda v, t, k: model.cross_text(*alone(v, t), None, k), states[:n], words[:n],
                   where, layers=config.model.cross_layers)  # fmt: skip
    asked = n * masked * (o.et_masked_share if together else 1.0)
    hidden = torch.empty(max(1, round(asked)), text.width, device="meta", requires_grad=True)
    yield cost("masked tokens' head", [model.mlm_head],
               lambda x: model.mlm_head(x, towers.token_embedding), hidden)  # fmt: skip


def _between(less: Cost, more: Cost, share: float) -> Cost:
    """Interpolate between two costs."""

    def at(a: float, b: float) -> float:
        return a + share * (b - a)

    return replace(
        less,
        forward=at(less.forward, more.forward),
        backward=at(less.backward, more.backward),
        activations=at(less.activations, more.activations),
    )


def _sides(
    states: Tensor, words: Tensor, real: Tensor
) -> Callable[[Tensor, Tensor], tuple[EncodedStates, EncodedStates]]:
    """Both modalities as the cross encoders read them, without embeddings."""
    return lambda v, t: (EncodedStates(v, None, v[:, 0]), EncodedStates(t, real, t[:, 0]))


def _contrast(config: Config, gpus: int) -> Cost:
    """TgD or GCPR: every feature with all of the batch and of the queue, in both directions."""
    o, d = config.objectives, config.model.embed_dim
    candidates = config.train.batch_size + (o.queue_size if o.tgd else 0)
    product = 2.0 * d * candidates  # FLOPs of one feature with all candidates
    student = 2 * product
    teacher = student if o.tgd else 0.0
    kept = 4.0 * 2 * candidates * (2 if o.tgd else 1)
    return Cost("contrast" + (", queue" if o.tgd else ""), 0, student + teacher, 2 * student, kept)


def _second_contrast(config: Config) -> Cost:
    """Pictures with second texts, where every picture of the batch has one."""
    product = 2.0 * config.model.embed_dim * config.train.batch_size
    kept = 4.0 * 2 * config.train.batch_size
    return Cost("contrast, second texts", 0, 2 * product, 4 * product, kept)


def _trace(
    call: Callable[..., Any], inputs: tuple[Tensor, ...], learns: bool
) -> tuple[float, float, float]:
    """FLOPs of the forward and the backward pass, and bytes saved between them.

    Inputs that come from trained layers require a gradient.
    """
    if not learns:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            call(*inputs)
        return float(counter.get_total_flops()), 0.0, 0.0
    kept, counter = _SavedBytes(), FlopCounterMode(display=False)
    with kept, torch.autograd.graph.saved_tensors_hooks(kept.add, lambda x: x), counter:
        out = call(*inputs)
    forward = float(counter.get_total_flops())
    if not out.requires_grad:  # a frozen tower without a projection
        return forward, 0.0, 0.0
    with FlopCounterMode(display=False) as counter:
        out.sum().backward()
    return forward, float(counter.get_total_flops()), float(sum(kept.bytes.values()))


class _SavedBytes(TorchFunctionMode):
    """The bytes saved for the backward pass, each storage once.

    For attention these are its inputs and its result, since GPU kernels do not save probabilities.
    """

    def __init__(self) -> None:
        super().__init__()
        self.bytes: dict[int, int] = {}
        self._held: list[Any] = []  # the address of a freed storage could be used again
        self._within = False

    def add(self, x: Tensor) -> Tensor:
        """Count a tensor that autograd saves; weights are counted elsewhere."""
        if not self._within and not isinstance(x, nn.Parameter) and not _is_weight(x):
            storage = x.untyped_storage()
            self.bytes[storage._cdata] = storage.nbytes()
            self._held.append(storage)
        return x

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is not torch.nn.functional.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        self._within = True
        try:
            out = func(*args, **(kwargs or {}))
        finally:
            self._within = False
        for x in (*args[:3], out):
            self.add(x)
        return out


def _is_weight(x: Tensor) -> bool:
    """Whether a tensor is a view of a parameter, such as the transpose in a linear map."""
    return isinstance(x._base, nn.Parameter)
