"""The draw of a picture's text, and of a second one: a source by its share, a text by its weight.

A text is drawn within its source, or a title's weight of 1 would drown a query's CTR of 0.02.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from r2d2.table import Text
from r2d2.tokenizer import text_key


def not_empty(texts: Sequence[Text]) -> tuple[Text, ...]:
    """Those that say something."""
    return tuple(text for text in texts if text_key(text.text))


def draw_text(
    texts: Sequence[Text], source_shares: Mapping[str, float], u_source: float, u_text: float
) -> Text:
    """One of the texts.

    Args:
        texts: at least one.
        source_shares: by source, 1 for those that it does not name. Where all shares, or all
            weights within a source, are 0, each is as likely.
        u_source: uniform in [0, 1).
        u_text: uniform in [0, 1).
    """
    sources = sorted({text.source for text in texts})
    shares = [source_shares.get(source, 1.0) for source in sources]
    source = sources[_draw(shares, u_source)]
    within = [text for text in texts if text.source == source]
    return within[_draw([text.weight for text in within], u_text)]


def candidates_for_second(texts: Sequence[Text], first: Text) -> list[Text]:
    """The other texts of a picture: those of another source than `first`, if there are any."""
    key = text_key(first.text)
    others = [text for text in texts if text_key(text.text) != key]
    return [text for text in others if text.source != first.source] or others


def _draw(weights: Sequence[float], u: float) -> int:
    """An index with probability proportional to its weight; evenly where all weights are 0."""
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
