"""Multi-head attention, which every transformer here uses."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from r2d2.model.fast import enabled
from r2d2.model.fast.attend_few import attend_few
from r2d2.model.fast.packing import Packing, exporting
from r2d2.model.linear import Linear

KeysValues = tuple[Tensor, Tensor]  # each (n, heads, S, width / heads)


class Attention(nn.Module):
    """Multi-head attention whose keys and values can be computed once and used many times.

    Self-attention: `attention(x, attention.keys_values(x), mask)`. Cross-attention: the keys and
    values come from the other modality, whose width may differ.
    """

    def __init__(
        self, width: int, heads: int, context_width: int | None = None, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.query = Linear(width, width)
        self.key_value = Linear(context_width or width, 2 * width)
        self.out = Linear(width, width)

    def keys_values(self, context: Tensor, packing: Packing | None = None) -> KeysValues:
        """Keys and values of `context` (n, S, context width), or (T, context width) if packed."""
        both = self.key_value(context)
        if packing is not None:
            both = packing.unpack(both)
        key, value = both.chunk(2, dim=-1)
        return self._split(key), self._split(value)

    def forward(
        self,
        x: Tensor,
        keys_values: KeysValues,
        mask: Tensor | None = None,
        packing: Packing | None = None,
        record: list[Tensor] | None = None,
        query: Tensor | None = None,
    ) -> Tensor:
        """Attend from x over S positions.

        Args:
            x: (n, L, width), or (T, width) if packed.
            keys_values: of `keys_values`.
            mask: (n, S) bool, True where attention is allowed; None: everywhere.
            packing: of x.
            record: gets the weights (n, heads, L, S) of this pass, with their gradient; slower.
            query: `self.query(x)`, where it is known.

        Returns:
            Of the shape of x.
        """
        query = self.query(x) if query is None else query
        if packing is not None:
            query = packing.unpack(query)
        heads, (key, value) = self._split(query), keys_values
        seen = None if mask is None else mask[:, None, None, :]
        if record is None:
            dropout = self.dropout if self.training else 0.0
            attended = F.scaled_dot_product_attention(
                heads, key, value, attn_mask=seen, dropout_p=dropout
            )  # (n, heads, L, width / heads)
        else:
            scores = heads @ key.mT / heads.shape[-1] ** 0.5
            if seen is not None:
                scores = scores.masked_fill(~seen, float("-inf"))
            record.append(scores.softmax(-1))
            attended = record[-1] @ value
        joined = attended.transpose(1, 2).flatten(2)
        return self.out(joined if packing is None else packing.pack(joined))  # type: ignore[no-any-return]

    def attend_from(
        self,
        x: Tensor,
        context: Tensor,
        mask: Tensor | None = None,
        packing: Packing | None = None,
        record: list[Tensor] | None = None,
    ) -> Tensor:
        """The result of `forward` over `keys_values(context)`, for few queries a sequence.

        Args:
            x: (n, L, width), or (T, width) if packed; L is small.
            context: (n, S, context width), never packed.
            mask: (n, S) bool, True where attention is allowed; None: everywhere.
            packing: of x.
            record: as of `forward`.

        Returns:
            Of the shape of x.
        """
        # Quantisers replace whole matrices only, and with LoRA the map is more than a matrix.
        if exporting() or not enabled() or not isinstance(self.key_value, Linear):
            return self(x, self.keys_values(context), mask, packing, record)  # type: ignore[no-any-return]
        dropout = self.dropout if self.training else 0.0
        attended = attend_few(
            self.query(x), self.key_value, self.heads, context, mask, packing, dropout, record
        )
        return self.out(attended.view(x.shape))  # type: ignore[no-any-return]

    def _split(self, x: Tensor) -> Tensor:
        n, length, width = x.shape
        return x.view(n, length, self.heads, width // self.heads).transpose(1, 2)


def init_weights(module: nn.Module) -> None:
    """Linear maps: normal of deviation fan_in^-1/2; embeddings: BERT's 0.02; zero biases.

    BERT uses 0.02 everywhere, which suits width 768. At width 128 it makes [CLS] nearly the same
    for every input at first, and the contrast does not fall for hundreds of steps (docs/method.md).
    """
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=module.in_features**-0.5)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
