"""A wrong text for every picture, each text once: no half of a pair tells whether it is true.

Within a split the texts are permuted, so that each picture and each text stands once in a match
and once in a non-match. `random` permutes by hash. `hard` gives a picture one of the texts that are
nearest to it by a model, where one is left. Neither gives a picture a text that may be true of it:
one that is nearly the same as a text of a picture of its group.
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

BLOCK = 1024  # pictures compared with a pool's texts at once
ROUNDS = 20

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Embed = Callable[[Sequence[int]], tuple[Floats, Floats]]  # positions: pictures (n, d), texts (n, d)


@dataclass(frozen=True)
class WrongTexts:
    """The wrong texts of a split."""

    picture: Ints  # (m,) positions
    text: Ints  # (m,) positions of the wrong texts: the same ones in another order
    near: int  # how many of the m are nearest texts by the model; the others are by hash
    left: Ints  # positions of the pictures that got no wrong text


@dataclass(frozen=True)
class KnownTexts:
    """The texts that may be true of each picture, by position."""

    keys: Sequence[str]
    own: Sequence[frozenset[str]]  # of the picture's whole group
    group: Ints


def deal(
    positions: Sequence[int],
    texts: KnownTexts,
    image_ids: Sequence[str],
    config: DownstreamConfig,
    embed: Embed | None = None,
) -> WrongTexts:
    """Wrong texts for the pictures of one split.

    Args:
        positions: of the split's pictures.
        texts: of all pictures.
        image_ids: of all pictures.
        config: of the set.
        embed: for hard ones.

    Returns:
        A permutation without fixed points, less the pictures that it cannot be made for.
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
    """Cut into pools of about equal sizes, none above `size`."""
    count = -(-len(order) // size)
    edges = [len(order) * n // count for n in range(count + 1)] if count else []
    return [order[low:high] for low, high in pairwise(edges)]


def _nearest(
    pool: Sequence[int], embed: Embed, wrong: Callable[[int, int], bool], config: DownstreamConfig
) -> dict[int, int]:
    """Texts by greedy choice: of all pictures with their nearest texts, the nearest pairs first."""
    seen, read = embed(pool)
    nearest, ceiling = config.negatives.nearest, config.negatives.ceiling
    edges: list[tuple[float, int, int]] = []
    for start in range(0, len(pool), BLOCK):
        scores = seen[start : start + BLOCK] @ read.T
        most = min(2 * nearest, len(pool))  # some of them may be true
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
    """The wrong texts of a pool, `start` completed; and the pictures for which there is none."""
    key = hashlib.blake2b(f"{config.seed}:exchange".encode(), digest_size=8).digest()
    rng = np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little")))
    remaining = list(pool)
    lost: list[int] = []
    target = dict(start)
    for _ in range(ROUNDS):
        used = set(target.values())
        free_texts = [n for n in remaining if n not in used]
        free = [n for n in remaining if n not in target]
        # shifted by one, so that few pictures get their own text
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
    """Exchange texts in `target` that may be true; gives the pictures that no exchange helps."""
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
