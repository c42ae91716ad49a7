"""Attention for few queries a sequence, which never forms keys and values.

q . (W c + b) is (W^T q) . c + q . b. The last term is the same for all of the context, so that it
falls out of the softmax; and a mean of values is the value of the mean. The cost of a token of the
context then does not grow with the square of its width.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from r2d2.model.fast.packing import Packing


def attend_few(
    query: Tensor,
    key_value: nn.Linear,
    heads: int,
    context: Tensor,
    mask: Tensor | None,
    packing: Packing | None,
    dropout: float,
    record: list[Tensor] | None,
) -> Tensor:
    """See `Attention.attend_from`.

    Args:
        query: (n, L, width), or (T, width) if packed, of the queries' own map.
        key_value: the map of keys and values, together.
        heads: their number.
        context: (n, S, context width), never packed.
        mask: (n, S) bool, True where to look.
        packing: of the queries.
        dropout: share of the weights that is dropped.
        record: gets the weights (n, heads, L, S).

    Returns:
        (T, width), before the output's map.
    """
    width = context.shape[2]
    keys, values = key_value.weight.view(2, heads, -1, width)
    n, length = context.shape[0], query.shape[-2] if packing is None else packing.mask.shape[1]
    query = query.view(-1, heads, keys.shape[1])  # (T, heads, size)
    projected = (query.transpose(0, 1) @ keys).transpose(0, 1).flatten(1)  # (T, heads width)
    if packing is not None:
        projected = packing.unpack(projected)
    projected = projected.reshape(n, length * heads, width)
    scores = projected @ context.mT / query.shape[2] ** 0.5
    if mask is not None:
        scores = scores.masked_fill(~mask[:, None, :], float("-inf"))
    weights = scores.softmax(-1)
    if record is not None:
        record.append(weights.view(n, length, heads, -1).transpose(1, 2))
        weights = record[-1].transpose(1, 2).flatten(1, 2)
    weights = F.dropout(weights, dropout, dropout > 0)
    means = (weights @ context).view(n, length, heads * width)
    bias = key_value.bias.chunk(2)[1]
    if dropout:  # the weights do not add up to 1
        total = weights.sum(-1).view(n, length, heads, 1)
        bias = (total * bias.view(heads, -1)).flatten(2)
        bias = bias.flatten(0, 1) if packing is None else packing.pack(bias)
    means = means.flatten(0, 1) if packing is None else packing.pack(means)
    means = means.view(-1, heads, width).transpose(0, 1) @ values.mT  # (heads, T, size)
    attended: Tensor = means.transpose(0, 1).flatten(1) + bias
    return attended
