"""Find blocks of pairs that are similar to the towers, which the second stage must tell apart.

The towers embed a window of the training table, the whole of it where it is not larger, and each
pair looks for its nearest ones there. A block is one pair, the nearest of all, which is often its
near miss, and some of the next nearest, drawn at random.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from r2d2.data.loader import PairsLoader, RawBatch
from r2d2.data.order import epoch_shuffle
from r2d2.errors import R2D2Error
from r2d2.keyed import Draw, generator
from r2d2.objectives.gcpr import positives
from r2d2.training.distributed import World

WINDOW = 65536  # pairs among which the nearest are sought: bounds memory and work
CHUNK = 256  # pairs embedded at a time, whatever the number of processes
ROWS = 512  # pairs whose nearest are sought at a time
CHOICE = 2  # near pairs to draw from, for each that is drawn

# Embeddings of n pairs, images and texts (n, d) each, and their keys (n, 2), on one device.
Embed = Callable[[RawBatch], tuple[Tensor, Tensor, Tensor]]
Items = npt.NDArray[np.int64]


@dataclass(frozen=True)
class NearPairs:
    """Items of the loader, and for each the places of those nearest to it, the nearest first."""

    items: Items  # (r,)
    near: Items  # (r, K) places in `items`


def near_pairs(
    loader: PairsLoader, items: Items, size: int, embed: Embed, world: World
) -> NearPairs:
    """The nearest pairs of each of `items`, by the cosine of the sums f_I + f_T.

    A pair with the same picture or the same text is none of them. Each process embeds its chunks;
    all get the same result, whatever their number.

    Args:
        loader: of the training table.
        items: (r,) of it.
        size: pairs of a block.
        embed: called as often by each process, with as many pairs.
        world: the processes.

    Raises:
        R2D2Error: too few of the pairs can be read.
    """
    chunk = min(CHUNK, len(items))
    count = -(-len(items) // chunk)
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    for first in range(0, count, world.size):
        own = items[(first + world.rank) * chunk :][:chunk]  # none in the last round of some
        good, raw = loader.read(own)
        features, keys = items_features(raw, chunk, embed)
        numbers = torch.full((chunk,), -1, dtype=torch.int64, device=features.device)
        numbers[: len(good)] = torch.from_numpy(good).to(features.device)
        # in the order of the processes, which is that of the chunks
        parts.append((world.gather(numbers), world.gather(features), world.gather(keys)))
    numbers, features, keys = (torch.cat(x) for x in zip(*parts, strict=True))
    readable = numbers >= 0
    if int(readable.sum()) < size:
        raise R2D2Error(
            f"{loader.table.path}: {int(readable.sum())} pairs can be read, and "
            f"objectives.list_size is {size}: lower it, or train on more pairs"
        )
    near = nearest(features[readable], keys[readable], 1 + CHOICE * (size - 2))
    return NearPairs(numbers[readable].cpu().numpy(), near.cpu().numpy())


def items_features(raw: RawBatch, chunk: int, embed: Embed) -> tuple[Tensor, Tensor]:
    """Unit features (chunk, d) and keys (chunk, 2) of at most so many pairs, filled up."""
    missing = chunk - len(raw.texts)
    pixels = np.pad(raw.pixels, ((0, missing), (0, 0), (0, 0), (0, 0)))
    keys = np.pad(raw.keys, ((0, missing), (0, 0)))
    images, texts, known = embed(RawBatch(pixels, [*raw.texts, *[""] * missing], keys, []))
    return F.normalize(images.float() + texts.float(), dim=1), known


def nearest(features: Tensor, keys: Tensor, count: int) -> Tensor:
    """The places (r, K) of the rows most similar to each, but for itself and its positives.

    Args:
        features: (r, d) of unit length.
        keys: (r, 2) image and text keys.
        count: K, if there are as many rows.
    """
    count = min(count, len(features) - 1)
    neighbours = []
    for start in range(0, len(features), ROWS):
        rows = slice(start, start + ROWS)
        similarity = features[rows] @ features.T
        similarity.masked_fill_(positives(keys[rows], keys), -2.0)  # itself among them
        neighbours.append(similarity.topk(count, dim=1).indices)
    return torch.cat(neighbours)


def blocks(pairs: NearPairs, size: int, count: int, random: np.random.Generator) -> Items:
    """Items (count * size,) in blocks: a pair, its nearest, then others of the next nearest.

    Args:
        pairs: at least `size`.
        size: of a block.
        count: blocks; each pair begins one before any begins a second.
        random: what is drawn by.
    """
    rounds = -(-count // len(pairs.items))
    orders = [random.permutation(len(pairs.items)) for _ in range(rounds)]
    anchors = np.concatenate(orders)[:count]
    near = pairs.near[anchors]
    others = random.permuted(near[:, 1:], axis=1)[:, : size - 2]
    positions = np.concatenate([anchors[:, None], near[:, :1], others], axis=1)
    ordered: Items = pairs.items[positions].reshape(-1)
    return ordered


class Mining:
    """The second stage's order of a training table, one stretch of steps after the other."""

    def __init__(
        self, loader: PairsLoader, batch_size: int, size: int, seed: int, embed: Embed, world: World
    ) -> None:
        self.loader = loader
        self.batch_size = batch_size
        self.size = size  # of a block
        self.seed = seed
        self.embed = embed
        self.world = world
        self.window = min(WINDOW, len(loader))
        self.steps = max(1, self.window // batch_size)  # of a stretch
        self._known: NearPairs | None = None  # of a table that is one window

    def stretch(self, number: int) -> Items:
        """The items (steps * batch_size,) of a stretch, counted from 0."""
        pairs = self._known or self._near(number)
        if self.window == len(self.loader):
            self._known = pairs
        random = generator(self.seed, number, Draw.MINED)
        return blocks(pairs, self.size, self.steps * self.batch_size // self.size, random)

    def _near(self, number: int) -> NearPairs:
        windows = len(self.loader) // self.window
        epoch, window = divmod(number, windows)
        positions = np.arange(window * self.window, (window + 1) * self.window)
        items = np.sort(epoch_shuffle(len(self.loader), self.seed, epoch)[positions])
        return near_pairs(self.loader, items, self.size, self.embed, self.world)
