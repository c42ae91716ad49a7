"""Which pictures of a set are one, and every text that its table has for each of them."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from r2d2.corpus.images.meaning import components
from r2d2.corpus.images.near import near_pairs
from r2d2.downstream.candidates import Candidate, PictureTexts, picture_hash
from r2d2.downstream.likeness import Hashes, Ints
from r2d2.tokenizer import key_hash


def picture_groups(
    picked: Sequence[Candidate], seen: PictureTexts, radius: int
) -> tuple[Ints, list[frozenset[str]]]:
    """The groups of the set's pictures, and the texts that may be true of each.

    Pictures are linked by an equal image_id and by near hashes, over rows that the set does not get
    as well; the set's own also by an equal text.

    Args:
        picked: (n,) the set's pictures.
        seen: of their whole table.
        radius: bits within which two perceptual hashes are near.

    Returns:
        (n,) the smallest place of each one's group, and (n,) the keys of all texts that the table
        has for a picture of its group.
    """
    nodes = [*seen.ids, *(picture_hash(one.image_id) for one in picked)]
    hashes = np.array([*seen.hashes, *(one.hash for one in picked)], dtype=np.uint64)
    links = [[node] for node in seen.ids]
    links += [[picture_hash(one.image_id), key_hash(one.key)] for one in picked]
    roots = connected(hashes, radius, links).tolist()
    mine = roots[len(seen.ids) :]
    first: dict[int, int] = {}
    for place, root in enumerate(mine):
        first.setdefault(root, place)
    own: dict[int, set[str]] = defaultdict(set)
    for node, root in zip(nodes, roots, strict=True):
        if root in first:
            own[root] |= seen.texts.get(node, set())
    frozen = {root: frozenset(keys) for root, keys in own.items()}
    groups = np.array([first[root] for root in mine], dtype=np.int64)
    return groups, [frozen[root] for root in mine]


def connected(hashes: Hashes, radius: int, keys: Iterable[Sequence[int]]) -> Ints:
    """Groups (n,) of pictures that are linked, by near-duplicates or by texts, however far.

    Args:
        hashes: (n,) of the pictures.
        radius: bits within which two are linked.
        keys: hashed text keys of each picture; two that share one are linked.

    Returns:
        (n,) the smallest place of each one's group.
    """
    distinct, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    near = first[near_pairs(distinct, radius)]
    owner: dict[int, int] = {}
    owners, sharers = array("q"), array("q")  # of equal text keys
    for place, own in enumerate(keys):
        for key in own:
            owners.append(owner.setdefault(key, place))
            sharers.append(place)
    places = np.arange(len(hashes))
    left = np.concatenate([places, near[:, 0], np.array(owners, dtype=np.int64)])
    right = np.concatenate(
        [first[inverse.reshape(-1)], near[:, 1], np.array(sharers, dtype=np.int64)]
    )
    return components(len(hashes), left, right)
