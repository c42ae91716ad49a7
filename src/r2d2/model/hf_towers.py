"""Towers of Hugging Face's encoders, read as our own: ranking on top of newer encoders.

What differs between families of dual encoders stands in model/families.py, and between those of
single encoders, of which any two make a pair, in model/encoders.py.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from r2d2.config import HfTowersConfig, ModelConfig
from r2d2.errors import R2D2Error
from r2d2.extras import require
from r2d2.model.encoded_states import EncodedStates
from r2d2.model.encoders import PLUS, pair_of
from r2d2.model.families import CLIP_PIXELS, FAMILIES, Clip, Colours, Siglip2
from r2d2.model.pooled_states import pooled_patches, token_vectors

DROPOUTS = ("attention_dropout", "hidden_dropout_prob", "attention_probs_dropout_prob")
DROP_PATH = "drop_path_rate"  # leaves out whole layers at random; it is set to 0


class _PatchChoice:
    """See `PatchChoice`."""

    def __init__(self) -> None:
        self.index: Tensor | None = None

    def keep(self, states: Tensor, first: int) -> Tensor:
        if self.index is None:
            return states
        index = (self.index + first)[:, :, None].expand(-1, -1, states.shape[2])
        return torch.cat([states[:, :first], states.gather(1, index)], dim=1)


class First(nn.Module):
    """Takes the first values of the output of a tower's own head."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, d) to (n, dim)."""
        return x[:, : self.dim]


def narrow_projection(projection: nn.Module, dim: int) -> nn.Module:
    """One that gives the first `dim` numbers; its weights are yet to be read."""
    if isinstance(projection, nn.Linear):
        return nn.Linear(projection.in_features, dim, bias=projection.bias is not None)
    return First(dim)


class HfTowers(nn.Module):
    """The two towers of a dual encoder of Hugging Face's classes, or two single encoders."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        assert config.hf_towers is not None
        self.hf_towers = config.hf_towers
        self.family = family_of(config.hf_towers.kind)
        both = build_config(config.hf_towers, config.dropout)
        with _refused_settings():  # such as the name of an activation
            self.vision, self.text = self.family.towers(require_transformers(), both)
        whole, kept = self.family.embed_dim(both), config.embed_dim
        self.image_projection, self.text_projection = (
            made if kept == whole else narrow_projection(made, kept)
            for made in self.family.projections(both)
        )
        self._choice = _PatchChoice()
        self.family.attach(self.vision, self._choice)

    @property
    def text_offset(self) -> int:
        """The number of states in front of a text's tokens."""
        return self.family.text_offset

    def encode_images(self, pixels: Tensor, keep: Tensor | None = None) -> EncodedStates:
        """See `Towers.encode_images`: pixels normalised as CLIP's, whatever the family wants."""
        self._choice.index = keep
        try:
            states, pooled = self.family.read_images(
                self.vision, self._normalise(pixels), self._choice
            )
        finally:
            self._choice.index = None
        return EncodedStates(states, None, F.normalize(self.image_projection(pooled), dim=-1))

    def encode_pictures(self, pixels: Sequence[Tensor], patch: int) -> EncodedStates:
        """Pictures of any aspect, each (h, w, 3) uint8 of whole patches, as SigLIP 2 reads them."""
        assert isinstance(self.family, Siglip2)
        cut, grids = [], []
        for picture in pixels:
            rows, columns = picture.shape[0] // patch, picture.shape[1] // patch
            parts = picture.view(rows, patch, columns, patch, 3).transpose(1, 2)
            cut.append(parts.reshape(rows * columns, patch * patch, 3))
            grids.append((rows, columns))
        mean, std = (torch.tensor(x, device=self.device) for x in self.pixels)
        longest = max(len(parts) for parts in cut)
        values = torch.stack(
            [
                F.pad(((parts.to(self.device).float() / 255 - mean) / std).flatten(1),
                      (0, 0, 0, longest - len(parts)))
                for parts in cut
            ]
        )  # fmt: skip
        counts = torch.tensor([len(parts) for parts in cut], device=self.device)
        real = torch.arange(longest, device=self.device) < counts[:, None]
        states, pooled = self.family.read_patches(
            self.vision, values.to(self.token_embedding.dtype), real,
            torch.tensor(grids, device=self.device),
        )  # fmt: skip
        embedding = F.normalize(self.image_projection(pooled), dim=-1)
        return EncodedStates(states, F.pad(real, (1, 0), value=True), embedding)

    @property
    def pixels(self) -> tuple[Colours, Colours]:
        """Mean and deviation that are taken off its pictures."""
        return self.hf_towers.mean, self.hf_towers.std

    def encode_texts(self, ids: Tensor, mask: Tensor) -> EncodedStates:
        """See `Towers.encode_texts`."""
        if self.family.every_place:
            longest = self.hf_towers.length
            ids = F.pad(ids, (0, longest - ids.shape[1]), value=self.hf_towers.pad_id)
            mask = F.pad(mask, (0, longest - mask.shape[1]))
        states, mask, pooled = self.family.read_texts(self.text, ids, mask)
        return EncodedStates(states, mask, F.normalize(self.text_projection(pooled), dim=-1))

    def embed_images(self, pixels: Tensor, keep: Tensor | None = None) -> Tensor:
        """See `Towers.embed_images`; its classes have no faster way."""
        return self.encode_images(pixels, keep).embedding

    def embed_texts(self, ids: Tensor, mask: Tensor) -> Tensor:
        """See `Towers.embed_texts`."""
        return self.encode_texts(ids, mask).embedding

    def encode_selected(
        self, ids: Tensor, mask: Tensor, whole: Tensor
    ) -> tuple[EncodedStates, Tensor]:
        """See `Towers.encode_selected`."""
        side = self.encode_texts(ids, mask)
        return side[whole], side.embedding

    @property
    def poolable(self) -> bool:
        """Whether `pooled_states` may be called."""
        return self.family.poolable

    def pooled_states(self, images: EncodedStates, count: int) -> Tensor:
        """See `Towers.pooled_states`."""
        norm = self.family.state_norm(self.vision)
        patches = images.states[:, self.family.first_patch(self.vision.config) :]
        return pooled_patches(patches, count, lambda x: self.image_projection(norm(x)))

    def token_states(self, texts: EncodedStates) -> tuple[Tensor, Tensor]:
        """See `Towers.token_states`."""
        first = self.text_offset + self.family.starts
        return token_vectors(texts.states, texts.real(), first, self.text_projection)

    @property
    def token_embedding(self) -> Tensor:
        """(vocab, d_t), which the MLM head shares."""
        weight: Tensor = self.text.get_input_embeddings().weight  # type: ignore[operator]
        return weight

    @property
    def device(self) -> torch.device:
        """The device of the parameters."""
        return self.token_embedding.device

    def _normalise(self, pixels: Tensor) -> Tensor:
        theirs, dtype = (self.hf_towers.mean, self.hf_towers.std), self.token_embedding.dtype
        if theirs == CLIP_PIXELS:
            return pixels.to(dtype)
        mean, std, their_mean, their_std = (
            torch.tensor(x, device=pixels.device)[:, None, None] for x in (*CLIP_PIXELS, *theirs)
        )
        return ((pixels * std + mean - their_mean) / their_std).to(dtype)


