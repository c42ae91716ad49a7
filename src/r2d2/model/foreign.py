"""Towers of Hugging Face's dual encoders, seen as Sides: R2D2's ranking on top of newer encoders.

What comes after the towers reads position 0 of the states as the summary of an item. BERT and
CLIP's ViT have such a position, [CLS]. Where a family pools otherwise - CLIP's text at its end
token, SigLIP's pictures by a head, its text at its last place - the pooled state is put in front of
the others, so that the cross encoders have one to start from.
"""

from __future__ import annotations

import json
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from r2d2.config import ForeignConfig, ModelConfig
from r2d2.errors import R2D2Error
from r2d2.model.side import Side

FAMILIES = {  # model_type: class of the whole, text's and image's class
    "chinese_clip": ("ChineseCLIPConfig", "ChineseCLIPTextModel", "ChineseCLIPVisionModel"),
    "clip": ("CLIPConfig", "CLIPTextModel", "CLIPVisionModel"),
    "siglip": ("SiglipConfig", "SiglipTextModel", "SiglipVisionModel"),
    "siglip2": ("Siglip2Config", "Siglip2TextModel", "Siglip2VisionModel"),
}
DROPOUTS = ("attention_dropout", "hidden_dropout_prob", "attention_probs_dropout_prob")
PIXELS = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))  # CLIP's


