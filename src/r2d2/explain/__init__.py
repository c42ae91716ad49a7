"""Show which parts of a picture the words of a text describe.

from r2d2.explain import explain

explanation = explain(model, picture, "一只狗在草地上追飞盘")
explanation.entities, explanation.maps  # spans of the text, (k, P_h, P_w)
explanation.draw().save("why.png")
"""

from r2d2.explain.entities import Span, entities, words
from r2d2.explain.explanation import Explanation, explain

__all__ = ["Explanation", "Span", "entities", "explain", "words"]
