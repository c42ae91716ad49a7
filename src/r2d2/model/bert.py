"""BERT: the text encoder, and the head that predicts masked tokens (arXiv 1810.04805).

RoBERTa-wwm-ext is a BERT of base size. Post-norm, GELU.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from r2d2.config import TextConfig
from r2d2.model.activations import activation
from r2d2.model.attention import Attention
from r2d2.model.fast.attend_few import attend_from
from r2d2.model.fast.bert import encode_selected
from r2d2.model.fast.onednn import linear
from r2d2.model.fast.packing import Packing, attend_self, packed, unpacked
from r2d2.model.feed_forward import FeedForward
from r2d2.model.linear import Linear

NORM_EPS = 1e-12  # BERT's, in the cross encoders


class BertLayer(nn.Module):
    """Post-norm: norm(x + attention(x)), then norm(x + feed-forward(x))."""

    def __init__(self, config: TextConfig, dropout: float) -> None:
        super().__init__()
        width, eps = config.width, config.norm_eps
        self.attention = Attention(width, config.heads, dropout=dropout)
        self.attention_norm = nn.LayerNorm(width, eps=eps)
        self.feed_forward = FeedForward(width, activation(config.activation), config.inner_width)
        self.feed_forward_norm = nn.LayerNorm(width, eps=eps)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, mask: Tensor, packing: Packing | None = None, only_cls: bool = False
    ) -> Tensor:
        """States of the shape of x: (n, L, width), or (T, width) if packed; mask (n, L) bool.

        `only_cls`: (n, 1, width), of [CLS].
        """
        if only_cls:
            context = unpacked(x, packing)
            x = context[:, :1]
            attended = attend_from(self.attention, x, context, mask)
        else:
            attended = attend_self(self.attention, x, mask, packing)
        x = self.attention_norm(x + self.dropout(attended))
        return self.feed_forward_norm(x + self.dropout(self.feed_forward(x)))  # type: ignore[no-any-return]


class Bert(nn.Module):
    """Encodes token ids to hidden states T."""

    def __init__(self, config: TextConfig, dropout: float = 0.0) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(config.vocab_size, config.width)
        self.position_embedding = nn.Parameter(
            torch.empty(config.max_length, config.width).normal_(std=0.02)
        )
        # BERT's segment embedding: a caption is always segment 0, so one vector.
        self.segment_embedding = nn.Parameter(torch.empty(config.width).normal_(std=0.02))
        self.input_norm = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(BertLayer(config, dropout) for _ in range(config.layers))

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Encode ids (n, L) to T (n, L, d_t); mask (n, L) bool is True where a token is real."""
        x, packing = self.embed(ids), Packing.of(mask)
        x = packed(x, packing)
        for layer in self.layers:
            x = layer(x, mask, packing)
        return unpacked(x, packing)

    def cls(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Encode ids to T at [CLS] only, (n, d_t); the last layer is computed only there."""
        return self.encode_selected(ids, mask, ids.new_zeros(0))[1]

    def encode_selected(self, ids: Tensor, mask: Tensor, whole: Tensor) -> tuple[Tensor, Tensor]:
        """Texts of which only `whole` are read token by token.

        Args:
            ids: (n, L).
            mask: (n, L) bool.
            whole: (k,) indices of texts, each once.

        Returns:
            T (k, L, d_t) of these, in their order, and T at [CLS] of all (n, d_t).
        """
        return encode_selected(self, ids, mask, whole)

    def embed(self, ids: Tensor) -> Tensor:
        """Return the input (n, L, d_t) of the first layer."""
        x = self.token_embedding(ids) + self.position_embedding[: ids.shape[1]]
        return self.dropout(self.input_norm(x + self.segment_embedding))  # type: ignore[no-any-return]


class MLMHead(nn.Module):
    """BERT's prediction head: dense, activation, norm, then the token embedding's transpose."""

    def __init__(
        self, width: int, vocab_size: int, act: str = "gelu", norm_eps: float = NORM_EPS
    ) -> None:
        super().__init__()
        self.dense = Linear(width, width)
        self.activation = activation(act)
        self.norm = nn.LayerNorm(width, eps=norm_eps)
        self.bias = nn.Parameter(torch.zeros(vocab_size))

    def forward(self, states: Tensor, token_embedding: Tensor) -> Tensor:
        """Return the logits (m, vocab) for the states (m, d_t) at masked positions."""
        return linear(self.norm(self.activation(self.dense(states))), token_embedding, self.bias)
