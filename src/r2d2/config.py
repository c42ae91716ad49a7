"""Settings: frozen dataclasses, one a concern; presets/ holds sizes, variants/ ablations.

A default that the paper gives says so; every other one is ours.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, TypeVar, get_type_hints

import yaml

from r2d2.errors import R2D2Error

_INFINITY = float("inf")
_Range = tuple[float, float]
_SIZE: _Range = (1, _INFINITY)
_COUNT: _Range = (0, _INFINITY)
_POSITIVE: _Range = (1e-12, _INFINITY)
_SHARE: _Range = (0, 1)


def _within(name: str, value: float, limits: _Range) -> None:
    low, high = limits
    if not (low <= value <= high and value < _INFINITY):  # NaN fails too
        wanted = f"between {low:g} and {high:g}" if high < _INFINITY else f"at least {low:g}"
        raise R2D2Error(f"{name} is {value}: it must be {wanted}")


def _check(config: object, group: str, limits: Mapping[str, _Range]) -> None:
    for name, limit in limits.items():
        _within(f"{group}.{name}", getattr(config, name), limit)


@dataclass(frozen=True)
class VisionConfig:
    """ViT with a class token, pre-norm (CLIP's)."""

    image_size: int = 224  # pixels, square
    patch_size: int = 16  # pixels
    width: int = 768  # d_v
    layers: int = 12
    heads: int = 12
    output_norm: bool = False  # a norm on V; the official weights have none

    def __post_init__(self) -> None:
        sizes = ("image_size", "patch_size", "width", "heads")
        _check(self, "model.vision", {**dict.fromkeys(sizes, _SIZE), "layers": _COUNT})
        if self.image_size % self.patch_size:
            raise R2D2Error(
                f"model.vision: image_size {self.image_size} is not a multiple of "
                f"patch_size {self.patch_size}"
            )

    @property
    def patches(self) -> int:
        """P, the number of patches."""
        return (self.image_size // self.patch_size) ** 2


@dataclass(frozen=True)
class TextConfig:
    """BERT, post-norm; RoBERTa-wwm-ext is one of base size."""

    vocab_size: int = (
        21128  # RoBERTa-wwm-ext's; replaced by the tokenizer's own size when one is trained
    )
    max_length: int = 64  # tokens, [CLS] and [SEP] included (official code)
    width: int = 768  # d_t, also the width of both cross encoders
    layers: int = 12
    heads: int = 12

    def __post_init__(self) -> None:
        sizes = ("vocab_size", "width", "heads")
        _check(self, "model.text", {**dict.fromkeys(sizes, _SIZE), "layers": _COUNT})
        _check(self, "model.text", {"max_length": (3, _INFINITY)})  # [CLS], a token, [SEP]


@dataclass(frozen=True)
class ModelConfig:
    """The whole model's shape."""

    vision: VisionConfig = field(default_factory=VisionConfig)
    text: TextConfig = field(default_factory=TextConfig)
    cross_layers: int = (
        6  # of each cross encoder (paper); 0: no cross encoders, no match head (PRD2)
    )
    embed_dim: int = 768  # d, shared width of f_I and f_T (official code)
    temperature: float = 0.07  # start of tau (paper), learnt within [0.001, 0.5]
    dropout: float = 0.0  # in text and cross encoders

    def __post_init__(self) -> None:
        _check(self, "model", {"cross_layers": _COUNT, "embed_dim": _SIZE, "dropout": (0.0, 0.99)})
        _check(self, "model", {"temperature": (0.001, 0.5)})
        for name, side in (("vision", self.vision), ("text", self.text)):
            if side.width % side.heads:
                raise R2D2Error(
                    f"model.{name}: width {side.width} is not a multiple of heads {side.heads}"
                )


@dataclass(frozen=True)
class ObjectiveConfig:
    """Which objectives are on (the variant's business) and their constants (docs/method.md)."""

    tgd: bool = True  # target-guided distillation; off: plain GCPR
    fgd: bool = True  # feature-guided distillation
    fgr: bool = True  # fine-grained ranking with both cross encoders
    mlm: bool = True  # masked language modelling
    et: bool = True  # enhanced training: FGR's positive pass is MLM's pass
    alpha: float = 0.4  # share of the soft target, raised from 0 over the first epoch
    momentum: float = 0.995  # of the teachers (paper)
    queue_size: int = 36864  # Q, features a queue
    queue_decay: float = 0.99  # a step, of a queued feature's weight (paper)
    mask_share: float = 0.15  # of a text's tokens (paper)
    et_masked_share: float = 0.5  # of the texts masked under ET; 1: all (the paper, long captions)
    image_keep: float = 0.5  # share of the patches that FgD's student sees
    teacher_temperature: float = 0.05  # tau_t of FgD
    student_temperature: float = (
        0.05  # tau_s of FgD: equal, else the teacher's feature is no optimum
    )
    positive_weight: float = 2.0  # of FGR's positive class (official code)
    uniform_share: float = 0.5  # of FGR's draws at first ...
    uniform_until: float = 0.7  # ... falling to none at this share of the run
    weight_contrastive: float = 1.0  # of GCPR or TgD
    weight_fgr: float = 1.0
    weight_mlm: float = 1.0
    weight_fgd: float = 1.0

    def __post_init__(self) -> None:
        shares = ("alpha", "momentum", "queue_decay", "mask_share", "et_masked_share", "image_keep")
        _check(
            self, "objectives", dict.fromkeys((*shares, "uniform_share", "uniform_until"), _SHARE)
        )
        temperatures = ("teacher_temperature", "student_temperature")
        _check(self, "objectives", dict.fromkeys(temperatures, _POSITIVE))
        weights = [name for name in self.__dict__ if name.startswith("weight_")]
        _check(self, "objectives", dict.fromkeys((*weights, "positive_weight"), _COUNT))
        _check(self, "objectives", {"queue_size": _COUNT})
        if self.mlm and not self.fgr:
            raise R2D2Error("objectives.mlm needs objectives.fgr: turn both on or both off")
        if self.et and not self.mlm:
            raise R2D2Error("objectives.et needs objectives.mlm: turn both on or both off")

    @property
    def teachers(self) -> bool:
        """Whether any objective needs the momentum teachers."""
        return self.tgd or self.fgd


@dataclass(frozen=True)
class TrainConfig:
    """One run of training."""

    epochs: int = 20
    batch_size: int = 64  # pairs a step
    lr: float = 1e-4  # peak
    min_lr: float = 0.0  # end of the cosine
    warmup_steps: int = 500
    weight_decay: float = 0.05  # none on norms, biases, position and class tokens, temperature
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-6
    clip_norm: float = 1.0  # of all gradients together; 0: no clipping
    seed: int = 0
    augment: bool = (
        True  # small affine and colour changes, never a flip: many texts say left or right
    )
    neighbours: int = 1  # rows of like texts put into a batch together; 1: none (data/order.py)
    neighbours_from: float = (
        0.3  # share of the epochs without them: first the coarse, then the fine
    )
    source_shares: Mapping[str, float] = field(
        default_factory=dict
    )  # text source: share; others equal
    log_every: int = 10  # steps
    checkpoint_every: int = 500  # steps
    cache_mb: int = 1024  # decoded pictures kept in memory
    train_vocab: bool = (
        False  # train the tokenizer on the training split; else load a BERT vocab.txt
    )
    threads: int = 0  # of torch; 0: torch's own choice

    def __post_init__(self) -> None:
        sizes = ("epochs", "batch_size", "neighbours", "log_every", "checkpoint_every")
        _check(self, "train", dict.fromkeys(sizes, _SIZE))
        counts = ("warmup_steps", "weight_decay", "clip_norm", "min_lr", "cache_mb", "threads")
        _check(self, "train", dict.fromkeys(counts, _COUNT))
        _check(self, "train", {"lr": _POSITIVE, "eps": _POSITIVE, "neighbours_from": _SHARE})
        for beta in self.betas:
            _within("train.betas", beta, (0.0, 0.999999))
        for source, share in self.source_shares.items():
            _within(f"train.source_shares.{source}", share, _COUNT)


@dataclass(frozen=True)
class EvaluationConfig:
    """How a checkpoint is measured."""

    top_k: int = 32  # candidates that the cross encoders re-rank (official: 64 and 128)
    batch_size: int = 256  # items, or pairs, a forward pass

    def __post_init__(self) -> None:
        _check(self, "evaluation", {"top_k": _SIZE, "batch_size": _SIZE})


@dataclass(frozen=True)
class Config:
    """Everything a run is made of."""

    preset: str = "tiny"
    variant: str = "r2d2"
    model: ModelConfig = field(default_factory=ModelConfig)
    objectives: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)

    def __post_init__(self) -> None:
        if self.objectives.fgr and not self.model.cross_layers:
            raise R2D2Error(
                "objectives.fgr needs model.cross_layers above 0: "
                "variant prd2 is the one without cross encoders"
            )


T = TypeVar("T")


def _data_files(folder: str) -> dict[str, Any]:
    files = (
        f for f in resources.files("r2d2").joinpath(folder).iterdir() if f.name.endswith(".yaml")
    )
    return {file.name.removesuffix(".yaml"): file for file in files}


def presets() -> list[str]:
    """Names of the sizes."""
    return sorted(_data_files("presets"))


def variants() -> list[str]:
    """Names of the paper's ablations."""
    return sorted(_data_files("variants"))


def _read(folder: str, name: str) -> dict[str, Any]:
    files = _data_files(folder)
    if name not in files:
        raise R2D2Error(f"unknown {folder[:-1]} '{name}': choose one of {', '.join(sorted(files))}")
    data = yaml.safe_load(files[name].read_text(encoding="utf-8"))
    return dict(data or {})


def _merge(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = (
            _merge(old, value) if isinstance(old, dict) and isinstance(value, Mapping) else value
        )
    return merged


def _convert(value: Any, kind: Any, path: str) -> Any:
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, Mapping):
            raise R2D2Error(f"setting {path} is a group: give {path}.NAME=VALUE")
        return from_dict(kind, value, path)  # type: ignore[arg-type]
    if kind is bool:
        if isinstance(value, bool):
            return value
    elif kind is int:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    elif kind is float:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
        if isinstance(value, str):  # YAML reads 1e-3 (no dot) as a string
            try:
                return float(value)
            except ValueError:
                pass
    elif kind is str:
        if isinstance(value, str):
            return value
    elif isinstance(value, Mapping):
        return {str(k): _convert(v, float, f"{path}.{k}") for k, v in value.items()}
    elif isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 2:
        return tuple(_convert(v, float, path) for v in value)
    raise R2D2Error(f"setting {path} is {value!r}: it must be {getattr(kind, '__name__', kind)}")


def from_dict(kind: type[T], values: Mapping[str, Any], path: str = "") -> T:
    """The dataclass `kind` from plain data.

    Raises:
        R2D2Error: a setting is unknown (the nearest name is suggested) or of the wrong type.
    """
    hints = get_type_hints(kind)
    prefix = f"{path}." if path else ""
    for name in values:
        if name not in hints:
            near = difflib.get_close_matches(name, hints, n=1)
            hint = f"did you mean {prefix}{near[0]}?" if near else f"known: {', '.join(hints)}"
            raise R2D2Error(f"unknown setting {prefix}{name}: {hint}")
    return kind(
        **{name: _convert(value, hints[name], prefix + name) for name, value in values.items()}
    )


def to_dict(config: Any) -> dict[str, Any]:
    """Plain data, as JSON or YAML holds it."""
    plain: dict[str, Any] = dataclasses.asdict(config)
    return plain


def make_config(
    preset: str = "tiny", variant: str = "r2d2", settings: Sequence[str] = ()
) -> Config:
    """A run's settings: the preset, then the variant, then `settings`, each "group.name=value".

    Raises:
        R2D2Error: unknown preset, variant or setting, or a value of the wrong type.
    """
    data = _merge(_read("presets", preset), _read("variants", variant))
    for setting in settings:
        path, equals, text = setting.partition("=")
        if not equals:
            raise R2D2Error(
                f"setting '{setting}' has no value: write NAME=VALUE, e.g. train.lr=0.001"
            )
        try:
            over: Any = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise R2D2Error(f"setting '{setting}': the value is not readable YAML") from error
        if path.strip() in ("preset", "variant"):
            raise R2D2Error(f"setting '{setting}': give --{path.strip()} {text} instead")
        for key in reversed(path.strip().split(".")):
            over = {key: over}
        data = _merge(data, over)
    return from_dict(Config, {"preset": preset, "variant": variant, **data})
