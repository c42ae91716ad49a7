"""Compose pictures of four others, two by two, with the name of one or of all as their text.

They are used in the pointing game of docs/explain.md to test whether a model knows where a thing
is. As rows of a training table they teach it, which single emoji cannot do, because each fills its
whole picture.
"""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

from r2d2.data.emoji import emoji_base
from r2d2.errors import R2D2Error
from r2d2.images.decode import decode_image, to_rgb
from r2d2.keyed import Draw, generator
from r2d2.table import Pair, Text

SOURCE = "grid"
JOIN = "、"
CELLS = 4  # upper left, upper right, lower left, lower right
SIZE = 144  # pixels of the composed picture, in which each emoji has its usual 72

Words = Literal["one", "all"]


@dataclass(frozen=True, slots=True)
class Grid:
    """The four pictures of a grid, and which one of them is named."""

    members: tuple[int, int, int, int]  # the picture in each cell
    named: int  # the cell that is named, 0 to 3


def compose(pictures: Sequence[Image.Image], size: int = SIZE) -> Image.Image:
    """Compose four pictures two by two to RGB (size, size); each is resized to its quarter.

    Raises:
        R2D2Error: not four pictures, or an odd or empty size.
    """
    if len(pictures) != CELLS:
        raise R2D2Error(f"a grid takes 4 pictures, got {len(pictures)}")
    if size < 2 or size % 2:
        raise R2D2Error(f"a grid of {size} pixels cannot be halved: give an even size")
    half = size // 2
    whole = Image.new("RGB", (size, size), (255, 255, 255))
    for cell, picture in enumerate(pictures):
        quarter = to_rgb(picture)
        if quarter.size != (half, half):
            quarter = quarter.resize((half, half), Image.Resampling.BICUBIC)
        whole.paste(quarter, (half * (cell % 2), half * (cell // 2)))
    return whole


def draw_grids(groups: Sequence[str], count: int, seed: int = 0) -> list[Grid]:
    """Draw `count` grids over items of groups; no two members of a grid are of the same group.

    First a group is drawn and then an item of it, so that an emoji with thirty variants is not
    drawn thirty times as often as one without. Grid i depends on (groups, seed, i) only.

    Raises:
        R2D2Error: fewer than four groups.
    """
    by_group: dict[str, list[int]] = defaultdict(list)
    for index, group in enumerate(groups):
        by_group[group].append(index)
    kinds = [by_group[group] for group in sorted(by_group)]
    if len(kinds) < CELLS:
        raise R2D2Error(f"a grid takes pictures of 4 different groups, there are {len(kinds)}")
    grids = []
    for number in range(count):
        random = generator(seed, number, Draw.GRID)
        chosen = random.choice(len(kinds), CELLS, replace=False)
        members = [kinds[kind][random.integers(len(kinds[kind]))] for kind in chosen]
        first, second, third, fourth = members
        grids.append(Grid((first, second, third, fourth), int(random.integers(CELLS))))
    return grids


def grid_pairs(
    pairs: Sequence[Pair],
    count: int,
    seed: int = 0,
    *,
    words: Words | None = None,
    split: str | None = None,
    size: int = SIZE,
    group: Callable[[str], str] = emoji_base,
) -> Iterator[Pair]:
    """Yield `count` rows with composed pictures.

    Args:
        pairs: the rows to draw from, with their images.
        count: the number of grids.
        seed: of the draws; equal arguments give equal rows.
        words: "one": the text names one of the four pictures; "all": it names all of them, joined
            by 、 in the order of the cells; None: the rows alternate.
        split: only rows of this split are used, and the new rows are in it. None: all rows are
            used, and the new rows are in the split "train".
        size: pixels of the composed picture.
        group: returns the group of an image id; the groups within a grid differ.

    Raises:
        R2D2Error: there are fewer than four groups, or a picture cannot be read.
    """
    usable = [p for p in pairs if p.texts and (split is None or p.split == split)]
    for number, grid in enumerate(draw_grids([group(p.image_id) for p in usable], count, seed)):
        four = [usable[index] for index in grid.members]
        picture = compose([decode_image(p.image, name=p.image_id) for p in four], size)
        all_four = number % 2 == 1 if words is None else words == "all"
        names = [p.texts[0].text for p in four]
        file = io.BytesIO()
        picture.save(file, "PNG")
        yield Pair(
            image_id=f"grid-{seed}-{number}",
            image=file.getvalue(),
            texts=(Text(JOIN.join(names) if all_four else names[grid.named], SOURCE),),
            split=split or "train",
            width=size,
            height=size,
        )


def cell_of(shares: np.ndarray) -> int:
    """Return the cell with the largest sum of `shares` (H, W).

    If H or W is odd, one half of the middle row or column counts for each side.
    """
    height, width = 2 * shares.shape[0], 2 * shares.shape[1]
    shares = shares.repeat(2, axis=0).repeat(2, axis=1)
    halves = shares.reshape(2, height // 2, 2, width // 2).sum((1, 3))
    return int(halves.argmax())
