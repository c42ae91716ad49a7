"""Group the pictures of a set that are the same, and collect all texts that their table has."""

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
    """Return the group of each picture of a set, and the texts that may be true of it.

    Pictures with the same image_id or near hashes are linked, also through rows that are not in the
    set. Pictures of the set are linked by an equal text, too.

    Args:
        picked: the n pictures of the set.
        seen: the texts and hashes of their whole table.
        radius: perceptual hashes that differ in so many bits or fewer are near.

    Returns:
        (n,) the smallest position in each picture's group, and for each picture the keys of all
        texts that the table has for a picture of its group.
    """
    nodes = [*seen.ids, *(picture_hash(candidate.image_id) for candidate in picked)]
    hashes = np.array([*seen.hashes, *(candidate.hash for candidate in picked)], dtype=np.uint64)
    links = [[node] for node in seen.ids]
    links += [[picture_hash(each.image_id), key_hash(each.key)] for each in picked]
    roots = connected(hashes, radius, links).tolist()
    set_roots = roots[len(seen.ids) :]
    first: dict[int, int] = {}
    for position, root in enumerate(set_roots):
        first.setdefault(root, position)
    group_texts: dict[int, set[str]] = defaultdict(set)
    for node, root in zip(nodes, roots, strict=True):
        if root in first:
            group_texts[root] |= seen.texts.get(node, set())
    frozen = {root: frozenset(keys) for root, keys in group_texts.items()}
    groups = np.array([first[root] for root in set_roots], dtype=np.int64)
    return groups, [frozen[root] for root in set_roots]


def connected(hashes: Hashes, radius: int, keys: Iterable[Sequence[int]]) -> Ints:
    """Return the groups (n,) of pictures that are linked, directly or through other pictures.

    Args:
        hashes: (n,) perceptual hashes of the pictures.
        radius: pictures whose hashes differ in so many bits or fewer are linked.
        keys: hashed keys of each picture; two pictures that share a key are linked.

    Returns:
        (n,) the smallest position in each picture's group.
    """
    distinct, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    near = first[near_pairs(distinct, radius)]
    owner: dict[int, int] = {}
    owners, sharers = array("q"), array("q")  # the first picture with a key, and each with that key
    for position, picture_keys in enumerate(keys):
        for key in picture_keys:
            owners.append(owner.setdefault(key, position))
            sharers.append(position)
    positions = np.arange(len(hashes))
    left = np.concatenate([positions, near[:, 0], np.array(owners, dtype=np.int64)])
    right = np.concatenate(
        [first[inverse.reshape(-1)], near[:, 1], np.array(sharers, dtype=np.int64)]
    )
    return components(len(hashes), left, right)
