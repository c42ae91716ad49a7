"""The table of distinct texts beside a folder's table, after rows were changed or removed.

`r2d2 index` only adds texts. This module removes the texts that no picture has any more, and names
a picture for each of the others, whose vectors stay.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from r2d2.index import layout
from r2d2.index.build import drop
from r2d2.index.embed import text_schema
from r2d2.index.table_texts import texts_of
from r2d2.native_write import write_batches
from r2d2.tokenizer import key_hash, text_key

ROWS_AT_ONCE = 4096


def prune_texts(uri: str, about: layout.IndexInfo) -> None:
    """Remove the texts that the table at `uri` has no more, where it has a table of texts."""
    import lance

    target = layout.texts_uri(uri)
    texts, pictures = layout.open_lance(target), layout.open_lance(uri)
    if texts is None or pictures is None:
        return
    owners: dict[int, tuple[str, str, int]] = {}
    for _, text, image_id, address in texts_of(pictures):
        owners.setdefault(key_hash(text_key(text)), (text, image_id, address))
    if not owners:
        drop(target)
        return
    kept = text_schema(about.width)

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in texts.to_batches(batch_size=ROWS_AT_ONCE):
            keys = batch[layout.TEXT_KEY].to_pylist()
            chosen = batch.filter(pa.array([key in owners for key in keys]))
            if not len(chosen):
                continue
            mine = [owners[key] for key in keys if key in owners]
            columns: dict[str, Any] = {
                layout.TEXT: pa.array([text for text, _, _ in mine], pa.string()),
                layout.IMAGE_ID: pa.array([image_id for _, image_id, _ in mine], pa.string()),
                layout.ADDRESS: pa.array([address for _, _, address in mine], pa.uint64()),
            }
            arrays = [columns.get(field.name, chosen.column(field.name)) for field in kept]
            yield pa.RecordBatch.from_arrays(arrays, schema=kept)

    def write(reader: pa.RecordBatchReader) -> None:
        lance.write_dataset(reader, target, schema=kept, mode="overwrite")

    write_batches(write, kept, batches())
    written = layout.existing_lance(target)
    layout.write_index_info(written, about)
