"""Draw the panel of an explanation: the picture, and a copy of it for each entity with its map.

The colour scale is the same in all panels: it runs from the noise, below which the picture is grey,
to FULL times the noise. Labels are in Chinese where the text is Chinese and a font for it is
installed, otherwise in English.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from r2d2.explain.evidence import Evidence
from r2d2.explain.font import Font, find_font
from r2d2.explain.labels import PanelLabels, labels_for
from r2d2.explain.maps import FULL, Map, upsample

CELL = 300  # pixels: the longer side of a picture
COLUMNS = 4
GAP, CAPTION, LINE = 16, 56, 30
BAR = 160  # pixels: the width of the colours' scale
PARTS = 6  # rows and columns of the picture that shows the word of each part
INK, GREY, LINES, PAPER = (24, 24, 27), (110, 110, 118), (200, 200, 205), (255, 255, 255)
# The colours go from dark to bright in even steps, so people with red-green blindness can tell them
# apart.
HEAT = ((81, 18, 124), (183, 55, 121), (252, 137, 97), (252, 253, 191))
COVER = 0.7  # opacity of the colour over the picture


@dataclass(frozen=True)
class PanelContent:
    """What a panel shows."""

    picture: Image.Image
    text: str
    entities: tuple[str, ...]  # k
    evidence: Evidence  # of the entities
    draws: int  # the number of random draws; 0: the maps are attention
    cosine: float
    match: float | None
    words: tuple[str, ...]  # w; empty: the word of each part is not shown
    patches: Map  # (P_h, P_w, w)


def heat(strength: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Return the colours (H, W, 3) of values (H, W), which are multiples of the noise."""
    stops = np.linspace(1, FULL, len(HEAT))
    parts = [np.interp(strength, stops, [colour[i] for colour in HEAT]) for i in range(3)]
    return np.stack(parts, axis=-1).round().astype(np.uint8)


def overlay(picture: Image.Image, strength: npt.NDArray[np.float32]) -> Image.Image:
    """Return the picture in grey, coloured where the multiples of the noise (H, W) are above 1."""
    grey = np.asarray(picture.convert("L"), dtype=np.float32)[..., None].repeat(3, axis=-1)
    cover = np.where(strength > 1, COVER, 0)[..., None]
    mixed = grey * (1 - cover) + heat(strength).astype(np.float32) * cover
    return Image.fromarray(mixed.round().clip(0, 255).astype(np.uint8))


def draw_panel(content: PanelContent) -> Image.Image:
    """Draw the panel as an RGB picture."""
    font, small = find_font(20), find_font(15)
    labels = labels_for(content.text if font.chinese else "")
    picture, evidence = _fit(content.picture), content.evidence
    cells = [(picture, "", "")]
    for index, name in enumerate(content.entities):
        covered = overlay(picture, upsample(evidence.strength(index), picture.size))
        caption = labels.of_entity(evidence, index, dropping=bool(content.draws))
        cells.append((covered, f"{index + 1}  {name}", caption))
    if content.words:
        cells.append((words_by_part(picture, content), "", labels.by_part))
    columns = min(COLUMNS, len(cells))
    rows = -(-len(cells) // columns)
    width = max(columns * (picture.width + GAP) + GAP, 3 * BAR)
    title = _wrap(content.text, font, width - 2 * GAP)
    facts = [
        line
        for fact in labels.facts(evidence, content.cosine, content.match, content.draws)
        for line in _wrap(fact, small, width - 2 * GAP)
    ]
    top = GAP + LINE * len(title) + LINE * len(facts) + GAP // 2
    bottom = top + rows * (picture.height + CAPTION + GAP)
    panel = Image.new("RGB", (width, bottom + LINE), PAPER)
    draw = ImageDraw.Draw(panel)
    for number, line in enumerate(title):
        font.draw(draw, (GAP, GAP + LINE * number), line, INK)
    for number, line in enumerate(facts, len(title)):
        small.draw(draw, (GAP, GAP + LINE * number + 4), line, GREY)
    for number, (cell, name, caption) in enumerate(cells):
        x = GAP + (number % columns) * (picture.width + GAP)
        y = top + (number // columns) * (picture.height + CAPTION + GAP)
        panel.paste(cell, (x, y))
        for line, colour, face, down in ((name, INK, font, 4), (caption, GREY, small, 30)):
            if line:
                line = _wrap(line, face, picture.width)[0]
                face.draw(draw, (x, y + picture.height + down), line, colour)
    _draw_scale(panel, draw, small, labels, bottom)
    return panel


def words_by_part(picture: Image.Image, content: PanelContent) -> Image.Image:
    """Draw the picture in pale colours, with the word that each part belongs to, if it has one."""
    rows, columns, _ = content.patches.shape
    down, across = (min(length, PARTS) for length in (rows, columns))
    pale = Image.blend(picture, Image.new("RGB", picture.size, PAPER), 0.6)
    draw, font = ImageDraw.Draw(pale), find_font(14)
    for row, r in enumerate(np.array_split(np.arange(rows), down)):
        for column, c in enumerate(np.array_split(np.arange(columns), across)):
            values = content.patches[r[:, None], c].mean((0, 1))
            x, y = column * picture.width // across, row * picture.height // down
            draw.rectangle(
                (x, y, x + picture.width // across, y + picture.height // down), None, LINES
            )
            if values.any():
                word = content.words[int(values.argmax())]
                word = _wrap(word, font, picture.width // across - 4)[0]
                font.draw(draw, (x + 3, y + 2), word, INK)
    return pale


def _draw_scale(
    panel: Image.Image, draw: ImageDraw.ImageDraw, font: Font, labels: PanelLabels, top: int
) -> None:
    """Draw the colour scale from the noise to FULL times the noise, and what grey means."""
    values = np.linspace(1, FULL, BAR, dtype=np.float32)[None].repeat(LINE // 2, axis=0)
    x = GAP
    for text in (labels.within, labels.scale_start):
        font.draw(draw, (x, top), text, GREY)
        x += round(font.width(text)) + GAP
    panel.paste(Image.fromarray(heat(values)), (x, top + 2))
    font.draw(draw, (x + BAR + GAP, top), labels.scale_end, GREY)


def _fit(picture: Image.Image) -> Image.Image:
    """Resize a picture to CELL pixels on its longer side, and at least one on the other."""
    scale = CELL / max(picture.size)
    width, height = (max(1, round(length * scale)) for length in picture.size)
    return picture.resize((width, height), Image.Resampling.BICUBIC)


def _wrap(text: str, font: Font, width: int) -> list[str]:
    """Break a text into at most three lines of `width` pixels; a text that is cut ends in …."""
    lines, line = [], ""
    for character in " ".join(text.split()):
        if line and font.width(line + character) > width:
            lines.append(line)
            line = ""
        line += character
    lines.append(line)
    return lines if len(lines) <= 3 else [*lines[:2], lines[2][:-1] + "…"]
