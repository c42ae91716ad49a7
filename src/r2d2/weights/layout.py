"""The description of a layout of published weights; each layout has its own file."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from r2d2.config import ACTIVATIONS, ModelConfig, TextConfig, VisionConfig
from r2d2.errors import R2D2Error
from r2d2.tokenizer import LONGEST_WORD
from r2d2.weights.rules import Rule

_ALIASES = {"gelu_pytorch_tanh": "gelu_new", "gelu_python": "gelu"}  # of activations
_HEADS = {1280: 16}  # ViT-H/14's heads are 80 wide; everyone else's 64


BIASES = ("towers.image_projection.bias", "towers.text_projection.bias")
NO_CROSS_ENCODERS = "the layout has no cross encoders: it can pre-rank, not rank again"
LEFT_OUT = {  # by layouts that hold both towers
    r"towers\.(image|text)_projection\.bias": "all zero; the layout has no such biases",
    r"mlm_head\.": "the layout has no head for masked tokens",
}

State = Mapping[str, Tensor]  # tensors by name


@dataclass(frozen=True)
class PickledFile:
    """A file of torch.save, which the original code of a layout reads."""

    name: str
    key: str  # of the weights in the dict that the file holds
    others: Mapping[str, Any] = field(default_factory=dict)  # of that dict


@dataclass(frozen=True)
class ImportOptions:
    """The user's choices where a checkpoint does not decide."""

    fresh: ModelConfig = field(default_factory=ModelConfig)  # sizes of the parts no source gives
    image_size: int | None = None  # pixels; positions are interpolated; None: the source's
    # Tokens of a text; positions are cut. None: as many as the source's own code reads
    # (Chinese-CLIP 52, the others 64), `fresh`'s at most
    max_length: int | None = None
    cross_layers: int | None = None  # None: the source's; `fresh`'s under towers alone
    vision_heads: int | None = None  # None: config.json's, or one for each 64 of the width
    text_heads: int | None = None
    keep_projection: bool = False  # CLIP towers: with post_layernorm and visual_projection
    vocab: str | Path | None = None  # vocab.txt or tokenizer.json; None: that of the text encoder
    seed: int = 0  # of the initial weights of what no source gives


