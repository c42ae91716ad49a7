"""Read the captions of pictures from a file of captions, or from the files beside them."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from r2d2.data.own import read_captions
from r2d2.formats.record import captions_of
from r2d2.formats.webdataset import fields_of
from r2d2.inputs.dropped_rows import DroppedRows
from r2d2.inputs.folders import readable
from r2d2.inputs.picture_listing import ListedPicture, Listing, Sidecar
from r2d2.inputs.pictures import NOT_FOUND, PictureIndex
from r2d2.inputs.samples import load_sample
from r2d2.inputs.splits import split_of_value
from r2d2.inputs.texts import CAPTION, usable_texts
from r2d2.table import Text

NOT_LABELLED = 0  # a caption with this label is not the picture's


@dataclass(frozen=True)
class PictureCaptions:
    """The texts of a picture, and the split that is named beside them."""

    texts: tuple[Text, ...] = ()
    split: str = ""
    faulty: bool = False  # some of it was left out, which is counted


NONE = PictureCaptions()


@dataclass(frozen=True)
class CaptionSource:
    """Tells for each picture whether its captions have changed, and returns them."""

    state: Callable[[ListedPicture], str]  # differs where they were changed
    read: Callable[[ListedPicture], PictureCaptions]


def captions_in_file(file: Path, listing: Listing, dropped: DroppedRows) -> CaptionSource:
    """The captions in a CSV, JSON Lines or Parquet file, as `data import own` reads it.

    Raises:
        R2D2Error: it cannot be read, or lacks a column.
    """
    listed = {picture.image_id for picture in listing.pictures}
    by_id: dict[str, PictureCaptions] = {}
    for (picture, split), rows in read_captions(
        PictureIndex([listing.root]), file, dropped
    ).items():
        if picture.name not in listed:
            dropped.add(NOT_FOUND, f"{file}: {picture.name}", rows.rows)
            continue
        dropped.update(rows.left_out)
        true = [text for text, label in rows.where if label != NOT_LABELLED]
        there = by_id.get(picture.name, NONE)
        every = dict.fromkeys([*(text.text for text in there.texts), *true])
        by_id[picture.name] = PictureCaptions(
            tuple(Text(text, CAPTION) for text in every), there.split or split
        )

    def read(picture: ListedPicture) -> PictureCaptions:
        return by_id.get(picture.image_id, NONE)

    def state(picture: ListedPicture) -> str:
        found = by_id.get(picture.image_id)
        if found is None:
            return ""
        digest = hashlib.sha256(found.split.encode())
        for text in found.texts:
            digest.update(b"\0" + text.text.encode())
        return digest.hexdigest()[:32]

    return CaptionSource(state, read)


def captions_beside(listing: Listing, dropped: DroppedRows) -> CaptionSource:
    """The captions in `.txt` and `.json` files with the pictures' names, read when needed."""

    def state(picture: ListedPicture) -> str:
        side = listing.sidecars.get(picture.path)
        return "" if side is None else side.state

    def read(picture: ListedPicture) -> PictureCaptions:
        side = listing.sidecars.get(picture.path)
        return NONE if side is None else _read_beside(side, picture, listing.root, dropped)

    return CaptionSource(state, read)


def _read_beside(
    side: Sidecar, picture: ListedPicture, root: Path, dropped: DroppedRows
) -> PictureCaptions:
    faults = DroppedRows()
    captions = _parsed(side, picture, root, faults)
    dropped.update(faults)
    return replace(captions, faulty=bool(faults))


def _parsed(
    side: Sidecar, picture: ListedPicture, root: Path, dropped: DroppedRows
) -> PictureCaptions:
    folder = root / side.folder
    names = [*side.names.texts, *([] if side.names.json is None else [side.names.json])]

    def content(name: str) -> bytes:
        return b"" if name == side.names.picture else (folder / name).read_bytes()

    try:
        sizes = {name: (folder / name).stat().st_size for name in names}
        sizes[str(side.names.picture)] = 0  # it is not read here
        own = side.names
        sample = load_sample(own, f"{side.folder}/", sizes, content, DroppedRows())
    except OSError as error:
        dropped.add("file cannot be read", f"{error.filename}: {error.strerror}")
        return NONE
    where = readable(posixpath.join(side.folder, names[0]))
    if sample is None:
        dropped.add("file too large", where)
        return NONE
    fields = fields_of(sample, folder, where, dropped)
    if fields is None:
        return NONE
    texts, faults = captions_of(fields)
    own_name = posixpath.basename(picture.path)  # which some programs write as the title
    kept = [text for text in texts if text.text != own_name]
    usable = usable_texts(kept, faults, where, dropped, may_lack_texts=True) or ()
    split = ""
    with dropped.counting(where):
        split = split_of_value(fields.get("split")) or ""
    return PictureCaptions(tuple(usable), split)
