"""Pictures as `{split}_imgs.tsv`: an id, a tab, the file in base64; read through once, in order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from r2d2.images.base64_images import from_base64
from r2d2.inputs.dropped_rows import DroppedRows
from r2d2.inputs.lines import MALFORMED, byte_lines

BAD_BASE64 = "bad base64"


def tsv_images(file: Path, dropped: DroppedRows) -> Iterator[tuple[str, str, bytes]]:
    """Yield the place, the id and the file of each picture; one is in memory at a time."""
    for number, line in byte_lines(file, dropped):
        where = f"{file}, line {number}"
        key, tab, packed = line.partition(b"\t")
        image_id = key.strip().decode("utf-8", "replace")
        if not tab or not image_id:
            dropped.add(MALFORMED, where)
            continue
        image = from_base64(packed)
        if image is None:
            dropped.add(BAD_BASE64, where)
            continue
        yield where, image_id, image
