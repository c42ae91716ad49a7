"""The text encoder where only some texts are read token by token, and the others at [CLS]."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from r2d2.model.fast import enabled
from r2d2.model.fast.packing import Packing, packed, unpacked

if TYPE_CHECKING:
    from r2d2.model.bert import Bert


def encode_selected(bert: Bert, ids: Tensor, mask: Tensor, whole: Tensor) -> tuple[Tensor, Tensor]:
    """See `Bert.encode_selected`: the last layer runs at [CLS] alone where no token is read."""
    n = len(ids)
    if not enabled() or not len(bert.layers) or len(whole) == n:
        states = bert(ids, mask)
        return states[whole], states[:, 0]
    x, packing = bert.embed(ids), Packing.of(mask)
    x = packed(x, packing)
    for layer in bert.layers[:-1]:
        x = layer(x, mask, packing)
    last = bert.layers[-1]
    if not len(whole):
        return x.new_zeros(0, *ids.shape[1:], x.shape[-1]), last(x, mask, packing, True)[:, 0]
    others = torch.ones_like(mask[:, 0]).index_fill(0, whole, False)
    rest = others.nonzero()[:, 0] if not ids.is_meta else ids.new_empty(n - len(whole))
    parts = []
    for index, only_cls in ((whole, False), (rest, True)):
        rows, selected = (index, None) if packing is None else packing.select(index)
        part = x.index_select(0, rows)
        part = last(part, mask.index_select(0, index), selected, only_cls)
        parts.append(part if only_cls else unpacked(part, selected))
    cls = torch.cat([part[:, 0] for part in parts])
    order = torch.cat([whole, rest]).argsort()
    return parts[0], cls.index_select(0, order)
