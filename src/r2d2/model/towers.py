"""The dual encoder under R2D2: two towers, each giving (states, mask, embedding).

Ours are CLIP's ViT and BERT; see model/hf_towers.py for those of others.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from r2d2.config import ModelConfig
from r2d2.model.attention import init_weights
from r2d2.model.bert import Bert
from r2d2.model.encoded_states import EncodedStates
from r2d2.model.hf_towers import HfTowers
from r2d2.model.linear import Linear
from r2d2.model.pooled_states import pooled_patches, token_vectors
from r2d2.model.vit import ViT

# Ours; Hugging Face's; its BERT's; DINOv3's; ConvNeXt's, whose stages are its layers here
LAYERS = ("layers", "encoder.layers", "encoder.layer", "model.layer", "encoder.stages")


def make_towers(config: ModelConfig) -> Towers | HfTowers:
    """Build the towers of the settings."""
    return Towers(config) if config.hf_towers is None else HfTowers(config)


def layers_of(tower: nn.Module) -> list[nn.Module]:
    """Return the transformer layers of a tower, the lowest first; [] if it has none."""
    for name in LAYERS:
        try:
            return list(tower.get_submodule(name).children())
        except AttributeError:
            continue
    return []


def freeze(towers: Towers | HfTowers, vision: bool, text: bool) -> None:
    """Freeze these towers; their projections are still trained."""
    for frozen, tower in ((vision, towers.vision), (text, towers.text)):
        if frozen:
            tower.requires_grad_(False)


class Towers(nn.Module):
    """ViT and BERT with their projections: f = normalize(W [CLS])."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        vision, text, bias = config.vision, config.text, config.projection_bias
        self.vision = ViT(vision)
        self.text = Bert(text, config.dropout)
        self.pooled_norm: nn.Module = nn.Identity()
        if vision.pooled_norm:
            self.pooled_norm = nn.LayerNorm(vision.width, eps=vision.norm_eps)
        self.image_projection = Linear(vision.width, config.embed_dim, bias=bias)
        self.text_projection = Linear(text.width, config.embed_dim, bias=bias)
        self.apply(init_weights)

    def encode_images(self, pixels: Tensor, keep: Tensor | None = None) -> EncodedStates:
        """Encode normalised images (n, 3, H, W); `keep` (n, K): patches to use, None: all."""
        states = self.vision(pixels, keep)
        return EncodedStates(states, None, self._embed_image(states[:, 0]))

    def encode_texts(self, ids: Tensor, mask: Tensor) -> EncodedStates:
        """Encode texts from token ids (n, L) and mask (n, L) bool, True where a token is real."""
        states = self.text(ids, mask)
        return EncodedStates(states, mask, self._embed_text(states[:, 0]))

    def embed_images(self, pixels: Tensor, keep: Tensor | None = None) -> Tensor:
        """Return only the embeddings (n, d) of `encode_images`, which is faster."""
        return self._embed_image(self.vision(pixels, keep, only_cls=True)[:, 0])

    def embed_texts(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return only the embeddings (n, d) of `encode_texts`, which is faster."""
        return self._embed_text(self.text.cls(ids, mask))

    def encode_selected(
        self, ids: Tensor, mask: Tensor, whole: Tensor
    ) -> tuple[EncodedStates, Tensor]:
        """The texts `whole` (k,) of ids (n, L), each once, and the embeddings (n, d) of all."""
        states, cls = self.text.encode_selected(ids, mask, whole)
        embeddings = self._embed_text(cls)
        return EncodedStates(states, mask[whole], embeddings[whole]), embeddings

    @property
    def poolable(self) -> bool:
        """Whether `pooled_states` may be called."""
        return True

    def pooled_states(self, images: EncodedStates, count: int) -> Tensor:
        """N = `count` vectors (n, N, d) of each encoded image, see `pooled_patches`."""
        patches = images.states[:, 1:]
        return pooled_patches(patches, count, lambda x: self.image_projection(self.pooled_norm(x)))

    def token_states(self, texts: EncodedStates) -> tuple[Tensor, Tensor]:
        """A vector for each token of encoded texts, and which are words: see `token_vectors`."""
        return token_vectors(texts.states, texts.real(), 1, self.text_projection)

    def _embed_image(self, cls: Tensor) -> Tensor:
        return F.normalize(self.image_projection(self.pooled_norm(cls)), dim=-1)

    def _embed_text(self, cls: Tensor) -> Tensor:
        return F.normalize(self.text_projection(cls), dim=-1)

    @property
    def text_offset(self) -> int:
        """The number of states in front of a text's tokens: none, as [CLS] is a token."""
        return 0

    @property
    def token_embedding(self) -> Tensor:
        """(vocab, d_t), which the MLM head shares."""
        weight: Tensor = self.text.token_embedding.weight
        return weight

    @property
    def device(self) -> torch.device:
        """The device of the parameters."""
        return self.image_projection.weight.device
