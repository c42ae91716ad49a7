"""Find an installed font that has Chinese characters, or else use Pillow's, which has none."""

from __future__ import annotations

import functools
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import ImageDraw, ImageFont

from r2d2.errors import R2D2Error
from r2d2.extras import require

log = logging.getLogger(__name__)

FONT = "R2D2_FONT"  # the environment variable that names a font file to use
# The beginnings of font file names in lower case, the best first. Noto and Source Han are the same
# design. A font with another name comes after these.
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


WEIGHTS = ("bold", "black", "heavy", "light", "thin")


@dataclass(frozen=True)
class Font:
    """A font of one size; it writes ? for the characters that it does not have."""

    font: ImageFont.FreeTypeFont | ImageFont.ImageFont
    chinese: bool  # whether it has Chinese characters

    def width(self, text: str) -> float:
        """Return the width of a line in pixels."""
        return self.font.getlength(self._known(text))

    def draw(
        self,
        draw: ImageDraw.ImageDraw,
        at: tuple[int, int],
        text: str,
        colour: tuple[int, int, int],
    ) -> None:
        """Write one line with its upper left corner at `at`."""
        draw.text(at, self._known(text), fill=colour, font=self.font)

    def _known(self, text: str) -> str:
        """Put a ? for each character that a font without Chinese would draw as a box."""
        if self.chinese:
            return text
        return "".join(c if c.isascii() else "?" for c in text)


def find_font(size: int, files: Sequence[str] | None = None) -> Font:
    """Return the font of R2D2_FONT, or an installed font that has Chinese, or Pillow's font.

    Args:
        size: the height in pixels.
        files: the font files to choose from; None: all that are installed.

    Raises:
        R2D2Error: R2D2_FONT names no font.
    """
    named = os.environ.get(FONT)
    if named:
        try:
            font = ImageFont.truetype(named, size)
        except OSError as error:
            raise R2D2Error(f"{FONT} is {named}, which is no font file ({error})") from error
        chinese = _has_chinese(font)
        if not chinese:
            _warn(f"{named} of {FONT} has no Chinese characters")
        return Font(font, chinese)
    path = _best(installed_fonts() if files is None else tuple(files))
    if path is not None:
        return Font(ImageFont.truetype(path, size), True)
    _warn("no font with Chinese characters was found")
    return Font(ImageFont.load_default(size), False)


@functools.cache
def installed_fonts() -> tuple[str, ...]:
    """Return the sorted files of all fonts that matplotlib finds; it searches once per process."""
    # Imported here, because the import takes half a second.
    manager = require("explain", "matplotlib.font_manager", "finding a Chinese font")
    return tuple(sorted(manager.findSystemFonts()))


@functools.cache
def _best(files: tuple[str, ...]) -> str | None:
    """Return the best of the font files that have Chinese; None where none has."""
    for path in sorted(files, key=_rank):
        try:
            if _has_chinese(ImageFont.truetype(path, 20)):
                return path
        except OSError:  # the file is damaged, or Pillow cannot read its format
            continue
    return None


def _rank(path: str) -> tuple[int, int, str]:
    """Return a sort key by the file's name: known fonts first, regular weight before others."""
    file = Path(path).name.lower()
    rank = next((i for i, name in enumerate(NAMES) if file.startswith(name)), len(NAMES))
    regular = "regular" in file or not any(weight in file for weight in WEIGHTS)
    return rank, 0 if regular else 1, path


def _has_chinese(font: ImageFont.FreeTypeFont) -> bool:
    """Return whether the font draws Chinese characters other than as a missing character."""
    missing = bytes(font.getmask("\U0010fffd"))
    return bytes(font.getmask("狗")) != missing and bytes(font.getmask("图")) != missing


@functools.cache
def _warn(reason: str) -> None:
    remedy = "apt install fonts-noto-cjk" if sys.platform == "linux" else "install Noto Sans SC"
    log.warning(
        "%s, so the panel is labelled in English, numbers the words and shows ? for their "
        "characters: %s, or set %s to a font file that has them",
        reason,
        remedy,
        FONT,
    )
