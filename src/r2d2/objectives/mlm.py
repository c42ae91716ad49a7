"""MLM: masked language modelling, and how a text is masked."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor


def choose_masked(
    ids: Tensor, mask: Tensor, special_ids: Iterable[int], share: float, u: Tensor
) -> Tensor:
    """Which tokens to mask: each by its own draw, at least one a text that has any.

    Args:
        ids: (n, L) token ids.
        mask: (n, L) bool, True where a token is real.
        special_ids: ids never masked ([CLS], [SEP], [PAD], ...).
        share: of the tokens.
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
    """Where the masked tokens are.

    Args:
        masked: (n, L) bool.

    Returns:
        Positions (n, K), filled up with 0, and which of them are real (n, K) bool; K is the most
        masked tokens of a text.
    """
    most = int(masked.sum(1).max()) if masked.numel() else 0
    positions = masked.int().argsort(dim=1, descending=True, stable=True)[:, :most]
    real = masked.gather(1, positions)
    return positions.masked_fill(~real, 0), real


def mlm(logits: Tensor, targets: Tensor, count: Tensor | None = None) -> Tensor:
    """L_MLM: mean cross entropy over masked tokens; 0, with a gradient, if there is none.

    Args:
        logits: (m, vocab) at the masked positions.
        targets: (m,) the ids that stood there.
        count: () masked tokens; None: m. Of several processes, their average.
    """
    total = F.cross_entropy(logits.float(), targets, reduction="sum")
    if count is None:
        return total / max(len(targets), 1)
    return total / torch.where(count > 0, count, 1.0)
