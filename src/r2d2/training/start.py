"""The saved model that a run starts from, which decides the run's shape and tokenizer.

Settings that contradict it are refused, and what nobody asked for follows it. A run that is resumed
knows its own.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from r2d2.config import Config, ModelConfig, from_dict, make_config, presets, to_dict
from r2d2.errors import R2D2Error
from r2d2.fingerprint import weights_fingerprint
from r2d2.hf_tokenizer import load_tokenizer
from r2d2.model.r2d2 import R2D2
from r2d2.models import lasting_name, load_network, network_config, trained_widths
from r2d2.pretrained import Pretrained
from r2d2.processes import first_process
from r2d2.settings import leaves, merge, named_settings, parse_setting, read_preset
from r2d2.training.checkpoint import latest_checkpoint
from r2d2.training.run_folder import CHECKPOINTS, TOKENIZER, saved_run

log = logging.getLogger(__name__)

VOCAB_SIZE = "text.vocab_size"  # the tokenizer's business
# A preset names a size; these come with the tokenizer, or are learnt.
NOT_OF_A_SIZE = (VOCAB_SIZE, "text.max_length", "temperature")


@dataclass(frozen=True)
class Start:
    """A saved model to start from, and what a resumed run has recorded about it."""

    init: str  # its path
    model: ModelConfig
    begun: bool = False  # the run's own checkpoint holds the weights by now
    first_init: str | None = None  # what the run that is resumed was started with ...
    first_hash: str | None = None  # ... and its weights
    widths: tuple[int, ...] = ()  # that its embeddings were trained to be cut to

    def open(self, out: Path) -> Pretrained:
        """The model; where the run has a checkpoint, of its shape only. R2D2Error as `load`.

        Training squeezes pictures to squares; a model that sees them otherwise by itself is told.
        """
        if not self.begun:
            model = load_network(self.init, "fine-tune", "cpu")
            differs = model.preprocessing.differs()
            if differs and first_process():
                log.warning(
                    "%s %s by itself; in this training, and in the model that it writes, pictures "
                    "are squeezed to squares of %d pixels, by bicubic",
                    self.init, differs, model.preprocessing.side,
                )  # fmt: skip
            return model
        return Pretrained(R2D2(self.model), load_tokenizer(out / TOKENIZER, self.model))

    def hash(self, out: Path, model: Pretrained) -> str | None:
        """Of the opened model's weights, for run.json.

        Raises:
            R2D2Error: it is not the model that the resumed run was started with.
        """
        if self.begun:
            return self.first_hash
        here = weights_fingerprint(model.model, model.tokenizer)
        if self.first_hash in (None, here):
            return here
        if self.init == self.first_init:
            raise R2D2Error(
                f"{out} was started from {self.init}, which has changed since: put it back as it "
                "was, or start anew in another --out"
            )
        raise _another(out, self.first_init, self.init)

    def fit(self, config: Config) -> Config:
        """Return settings with the model's shape; raise R2D2Error where they set another shape."""
        own, configured = dict(leaves(to_dict(self.model))), dict(leaves(to_dict(config.model)))
        for name in {**own, **configured}:  # in the order of the settings
            if name != VOCAB_SIZE and own.get(name) != configured.get(name):
                raise R2D2Error(
                    f"the settings have model.{name}={configured.get(name)}, and {self.init} has "
                    f"{own.get(name)}: give settings of its shape (r2d2.load(...).model.config)"
                )
        return replace(config, model=self.model)


def find_start(out: Path, init: str | Path | None, resume: bool) -> Start | None:
    """Return what a run starts from; None: random weights.

    Args:
        out: the run's folder.
        init: what the user named, if anything; a run that is resumed knows it by itself.
        resume: whether a run that is there goes on.

    Raises:
        R2D2Error: there is no such model, or the run was started from another one.
    """
    run = saved_run(out) if resume else None
    if run is None:
        if init is None:
            return None
        return Start(lasting_name(init), network_config(init), widths=trained_widths(init))
    if run.get("init") is None:
        if init is None:
            return None
        raise R2D2Error(f"{out} was started from random weights, not from {init}: leave --init out")
    first_init, first_hash = lasting_name(run["init"]), run.get("init_hash")
    path = first_init if init is None else lasting_name(init)
    if path != first_init:
        if first_hash is None:
            raise _another(out, first_init, path)
        return Start(path, network_config(path), False, first_init, first_hash)
    if latest_checkpoint(out / CHECKPOINTS) is not None:
        shape = merge(to_dict(ModelConfig()), run["config"].get("model", {}))
        model = from_dict(ModelConfig, shape, "model")
        return Start(first_init, model, True, first_init, first_hash)
    try:
        return Start(first_init, network_config(first_init), False, first_init, first_hash)
    except R2D2Error as error:
        raise R2D2Error(
            f"{out} was started from {first_init}, which cannot be opened any more ({error}): put "
            "it back, or start anew in another --out"
        ) from error


