"""ViT: the image encoder. Class token, pre-norm, QuickGELU (CLIP, arXiv 2103.00020)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from r2d2.config import VisionConfig
from r2d2.model.activations import activation
from r2d2.model.attention import Attention
from r2d2.model.fast.attend_few import attend_from
from r2d2.model.feed_forward import FeedForward
from r2d2.model.linear import Linear
from r2d2.model.stem import ConvStem


class ViTLayer(nn.Module):
    """Pre-norm: x + attention(norm(x)), then x + feed-forward(norm(x))."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        width, eps = config.width, config.norm_eps
        self.attention_norm = nn.LayerNorm(width, eps=eps)
        self.attention = Attention(width, config.heads)
        self.feed_forward_norm = nn.LayerNorm(width, eps=eps)
        self.feed_forward = FeedForward(width, activation(config.activation), config.inner_width)

    def forward(self, x: Tensor, only_cls: bool = False) -> Tensor:
        """Return states (n, 1 + P, width); with `only_cls` (n, 1, width), those of [CLS]."""
        normed = self.attention_norm(x)
        if only_cls:
            x = x[:, :1] + attend_from(self.attention, normed[:, :1], normed)
        else:
            x = x + self.attention(normed, self.attention.keys_values(normed))
        return x + self.feed_forward(self.feed_forward_norm(x))  # type: ignore[no-any-return]


class ViT(nn.Module):
    """Encodes pixels to hidden states V."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.patch_size = config.patch_size
        self.stem = ConvStem(config.patch_size, config.width) if config.stem == "conv" else None
        features = 3 * config.patch_size**2 if self.stem is None else self.stem.channels
        # CLIP's patch convolution without bias, as the matrix it is: patches do not overlap.
        self.patch_embedding = Linear(features, config.width, bias=False)
        self.class_embedding = nn.Parameter(torch.empty(config.width).normal_(std=0.02))
        self.position_embedding = nn.Parameter(
            torch.empty(1 + config.patches, config.width).normal_(std=config.position_std)
        )
        self.input_norm = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.layers = nn.ModuleList(ViTLayer(config) for _ in range(config.layers))
        self.output_norm: nn.Module = nn.Identity()
        if config.output_norm:
            self.output_norm = nn.LayerNorm(config.width, eps=config.norm_eps)

    def forward(self, pixels: Tensor, keep: Tensor | None = None, only_cls: bool = False) -> Tensor:
        """Encode images.

        Args:
            pixels: (n, 3, H, W), normalised.
            keep: (n, K) the patches to look at, in any order; the others are dropped before the
                transformer. None: all P.
            only_cls: nobody reads the patches' states: the last layer runs at [CLS] alone.

        Returns:
            V (n, 1 + P, d_v), or (n, 1 + K, d_v), or (n, 1, d_v); [CLS] first.
        """
        pixels = pixels.to(self.class_embedding.dtype)
        patches = self._patches(pixels) if self.stem is None else self.stem(pixels)
        positions = self.position_embedding[1:].expand(patches.shape[0], -1, -1)  # (n, P, d_v)
        if keep is not None:
            patches = patches.gather(1, keep[:, :, None].expand(-1, -1, patches.shape[2]))
            positions = self.position_embedding[1:][keep]
        x = self.patch_embedding(patches) + positions
        cls = (self.class_embedding + self.position_embedding[0]).expand(x.shape[0], 1, -1)
        x = self.input_norm(torch.cat([cls, x], dim=1))
        for left, layer in zip(reversed(range(len(self.layers))), self.layers, strict=True):
            x = layer(x, only_cls and left == 0)
        x = x[:, :1] if only_cls else x
        return self.output_norm(x)  # type: ignore[no-any-return]

    def _patches(self, pixels: Tensor) -> Tensor:
        """Cut (n, 3, H, W) into patches (n, P, 3 p p), row by row."""
        n, channels, height, width = pixels.shape
        p = self.patch_size
        grid = pixels.reshape(n, channels, height // p, p, width // p, p)
        return grid.permute(0, 2, 4, 1, 3, 5).reshape(n, -1, channels * p * p)
