"""The brick of every transformer here: multi-head attention, and the feed-forward beside it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from r2d2.model.packing import Packing

KeysValues = tuple[Tensor, Tensor]  # each (n, heads, S, width / heads)


class Attention(nn.Module):
    """Multi-head attention whose keys and values can be computed once and used many times.

    Self-attention: `attention(x, attention.keys_values(x), mask)`. Cross-attention: the keys and
    values come from the other side, whose width may differ.
    """

    def __init__(
        self, width: int, heads: int, context_width: int | None = None, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(context_width or width, 2 * width)
        self.out = nn.Linear(width, width)

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
    ) -> Tensor:
        """Attend from x over S positions.

        Args:
            x: (n, L, width), or (T, width) if packed.
            keys_values: of `keys_values`.
            mask: (n, S) bool, True where to look; None: everywhere.
            packing: of x.
            record: gets the weights (n, heads, L, S) of this pass, with their gradient; slower.

        Returns:
            Of the shape of x.
        """
        query = self.query(x)
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

    def _split(self, x: Tensor) -> Tensor:
        n, length, width = x.shape
        return x.view(n, length, self.heads, width // self.heads).transpose(1, 2)


class QuickGELU(nn.Module):
    """x sigmoid(1.702 x), CLIP's activation."""

    def forward(self, x: Tensor) -> Tensor:
        """Of any shape, element by element."""
        return x * torch.sigmoid(1.702 * x)


def activation(name: str) -> nn.Module:
    """One of `config.ACTIVATIONS`."""
    if name == "quick_gelu":
        return QuickGELU()
    if name == "relu":
        return nn.ReLU()
    return nn.GELU(approximate="tanh" if name == "gelu_new" else "none")


class FeedForward(nn.Sequential):
    """Two linear maps, four times the width between them unless `inner_width` is given."""

    def __init__(self, width: int, activation: nn.Module, inner_width: int = 0) -> None:
        inner = inner_width or 4 * width
        super().__init__(nn.Linear(width, inner), activation, nn.Linear(inner, width))


def init_weights(module: nn.Module) -> None:
    """Linear maps: normal of deviation fan_in^-1/2; embeddings: BERT's 0.02; zero biases.

    BERT's 0.02 everywhere is made for width 768. At 128 it leaves [CLS] nearly the same for every
    input at first, and contrastive training stands still for hundreds of steps (docs/method.md).
    """
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=module.in_features**-0.5)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
