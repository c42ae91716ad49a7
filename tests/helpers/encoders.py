"""What the tests of evaluation share: coloured pictures, a table of them, embeddings we know."""

import io

import numpy as np
from PIL import Image

from r2d2.table import Pair, Text, write_table

COLOURS = {
    "红": (220, 30, 30), "绿": (30, 180, 60), "蓝": (40, 60, 220), "黄": (240, 220, 40),
    "紫": (140, 40, 180), "黑": (10, 10, 10), "白": (250, 250, 250), "橙": (250, 140, 20),
}  # fmt: skip


def picture(colour, side=30, wide=1.0):
    return Image.new("RGB", (round(side * wide), side), COLOURS[colour])


def png(colour, **size):
    file = io.BytesIO()
    picture(colour, **size).save(file, "PNG")
    return file.getvalue()


def noisy(seed, width=50, height=37):
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)


def colour_table(path, splits=("test", "val"), source="caption", labels=False):
    """A picture of each colour in each split, one or two texts each."""
    rows = []
    for split in splits:
        for number, colour in enumerate(COLOURS):
            other = list(COLOURS)[(number + 1) % len(COLOURS)]
            for label in (1, 0) if labels else (None,):
                word = other if label == 0 else colour
                name = word if source == "class" else f"{word}方块"
                texts = [Text(name, source)]
                if not labels and source != "class" and number % 2:
                    texts.append(Text(f"{word}照片", source))
                rows.append(
                    Pair(f"{split}-{colour}", png(colour), tuple(texts), split, label=label)
                )
    write_table(path, rows)
    return path
