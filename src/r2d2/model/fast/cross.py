"""Run a cross encoder with less work than one plain pass for each pair.

What does not depend on the pair is computed once for each item: the self-attention of the first
layer, and all keys and values of the context. The last layer is computed only at the positions that
are read. Padding is skipped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from r2d2.model.fast.attend_few import attend_from
from r2d2.model.fast.packing import Packing, attend_packed, attend_self, packed, unpacked

if TYPE_CHECKING:
    from r2d2.model.cross import CrossEncoder, CrossLayer


class ReadPositions:
    """The positions in m sequences at which the last layer is read; some may be padding."""

    def __init__(self, positions: Tensor, real: Tensor | None) -> None:
        self.positions = positions  # (m, K)
        self.packing = Packing.of(real)  # selects those that are not padding; None: all are real

    def take(self, x: Tensor) -> Tensor:
        """Take the states at the positions: (m, K, width) of x (m, L, width), or (T, width) packed.

        T is the number of positions that are not padding.
        """
        m, length, width = x.shape
        rows = self.positions + torch.arange(m, device=x.device)[:, None] * length
        flat = x.reshape(m * length, width)
        if self.packing is None:
            return flat.index_select(0, rows.flatten()).view(*rows.shape, width)
        return flat.index_select(0, self.packing.pack(rows[:, :, None])[:, 0])


class PaddedStates(NamedTuple):
    """The states (n, L, width) of n items, and which of them are real (n, L); None: all."""

    states: Tensor
    mask: Tensor | None


def encode_pairs(
    encoder: CrossEncoder,
    query_items: PaddedStates,
    context_items: PaddedStates,
    pairs: tuple[Tensor, Tensor] | None,
    positions: Tensor,
    record: list[Tensor] | None,
    real: Tensor | None,
) -> Tensor:
    """Encode pairs of items; see `CrossEncoder.forward`."""
    (queries, query_mask), (context, context_mask) = query_items, context_items
    packing = Packing.of(query_mask)
    x = packed(queries, packing)
    layers: list[CrossLayer] = list(encoder.layers)  # type: ignore[arg-type]
    first, last = layers[0], layers[-1]
    query = None
    if first is not last:  # self-attention is computed once for each item, before pairs are formed
        x = first.add_attended(x, attend_self(first.attention, x, query_mask, packing))
        query = first.cross_attention.query(x)
    if pairs is not None:
        rows, packing = (pairs[0], None) if packing is None else packing.select(pairs[0])
        # index_select is used because its backward pass is many times faster than that of indexing.
        x = x.index_select(0, rows)
        query = None if query is None else query.index_select(0, rows)
        query_mask, context_mask = _select(query_mask, pairs[0]), _select(context_mask, pairs[1])
    for layer in layers:
        if layer is last and positions.shape[1] * layer.attention.heads <= x.shape[-1]:
            of_pairs = context if pairs is None else context.index_select(0, pairs[1])
            read, whole = ReadPositions(positions, real), unpacked(x, packing)
            x = read.take(whole)
            attended = attend_from(layer.attention, x, whole, query_mask, read.packing)
            x = layer.add_attended(x, attended)
            attended = attend_from(
                layer.cross_attention, x, of_pairs, context_mask, read.packing, record
            )
            return unpacked(layer.add_context(x, attended), read.packing)
        if layer is not first or layer is last:
            x = layer.add_attended(x, attend_self(layer.attention, x, query_mask, packing))
            query = layer.cross_attention.query(x)
        assert query is not None
        key, value = layer.cross_attention.keys_values(context)  # also once for each item
        if pairs is not None:
            key, value = key.index_select(0, pairs[1]), value.index_select(0, pairs[1])
        attended = attend_packed(
            layer.cross_attention, query, (key, value), context_mask, packing, record
        )
        x = layer.add_context(x, attended)
    return ReadPositions(positions, None).take(unpacked(x, packing))


def _select(mask: Tensor | None, index: Tensor) -> Tensor | None:
    return None if mask is None else mask.index_select(0, index)
