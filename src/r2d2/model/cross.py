"""A cross encoder: one side's states query the other's, over many pairs of few distinct items."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from r2d2.model.attention import Attention, FeedForward, KeysValues
from r2d2.model.bert import NORM_EPS


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

    def attend_self(
        self, x: Tensor, mask: Tensor | None, positions: Tensor | None = None
    ) -> Tensor:
        """The first third; at `positions` (m, K) only, if given: nothing later reads the others."""
        keys_values = self.attention.keys_values(x)
        if positions is not None:
            x = x.gather(1, positions[:, :, None].expand(-1, -1, x.shape[2]))
        return self.attention_norm(x + self.dropout(self.attention(x, keys_values, mask)))  # type: ignore[no-any-return]

    def attend_context(self, x: Tensor, keys_values: KeysValues, mask: Tensor | None) -> Tensor:
        """The other two thirds."""
        attended = self.cross_attention(x, keys_values, mask)
        x = self.cross_attention_norm(x + self.dropout(attended))
        return self.feed_forward_norm(x + self.dropout(self.feed_forward(x)))  # type: ignore[no-any-return]


class CrossEncoder(nn.Module):
    """Scores pairs of a query side and a context side.

    Each pair gets exactly what a plain pass over it would give it, but what does not depend on the
    pair is computed once an item: the first layer's self-attention (the query side alone) and all
    keys and values of the context. The last layer runs only at the positions that someone reads.
    """

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
    ) -> Tensor:
        """States of pairs.

        Args:
            queries: (u, L, width) distinct items of the query side.
            query_mask: (u, L) bool, True where real; None: nothing is padded.
            context: (c, S, context width) distinct items of the other side.
            context_mask: (c, S) bool, or None.
            pairs: (m,) and (m,) indices into queries and context; None: item i with item i.
            positions: (m, K) where the last layer is wanted; None: at [CLS] alone.

        Returns:
            (m, K, width).
        """
        if positions is None:
            m = len(queries) if pairs is None else len(pairs[0])
            positions = torch.zeros(m, 1, dtype=torch.long, device=queries.device)
        x, x_mask, keys_mask = queries, query_mask, context_mask
        last = len(self.layers) - 1
        for depth, layer in enumerate(self.layers):
            assert isinstance(layer, CrossLayer)
            wanted = positions if depth == last else None
            keys_values = layer.cross_attention.keys_values(context)
            if depth == 0 and pairs is not None:
                if wanted is None:
                    x = layer.attend_self(x, x_mask).index_select(0, pairs[0])
                else:
                    x = layer.attend_self(
                        x.index_select(0, pairs[0]), _pick(x_mask, pairs[0]), wanted
                    )
                x_mask, keys_mask = _pick(x_mask, pairs[0]), _pick(keys_mask, pairs[1])
            else:
                x = layer.attend_self(x, x_mask, wanted)
            if pairs is not None:
                # index_select, for its backward adds rows; plain indexing's is many times slower.
                key, value = keys_values
                keys_values = (key.index_select(0, pairs[1]), value.index_select(0, pairs[1]))
            x = layer.attend_context(x, keys_values, keys_mask)
        return x


def _pick(mask: Tensor | None, index: Tensor) -> Tensor | None:
    return None if mask is None else mask.index_select(0, index)
