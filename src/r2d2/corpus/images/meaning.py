"""Images of one meaning: embeddings nearer than a cosine distance, sought in blocks of their like.

As in SemDeDup (arXiv 2303.09540), k-means cuts the embeddings into blocks, and within a block all
are compared with all. Links join images into groups, and a group's image nearest its centre is kept
(DanQing, arXiv 2601.10305). Links alone would chain pictures together that share nothing, so only
what is within reach of the kept image goes with it; what remains of the group is looked at anew.
Duplicates that fall into two blocks are missed; the nearer they are, the more seldom.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from r2d2.corpus.images.clusters import k_means, nearest
from r2d2.corpus.images.embeddings import Embeddings
from r2d2.extras import require

BLOCK = 2_000  # images a block, about; none has more than twice as many
CUTS = 256  # blocks cut at a time, those too large being cut again: what that costs grows as n
SAMPLE = 50_000  # embeddings that the cuts are found by
ROWS = 1_024  # compared with their block, or handed to their block, at a time
SLACK = 1e-6  # of a cosine, by rounding
Floats = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Meanings:
    """Of n images in order."""

    first: Places  # (n,) place of the first image of its group
    middle: Places  # (n,) place of the image nearest the group's centre


def group_meanings(x: Embeddings, reach: float) -> Meanings:
    """Group n embeddings of unit length; `reach` is the cosine distance up to which two are one.

    Every image is within reach of the middle of its group.
    """
    first, middle = np.arange(len(x)), np.arange(len(x))
    for places in _blocks(x, np.arange(len(x))) if len(x) else ():
        block = x.take(places)
        for members, centre in _groups(block, reach):
            first[places[members]] = places[members].min()
            middle[places[members]] = places[centre]
    return Meanings(first, middle)


def components(n: int, left: Places, right: Places) -> Places:
    """The smallest place (n,) that each of n places is linked with, over any number of links."""
    sparse = require("corpus", "scipy.sparse", "joining pictures into groups")
    csgraph = require("corpus", "scipy.sparse.csgraph", "joining pictures into groups")
    links = sparse.coo_array((np.ones(len(left)), (left, right)), shape=(n, n))
    _, label = csgraph.connected_components(links, directed=False)
    _, first = np.unique(label, return_index=True)
    smallest: Places = first[label]
    return smallest


def _groups(block: Floats, reach: float) -> Iterator[tuple[Places, int]]:
    """Members of each group of two or more of a block (n, d), and which of them is the middle."""
    least = 1 - reach - SLACK
    links = [np.empty((0, 2), np.int64)]
    for start in range(0, len(block), ROWS):
        near = np.argwhere(block[start : start + ROWS] @ block.T >= least)
        near[:, 0] += start
        links.append(near[near[:, 0] < near[:, 1]])
    left, right = np.concatenate(links).T
    root = components(len(block), left, right)
    order = np.argsort(root, kind="stable")
    for rest in np.split(order, np.flatnonzero(np.diff(root[order])) + 1):
        while len(rest) > 1:
            members = block[rest]
            # Rounded: of two images both are as near, and the first must stand for them everywhere.
            middle = int(np.argmax((members @ members.mean(axis=0)).round(5)))
            near = members @ members[middle] >= least
            near[middle] = True
            if near.sum() > 1:
                yield rest[near], int(rest[middle])
            rest = rest[~near]


def _blocks(x: Embeddings, places: Places) -> Iterator[Places]:
    """Cut places into blocks of similar embeddings, none of more than twice BLOCK."""
    if len(places) <= 2 * BLOCK:
        yield places
        return
    cuts = min(CUTS, -(-len(places) // BLOCK))
    sample = np.random.default_rng(0).permutation(len(places))[: max(cuts, SAMPLE)]
    centres = k_means(x.take(places[np.sort(sample)]), cuts)
    chunks = np.split(places, range(ROWS, len(places), ROWS))
    place = np.concatenate([nearest(x.take(chunk), centres) for chunk in chunks])
    order = np.argsort(place, kind="stable")
    blocks = np.split(places[order], np.flatnonzero(np.diff(place[order])) + 1)
    for block in blocks:
        if len(blocks) == 1:  # all alike: any cut is as good
            yield from np.array_split(block, -(-len(block) // BLOCK))
        else:
            yield from _blocks(x, block)
