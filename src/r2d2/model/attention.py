"""Multi-head attention, which all transformers of the model use."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

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

    def keys_values(self, context: Tensor) -> KeysValues:
        """Compute the keys and values of `context` (n, S, context width)."""
        return self.split_keys_values(self.key_value(context))

    def forward(
        self,
        x: Tensor,
        keys_values: KeysValues,
        mask: Tensor | None = None,
        record: list[Tensor] | None = None,
    ) -> Tensor:
        """Attend from x over S positions.

        Args:
            x: (n, L, width).
            keys_values: of `keys_values`.
            mask: (n, S) bool, True where attention is allowed; None: everywhere.
            record: gets the weights (n, heads, L, S) of this pass, with their gradient; slower.

        Returns:
            Of the shape of x.
        """
        return self.out(self.attend(self.query(x), keys_values, mask, record))  # type: ignore[no-any-return]

    def attend(
        self,
        query: Tensor,
        keys_values: KeysValues,
        mask: Tensor | None = None,
        record: list[Tensor] | None = None,
    ) -> Tensor:
        """Return the weighted means of the values (n, L, width) for queries; see `forward`."""
        heads, (key, value) = self._split(query), keys_values
        allowed = None if mask is None else mask[:, None, None, :]
        if record is None:
            dropout = self.dropout if self.training else 0.0
            attended = F.scaled_dot_product_attention(
                heads, key, value, attn_mask=allowed, dropout_p=dropout
            )  # (n, heads, L, width / heads)
        else:
            scores = heads @ key.mT / heads.shape[-1] ** 0.5
            if allowed is not None:
                scores = scores.masked_fill(~allowed, float("-inf"))
            record.append(scores.softmax(-1))
            attended = record[-1] @ value
        return attended.transpose(1, 2).flatten(2)

    def split_keys_values(self, both: Tensor) -> KeysValues:
        """Split the output of `self.key_value` (n, S, 2 width) into keys and values."""
        key, value = both.chunk(2, dim=-1)
        return self._split(key), self._split(value)

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
