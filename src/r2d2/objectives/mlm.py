"""MLM: masked language modelling, and the choice of the tokens to mask."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor


def choose_masked(
    ids: Tensor, mask: Tensor, special_ids: Iterable[int], share: float, u: Tensor
) -> Tensor:
    """Choose the tokens to mask, each by its own draw, and at least one in each text that has any.

    Args:
        ids: (n, L) token ids.
        mask: (n, L) bool, True where a token is real.
        special_ids: ids that are never masked ([CLS], [SEP], [PAD], ...).
        share: of the tokens that are masked.
        u: (n, L) uniform in [0, 1).

    Returns:
        (n, L) bool.
    """
    special = torch.tensor(list(special_ids), device=ids.device)
    eligible = mask & ~torch.isin(ids, special)
    draws = u.masked_fill(~eligible, 2.0)  # above every real draw
    lowest = F.one_hot(draws.argmin(1), ids.shape[1]).bool()
    return eligible & ((draws < share) | lowest)


def positions_of(masked: Tensor) -> tuple[Tensor, Tensor]:
    """Return the positions of the masked tokens.

    Args:
        masked: (n, L) bool.

    Returns:
        Positions (n, K), padded with 0, and which of them are real (n, K) bool. K is the largest
        number of masked tokens in a text.
    """
    most = int(masked.sum(1).max()) if masked.numel() else 0
    positions = masked.int().argsort(dim=1, descending=True, stable=True)[:, :most]
    real = masked.gather(1, positions)
    return positions.masked_fill(~real, 0), real


def mlm(logits: Tensor, targets: Tensor, count: Tensor | None = None) -> Tensor:
    """L_MLM: mean cross entropy over the masked tokens; 0, with a gradient, if there are none.

    Args:
        logits: (m, vocab) at the masked positions.
        targets: (m,) the ids of the tokens before they were masked.
        count: () the number of masked tokens to divide by, with several processes the average of
            their numbers; None: m.
    """
    total = F.cross_entropy(logits.float(), targets, reduction="sum")
    if count is None:
        return total / max(len(targets), 1)
    return total / torch.where(count > 0, count, 1.0)
