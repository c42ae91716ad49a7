"""Which parts of a picture a word is in, and which words a part belongs to.

from r2d2.explain import explain

found = explain(model, picture, "一只狗在草地上追飞盘")
found.entities, found.maps          # spans of the text, (k, P_h, P_w)
found.draw().save("why.png")
"""

from r2d2.explain.entities import Span, entities, words
from r2d2.explain.explanation import Explanation, explain

__all__ = ["Explanation", "Span", "entities", "explain", "words"]