def config_from(
    start: Start, preset: str | None, variant: str | None, settings: Sequence[str] = ()
) -> Config:
    """Return settings that continue the training of a saved model, with its shape.

    Args:
        start: the model.
        preset: what the user asked for; None: the one nearest to the model in size.
        variant: what the user asked for; None: r2d2 or prd2, as the model has cross encoders.
        settings: each "group.name=value".

    Raises:
        R2D2Error: one of them contradicts the model; or as `make_config`.
    """
    sources: dict[str, str] = {}  # setting of the model: who asks for it
    if preset is not None:
        names = (name for name, _ in leaves(_model_part(read_preset("presets", "preset", preset))))
        sources |= {name: f"--preset {preset}" for name in names if name not in NOT_OF_A_SIZE}
    if variant is not None:
        part = _model_part(read_preset("variants", "variant", variant))
        sources |= {name: f"--variant {variant}" for name, _ in leaves(part)}
    for setting in settings:
        part = _model_part(parse_setting(setting))
        sources |= {name: f"--set model.{name}" for name, _ in leaves(part)}
    implied = "r2d2" if start.model.cross_layers else "prd2"
    own_contrast = contrast_settings(start, settings, variant is None)
    config = make_config(
        preset or nearest_preset(start.model), variant or implied, (*own_contrast, *settings)
    )
    own, configured = dict(leaves(to_dict(start.model))), dict(leaves(to_dict(config.model)))
    for name, source in sources.items():
        if configured.get(name) != own.get(name):
            raise R2D2Error(
                f"{source} asks for model.{name}={configured.get(name)}, and {start.init} has "
                f"{own.get(name)}: leave {source} out, or give a model of that shape"
            )
    if config.objectives.fgr and not start.model.cross_layers:
        raise R2D2Error(
            f"variant {config.variant} trains cross encoders, and {start.init} has none: leave "
            "--variant out, or give a model that has them"
        )
    if config.train.train_vocab and "train.train_vocab" in named_settings(settings):
        raise R2D2Error(
            f"train.train_vocab=true trains a tokenizer, and {start.init} comes with its own: "
            "leave the setting out"
        )
    return replace(config, model=start.model)


def contrast_settings(
    start: Start, settings: Sequence[str], any_contrast: bool = True
) -> tuple[str, ...]:
    """Return settings with which a model keeps the contrast that it was trained with.

    A sigmoid's where it has that one's bias, and at its widths, unless `settings` say otherwise.
    `any_contrast`: False where the variant was chosen, and the contrast with it.
    """
    named, implied = set(named_settings(settings)), []
    chosen = not any_contrast or {"objectives.contrast", "objectives.tgd"} & named
    if start.model.logit_bias is not None and not chosen:
        implied += ["objectives.contrast=sigmoid", "objectives.tgd=false"]
    if start.widths and "objectives.widths" not in named:
        implied.append(f"objectives.widths={list(start.widths)}")
    return tuple(implied)


def nearest_preset(model: ModelConfig) -> str:
    """Return the preset whose towers are nearest in size to those of a model."""

    def size(shape: ModelConfig) -> float:
        return math.log(sum(s.layers * s.width**2 + s.width for s in (shape.vision, shape.text)))

    return min(presets(), key=lambda name: abs(size(make_config(name).model) - size(model)))


def _another(out: Path, first: object, init: object) -> R2D2Error:
    return R2D2Error(
        f"{out} was started from {first}, and {init} is another model: leave --init out"
    )


def _model_part(data: Mapping[str, Any]) -> Mapping[str, Any]:
    part = data.get("model", {})
    return part if isinstance(part, Mapping) else {}
