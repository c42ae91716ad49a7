"""A font that has Chinese: one that is installed, else Pillow's own, which has none."""

from __future__ import annotations

import functools
import logging
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from PIL import ImageDraw, ImageFont

from r2d2.errors import R2D2Error

log = logging.getLogger(__name__)

FONT = "R2D2_FONT"  # environment: a font file to use
FOLDERS = (
    "~/.local/share/fonts",
    "~/.fonts",
    "/usr/local/share/fonts",
    "/usr/share/fonts",
    "~/Library/Fonts",
    "/Library/Fonts",
    "/System/Library/Fonts",
    "C:/Windows/Fonts",
)
# Starts of file names without case, the best first: Noto and Source Han are one design.
NAMES = (
    "notosanssc",
    "notosanscjk",
    "sourcehansans",
    "pingfang",
    "msyh",
    "hiragino sans gb",
    "stheiti",
    "wqy-microhei",
    "wqy-zenhei",
    "simhei",
    "droidsansfallback",
    "notoserifcjk",
    "simsun",
    "uming",
    "ukai",
)


@dataclass(frozen=True)
class Font:
    """A font of one size, which writes what it can."""

    font: ImageFont.FreeTypeFont | ImageFont.ImageFont
    chinese: bool  # whether it has Chinese characters

    def width(self, text: str) -> float:
        """Pixels."""
        return self.font.getlength(self._known(text))

    def draw(
        self,
        draw: ImageDraw.ImageDraw,
        at: tuple[int, int],
        text: str,
        colour: tuple[int, int, int],
    ) -> None:
        """Write one line, its upper left corner at `at`."""
        draw.text(at, self._known(text), fill=colour, font=self.font)

    def _known(self, text: str) -> str:
        """With a ? for each character that a font without Chinese would draw as a box."""
        if self.chinese:
            return text
        return "".join(c if c.isascii() else "?" for c in text)


def find_font(size: int) -> Font:
    """A font of `size` pixels: R2D2_FONT's, one that is installed and has Chinese, or Pillow's.

    Raises:
        R2D2Error: R2D2_FONT names no font.
    """
    named = os.environ.get(FONT)
    if named:
        try:
            font = ImageFont.truetype(named, size)
        except OSError as error:
            raise R2D2Error(f"{FONT} is {named}, which is no font file ({error})") from error
        return Font(font, _has_chinese(font))
    path = _installed(FOLDERS)
    if path is not None:
        return Font(ImageFont.truetype(str(path), size), True)
    _warn()
    return Font(ImageFont.load_default(size), False)


@functools.cache
def _installed(folders: tuple[str, ...]) -> Path | None:
    """The file of the best font there is. Walks the folders once."""
    found: list[tuple[int, int, str, Path]] = []
    for folder in folders:
        for root, _, files in os.walk(Path(folder).expanduser()):
            for file in files:
                rank = _rank(file.lower())
                if rank is not None:
                    found.append((*rank, file, Path(root) / file))
    for *_, path in sorted(found):
        try:
            if _has_chinese(ImageFont.truetype(str(path), 20)):
                return path
        except OSError:  # damaged, or of a kind that Pillow does not read
            continue
    return None


def _rank(file: str) -> tuple[int, int] | None:
    """How good a font's file is by its name; the usual weight before bold and thin."""
    if not file.endswith((".ttf", ".ttc", ".otf")):
        return None
    for place, name in enumerate(NAMES):
        if file.startswith(name):
            usual = "regular" in file or not any(w in file for w in ("bold", "light", "thin"))
            return place, 0 if usual else 1
    return None


def _has_chinese(font: ImageFont.FreeTypeFont) -> bool:
    """Whether a character comes out other than what the font draws for one it lacks."""
    missing = bytes(font.getmask("\U0010fffd"))
    return bytes(font.getmask("狗")) != missing and bytes(font.getmask("图")) != missing


@functools.cache
def _warn() -> None:
    remedy = "apt install fonts-noto-cjk" if sys.platform == "linux" else "install Noto Sans SC"
    log.warning(
        "no font with Chinese characters was found, so the panel numbers the words and shows ? for "
        "their characters: %s, or set %s to a font file",
        remedy,
        FONT,
    )
