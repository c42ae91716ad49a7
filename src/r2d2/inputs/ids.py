"""The id of a picture that its format gives none: where the file stands under the folder given."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from pathlib import Path


def path_id(path: str | Path, folder: str | Path) -> str:
    """The path of a file relative to the folder that was given, with `/` and in NFC.

    It does not depend on how the folder is spelled, on what else is given, or on the system:
    macOS hands out names in NFD, Windows writes backslashes. Links are not followed. A file
    outside the folder has `..` in its id.
    """
    relative = os.path.relpath(path, folder)
    return unicodedata.normalize("NFC", relative.replace(os.sep, "/"))


def content_id(image: bytes) -> str:
    """The id of a picture that stands in a file with others and has no name: of its content.

    32 hexadecimal digits.
    """
    return hashlib.sha256(image).hexdigest()[:32]
