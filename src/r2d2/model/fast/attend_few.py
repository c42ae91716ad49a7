"""Attention for few queries a sequence, which never forms keys and values.

q . (W c + b) is (W^T q) . c + q . b. The last term is the same for all of the context, so that it
falls out of the softmax; and a mean of values is the value of the mean. The cost of a token of the
context then does not grow with the square of its width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor

from r2d2.model.fast import enabled
from r2d2.model.fast.packing import Packing, attend_packed, exporting, unpacked
from r2d2.model.linear import Linear

if TYPE_CHECKING:
    from r2d2.model.attention import Attention


def attend_from(
    attention: Attention,
    x: Tensor,
    context: Tensor,
    mask: Tensor | None = None,
    packing: Packing | None = None,
    record: list[Tensor] | None = None,
) -> Tensor:
    """Return the result of `attention` over the keys and values of `context`.

    Args:
        attention: the module, with its weights.
        x: (n, L, width), or (T, width) if packed; L is small.
        context: (n, S, context width), never packed.
        mask: (n, S) bool, True where attention is allowed; None: everywhere.
        packing: of x.
        record: gets the weights (n, heads, L, S).

    Returns:
        Of the shape of x.
    """
    key_value, heads = attention.key_value, attention.heads
    # Quantisers replace whole matrices only, and with LoRA the map is more than a matrix.
    if exporting() or not enabled() or not isinstance(key_value, Linear):
        keys_values = attention.keys_values(context)
        return attend_packed(attention, attention.query(x), keys_values, mask, packing, record)
    query = attention.query(x)
    dropout = attention.dropout if attention.training else 0.0
    width = context.shape[2]
    keys, values = key_value.weight.view(2, heads, -1, width)
    n, length = context.shape[0], query.shape[-2] if packing is None else packing.mask.shape[1]
    query = query.view(-1, heads, keys.shape[1])  # (T, heads, size)
    projected = (query.transpose(0, 1) @ keys).transpose(0, 1).flatten(1)  # (T, heads width)
    projected = unpacked(projected, packing).reshape(n, length * heads, width)
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
    attended = means.transpose(0, 1).flatten(1) + bias
    return attention.out(attended.view(x.shape))  # type: ignore[no-any-return]