@dataclass(frozen=True)
class CanonicalCheckpoint:
    """A source's tensors under the layout's canonical names, and its settings."""

    name: str
    tensors: Mapping[str, Tensor]
    config: Mapping[str, Any]

    def sizes(self, name: str, dims: int) -> tuple[int, ...]:
        """The shape of a tensor that must be there and have `dims` dimensions."""
        if name not in self.tensors:
            raise R2D2Error(f"{self.name} lacks {name}: give the whole checkpoint")
        shape = tuple(self.tensors[name].shape)
        if len(shape) != dims:
            raise R2D2Error(f"{self.name}: {name} is {shape}, not of {dims} dimensions")
        return shape

    def count(self, prefix: str) -> int:
        """Return the number of layers under `prefix`, which ends before their number."""
        pattern = re.compile(re.escape(prefix) + r"(\d+)\.")
        numbers = {int(m[1]) for name in self.tensors if (m := pattern.match(name))}
        return max(numbers) + 1 if numbers else 0

    def section(self, name: str) -> dict[str, Any]:
        """A part of config.json; old files keep the part that counts in NAME_dict."""
        parts = (self.config.get(name), self.config.get(f"{name}_dict"))
        return {k: v for part in parts if isinstance(part, dict) for k, v in part.items()}

    def number(self, config: Mapping[str, Any], key: str, default: float) -> float:
        """A number out of config.json."""
        value = config.get(key, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise R2D2Error(f"{self.name}: {key} in config.json is {value!r}, not a number")
        return value

    def heads(self, config: Mapping[str, Any], width: int, option: int | None, part: str) -> int:
        """Return the number of heads: the user's, that of config.json, or one by the width."""
        if option is not None:
            return option
        if config:
            return int(self.number(config, "num_attention_heads", 12))  # transformers' default
        if width not in _HEADS and width % 64:
            raise R2D2Error(
                f"{self.name}: weights of width {width} do not tell the number of heads, and there "
                f"is no config.json beside them: give --{part}-heads to `r2d2 weights import`"
            )
        return _HEADS.get(width, width // 64)

    def activation(self, config: Mapping[str, Any], default: str) -> str:
        """The feed-forward's activation."""
        name = config.get("hidden_act", default)
        name = _ALIASES.get(name, name) if isinstance(name, str) else repr(name)
        if name not in ACTIVATIONS:
            raise R2D2Error(
                f"{self.name}: activation {name} is not one of {', '.join(ACTIVATIONS)}, "
                "which is all our encoders know"
            )
        return name

    def agree(self, config: Mapping[str, Any], sizes: Mapping[str, int]) -> None:
        """Raise R2D2Error where config.json says another size than the tensors have."""
        for key, size in sizes.items():
            stated = config.get(key, size)
            if stated != size:
                raise R2D2Error(
                    f"{self.name}: {key} is {stated} in config.json and {size} in the weights: "
                    "give the config.json that was saved with them"
                )


@dataclass(frozen=True)
class PartConfigs:
    """The settings that a source decides; None where it has no such part."""

    vision: VisionConfig | None = None
    text: TextConfig | None = None
    cross_layers: int | None = None
    embed_dim: int | None = None
    projection_bias: bool | None = None


@dataclass(frozen=True)
class Layout:
    """A convention for the names and shapes of weights."""

    name: str
    about: str
    canonical: Callable[[str], str]  # a name as this layout's rules know it
    recognises: Callable[[Set[str]], bool]  # by canonical names
    parts: Callable[[CanonicalCheckpoint, ImportOptions], PartConfigs]
    rules: Callable[[ModelConfig], list[Rule]]
    required: frozenset[str]  # parts that must be whole; the others are whole or absent
    unused: Mapping[str, str]  # pattern of canonical names to why we do not use them
    refusals: Callable[[ModelConfig, State], list[str]]  # why it cannot hold a model of ours
    left_out: Mapping[str, str]  # pattern of our names to why an export does not write them
    hf_config: Callable[[ModelConfig, State], dict[str, Any]] | None = None  # of written tensors
    pickle: PickledFile | None = None  # as its own code reads it; None: safetensors
    written_name: Callable[[str, State], str] = lambda name, state: name  # in a file
    export_notes: Callable[[ModelConfig], list[str]] = lambda config: []
    biased: bool = False  # its projections always have biases
    has_vocabulary: bool = True  # a BERT's; CLIP's tokenizer.json is of another kind
    copies: Mapping[str, str] = field(default_factory=dict)  # a name whose tensor is another's
    longest_word: int = LONGEST_WORD  # letters, that its own tokenizer takes apart
    top_k: int = 32  # candidates that are ranked again

    def reason(self, name: str) -> str:
        """Why a tensor that no rule reads is not used."""
        return _first_match(self.unused, name) or "not a name of this layout"

    def reason_left_out(self, name: str) -> str:
        """Why a tensor of ours is not written."""
        return _first_match(self.left_out, name) or NO_CROSS_ENCODERS


def _first_match(reasons: Mapping[str, str], name: str) -> str | None:
    return next((why for pattern, why in reasons.items() if re.match(pattern, name)), None)


def biases_that_are_not_zero(state: State, *names: str) -> list[str]:
    """Why a layout without biases of the projections cannot hold a model that has some."""
    biased = [name for name in names if name in state and bool(state[name].any())]
    return [f"{name} is not zero, there are no such biases" for name in biased]


def other_settings(config: object, name: str, fixed: Mapping[str, object]) -> list[str]:
    """Which settings of `config`, called `name`, differ from those that other code fixes."""
    return [
        f"{name}.{setting} is {getattr(config, setting)}, there it is always {value}"
        for setting, value in fixed.items()
        if getattr(config, setting) != value
    ]


def four_times(inner: int, width: int) -> int:
    """The setting `inner_width` for a feed-forward of width `inner`."""
    return 0 if inner == 4 * width else inner
