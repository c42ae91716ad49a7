"""Ids of pictures and texts: the id of a picture is its path; every id is used once."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from r2d2.errors import R2D2Error
from r2d2.inputs.dropped_rows import DroppedRows
from r2d2.pair import Pair
from r2d2.unique_ids import DigestMap

REPEATED_ROW = "the same picture and texts under the same id once more"
REPEATED_TEXT = "the same text once more"
RENAMED_IMAGE = "image id of another row, kept under an id of its own"
RENAMED_TEXT = "text id of another text, kept under an id of its own"
SUFFIX = 8  # hexadecimal digits of the content, after an id that another row has


def path_id(path: str | Path, folder: str | Path) -> str:
    """Return the path of a file relative to the user's folder, with `/` and in NFC.

    It does not depend on how the folder is spelled, on what else is given, or on the system:
    macOS hands out names in NFD, Windows writes backslashes. Links are not followed. A file
    outside the folder has `..` in its id.
    """
    relative = os.path.relpath(path, folder)
    return unicodedata.normalize("NFC", relative.replace(os.sep, "/"))


def same_id(first: Path, second: Path) -> R2D2Error:
    """The error about pictures of two folders given whose paths under them are the same."""
    return R2D2Error(
        f"{first} and {second} would have one id, their path under the folder given: give one "
        "folder that holds both (it may hold links to them)"
    )


def content_id(image: bytes) -> str:
    """The id of a picture that stands in a file with others and has no name: of its content.

    32 hexadecimal digits.
    """
    return hashlib.sha256(image).hexdigest()[:32]


@dataclass
class IdChanges:
    """The rows that occurred twice, and the ids that were made unique."""

    dropped: DroppedRows = field(default_factory=DroppedRows)
    renamed: DroppedRows = field(default_factory=DroppedRows)  # kept all the same


class TextIds:
    """Gives a text an id of its own where another text of its split has the id already.

    Memory: 16 bytes an id.
    """

    def __init__(self, renamed: DroppedRows) -> None:
        self._renamed = renamed
        self._texts = DigestMap()  # by split and id

    def unique(self, split: str, text_id: str, text: str) -> str:
        """The id that the text gets: its own, or with a digest of the text behind it."""
        name, new = _claim(self._texts, split, text_id, _digest(*_bytes(text)))
        if new and name != text_id:
            self._renamed.add(RENAMED_TEXT, f"{text_id} is {name}: {text}")
        return name


def unique_ids(pairs: Iterable[Pair], changes: IdChanges) -> Iterator[Pair]:
    """Yield the rows with unique ids, as `write_table` requires; only equal rows are left out.

    An id that stands twice with the same picture, texts and split is one row. Where they differ the
    later row gets the id with a digest of its content behind it, the same in every run. Pairs with
    labels share the id of their picture. A text id that another text of the split has is changed in
    the same way. Memory: 16 bytes a row and a text id, and as much again for rows with labels.

    Args:
        pairs: in the order of the input; the first of an id keeps it.
        changes: where what was left out or renamed is counted.
    """
    contents = DigestMap()  # by image id
    labelled = DigestMap()  # by pair with a label
    text_ids = TextIds(changes.renamed)
    for pair in pairs:
        texts = [part for text in pair.texts for part in (text.source, text.text)]
        parts = [b"", b"labelled"] if pair.label is not None else _bytes(pair.split, *texts)
        image_id, new = _claim(contents, "", pair.image_id, _digest(pair.image, *parts))
        if new and image_id != pair.image_id:
            changes.renamed.add(RENAMED_IMAGE, f"{pair.image_id} is {image_id}")
        if pair.label is not None:
            key = _number(_digest(*_bytes(image_id, pair.split, str(pair.label), *texts)))
            new = labelled.get(key) is None
            if new:
                labelled.add(key, 0)
        if not new:
            changes.dropped.add(REPEATED_ROW, f"image id {pair.image_id}, split {pair.split}")
            continue
        yield replace(
            pair, image_id=image_id,
            texts=tuple(
                replace(text, text_id=text_ids.unique(pair.split, text.text_id, text.text))
                if text.text_id is not None else text
                for text in pair.texts
            ),
        )  # fmt: skip


def _claim(contents: DigestMap, scope: str, name: str, digest: str) -> tuple[str, bool]:
    """The first form of a name that no other content has, and whether it is new."""
    number = _number(digest)
    for size in range(0, len(digest) + 1, SUFFIX):
        claimed = f"{name}-{digest[:size]}" if size else name
        key = _number(_digest(*_bytes(scope, claimed)))
        holder = contents.get(key)
        if holder is None:
            contents.add(key, number)
        if holder in (None, number):
            return claimed, holder is None
    raise AssertionError(f"every form of {name} is taken by another content of this digest")


def _digest(*parts: bytes) -> str:
    """Of the parts and of where they end; 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()


def _number(digest: str) -> int:
    return int(digest[:16], 16)


def _bytes(*parts: str) -> list[bytes]:
    # half of a surrogate pair is left out later, and counted
    return [part.encode("utf-8", "surrogatepass") for part in parts]
