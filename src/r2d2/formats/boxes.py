"""BoxClass-CN: boxes in pictures with the Chinese name of what they show; a row a cropped box.

`valid_category_data_total_zh.json` has `categories` (id, name), `images` (id, file_name) and
`annotations` (image_id, category_id, bbox as x, y, width, height in pixels), as COCO has them.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from r2d2.errors import R2D2Error
from r2d2.formats.classes import class_names, class_text
from r2d2.formats.import_context import ImportContext
from r2d2.formats.record import SourceRow
from r2d2.formats.tree import SourceTree
from r2d2.inputs.dropped_rows import DroppedRows
from r2d2.inputs.json_text import read_json
from r2d2.inputs.pictures import decode_picture
from r2d2.table import Pair

EXPECTS = "valid_category_data_total_zh.json, and a folder of pictures"
PATTERNS = ("valid_category_data_total_zh.json", "*category*zh*.json")
MALFORMED = "malformed annotation"
_ORIENTATION = 0x0112

Box = tuple[str, str, Any]  # annotation id, category id, bbox


def read(context: ImportContext) -> Iterator[Pair]:
    """Yield a row per box: its part of the picture as PNG, the category's name, split `test`."""
    tree = SourceTree(context.paths)
    file = tree.find(PATTERNS, EXPECTS)[0]
    tree.need_pictures(EXPECTS)
    content = _load(file)
    names = {str(kind.get("id")): str(kind.get("name") or "") for kind in content["categories"]}
    context.metadata.update(class_names(list(names.values())))
    boxes = _boxes(file, content["annotations"], names, context.dropped)
    for listed in content["images"]:
        where = f"{file}, image {listed.get('id')}"
        image_boxes = boxes.pop(str(listed.get("id")), [])
        if not image_boxes:
            continue
        name, count = str(listed.get("file_name") or ""), len(image_boxes)
        picture = tree.read(name, where, context.dropped, file, count)
        image = None if picture is None else _upright(picture[1], where, context.dropped, count)
        if image is None:
            continue
        for number, category, bbox in image_boxes:
            cropped = _crop(image, bbox)
            if cropped is None:
                context.dropped.add("no box within the picture", f"{file}, annotation {number}")
                continue
            texts = [class_text(names[category], category)]
            row = SourceRow(where, texts, "test", image_id=f"{listed.get('id')}:{number}")
            yield from row.pairs(cropped, context.dropped)
    for lost in boxes.values():
        for number, _, _ in lost:
            context.dropped.add("image not listed", f"{file}, annotation {number}")


def _load(file: Path) -> dict[str, list[dict[str, Any]]]:
    content = read_json(file, "fetch it again")
    keys = ("categories", "images", "annotations")
    if not isinstance(content, dict) or not all(isinstance(content.get(k), list) for k in keys):
        raise R2D2Error(f"{file} has no {', '.join(keys)}: give the file as it was published")
    return {key: [entry for entry in content[key] if isinstance(entry, dict)] for key in keys}


def _boxes(
    file: Path, annotations: list[dict[str, Any]], names: dict[str, str], dropped: DroppedRows
) -> dict[str, list[Box]]:
    """Return the boxes by image; an annotation without an id gets its number."""
    boxes: dict[str, list[Box]] = {}
    for n, entry in enumerate(annotations):
        number, category = str(entry.get("id", n)), str(entry.get("category_id"))
        if category not in names or entry.get("image_id") is None:
            dropped.add(MALFORMED, f"{file}, annotation {number}")
        else:
            box = number, category, entry.get("bbox")
            boxes.setdefault(str(entry["image_id"]), []).append(box)
    return boxes


def _upright(data: bytes, where: str, dropped: DroppedRows, count: int) -> Image.Image | None:
    """Decode the picture as its boxes mean it, without the rotation in its EXIF data.

    None where it is unusable: its boxes are counted.
    """
    image = decode_picture(data, where, dropped, count)
    if image is None:
        return None
    with Image.open(io.BytesIO(data)) as stored:
        turned = stored.getexif().get(_ORIENTATION, 1) not in (0, 1)
        return stored.convert("RGB") if turned else image


def _crop(image: Image.Image, bbox: Any) -> bytes | None:
    if not isinstance(bbox, list) or len(bbox) != 4:
        return None
    try:
        x, y, width, height = map(float, bbox)
        left, top = max(0, math.floor(x)), max(0, math.floor(y))
        right, bottom = (
            min(image.width, math.ceil(x + width)),
            min(image.height, math.ceil(y + height)),
        )
    except (TypeError, ValueError, OverflowError):
        return None
    if right <= left or bottom <= top:
        return None
    out = io.BytesIO()
    image.crop((left, top, right, bottom)).save(out, "PNG")
    return out.getvalue()
