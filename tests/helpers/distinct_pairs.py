"""Shared by tests of downstream sets: tables of pictures that differ, with texts that differ."""

import numpy as np
from PIL import Image

from helpers.old_table import write_old_table
from helpers.pictures import png
from r2d2.table import Pair, PairsTable, Text, write_table

THINGS = "猫狗马鱼鸟花树车船山河云雪雨风火石草虫龙"
PLACES = "在屋顶上|在河边的|在雪地里|在马路旁|在海滩上|在森林中|在桌子下|在阳光下|在窗台边|在夜色中"


def quiet(*arguments, **more):
    pass


def picture(number, side=64, shade=0):
    """Noise that is unlike any other's; `shade` makes a near-duplicate of it."""
    grid = np.random.default_rng(number).integers(0, 250, (8, 8, 3), dtype=np.uint8)
    image = Image.fromarray(grid + np.uint8(shade)).resize((side, side), Image.Resampling.BICUBIC)
    return png(image)


def letter(number):
    return chr(0x4E00 + number % 20_000)


def caption(number):
    """Eight or more characters, unlike those of its neighbours."""
    rng = np.random.default_rng(number)
    one, two = rng.choice(list(THINGS), 2, replace=False)
    place = PLACES.split("|")[number % 10]
    return f"{one}和{two}{place}{letter(37 * number)}{letter(4096 + 41 * number)}"


def query(number):
    return letter(53 * number) + letter(8192 + 29 * number)


def pair(n, split="train", **more):
    texts = more.pop("texts", None) or (
        Text(query(n), "query", 0.5, clicks=1000 - n), Text(caption(n), "title"),
    )  # fmt: skip
    return Pair(f"p{n:04d}", more.pop("image", None) or picture(n), texts, split, **more)


def table_of(path, pairs):
    write_table(path, pairs, overwrite=True)
    return PairsTable.open(path)


def old_table_of(path, pairs):
    """A table as version 0.1 wrote it, where an id may stand twice."""
    write_old_table(path, pairs)
    return PairsTable.open(path)


def rows_of(path):
    """Image id, text, split and label of every row."""
    table = PairsTable.open(path)
    return [
        (one.image_id, one.texts[0].text, one.split, one.label) for one in table.take(table.rows())
    ]
