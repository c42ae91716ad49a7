"""A cross encoder, in which the states of one modality attend to those of the other, per pair.

This is the plain model, which `CrossEncoder.forward` runs under `fast.plain()`. By default it calls
model/fast/cross.py, which computes the same states with less work.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from r2d2.model.attention import Attention
from r2d2.model.bert import NORM_EPS
from r2d2.model.fast import enabled
from r2d2.model.fast.cross import PaddedStates, encode_pairs
from r2d2.model.feed_forward import FeedForward


class CrossLayer(nn.Module):
    """Self-attention, cross-attention, feed-forward, each post-norm."""

    def __init__(self, width: int, heads: int, context_width: int, dropout: float) -> None:
        super().__init__()
        self.attention = Attention(width, heads, dropout=dropout)
        self.attention_norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.cross_attention = Attention(width, heads, context_width, dropout)
        self.cross_attention_norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.feed_forward = FeedForward(width, nn.GELU())
        self.feed_forward_norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None,
        context: Tensor,
        context_mask: Tensor | None,
        record: list[Tensor] | None = None,
    ) -> Tensor:
        """Return the states (m, L, width) of x, which attends to itself and to `context`.

        The context is (m, S, width').
        """
        x = self.add_attended(x, self.attention(x, self.attention.keys_values(x), mask))
        keys_values = self.cross_attention.keys_values(context)
        return self.add_context(x, self.cross_attention(x, keys_values, context_mask, record))

    def add_attended(self, x: Tensor, attended: Tensor) -> Tensor:
        """Add the result of self-attention and normalise."""
        return self.attention_norm(x + self.dropout(attended))  # type: ignore[no-any-return]

    def add_context(self, x: Tensor, attended: Tensor) -> Tensor:
        """Add the result of cross-attention, apply the feed-forward block, and normalise."""
        x = self.cross_attention_norm(x + self.dropout(attended))
        return self.feed_forward_norm(x + self.dropout(self.feed_forward(x)))  # type: ignore[no-any-return]


class CrossEncoder(nn.Module):
    """Encodes pairs of a query item and a context item."""

    def __init__(
        self, layers: int, width: int, heads: int, context_width: int, dropout: float
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            CrossLayer(width, heads, context_width, dropout) for _ in range(layers)
        )

    def forward(
        self,
        queries: Tensor,
        query_mask: Tensor | None,
        context: Tensor,
        context_mask: Tensor | None,
        pairs: tuple[Tensor, Tensor] | None = None,
        positions: Tensor | None = None,
        record: list[Tensor] | None = None,
        real: Tensor | None = None,
    ) -> Tensor:
        """Encode pairs, and return their states at some positions.

        Args:
            queries: (u, L, width) distinct items of the querying modality.
            query_mask: (u, L) bool, True where real; None: nothing is padded.
            context: (c, S, context width) distinct items of the other modality.
            context_mask: (c, S) bool, True where real; None: nothing is padded.
            pairs: (m,) and (m,) indices into queries and context; None: item i with item i.
            positions: (m, K) the positions whose states are returned; None: [CLS] alone.
            record: gets the cross-attention weights (m, heads, L, S) of each layer; those of the
                last layer are (m, heads, K, S) where it is computed at the positions only. With a
                record the pass is slower.
            real: (m, K) bool, which of the positions are real; [CLS] must be. None: all.

        Returns:
            (m, K, width); where `real` is False the values are undefined.
        """
        if positions is None:
            m = queries.shape[0] if pairs is None else pairs[0].shape[0]
            positions = torch.zeros(m, 1, dtype=torch.long, device=queries.device)
        if enabled():
            query_items = PaddedStates(queries, query_mask)
            context_items = PaddedStates(context, context_mask)
            return encode_pairs(self, query_items, context_items, pairs, positions, record, real)
        if pairs is not None:
            queries, context = queries[pairs[0]], context[pairs[1]]
            query_mask = None if query_mask is None else query_mask[pairs[0]]
            context_mask = None if context_mask is None else context_mask[pairs[1]]
        x = queries
        for layer in self.layers:
            x = layer(x, query_mask, context, context_mask, record)
        return x.gather(1, positions[:, :, None].expand(-1, -1, x.shape[-1]))