def family_of(kind: str) -> Clip:
    """The adapter of a model_type, or of two as "dinov2+bert". R2D2Error where there is none."""
    if PLUS in kind:
        return pair_of(*kind.split(PLUS, 1))
    if kind not in FAMILIES:
        raise R2D2Error(f"towers of kind '{kind}' are not known: {', '.join(FAMILIES)} are")
    return FAMILIES[kind]


def build_config(hf_towers: HfTowersConfig, dropout: float = 0.0) -> Any:
    """Hugging Face's configuration, with its dropout rates set; no code of a checkpoint is run.

    Raises:
        R2D2Error: the family is not known, `transformers` is missing, or refuses the settings.
    """
    family = family_of(hf_towers.kind)
    data: dict[str, Any] = json.loads(hf_towers.config)
    with _refused_settings():
        both = family.configuration(require_transformers(), data)
    for part in (both.text_config, both.vision_config):
        for name, share in (*((name, dropout) for name in DROPOUTS), (DROP_PATH, 0.0)):
            if hasattr(part, name):
                setattr(part, name, share)
    return both


@contextmanager
def _refused_settings() -> Iterator[None]:
    """R2D2Error where transformers refuses settings of config.json, or does not know them."""
    try:
        yield
    except (R2D2Error, MemoryError, RuntimeError):  # the last is torch's for want of memory
        raise
    except Exception as error:  # its checks raise errors of many kinds
        raise R2D2Error(
            f"config.json of the towers is not understood ({error}): give the file as it was "
            "saved, or update transformers"
        ) from error


def require_transformers() -> Any:
    """The package. R2D2Error where it is not installed."""
    return require("hf", "transformers", "a tower of a Hugging Face class")


@contextmanager
def quiet_loading(*others: str) -> Iterator[None]:
    """Without the progress bars and reports of transformers while it opens a model.

    `others`: names of loggers that tell warnings only meanwhile.
    """
    theirs = require_transformers().utils.logging
    level, bar = theirs.get_verbosity(), theirs.is_progress_bar_enabled()
    levels = {name: logging.getLogger(name).level for name in others}
    theirs.set_verbosity_error()
    theirs.disable_progress_bar()
    for name in others:
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        yield
    finally:
        theirs.set_verbosity(level)
        if bar:
            theirs.enable_progress_bar()
        for name, was in levels.items():
            logging.getLogger(name).setLevel(was)
