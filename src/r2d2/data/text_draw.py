"""Draw a text of a picture, and a second one: first a source by its share, then a text by weight.

Weights are compared only within a source. Otherwise a title with a weight of 1 would nearly always
be drawn instead of a query whose weight is its CTR of 0.02.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from r2d2.table import Text
from r2d2.tokenizer import text_key


def not_empty(texts: Sequence[Text]) -> tuple[Text, ...]:
    """Return the texts whose key is not empty."""
    return tuple(text for text in texts if text_key(text.text))


def draw_text(
    texts: Sequence[Text], source_shares: Mapping[str, float], u_source: float, u_text: float
) -> Text:
    """Draw one of the texts.

    Args:
        texts: at least one text.
        source_shares: the share of each source; a source that is not named has 1. Where all shares
            are 0, or all weights within a source, the draw is uniform.
        u_source: uniform in [0, 1).
        u_text: uniform in [0, 1).
    """
    sources = sorted({text.source for text in texts})
    shares = [source_shares.get(source, 1.0) for source in sources]
    source = sources[_draw(shares, u_source)]
    within = [text for text in texts if text.source == source]
    return within[_draw([text.weight for text in within], u_text)]


def candidates_for_second(texts: Sequence[Text], first: Text) -> list[Text]:
    """Return the other texts of a picture, only those of another source if there are any."""
    key = text_key(first.text)
    others = [text for text in texts if text_key(text.text) != key]
    return [text for text in others if text.source != first.source] or others


def _draw(weights: Sequence[float], u: float) -> int:
    """Draw an index with probability proportional to its weight; uniformly if all weights are 0."""
    if len(weights) == 1:
        return 0
    total = float(sum(weights))
    if total <= 0:
        return min(int(u * len(weights)), len(weights) - 1)
    edges = np.cumsum([0.0, *weights]) / total
    for i, (low, high) in enumerate(pairwise(edges)):
        if low <= u < high:
            return i
    return max(i for i, weight in enumerate(weights) if weight > 0)
