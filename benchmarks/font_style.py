"""The embedded corpus drawn with a colour font: a style of art that no model was trained on.

    python -m benchmarks.font_style NotoColorEmoji.ttf --out noto.lance
    r2d2 evaluate retrieval emoji noto.lance --split test --out noto-report

Rows, names and splits are those of the embedded corpus. Noto's font comes with the Debian package
`fonts-noto-color-emoji`. Pillow needs libraqm, which joins the code points of a sequence into one
picture; an emoji that the font does not draw as one picture is left out, counted and named.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, features

from r2d2.data.emoji import emoji_pairs
from r2d2.data.emoji_art import SIDE
from r2d2.index.gallery.emoji import emoji_character
from r2d2.inputs.dropped_rows import DroppedRows
from r2d2.table import Pair, write_table

STRIKE = 109  # pixels: the only size of the bitmaps in Noto's font
WIDEST = (
    1.4  # times STRIKE; a sequence that is not joined is drawn as several pictures side by side
)


def draw_emoji(character: str, font: ImageFont.FreeTypeFont) -> Image.Image | None:
    """The picture of an emoji, RGB on white, SIDE pixels square; None: the font has no picture."""
    canvas = Image.new("RGB", (3 * STRIKE, 2 * STRIKE), "white")
    pen = ImageDraw.Draw(canvas)
    left, top, right, bottom = map(
        round, pen.textbbox((0, 0), character, font, embedded_color=True)
    )
    if not STRIKE / 2 < right - left < WIDEST * STRIKE:
        return None
    pen.text((0, 0), character, fill="black", font=font, embedded_color=True)
    if (np.asarray(canvas) == 255).all():
        return None
    picture = canvas.crop((left, top, right, bottom))
    side = max(picture.size)
    square = Image.new("RGB", (side, side), "white")
    square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    return square.resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def font_pairs(font: ImageFont.FreeTypeFont, dropped: DroppedRows) -> Iterator[Pair]:
    """The rows of the corpus with the font's pictures."""
    for pair in emoji_pairs():
        picture = draw_emoji(emoji_character(pair.image_id) or "", font)
        if picture is None:
            dropped.add("emoji that the font does not draw", pair.image_id)
            continue
        file = io.BytesIO()
        picture.save(file, "PNG")
        yield replace(pair, image=file.getvalue())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("font", type=Path, help="a colour font, as NotoColorEmoji.ttf")
    parser.add_argument("--out", type=Path, required=True, help="the table to write")
    arguments = parser.parse_args()
    if not features.check("raqm"):
        parser.error("Pillow is without libraqm: install a build that has it")
    font = ImageFont.truetype(arguments.font, STRIKE)
    dropped = DroppedRows()
    metadata = {"title": f"Emoji of {arguments.font.name} with Chinese names"}
    write_table(arguments.out, font_pairs(font, dropped), metadata=metadata)
    for line in dropped.lines():
        print(line)


if __name__ == "__main__":
    main()
