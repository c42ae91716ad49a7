"""Notes on a gallery as a whole, such as that its model is made for another kind of pictures.

The model that comes with the package is trained on emoji alone. Its results on photographs are
random, although their cosines are high. A note warns the user.
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
from r2d2.saved_model import shipped_folder

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
SAMPLE = 32  # pictures whose sizes are read
SMALL = 160  # pixels; the largest size of a picture that may be an emoji
MOST = 0.5  # a larger share of other pictures gives a warning

Sizes = Iterable[tuple[str, tuple[int, int] | None]]  # image id or path; width and height


def is_of_another_kind(fingerprint: str, pictures: Sizes) -> bool:
    """Whether most pictures are of another kind than those that the model was made for.

    Args:
        fingerprint: of the model.
        pictures: a sample; it is read only where the kind of the model is known.
    """
    if fingerprint != emoji_fingerprint():
        return False
    other = [_is_large(size) and not _is_emoji(name) for name, size in pictures]
    return bool(other) and sum(other) > MOST * len(other)


def notes_of_gallery(gallery: Gallery) -> list[Note]:
    """The notes on a gallery and the model that made its vectors."""
    return [n for n in (other_kind_note(gallery), calibration_note(gallery)) if n is not None]


def calibration_note(gallery: Gallery) -> Note | None:
    """The note that it is not known how sure a result is; None where it is known."""
    if gallery.calibration is None:
        return NOT_CALIBRATED
    return PICTURES_NOT_CALIBRATED if gallery.calibration.pictures is None else None


def other_kind_note(gallery: Gallery) -> Note | None:
    """The note that the model was made for another kind of pictures; None where it was not."""
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
    """The fingerprint of the shipped model, from the index beside it; None where it is unknown."""
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
    """Whether a name consists of the code points of an emoji, as the names of emoji files do."""
    character = emoji_character(posixpath.splitext(posixpath.basename(name))[0].lower())
    return character is not None and character in emoji_data().EMOJI_DATA
