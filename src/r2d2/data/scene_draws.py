"""Draw the things of each scene of the corpus, as numbers without pictures.

A scene has four different things, one in each cell: upper left, upper right, lower left, lower
right. Things are numbers. Those below `known` occur in training, and the others are new. Two hashes
keep the splits apart, whatever their sizes:

- A hash of each set of four known things puts a tenth of the sets into `val` and a tenth into
  `test`, each with all its arrangements. So no scene of `test` is a rearranged training scene.
- A hash of each pair of known things selects a twentieth of the pairs, which only occur together in
  scenes of `test_pairs`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations

import numpy as np

from r2d2.errors import R2D2Error
from r2d2.keyed import Draw, generator, key
from r2d2.unique_ids import DigestMap

CELLS = 4
VAL_SHARE, TEST_SHARE = 0.1, 0.1  # shares of the sets of four known things
PAIR_SHARE = 0.05  # the share of the pairs of known things that are held out
TRIES = 3000  # after so many failed draws of a scene it is assumed that there are no more
MOST = 0.25  # at most this share of all possible scenes can be drawn with their near misses

TRAIN, VAL, TEST, TEST_PAIRS, TEST_THINGS = "train", "val", "test", "test_pairs", "test_things"
SPLITS = (TRAIN, VAL, TEST, TEST_PAIRS, TEST_THINGS)

Scene = tuple[int, int, int, int]  # things by cell


class Role(StrEnum):
    """The role of a scene within its group."""

    SCENE = "scene"
    SWAPPED = "swapped"  # the scene with two things swapped
    REPLACED = "replaced"  # the scene with another thing in one cell


@dataclass(frozen=True, slots=True)
class SceneGroup:
    """A scene, with or without its near misses."""

    number: int  # the number of the group within its split
    scenes: dict[Role, Scene]


def about_how_many(known: int, split: str) -> float:
    """Estimate how many scenes of `known` things a split can have, by the shares of the hashes."""
    apart = (1 - PAIR_SHARE) ** math.comb(CELLS, 2)  # no pair of a scene is held out
    share = {
        TRAIN: apart * (1 - VAL_SHARE - TEST_SHARE),
        VAL: apart * VAL_SHARE,
        TEST: apart * TEST_SHARE,
        TEST_PAIRS: 1 - apart,
    }
    return math.perm(known, CELLS) * share[split]


class SceneDraws:
    """Draws the scenes of all splits; no scene is drawn twice, which takes 16 bytes per scene.

    The scenes of a split depend on (known, new, seed) and its own size, not on the other splits.
    """

    def __init__(self, known: int, new: int, seed: int) -> None:
        """Start the draws.

        Args:
            known: the number of things that occur in training.
            new: the number of things that only occur in `test_things`.
            seed: of the draws.
        """
        self.known, self.new, self.seed = known, new, seed
        self._drawn = DigestMap()

    def groups(self, split: str, with_near_misses: int, alone: int = 0) -> Iterator[SceneGroup]:
        """Yield groups of a scene with two near misses, and then `alone` scenes without.

        Raises:
            R2D2Error: there are not so many different scenes of these things.
        """
        for number in range(with_near_misses + alone):
            yield SceneGroup(number, self._draw(split, number, number < with_near_misses))

    def is_held_out(self, first: int, second: int) -> bool:
        """Return whether two known things only occur together in scenes of `test_pairs`."""
        low, high = sorted((first, second))
        return self._share(low * self.known + high, Draw.PAIR) < PAIR_SHARE

    def split_of(self, scene: Scene) -> str:
        """Return the split of a scene of known things of which no pair is held out."""
        code = 0
        for thing in sorted(scene):
            code = code * self.known + thing
        share = self._share(code, Draw.SCENE)
        if share < TEST_SHARE:
            return TEST
        return VAL if share < TEST_SHARE + VAL_SHARE else TRAIN

    def _draw(self, split: str, number: int, near_misses: bool) -> dict[Role, Scene]:
        random = generator(self.seed, number * len(SPLITS) + SPLITS.index(split), Draw.SCENE)
        for _ in range(TRIES):
            scene, cell = self._scene(split, random)
            if not self._fits(split, scene):
                continue
            scenes = {Role.SCENE: scene}
            if near_misses:
                scenes[Role.SWAPPED] = _swapped(scene, random)
                scenes[Role.REPLACED] = self._replaced(split, scene, cell, random)
                if not self._fits(split, scenes[Role.REPLACED]):
                    continue
            codes = [self._code(drawn) for drawn in scenes.values()]
            if any(self._drawn.get(code) is not None for code in codes):
                continue
            for code in codes:
                self._drawn.add(code, 0)
            return scenes
        raise R2D2Error(
            f"{self.known} things do not make so many scenes: split {split} found no more after "
            f"{number:,} groups; give more --things, or a smaller --{split.partition('_')[0]}"
        )

    def _scene(self, split: str, random: np.random.Generator) -> tuple[Scene, int]:
        """Draw four things that may be in a split, and the cell in which a near miss differs."""
        things = random.choice(self.known, CELLS, replace=False)
        cell = int(random.integers(CELLS))
        if split == TEST_THINGS:
            things[cell] = self.known + random.integers(self.new)
        elif split == TEST_PAIRS:
            # The near miss keeps the pair, so it differs in one of the other two cells.
            pair = next(
                (two for two in combinations(range(CELLS), 2) if self._held(things, two)), None
            )
            cell = int(random.choice([c for c in range(CELLS) if c not in (pair or ())]))
        return _scene(things), cell

    def _held(self, things: np.ndarray, cells: tuple[int, int]) -> bool:
        return self.is_held_out(int(things[cells[0]]), int(things[cells[1]]))

    def _replaced(self, split: str, scene: Scene, cell: int, random: np.random.Generator) -> Scene:
        first, count = (self.known, self.new) if split == TEST_THINGS else (0, self.known)
        thing = scene[cell]
        while thing in scene:
            thing = first + int(random.integers(count))
        things = np.array(scene)
        things[cell] = thing
        return _scene(things)

    def _fits(self, split: str, scene: Scene) -> bool:
        """Return whether a scene of things that may be in a split belongs to it."""
        known = [thing for thing in scene if thing < self.known]
        held_out = any(self.is_held_out(*pair) for pair in combinations(known, 2))
        if split == TEST_PAIRS:
            return held_out
        return not held_out and (split == TEST_THINGS or self.split_of(scene) == split)

    def _code(self, scene: Scene) -> int:
        code = 0
        for thing in scene:
            code = code * (self.known + self.new) + thing
        return code

    def _share(self, code: int, draw: Draw) -> float:
        """Return a number in [0, 1) for a pair or a set, by a hash."""
        return key(self.seed, code, draw) / 2**64


def _swapped(scene: Scene, random: np.random.Generator) -> Scene:
    things = np.array(scene)
    first, second = random.choice(CELLS, 2, replace=False)
    things[[first, second]] = things[[second, first]]
    return _scene(things)


def _scene(things: np.ndarray) -> Scene:
    first, second, third, fourth = (int(thing) for thing in things)
    return first, second, third, fourth
