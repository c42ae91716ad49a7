"""A panel for people: the picture, and a copy for each entity under what it looks at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from r2d2.explain.font import Font, find_font
from r2d2.explain.maps import describe

if TYPE_CHECKING:
    from r2d2.explain.explanation import Explanation

CELL = 300  # pixels: the longer side of a picture
COLUMNS = 4
GAP, CAPTION, LINE = 16, 34, 30
PARTS = 6  # across and down, of the words by part
INK, GREY, LINES, PAPER = (24, 24, 27), (110, 110, 118), (200, 200, 205), (255, 255, 255)
# Dark to bright, even to the eye, and told apart by readers who do not see red and green.
HEAT = ((0, 0, 4), (81, 18, 124), (183, 55, 121), (252, 137, 97), (252, 253, 191))
FAINT, STRONG = 0.25, 0.75  # how much of the heat covers the picture at its lowest and highest


def heat(values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Colours (H, W, 3) of values (H, W) from 0 to 1."""
    stops = np.linspace(0, 1, len(HEAT))
    parts = [np.interp(values, stops, [colour[i] for colour in HEAT]) for i in range(3)]
    return np.stack(parts, axis=-1).round().astype(np.uint8)


def overlay(picture: Image.Image, values: npt.NDArray[np.float32]) -> Image.Image:
    """The picture in grey with values (H, W) from 0 to 1 laid over it, of the picture's size."""
    grey = np.asarray(picture.convert("L"), dtype=np.float32)[..., None]
    cover = FAINT + (STRONG - FAINT) * values[..., None]
    mixed = grey * (1 - cover) + heat(values).astype(np.float32) * cover
    return Image.fromarray(mixed.round().clip(0, 255).astype(np.uint8))


def draw_panel(found: Explanation) -> Image.Image:
    """The panel of an explanation, RGB."""
    from r2d2.explain.explanation import upsample

    picture = _fit(found.picture)
    cells = [(picture, "")]
    for index, (span, values) in enumerate(zip(found.entities, found.maps, strict=True)):
        # from the least to the most: attention is spread widely, and the eye wants contrast
        covered = overlay(picture, upsample(values - values.min(), picture.size))
        cells.append((covered, f"{index + 1}  {span.text}"))
    font, small = find_font(20), find_font(15)
    cells.append((words_by_part(picture, found), "the word of each part"))
    columns = min(COLUMNS, len(cells))
    rows = -(-len(cells) // columns)
    width = columns * (picture.width + GAP) + GAP
    title = _wrap(found.text, font, width - 2 * GAP)
    top = GAP + LINE * len(title) + LINE + GAP // 2
    height = top + rows * (picture.height + CAPTION + GAP)
    panel = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(panel)
    for number, line in enumerate(title):
        font.draw(draw, (GAP, GAP + LINE * number), line, INK)
    small.draw(draw, (GAP, GAP + LINE * len(title) + 4), _facts(found), GREY)
    for number, (cell, name) in enumerate(cells):
        x = GAP + (number % columns) * (picture.width + GAP)
        y = top + (number // columns) * (picture.height + CAPTION + GAP)
        panel.paste(cell, (x, y))
        line = _wrap(name, font, picture.width)[0] if name else ""
        font.draw(draw, (x, y + picture.height + 6), line, INK)
    return panel


def words_by_part(picture: Image.Image, found: Explanation) -> Image.Image:
    """The picture, pale, with the word that each of its parts looks at most."""
    rows, columns, _ = found.patches.shape
    down, across = (min(length, PARTS) for length in (rows, columns))
    pale = Image.blend(picture, Image.new("RGB", picture.size, PAPER), 0.6)
    draw, font = ImageDraw.Draw(pale), find_font(14)
    for row, r in enumerate(np.array_split(np.arange(rows), down)):
        for column, c in enumerate(np.array_split(np.arange(columns), across)):
            values = found.patches[r[:, None], c].mean((0, 1))
            if not values.size:
                continue
            x, y = column * picture.width // across, row * picture.height // down
            word = _wrap(found.words[int(values.argmax())].text, font, picture.width // across)[0]
            draw.rectangle(
                (x, y, x + picture.width // across, y + picture.height // down), None, LINES
            )
            font.draw(draw, (x + 3, y + 2), word, INK)
    return pale


def _facts(found: Explanation) -> str:
    return f"match {found.match:.2f}   cosine {found.cosine:.2f}   {describe(found.way)}"


def _fit(picture: Image.Image) -> Image.Image:
    """With CELL pixels on its longer side, and at least one on the other."""
    scale = CELL / max(picture.size)
    width, height = (max(1, round(length * scale)) for length in picture.size)
    return picture.resize((width, height), Image.Resampling.BICUBIC)


def _wrap(text: str, font: Font, width: int) -> list[str]:
    """Lines no wider than `width`, three at most, the last one ending in … where more follows."""
    lines, line = [], ""
    for character in " ".join(text.split()):
        if line and font.width(line + character) > width:
            lines.append(line)
            line = ""
        line += character
    lines.append(line)
    return lines if len(lines) <= 3 else [*lines[:2], lines[2][:-1] + "…"]
