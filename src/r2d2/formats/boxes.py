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
from r2d2.formats.record import make_pair
from r2d2.formats.tree import SourceTree
from r2d2.images.decode import BadImage, decode_image
from r2d2.inputs.dropped_rows import DroppedRows
from r2d2.inputs.json_text import read_json
from r2d2.table import Pair

EXPECTS = "valid_category_data_total_zh.json, and a folder of pictures"
PATTERNS = ("valid_category_data_total_zh.json", "*category*zh*.json")
MALFORMED = "malformed annotation"
_ORIENTATION = 0x0112

Box = tuple[str, str, Any]  # annotation id, category id, bbox


def read(context: ImportContext) -> Iterator[Pair]:
    """A row a box, cropped, as PNG; its text is the category's name; split `test`."""
    tree = SourceTree(context.paths)
    file = tree.find(PATTERNS, EXPECTS)[0]
    tree.need_pictures(EXPECTS)
    content = _load(file)
    names = {str(one.get("id")): str(one.get("name") or "") for one in content["categories"]}
    context.metadata.update(class_names(list(names.values())))
    boxes = _boxes(file, content["annotations"], names, context.dropped)
    for one in content["images"]:
        where = f"{file}, image {one.get('id')}"
        boxes_of = boxes.pop(str(one.get("id")), [])
        if not boxes_of:
            continue
        picture = tree.read(
            str(one.get("file_name") or ""), where, context.dropped, file, len(boxes_of)
        )
        image = None if picture is None else _upright(picture[1])
        if isinstance(image, BadImage):
            context.dropped.add(f"image {image.reason}", where, len(boxes_of))
            continue
        if image is None:
            continue
        for number, category, bbox in boxes_of:
            cropped = _crop(image, bbox)
            if cropped is None:
                context.dropped.add("no box within the picture", f"{file}, annotation {number}")
                continue
            pair = make_pair(
                where, cropped, [class_text(names[category], category)], "test", context.dropped,
                image_id=f"{one.get('id')}:{number}",
            )  # fmt: skip
            if pair is not None:
                yield pair
    for lost in boxes.values():
        for number, _, _ in lost:
            context.dropped.add("image not listed", f"{file}, annotation {number}")


def _load(file: Path) -> dict[str, list[dict[str, Any]]]:
    content = read_json(file, "fetch it again")
    keys = ("categories", "images", "annotations")
    if not isinstance(content, dict) or not all(isinstance(content.get(k), list) for k in keys):
        raise R2D2Error(f"{file} has no {', '.join(keys)}: give the file as it was published")
    return {key: [one for one in content[key] if isinstance(one, dict)] for key in keys}


def _boxes(
    file: Path, annotations: list[dict[str, Any]], names: dict[str, str], dropped: DroppedRows
) -> dict[str, list[Box]]:
    """Boxes by image; an annotation without an id has its number."""
    boxes: dict[str, list[Box]] = {}
    for n, one in enumerate(annotations):
        number, category = str(one.get("id", n)), str(one.get("category_id"))
        where = f"{file}, annotation {number}"
        if category not in names or one.get("image_id") is None:
            dropped.add(MALFORMED, where)
        else:
            boxes.setdefault(str(one["image_id"]), []).append((number, category, one.get("bbox")))
    return boxes


def _upright(data: bytes) -> Image.Image | BadImage:
    """The picture as its boxes mean it: as it is stored, whatever its EXIF says of turning it."""
    try:
        image = decode_image(data)
        with Image.open(io.BytesIO(data)) as stored:
            turned = stored.getexif().get(_ORIENTATION, 1) not in (0, 1)
            return stored.convert("RGB") if turned else image
    except BadImage as error:
        return error


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
