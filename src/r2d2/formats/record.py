"""One row of another format: picture, texts and what is told beside them, as a Pair."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from r2d2.data.images import BadImage, decode_image
from r2d2.data.own import HALF, encodes
from r2d2.inputs.dropped_rows import DroppedRows
from r2d2.inputs.ids import content_id
from r2d2.table import Pair, Text
from r2d2.tokenizer import text_key

CAPTION = "caption"
CAPTIONS = ("texts", "captions", "caption", "text", "txt", "title")
ENDINGS = {"JPEG": "jpg", "PNG": "png", "GIF": "gif", "WEBP": "webp"}


def to_pair(
    where: str, image: bytes | None, fields: Mapping[str, Any], split: str, dropped: DroppedRows
) -> Pair | None:
    """A row, or None where it is of no use.

    Args:
        where: it stands, for what is told of it.
        image: the encoded file.
        fields: what is known besides, under the names that the formats use.
        split: where the fields name none.
        dropped: counts the rows of no use.
    """
    label = fields.get("label")
    return make_pair(
        where, image, _texts(fields), str(fields.get("split") or split), dropped,
        image_id=fields.get("image_id"), may_lack_texts=fields.get("texts") == [],
        url=_or_none(fields.get("url"), str),
        ctr=_or_none(fields.get("ctr"), float), clicks=_or_none(fields.get("clicks"), int),
        impressions=_or_none(fields.get("impressions"), int),
        label=int(label) if label in (0, 1, "0", "1") else None,
    )  # fmt: skip


def make_pair(
    where: str, image: bytes | None, texts: Iterable[Text], split: str, dropped: DroppedRows,
    *, image_id: Any = None, may_lack_texts: bool = False, **others: Any,
) -> Pair | None:  # fmt: skip
    """A row, or None where it is of no use.

    Args:
        where: it stands, for what is told of it.
        image: the encoded file.
        texts: of the image; empty ones are counted and left out.
        split: of the row.
        dropped: counts what is of no use.
        image_id: None: by the file's content.
        may_lack_texts: it is of use even so, as something to be found.
        others: further fields of a Pair.
    """
    full = []
    for text in texts:
        if not encodes(text.text, text.text_id or ""):
            dropped.add(HALF, where)
        elif text_key(text.text):
            full.append(replace(text, text=text.text.strip()))
        else:
            dropped.add("empty text", where)
    if not full and not may_lack_texts:
        dropped.add("no text", where)
        return None
    try:
        picture = decode_image(image or b"", name=where)
    except BadImage as error:
        dropped.add(f"image {error.kind}", where)
        return None
    assert image is not None
    name = str(image_id) if image_id not in (None, "") else content_id(image)
    if not encodes(name, split, others.get("url") or ""):
        dropped.add(HALF, where)
        return None
    return Pair(
        name, image, tuple(full), split, width=picture.width, height=picture.height, **others
    )


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


def _texts(fields: Mapping[str, Any]) -> tuple[Text, ...]:
    given = next((fields[name] for name in CAPTIONS if fields.get(name)), None)
    if given is None:
        return ()
    found = []
    for one in given if isinstance(given, list) else [given]:
        if isinstance(one, Mapping):
            known: dict[str, Any] = {n: one.get(n) for n in Text.__dataclass_fields__}
            known["source"] = known["source"] or CAPTION
            known["weight"] = 1.0 if known["weight"] is None else float(known["weight"])
            text = Text(**known)
        else:
            text = Text(str(one), CAPTION)
        if isinstance(text.text, str):
            found.append(text)
    return tuple(found)


def _or_none(value: Any, kind: Any) -> Any:
    try:
        return None if value is None or value == "" else kind(value)
    except (TypeError, ValueError):
        return None
