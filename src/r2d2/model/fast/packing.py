"""Skip the padding in computations that are done token by token.

Chinese names and queries are short and of uneven length. In a batch that is padded to its longest
text, half of the positions are padding, and only attention needs the rectangle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from r2d2.model.fast import enabled

if TYPE_CHECKING:
    from r2d2.model.attention import Attention, KeysValues

# In an exported graph all shapes follow from those of the input, so that nothing is skipped.
exporting = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)


class Packing:
    """The positions of the T real tokens of n padded sequences."""

    def __init__(self, mask: Tensor) -> None:
        self.mask = mask  # (n, L) bool, True where a token is real
        flat = mask.flatten()
        self._rows = flat.nonzero()[:, 0]  # (T,) of the rectangle, in order
        # (n L,) of the packed tokens; padding repeats the token before it, and attention masks it,
        # so that no gradient comes back from it
        self._sources = (flat.cumsum(0) - 1).clamp_min(0)

    @staticmethod
    def of(mask: Tensor | None) -> Packing | None:
        """Find the real tokens; None without padding or without values (meta device, export)."""
        if not enabled() or mask is None or mask.is_meta or exporting() or bool(mask.all()):
            return None
        return Packing(mask)

    def pack(self, x: Tensor) -> Tensor:
        """Pack x (n, L, width) to (T, width)."""
        return x.flatten(0, 1).index_select(0, self._rows)

    def unpack(self, x: Tensor) -> Tensor:
        """Unpack x (T, width) to (n, L, width)."""
        return x.index_select(0, self._sources).view(*self.mask.shape, x.shape[1])

    def select(self, index: Tensor) -> tuple[Tensor, Packing]:
        """Return the packed rows of the sequences at `index` (m,), and the packing of these."""
        chosen = Packing(self.mask.index_select(0, index))
        sources = self._sources.view(self.mask.shape).index_select(0, index).flatten()
        return sources.index_select(0, chosen._rows), chosen


def packed(x: Tensor, packing: Packing | None) -> Tensor:
    """Pack x (n, L, width) where there is a packing."""
    return x if packing is None else packing.pack(x)


def unpacked(x: Tensor, packing: Packing | None) -> Tensor:
    """The inverse of `packed`."""
    return x if packing is None else packing.unpack(x)


def attend_packed(
    attention: Attention,
    query: Tensor,
    keys_values: KeysValues,
    mask: Tensor | None,
    packing: Packing | None,
    record: list[Tensor] | None = None,
) -> Tensor:
    """The result of `attention`; `query` is its `query` of x, perhaps packed, and so the result."""
    attended = attention.attend(unpacked(query, packing), keys_values, mask, record)
    return attention.out(packed(attended, packing))  # type: ignore[no-any-return]


def attend_self(
    attention: Attention, x: Tensor, mask: Tensor | None, packing: Packing | None
) -> Tensor:
    """Self-attention over x, perhaps packed."""
    keys_values = attention.split_keys_values(unpacked(attention.key_value(x), packing))
    return attend_packed(attention, attention.query(x), keys_values, mask, packing)
