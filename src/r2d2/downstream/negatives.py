"""Choose a wrong text for every picture, so that the picture or text alone does not tell the label.

Within a split the texts are permuted, so that each picture and each text is once in a match and
once in a non-match. `random` permutes by a hash. `hard` gives a picture one of the texts that a
model places nearest to it, if one of them is still free. No picture gets a text that may be true of
it, which is a text that is nearly the same as a text of a picture of its group.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from r2d2.corpus.report.sample import numbers
from r2d2.downstream.config import DownstreamConfig
from r2d2.downstream.likeness import may_be_true

BLOCK = 1024  # how many pictures are compared with the texts of a pool at a time
ROUNDS = 20

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
# Embeds the pictures and the texts at n positions: (n, d) and (n, d).
Embed = Callable[[Sequence[int]], tuple[Floats, Floats]]


@dataclass(frozen=True)
class WrongTexts:
    """The wrong texts of a split."""

    picture: Ints  # (m,) positions of the pictures
    text: Ints  # (m,) positions of their wrong texts: the same positions in another order
    near: int  # how many of the m texts were chosen by the model; the others by hash
    left: Ints  # positions of the pictures that got no wrong text


@dataclass(frozen=True)
class KnownTexts:
    """The texts that may be true of each picture, by position."""

    keys: Sequence[str]  # the key of the text of each picture
    own: Sequence[frozenset[str]]  # the keys of all texts of the picture's group
    group: Ints  # the group of each picture


def deal(
    positions: Sequence[int],
    texts: KnownTexts,
    image_ids: Sequence[str],
    config: DownstreamConfig,
    embed: Embed | None = None,
) -> WrongTexts:
    """Choose wrong texts for the pictures of one split.

    Args:
        positions: the positions of the split's pictures.
        texts: the texts of all pictures.
        image_ids: the ids of all pictures.
        config: of the set.
        embed: the model for hard negatives; None: negatives are random.

    Returns:
        A permutation of the texts without fixed points; pictures for which there is no wrong text
        are not in it.
    """
    draws = numbers([image_ids[n] for n in positions], config.seed, "negative")
    order = [positions[n] for n in np.argsort(draws, kind="stable").tolist()]

    def wrong(picture: int, text: int) -> bool:
        return texts.group[picture] != texts.group[text] and not may_be_true(
            texts.keys[text], texts.own[picture], config.same
        )

    pools = [order]
    if embed is not None:
        pools = _pools(order, config.negatives.pool)
    pictures: list[int] = []
    chosen: list[int] = []
    left: list[int] = []
    near = 0
    for pool in pools:
        start = {} if embed is None else _nearest(pool, embed, wrong, config)
        text_of, unmatched = _complete(pool, start, wrong, config)
        near += sum(start.get(picture) == text for picture, text in text_of.items())
        pictures += text_of.keys()
        chosen += text_of.values()
        left += unmatched
    return WrongTexts(
        np.array(pictures, dtype=np.int64), np.array(chosen, dtype=np.int64), near,
        np.array(left, dtype=np.int64),
    )  # fmt: skip


def _pools(order: list[int], size: int) -> list[list[int]]:
    """Cut positions into pools of about equal sizes, none larger than `size`."""
    count = -(-len(order) // size)
    edges = [len(order) * n // count for n in range(count + 1)] if count else []
    return [order[low:high] for low, high in pairwise(edges)]


def _nearest(
    pool: Sequence[int], embed: Embed, wrong: Callable[[int, int], bool], config: DownstreamConfig
) -> dict[int, int]:
    """Choose a text for as many pictures as possible, the nearest pairs of both first."""
    image_embeds, text_embeds = embed(pool)
    nearest, ceiling = config.negatives.nearest, config.negatives.ceiling
    edges: list[tuple[float, int, int]] = []
    for start in range(0, len(pool), BLOCK):
        scores = image_embeds[start : start + BLOCK] @ text_embeds.T
        most = min(2 * nearest, len(pool))  # more than needed, because some may be true
        nearest_columns = np.argpartition(-scores, most - 1, axis=1)[:, :most]
        for n, columns in enumerate(nearest_columns):
            row = scores[n]
            taken = 0
            for column in columns[np.lexsort((columns, -row[columns]))].tolist():
                score = float(row[column])
                if ceiling is not None and score > ceiling:
                    continue
                if wrong(pool[start + n], pool[column]):
                    edges.append((-score, start + n, column))
                    taken += 1
                    if taken == nearest:
                        break
    edges.sort()
    chosen: dict[int, int] = {}
    used: set[int] = set()
    for _, picture, text in edges:
        if picture not in chosen and text not in used:
            chosen[picture] = text
            used.add(text)
    return {pool[picture]: pool[text] for picture, text in chosen.items()}


def _complete(
    pool: Sequence[int],
    start: dict[int, int],
    wrong: Callable[[int, int], bool],
    config: DownstreamConfig,
) -> tuple[dict[int, int], list[int]]:
    """Complete the wrong texts `start` of a pool; also return the pictures that get none."""
    key = hashlib.blake2b(f"{config.seed}:exchange".encode(), digest_size=8).digest()
    rng = np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little")))
    remaining = list(pool)
    lost: list[int] = []
    target = dict(start)
    for _ in range(ROUNDS):
        used = set(target.values())
        free_texts = [n for n in remaining if n not in used]
        free = [n for n in remaining if n not in target]
        # The texts are shifted by one position, so that few pictures get their own text.
        target |= dict(zip(free, free_texts[1:] + free_texts[:1], strict=True))
        bad = _exchange(remaining, target, wrong, rng, config.negatives.tries)
        if not bad:
            return target, lost
        lost += bad
        gone = set(bad)
        remaining = [n for n in remaining if n not in gone]
        target = {
            picture: text
            for picture, text in target.items()
            if picture not in gone and text not in gone
        }
    return {}, lost + remaining


def _exchange(
    remaining: Sequence[int],
    target: dict[int, int],
    wrong: Callable[[int, int], bool],
    rng: np.random.Generator,
    tries: int,
) -> list[int]:
    """Exchange texts in `target` that may be true; return the pictures that no exchange helps."""
    bad = []
    for picture in remaining:
        if wrong(picture, target[picture]):
            continue
        for drawn in rng.integers(0, len(remaining), tries).tolist():
            other = remaining[drawn]
            if wrong(picture, target[other]) and wrong(other, target[picture]):
                target[picture], target[other] = target[other], target[picture]
                break
        else:
            bad.append(picture)
    return bad
