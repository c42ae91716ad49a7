"""One row of another format: picture, texts and what is told beside them, as a Pair."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from r2d2.data.images import BadImage, decode_image
from r2d2.table import Pair, Text

log = logging.getLogger(__name__)

CAPTION = "caption"
CAPTIONS = ("texts", "captions", "caption", "text", "txt", "title")
ENDINGS = {"JPEG": "jpg", "PNG": "png", "GIF": "gif", "WEBP": "webp"}
TOLD = 5  # of each reason, in the log


@dataclass
class Skipped:
    """Rows that are left out, by reason; the first of each are told in the log."""

    counts: Counter[str] = field(default_factory=Counter)

    def add(self, reason: str, where: str) -> None:
        """One more."""
        self.counts[reason] += 1
        if self.counts[reason] <= TOLD:
            log.warning("%s: %s; skipped", where, reason)


def to_pair(
    where: str, image: bytes | None, fields: Mapping[str, Any], split: str, skipped: Skipped
) -> Pair | None:
    """A row, or None where it is of no use.

    Args:
        where: it stands, for what is told of it.
        image: the encoded file.
        fields: what is known besides, under the names that the formats use.
        split: where the fields name none.
        skipped: counts the rows of no use.
    """
    texts = _texts(fields)
    if not texts:
        skipped.add("no text", where)
        return None
    try:
        picture = decode_image(image or b"", name=where)
    except BadImage as error:
        skipped.add(f"image {error.kind}", where)
        return None
    assert image is not None
    label = fields.get("label")
    return Pair(
        str(fields.get("image_id") or hashlib.sha256(image).hexdigest()[:32]),
        image,
        texts,
        str(fields.get("split") or split),
        _or_none(fields.get("url"), str),
        picture.width,
        picture.height,
        _or_none(fields.get("ctr"), float),
        _or_none(fields.get("clicks"), int),
        _or_none(fields.get("impressions"), int),
        int(label) if label in (0, 1, "0", "1") else None,
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
        if isinstance(text.text, str) and text.text.strip():
            found.append(text)
    return tuple(found)


def _or_none(value: Any, kind: Any) -> Any:
    try:
        return None if value is None or value == "" else kind(value)
    except (TypeError, ValueError):
        return None
