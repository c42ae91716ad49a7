"""Transformers as they are usually written: eager attention, everything padded, nothing shared."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from r2d2.config import ModelConfig


class PlainAttention(nn.Module):
    """Queries, keys and values by a map each; scores, softmax and sum one after the other."""

    def __init__(self, width: int, heads: int, context_width: int | None = None) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(context_width or width, width)
        self.value = nn.Linear(context_width or width, width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
        """x (n, L, width), context (n, S, context width), mask (n, S) bool, True where to look."""
        query, key, value = (
            self._split(each) for each in (self.query(x), self.key(context), self.value(context))
        )
        scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])  # (n, heads, L, S)
        if mask is not None:
            scores = scores + (1.0 - mask[:, None, None, :].to(scores.dtype)) * -1e9
        weights = scores.softmax(dim=-1)
        attended = (weights @ value).transpose(1, 2).contiguous()
        return self.out(attended.view(*x.shape))  # type: ignore[no-any-return]

    def _split(self, x: Tensor) -> Tensor:
        n, length, width = x.shape
        return x.view(n, length, self.heads, width // self.heads).transpose(1, 2)


class PlainFeedForward(nn.Module):
    """Two maps; QuickGELU as CLIP has it, or GELU."""

    def __init__(self, width: int, quick: bool) -> None:
        super().__init__()
        self.inner = nn.Linear(width, 4 * width)
        self.outer = nn.Linear(4 * width, width)
        self.quick = quick

    def forward(self, x: Tensor) -> Tensor:
        """Of the shape of x."""
        x = self.inner(x)
        x = x * torch.sigmoid(1.702 * x) if self.quick else F.gelu(x)
        return self.outer(x)  # type: ignore[no-any-return]


class PlainViTLayer(nn.Module):
    """Pre-norm."""

    def __init__(self, width: int, heads: int, eps: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width, eps=eps)
        self.attention = PlainAttention(width, heads)
        self.feed_forward_norm = nn.LayerNorm(width, eps=eps)
        self.feed_forward = PlainFeedForward(width, quick=True)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """States (n, 1 + P, width)."""
        normed = self.attention_norm(x)
        x = x + self.attention(normed, normed, mask)
        return x + self.feed_forward(self.feed_forward_norm(x))  # type: ignore[no-any-return]


class PlainBertLayer(nn.Module):
    """Post-norm; with `context_width` a cross layer."""

    def __init__(
        self, width: int, heads: int, eps: float, context_width: int | None = None
    ) -> None:
        super().__init__()
        self.attention = PlainAttention(width, heads)
        self.attention_norm = nn.LayerNorm(width, eps=eps)
        if context_width is not None:
            self.cross_attention = PlainAttention(width, heads, context_width)
            self.cross_attention_norm = nn.LayerNorm(width, eps=eps)
        self.feed_forward = PlainFeedForward(width, quick=False)
        self.feed_forward_norm = nn.LayerNorm(width, eps=eps)

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None,
        context: Tensor | None = None,
        context_mask: Tensor | None = None,
    ) -> Tensor:
        """States (n, L, width)."""
        x = self.attention_norm(x + self.attention(x, x, mask))
        if context is not None:
            x = self.cross_attention_norm(x + self.cross_attention(x, context, context_mask))
        return self.feed_forward_norm(x + self.feed_forward(x))  # type: ignore[no-any-return]


class PlainTowers(nn.Module):
    """Image and text encoder with their projections."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        vision, text = config.vision, config.text
        self.vision = nn.Module()
        self.vision.patch_embedding = nn.Conv2d(
            3, vision.width, vision.patch_size, vision.patch_size, bias=False
        )
        self.vision.class_embedding = nn.Parameter(torch.zeros(vision.width))
        self.vision.position_embedding = nn.Parameter(torch.zeros(1 + vision.patches, vision.width))
        self.vision.input_norm = nn.LayerNorm(vision.width, eps=vision.norm_eps)
        self.vision.layers = nn.ModuleList(
            PlainViTLayer(vision.width, vision.heads, vision.norm_eps) for _ in range(vision.layers)
        )
        self.vision.output_norm = (
            nn.LayerNorm(vision.width, eps=vision.norm_eps) if vision.output_norm else nn.Identity()
        )
        self.text = nn.Module()
        self.text.token_embedding = nn.Embedding(text.vocab_size, text.width)
        self.text.position_embedding = nn.Parameter(torch.zeros(text.max_length, text.width))
        self.text.segment_embedding = nn.Parameter(torch.zeros(text.width))
        self.text.input_norm = nn.LayerNorm(text.width, eps=text.norm_eps)
        self.text.layers = nn.ModuleList(
            PlainBertLayer(text.width, text.heads, text.norm_eps) for _ in range(text.layers)
        )
        self.image_projection = nn.Linear(vision.width, config.embed_dim)
        self.text_projection = nn.Linear(text.width, config.embed_dim)

    def encode_images(self, pixels: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """States (n, 1 + P, d_v) and embeddings (n, d); mask (n, 1 + P): what may be looked at."""
        tower = self.vision
        patches = tower.patch_embedding(pixels).flatten(2).transpose(1, 2)
        x = torch.cat([tower.class_embedding.expand(len(patches), 1, -1), patches], dim=1)
        x = tower.input_norm(x + tower.position_embedding)
        for layer in tower.layers:
            x = layer(x, mask)
        x = tower.output_norm(x)
        return x, F.normalize(self.image_projection(x[:, 0]), dim=-1)

    def encode_texts(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """States (n, L, d_t) and embeddings (n, d)."""
        tower = self.text
        x = tower.token_embedding(ids) + tower.position_embedding[: ids.shape[1]]
        x = tower.input_norm(x + tower.segment_embedding)
        for layer in tower.layers:
            x = layer(x, mask)
        return x, F.normalize(self.text_projection(x[:, 0]), dim=-1)


class PlainCross(nn.Module):
    """A cross encoder."""

    def __init__(self, layers: int, width: int, heads: int, context_width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            PlainBertLayer(width, heads, 1e-12, context_width) for _ in range(layers)
        )

    def forward(
        self, x: Tensor, mask: Tensor | None, context: Tensor, context_mask: Tensor | None
    ) -> Tensor:
        """States (m, L, width) of m pairs."""
        for layer in self.layers:
            x = layer(x, mask, context, context_mask)
        return x


class PlainR2D2(nn.Module):
    """Towers, cross encoders, heads."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        vision, text = config.vision.width, config.text.width
        shape = (config.cross_layers, text, config.text.heads)
        self.towers = PlainTowers(config)
        self.log_temperature = nn.Parameter(torch.zeros(()))
        self.image_cross_projection = nn.Linear(vision, text)
        self.text_to_image = PlainCross(*shape, vision)
        self.image_to_text = PlainCross(*shape, text)
        self.match_head_text = nn.Linear(text, 2)
        self.match_head_image = nn.Linear(text, 2)
        self.mlm_head = nn.Module()
        self.mlm_head.dense = nn.Linear(text, text)
        self.mlm_head.norm = nn.LayerNorm(text, eps=config.text.norm_eps)
        self.mlm_head.bias = nn.Parameter(torch.zeros(config.text.vocab_size))

    def predict_tokens(self, states: Tensor) -> Tensor:
        """Logits (n, L, vocab) at every position."""
        x = self.mlm_head.norm(F.gelu(self.mlm_head.dense(states)))
        return x @ self.towers.text.token_embedding.weight.T + self.mlm_head.bias


def plain_names(ours: dict[str, Tensor], patch_size: int) -> dict[str, Tensor]:
    """Our weights, or their gradients, under the plain model's names and in its shapes."""
    plain: dict[str, Tensor] = {}
    for name, tensor in ours.items():
        name = name.replace("feed_forward.0.", "feed_forward.inner.")
        name = name.replace("feed_forward.2.", "feed_forward.outer.")
        if ".key_value." in name:
            for part, half in zip(("key", "value"), tensor.chunk(2), strict=True):
                plain[name.replace("key_value", part)] = half
        elif name.endswith("patch_embedding.weight"):
            plain[name] = tensor.view(len(tensor), 3, patch_size, patch_size)
        else:
            plain[name] = tensor
    return plain
