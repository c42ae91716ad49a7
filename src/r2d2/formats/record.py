"""One row of another format: its picture, its texts and its other fields, as a Pair."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from r2d2.errors import R2D2Error
from r2d2.inputs.dropped_rows import DroppedRows
from r2d2.inputs.ids import content_id
from r2d2.inputs.pictures import decode_picture
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


@dataclass(frozen=True)
class SourceRow:
    """A row of another format, without its picture."""

    where: str  # the file and the row, for messages
    texts: Iterable[Text]
    split: str
    faults: Sequence[TextFault] = ()  # why other texts of the row were left out before
    image_id: Any = None  # None: made of the picture's content
    url: Any = None  # of the picture
    may_lack_texts: bool = False  # without texts it is kept, as a picture to be found
    rows: int = 1  # of the input that it is made of: so many are counted where it is left out
    holes: DroppedRows | None = None  # texts that are counted only where the row is kept
    others: Mapping[str, Any] = field(default_factory=dict)  # further fields of a Pair

    def pairs(self, image: bytes | None, dropped: DroppedRows) -> Iterator[Pair]:
        """Yield the row of the table; a row that cannot be used is counted and left out.

        Args:
            image: the encoded file.
            dropped: counts what is of no use.
        """
        good, bad = _checked(self.texts)
        faults = [*self.faults, *bad]
        if not are_usable(good, faults, self.where, dropped, self.may_lack_texts, self.rows):
            return
        with dropped.counting(self.where, self.rows):
            image_id, split, url = map(name_value, (self.image_id, self.split, self.url))
            picture = decode_picture(image, self.where, dropped, self.rows)
            if image is None or picture is None:
                return
            count_holes(faults, self.where, dropped)
            dropped.update(self.holes or DroppedRows())
            yield Pair(
                image_id or content_id(image), image, tuple(good), split or self.split, url=url,
                width=picture.width, height=picture.height, **self.others,
            )  # fmt: skip


def field_pairs(
    where: str, image: bytes | None, fields: Mapping[str, Any], split: str, dropped: DroppedRows
) -> Iterator[Pair]:
    """The row of the table, or none where it is of no use.

    Args:
        where: the file and the row, for messages.
        image: the encoded file.
        fields: of the row, under the names in FIELDS.
        split: where the fields name none.
        dropped: counts the rows of no use.
    """
    texts, faults = captions_of(fields)
    with dropped.counting(where):
        numbers = {
            "ctr": real_value(fields.get("ctr"), "ctr"),
            "clicks": integer_value(fields.get("clicks"), "clicks"),
            "impressions": integer_value(fields.get("impressions"), "impressions"),
            "label": label_value(fields.get("label")),
        }
        row = SourceRow(
            where, texts, split_of_value(fields.get("split")) or split, faults,
            fields.get("image_id"), fields.get("url"), fields.get("texts") == [], others=numbers,
        )  # fmt: skip
        yield from row.pairs(image, dropped)


def captions_of(fields: Mapping[str, Any]) -> tuple[list[Text], list[TextFault]]:
    """The good texts under the first name of CAPTIONS that has any, and a fault for each other."""
    value = next((v for name in CAPTIONS if not _is_empty(v := fields.get(name))), None)
    return ([], []) if value is None else read_texts(value)


def restored_pairs(
    where: str, image: bytes | None, fields: Mapping[str, Any], split: str, dropped: DroppedRows
) -> Iterator[Pair]:
    """The row of a table that was exported, as it was; none where its picture cannot be read.

    Args:
        where: the file and the row, for messages.
        image: the encoded file.
        fields: those of a Pair, as `to_fields` gives them.
        split: where the table names none.
        dropped: counts the rows of no use.
    """
    if decode_picture(image, where, dropped) is not None and image is not None:
        pair = pair_of({**fields, "image": image})
        yield replace(pair, split=pair.split or split, image_id=pair.image_id or content_id(image))


def stored_pairs(
    where: str, image: bytes | None, fields: Mapping[str, Any], split: str, dropped: DroppedRows
) -> Iterator[Pair]:
    """`restored_pairs` of the fields of an exported row, `field_pairs` of all others."""
    read_pairs = restored_pairs if is_exported(fields) else field_pairs
    return read_pairs(where, image, fields, split, dropped)


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
    """The fields of a row that `restored_pairs` reads, without the picture."""
    fields = {name: getattr(pair, name) for name in PAIR_FIELDS if name not in ("image", "texts")}
    return fields | {"texts": [asdict(text) for text in pair.texts]}


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
