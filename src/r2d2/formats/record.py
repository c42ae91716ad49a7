"""One row of another format: picture, texts and what is told beside them, as a Pair."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from r2d2.errors import R2D2Error
from r2d2.images.decode import BadImage, decode_image
from r2d2.inputs.dropped_rows import DroppedRows
from r2d2.inputs.ids import content_id
from r2d2.inputs.splits import split_of_value
from r2d2.inputs.texts import NO_TEXT, TextFault, are_usable, count_holes, read_texts
from r2d2.inputs.values import (
    BadValueError,
    integer_value,
    is_missing,
    label_value,
    name_value,
    real_value,
    text_value,
)
from r2d2.pair import PAIR_FIELDS, SCHEMA, to_batch
from r2d2.pair import to_pair as pair_of
from r2d2.table import Pair, Text
from r2d2.tokenizer import text_key

CAPTIONS = ("texts", "captions", "caption", "text", "txt", "title")
FIELDS = (*CAPTIONS, "image_id", "url", "split", "ctr", "clicks", "impressions", "label")
TEXT_FIELDS = set(Text.__dataclass_fields__)


def to_pair(
    where: str, image: bytes | None, fields: Mapping[str, Any], split: str, dropped: DroppedRows
) -> Pair | None:
    """A row, or None where it is of no use.

    Args:
        where: it stands, for what is told of it.
        image: the encoded file.
        fields: what is known besides, under the names in FIELDS.
        split: where the fields name none.
        dropped: counts the rows of no use.
    """
    texts, faults = captions_of(fields)
    try:
        numbers: dict[str, Any] = {
            "ctr": real_value(fields.get("ctr"), "ctr"),
            "clicks": integer_value(fields.get("clicks"), "clicks"),
            "impressions": integer_value(fields.get("impressions"), "impressions"),
            "label": label_value(fields.get("label")),
        }
        own_split = split_of_value(fields.get("split"))
    except BadValueError as error:
        dropped.add(str(error), f"{where}: {error.shown}")
        return None
    return make_pair(
        where, image, texts, own_split or split, dropped, faults=faults,
        image_id=fields.get("image_id"), may_lack_texts=fields.get("texts") == [],
        url=fields.get("url"), **numbers,
    )  # fmt: skip


def captions_of(fields: Mapping[str, Any]) -> tuple[list[Text], list[TextFault]]:
    """The good texts under the first name of CAPTIONS that has any, and a fault for each other."""
    value = next((v for name in CAPTIONS if not _is_empty(v := fields.get(name))), None)
    return ([], []) if value is None else read_texts(value)


def make_pair(
    where: str, image: bytes | None, texts: Iterable[Text], split: str, dropped: DroppedRows,
    *, faults: Sequence[TextFault] = (), image_id: Any = None, url: Any = None,
    may_lack_texts: bool = False, rows: int = 1, **others: Any,
) -> Pair | None:  # fmt: skip
    """A row, or None where it is of no use.

    Args:
        where: it stands, for what is told of it.
        image: the encoded file.
        texts: of the image; those that are of no use are counted and left out.
        split: of the row.
        dropped: counts what is of no use.
        faults: why other texts of the row were left out before.
        image_id: None: by the file's content.
        url: where the picture comes from.
        may_lack_texts: it is of use even so, as something to be found.
        rows: of the input that it is made of: so many are counted where it is of no use.
        others: further fields of a Pair.
    """
    good, bad = _checked(texts)
    if not are_usable(good, [*faults, *bad], where, dropped, may_lack_texts, rows):
        return None
    try:
        name, row_split, address = name_value(image_id), name_value(split), name_value(url)
    except BadValueError as error:
        dropped.add(str(error), f"{where}: {error.shown}", rows)
        return None
    try:
        picture = decode_image(image or b"", name=where)
    except BadImage as error:
        dropped.add(f"image {error.reason}", where, rows)
        return None
    assert image is not None
    count_holes([*faults, *bad], where, dropped)
    return Pair(
        name or content_id(image), image, tuple(good), row_split or split, url=address,
        width=picture.width, height=picture.height, **others,
    )  # fmt: skip


def restored_pair(
    where: str, image: bytes | None, fields: Mapping[str, Any], split: str, dropped: DroppedRows
) -> Pair | None:
    """A row of a table that was exported, as it was; None where its picture cannot be read.

    Args:
        where: it stands, for what is told of it.
        image: the encoded file.
        fields: those of a Pair, as `to_fields` gives them.
        split: where the table names none.
        dropped: counts the rows of no use.
    """
    try:
        decode_image(image or b"", name=where)
    except BadImage as error:
        dropped.add(f"image {error.reason}", where)
        return None
    assert image is not None
    pair = pair_of({**fields, "image": image})
    return replace(pair, split=pair.split or split, image_id=pair.image_id or content_id(image))


def is_exported(fields: Mapping[str, Any]) -> bool:
    """Whether they are those of `to_fields`, of the right types, and no text is empty."""
    texts = fields.get("texts")
    if not fields.keys() >= set(PAIR_FIELDS) - {"image"} or not isinstance(texts, list):
        return False
    if not all(isinstance(text, dict) and text.keys() >= TEXT_FIELDS for text in texts):
        return False
    if not all(isinstance(text["text"], str) and text_key(text["text"]) for text in texts):
        return False
    try:
        to_batch([pair_of({**fields, "image": b""})], SCHEMA)
    except R2D2Error:
        return False
    return True


def to_fields(pair: Pair) -> dict[str, Any]:
    """What `to_pair` reads, but for the picture."""
    return {
        "image_id": pair.image_id,
        "url": pair.url,
        "split": pair.split,
        "ctr": pair.ctr,
        "clicks": pair.clicks,
        "impressions": pair.impressions,
        "label": pair.label,
        "width": pair.width,
        "height": pair.height,
        "texts": [
            {name: getattr(text, name) for name in Text.__dataclass_fields__} for text in pair.texts
        ],
    }


def _checked(texts: Iterable[Text]) -> tuple[list[Text], list[TextFault]]:
    """The good texts, and a reason for each of the others."""
    good: list[Text] = []
    faults: list[TextFault] = []
    for text in texts:
        try:
            value, text_id = text_value(text.text), name_value(text.text_id)
        except BadValueError as error:
            faults.append(TextFault(str(error), error.shown))
            continue
        if value is None:
            faults.append(TextFault(NO_TEXT))
        else:
            good.append(replace(text, text=value, text_id=text_id))
    return good, faults


def _is_empty(value: Any) -> bool:
    return is_missing(value) or (isinstance(value, list) and not value)
