"""The edit distance of two texts, by characters."""

from __future__ import annotations


def edit_distance(a: str, b: str) -> int:
    """Characters to insert, delete or replace (Levenshtein), a column of the table at a time.

    The differences down a column are two bit vectors (Myers, JACM 1999; Hyyrö 2003).
    """
    if len(a) < len(b):
        a, b = b, a
    if not b:
        return len(a)
    where: dict[str, int] = {}
    for place, character in enumerate(b):
        where[character] = where.get(character, 0) | 1 << place
    whole, last = (1 << len(b)) - 1, 1 << len(b) - 1
    up, down, score = whole, 0, len(b)
    for character in a:
        same = where.get(character, 0)
        vertical = same | down
        across = (((same & up) + up) ^ up) | same
        more = down | ~(across | up) & whole
        less = up & across
        score += bool(more & last) - bool(less & last)
        more = more << 1 | 1
        less <<= 1
        up = (less | ~(vertical | more)) & whole
        down = more & vertical & whole
    return score


def edit_share(a: str, b: str) -> float:
    """The edit distance by the longer text's characters, in [0, 1]."""
    longest = max(len(a), len(b))
    return edit_distance(a, b) / longest if longest else 0.0