class ForeignTowers(nn.Module):
    """The two towers of a `ChineseCLIPModel`, `CLIPModel`, `SiglipModel` or `Siglip2Model`."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        assert config.foreign is not None
        self.family = config.foreign.kind
        self.foreign = config.foreign
        self.image_size, self.patch = config.vision.image_size, config.vision.patch_size
        both = build_config(config.foreign, config.dropout)
        _, text, vision = FAMILIES[self.family]
        transformers = _transformers()
        more = {"add_pooling_layer": False} if self.family == "chinese_clip" else {}
        self.vision: nn.Module = getattr(transformers, vision)(both.vision_config)
        self.text: nn.Module = getattr(transformers, text)(both.text_config, **more)
        self.image_projection: nn.Module = nn.Identity()
        self.text_projection: nn.Module = nn.Identity()
        if "clip" in self.family:
            width = both.projection_dim
            self.image_projection = nn.Linear(both.vision_config.hidden_size, width, bias=False)
            self.text_projection = nn.Linear(both.text_config.hidden_size, width, bias=False)
        self._keep: Tensor | None = None
        self.vision.get_submodule("embeddings").register_forward_hook(self._kept)

    @property
    def text_offset(self) -> int:
        """How many states stand in front of a text's tokens."""
        return 0 if self.family == "chinese_clip" else 1

    def encode_images(self, pixels: Tensor, keep: Tensor | None = None) -> Side:
        """See `Towers.encode_images`: pixels normalised as CLIP's, whatever the family wants."""
        pixels = self._normalise(pixels)
        self._keep = keep
        try:
            if self.family == "siglip2":
                states, pooled = self._square(pixels)
            else:
                out = self.vision(pixel_values=pixels)
                states, pooled = out.last_hidden_state, out.pooler_output
        finally:
            self._keep = None
        if "siglip" in self.family:
            states = torch.cat([pooled[:, None], states], dim=1)
        return Side(states, None, F.normalize(self.image_projection(pooled), dim=-1))

    def encode_texts(self, ids: Tensor, mask: Tensor) -> Side:
        """See `Towers.encode_texts`; SigLIP looks at the padding too, for so it was trained."""
        if "siglip" in self.family:
            longest = self.foreign.length
            ids = F.pad(ids, (0, longest - ids.shape[1]), value=self.foreign.pad_id)
            mask = F.pad(mask, (0, longest - mask.shape[1]))
            out = self.text(input_ids=ids)
            states = out.last_hidden_state
            pooled, embedding = states[:, -1], out.pooler_output  # which is head(pooled)
        else:
            out = self.text(input_ids=ids, attention_mask=mask)
            states = out.last_hidden_state
            pooled = states[:, 0] if self.family == "chinese_clip" else out.pooler_output
            embedding = self.text_projection(pooled)
        if self.text_offset:
            states = torch.cat([pooled[:, None], states], dim=1)
            mask = F.pad(mask, (1, 0), value=True)
        return Side(states, mask, F.normalize(embedding, dim=-1))

    def embed_images(self, pixels: Tensor, keep: Tensor | None = None) -> Tensor:
        """See `Towers.embed_images`; its own classes know no shorter way."""
        return self.encode_images(pixels, keep).embedding

    def embed_texts(self, ids: Tensor, mask: Tensor) -> Tensor:
        """See `Towers.embed_texts`."""
        return self.encode_texts(ids, mask).embedding

    def encode_some(self, ids: Tensor, mask: Tensor, whole: Tensor) -> tuple[Side, Tensor]:
        """See `Towers.encode_some`."""
        side = self.encode_texts(ids, mask)
        return side[whole], side.embedding

    @property
    def token_embedding(self) -> Tensor:
        """(vocab, d_t), which the MLM head shares."""
        weight: Tensor = self.text.get_input_embeddings().weight  # type: ignore[operator]
        return weight

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.token_embedding.device

    def _normalise(self, pixels: Tensor) -> Tensor:
        theirs, dtype = (self.foreign.mean, self.foreign.std), self.token_embedding.dtype
        if theirs == PIXELS:
            return pixels.to(dtype)
        mean, std, their_mean, their_std = (
            torch.tensor(x, device=pixels.device)[:, None, None] for x in (*PIXELS, *theirs)
        )
        return ((pixels * std + mean - their_mean) / their_std).to(dtype)

    def _square(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Siglip2 on squares of all its places: (n, P, d_v) and pooled (n, d_v).

        Its own forward makes places and a mask for each picture in a loop, which cannot be
        exported; here the places are those that it learned, and nothing is masked.
        """
        vision: Any = self.vision
        n, side = pixels.shape[0], self.image_size // self.patch
        cut = pixels.view(n, 3, side, self.patch, side, self.patch).permute(0, 2, 4, 3, 5, 1)
        patches = vision.embeddings.patch_embedding(cut.reshape(n, side * side, -1))
        states = patches + vision.embeddings.position_embedding.weight
        states = self._kept(self.vision, None, states)
        states = vision.encoder(inputs_embeds=states).last_hidden_state
        states = vision.post_layernorm(states)
        return states, vision.head(states)

    def _kept(self, module: nn.Module, inputs: Any, states: Tensor) -> Tensor:
        """Only the patches asked for, with their places; the class token always."""
        if self._keep is None:
            return states
        first = 1 if "clip" in self.family else 0
        index = (self._keep + first)[:, :, None].expand(-1, -1, states.shape[2])
        return torch.cat([states[:, :first], states.gather(1, index)], dim=1)


def build_config(foreign: ForeignConfig, dropout: float = 0.0) -> Any:
    """Hugging Face's configuration, its drop-outs set; no code of a checkpoint is ever asked for.

    Raises:
        R2D2Error: the family is not known, `transformers` is missing, or refuses the settings.
    """
    if foreign.kind not in FAMILIES:
        raise R2D2Error(f"towers of kind '{foreign.kind}' are not known: {', '.join(FAMILIES)} are")
    data: dict[str, Any] = json.loads(foreign.config)
    for part in ("text_config", "vision_config"):
        settings = dict(data.get(part) or {})
        data[part] = settings | {name: dropout for name in DROPOUTS if name in settings}
    try:
        return getattr(_transformers(), FAMILIES[foreign.kind][0]).from_dict(data)
    except R2D2Error:
        raise
    except Exception as error:  # its checks raise errors of many kinds
        raise R2D2Error(f"config.json of the towers is not understood: {error}") from error


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise R2D2Error(
            'towers of Hugging Face\'s classes need its package: pip install "zero-r2d2[hf]"'
        ) from error
    return transformers
