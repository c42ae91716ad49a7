"""LoRA (arXiv 2106.09685) by peft: a matrix changes by a product of two small matrices.

The layers of the towers and cross encoders get such products, and are not trained otherwise.
Projections, heads and the contrast's scalars are trained as without LoRA. A saved model has the
products added to its matrices, so that it loads like any other model.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from r2d2.config import ModelConfig, TrainConfig
from r2d2.errors import R2D2Error
from r2d2.extras import require
from r2d2.model.r2d2 import R2D2

LEAST = "0.17"  # of peft
SETTING = "train.lora_rank"
_VISION, _TEXT = "towers.vision.", "towers.text."
_CROSS = ("text_to_image.", "image_to_text.")
_BASE, _A, _B = ".base_layer", ".lora_A.default", ".lora_B.default"


def check_lora(config: TrainConfig, model: ModelConfig | None) -> None:
    """Refuse LoRA where it is not possible, before any work is done.

    Args:
        config: of the run.
        model: what the run starts from; None: random weights.

    Raises:
        R2D2Error: there is no trained model, nothing in it would learn, or peft is missing.
    """
    if not config.lora_rank:
        return
    if model is None:
        raise R2D2Error(
            f"{SETTING} adapts a trained model, and this run starts from random weights: give "
            f"--init MODEL, or leave {SETTING} out"
        )
    widest = max(model.vision.width, model.text.width)
    if config.lora_rank > widest:
        raise R2D2Error(
            f"{SETTING} is {config.lora_rank}, and the layers of this model have at most {widest} "
            "numbers: give a smaller rank"
        )
    if config.freeze_vision and config.freeze_text and not model.cross_layers:
        raise R2D2Error(
            f"{SETTING} has nothing to adapt: both towers are frozen and there are no cross "
            "encoders; set train.freeze_vision=false or train.freeze_text=false"
        )
    require("lora", "peft", SETTING, LEAST)


def add_lora(model: R2D2, config: TrainConfig) -> None:
    """Add products to the trained layers in place. Call this before the teachers are copied."""
    if not config.lora_rank:
        return
    peft = require("lora", "peft", SETTING, LEAST)
    inside = _adapted(config)
    # torch's multi-head attention reads the matrix of its output map directly.
    apart = [f"{n}." for n, m in model.named_modules() if isinstance(m, nn.MultiheadAttention)]
    names = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
        and name.startswith(inside)
        and not name.startswith(tuple(apart))
    ]
    learns = {name: p.requires_grad for name, p in model.named_parameters()}
    alpha = config.lora_alpha or config.lora_rank
    settings = peft.LoraConfig(r=config.lora_rank, lora_alpha=alpha, target_modules=names)
    peft.inject_adapter_in_model(settings, model)
    for name, parameter in model.named_parameters():
        if not name.startswith((_VISION, _TEXT, *_CROSS)):
            parameter.requires_grad_(learns[name])  # peft freezes everything but its products


def merged(state: Mapping[str, Tensor], config: TrainConfig) -> dict[str, Tensor]:
    """Return the tensors by name, with each product added to its matrix."""
    if not config.lora_rank:
        return dict(state)
    scale = (config.lora_alpha or config.lora_rank) / config.lora_rank
    plain: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if _A in name or _B in name:
            continue
        at, base, end = name.partition(_BASE)
        if base and end == ".weight":
            product = state[f"{at}{_B}.weight"].double() @ state[f"{at}{_A}.weight"].double()
            tensor = (tensor.double() + scale * product).to(tensor.dtype)
        plain[at + end] = tensor
    return plain


def is_adapted(model: nn.Module) -> bool:
    """Return whether `add_lora` has added products to a model."""
    return any(_A in name for name, _ in model.named_parameters())


def _adapted(config: TrainConfig) -> tuple[str, ...]:
    """Return the names of the modules that get products; frozen towers get none."""
    towers = ((config.freeze_vision, _VISION), (config.freeze_text, _TEXT))
    return (*(name for frozen, name in towers if not frozen), *_CROSS)
