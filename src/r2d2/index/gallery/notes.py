"""Notes on a gallery as a whole, above all that its model is for another kind of pictures.

The model that comes with the package was trained on emoji alone. On photographs its results are
chance although its cosines are high, so the user is warned.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from safetensors import SafetensorError, safe_open

from r2d2.images.decode import upright_size
from r2d2.index.gallery.emoji import INDEX, EmojiGallery, emoji_character, emoji_data
from r2d2.index.gallery.protocol import Gallery
from r2d2.notes import Note
from r2d2.pretrained import shipped_folder

EMOJI_ONLY = (
    "the model knows emoji only, and these pictures are of another kind: what it finds is chance; "
    "give --model one that knows photographs"
)
OTHER_KIND = Note(EMOJI_ONLY, "other_kind")
NOT_CALIBRATED = Note(
    "it is not known how sure a result is, since an older version made this index: "
    "run `r2d2 index` once more",
    "not_calibrated",
)
PICTURES_NOT_CALIBRATED = Note(
    "it is not known how sure a result by its picture is: the model can read too few Chinese texts",
    "pictures_not_calibrated",
)
SAMPLE = 32  # pictures that are looked at
SMALL = 160  # pixels: no larger than what an emoji may be drawn at
MOST = 0.5  # of the pictures looked at

Sizes = Iterable[tuple[str, tuple[int, int] | None]]  # image id or path; width and height


def is_of_another_kind(fingerprint: str, pictures: Sizes) -> bool:
    """Whether most of some pictures are of another kind than those the model was made for.

    Args:
        fingerprint: of the model.
        pictures: some, which are looked at only where the kind of the model is known.
    """
    if fingerprint != emoji_fingerprint():
        return False
    other = [_is_large(size) and not _is_emoji(name) for name, size in pictures]
    return bool(other) and sum(other) > MOST * len(other)


def notes_of_gallery(gallery: Gallery) -> list[Note]:
    """What there is to say of a gallery and the model that made its vectors."""
    return [n for n in (other_kind_note(gallery), calibration_note(gallery)) if n is not None]


def calibration_note(gallery: Gallery) -> Note | None:
    """That it is not known how sure a result is."""
    if gallery.calibration is None:
        return NOT_CALIBRATED
    return PICTURES_NOT_CALIBRATED if gallery.calibration.pictures is None else None


def other_kind_note(gallery: Gallery) -> Note | None:
    """That the model was made for pictures of another kind."""
    if isinstance(gallery, EmojiGallery) or not len(gallery):
        return None
    step = max(1, len(gallery) // SAMPLE)
    rows = range(0, len(gallery), step)[:SAMPLE]

    def sizes() -> Sizes:
        for row, item in zip(rows, gallery.items(rows), strict=True):
            small = gallery.thumbnail(row)
            yield item.image_id, upright_size(gallery.files([row])[0] if small is None else small)

    return OTHER_KIND if is_of_another_kind(gallery.fingerprint, sizes()) else None


@lru_cache(maxsize=1)
def emoji_fingerprint() -> str | None:
    """Of the model that comes with the package, by what stands beside it; None: unknown."""
    file: Path = shipped_folder() / INDEX
    try:
        with safe_open(file, "np") as stored:
            fingerprint: str | None = (stored.metadata() or {}).get("fingerprint")
            return fingerprint
    except (SafetensorError, OSError):
        return None


def _is_large(size: tuple[int, int] | None) -> bool:
    return size is not None and max(size) > SMALL


def _is_emoji(name: str) -> bool:
    """Whether a name is an emoji's code points, as files of emoji have them."""
    character = emoji_character(posixpath.splitext(posixpath.basename(name))[0].lower())
    return character is not None and character in emoji_data().EMOJI_DATA
