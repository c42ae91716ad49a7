"""A cross encoder: the states of one modality attend to those of the other, pair by pair."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from r2d2.model.attention import Attention, KeysValues
from r2d2.model.bert import NORM_EPS
from r2d2.model.fast.packing import Packing
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

    def attend_self(self, x: Tensor, mask: Tensor | None, packing: Packing | None = None) -> Tensor:
        """Self-attention with its norm, of the shape of x."""
        keys_values = self.attention.keys_values(x, packing)
        attended = self.attention(x, keys_values, mask, packing)
        return self.attention_norm(x + self.dropout(attended))  # type: ignore[no-any-return]

    def attend_context(
        self,
        x: Tensor,
        keys_values: KeysValues,
        mask: Tensor | None,
        packing: Packing | None = None,
        record: list[Tensor] | None = None,
        query: Tensor | None = None,
    ) -> Tensor:
        """Cross-attention and feed-forward; `query`: `cross_attention.query(x)`, if it is known."""
        attended = self.cross_attention(x, keys_values, mask, packing, record, query)
        return self._feed(x, attended)

    def forward_at(
        self,
        x: Tensor,
        mask: Tensor | None,
        packing: Packing | None,
        context: Tensor,
        context_mask: Tensor | None,
        read: ReadPositions,
        record: list[Tensor] | None = None,
    ) -> Tensor:
        """The whole layer, but only at few positions of each pair; for the last layer.

        Args:
            x: (m, L, width), or (T, width) if packed.
            mask: (m, L) bool, or None.
            packing: of x.
            context: (m, S, context width), a pair each.
            context_mask: (m, S) bool, or None.
            read: the positions.
            record: as of `attend_context`.

        Returns:
            (m, K, width), or (T', width) packed by `read.packing`.
        """
        whole = x if packing is None else packing.unpack(x)
        x, packing = read.take(whole), read.packing
        attended = self.attention.attend_from(x, whole, mask, packing)
        x = self.attention_norm(x + self.dropout(attended))
        return self._feed(
            x, self.cross_attention.attend_from(x, context, context_mask, packing, record)
        )

    def _feed(self, x: Tensor, attended: Tensor) -> Tensor:
        x = self.cross_attention_norm(x + self.dropout(attended))
        return self.feed_forward_norm(x + self.dropout(self.feed_forward(x)))  # type: ignore[no-any-return]


class ReadPositions:
    """The positions of m sequences at which the last layer is read; some may be padding."""

    def __init__(self, positions: Tensor, real: Tensor | None) -> None:
        self.positions = positions  # (m, K)
        self.packing = Packing.of(real)  # of those that are not padding; None: all are read

    def take(self, x: Tensor) -> Tensor:
        """(m, K, width) of x (m, L, width), or (T, width), packed."""
        m, length, width = x.shape
        rows = self.positions + torch.arange(m, device=x.device)[:, None] * length
        flat = x.reshape(m * length, width)
        if self.packing is None:
            return flat.index_select(0, rows.flatten()).view(*rows.shape, width)
        return flat.index_select(0, self.packing.pack(rows[:, :, None])[:, 0])


class CrossEncoder(nn.Module):
    """Encodes pairs of a query item and a context item.

    The result is that of one pass for each pair. What does not depend on the pair is computed once
    for each item: the first layer's self-attention, and all keys and values of the context. The
    last layer runs only at the positions that are read.
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
        record: list[Tensor] | None = None,
        real: Tensor | None = None,
    ) -> Tensor:
        """States of pairs.

        Args:
            queries: (u, L, width) distinct items of the querying modality.
            query_mask: (u, L) bool, True where real; None: nothing is padded.
            context: (c, S, context width) distinct items of the other modality.
            context_mask: (c, S) bool, or None.
            pairs: (m,) and (m,) indices into queries and context; None: item i with item i.
            positions: (m, K) at which the last layer is read; None: at [CLS] alone.
            record: gets each layer's cross-attention weights (m, heads, L, S), of the last layer
                (m, heads, K, S); slower.
            real: (m, K) bool, which positions are read at all; [CLS] must be. None: all.

        Returns:
            (m, K, width); the values where `real` is False have no meaning.
        """
        if positions is None:
            m = queries.shape[0] if pairs is None else pairs[0].shape[0]
            positions = torch.zeros(m, 1, dtype=torch.long, device=queries.device)
        read = ReadPositions(positions, real)
        packing = Packing.of(query_mask)
        x = queries if packing is None else packing.pack(queries)
        first, last = self.layers[0], self.layers[-1]
        query = None
        if first is not last:  # once for each item, before the pairs are formed
            x = first.attend_self(x, query_mask, packing)  # type: ignore[operator]
            query = first.cross_attention.query(x)  # type: ignore[operator, union-attr]
        if pairs is not None:
            # index_select: its backward pass adds rows, and is many times faster than indexing's.
            if packing is None:
                x = x.index_select(0, pairs[0])
                query = None if query is None else query.index_select(0, pairs[0])
            else:
                rows, packing = packing.select(pairs[0])
                x = x.index_select(0, rows)
                query = None if query is None else query.index_select(0, rows)
            query_mask, context_mask = _pick(query_mask, pairs[0]), _pick(context_mask, pairs[1])
        for layer in self.layers:
            assert isinstance(layer, CrossLayer)
            if layer is last and positions.shape[1] * layer.attention.heads <= x.shape[-1]:
                of_pairs = context if pairs is None else context.index_select(0, pairs[1])
                x = layer.forward_at(x, query_mask, packing, of_pairs, context_mask, read, record)
                return x if read.packing is None else read.packing.unpack(x)
            if layer is not first or layer is last:
                x = layer.attend_self(x, query_mask, packing)
            key, value = layer.cross_attention.keys_values(context)  # once for each item too
            if pairs is not None:
                key, value = key.index_select(0, pairs[1]), value.index_select(0, pairs[1])
            known = query if layer is first else None
            x = layer.attend_context(x, (key, value), context_mask, packing, record, known)
        return ReadPositions(positions, None).take(x if packing is None else packing.unpack(x))


def _pick(mask: Tensor | None, index: Tensor) -> Tensor | None:
    return None if mask is None else mask.index_select(0, index)
