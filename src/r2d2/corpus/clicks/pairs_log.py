"""A pairs table read as a log: every text of a picture is a row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from r2d2.corpus.clicks.log_columns import ROW_NUMBER
from r2d2.inputs.dropped_rows import DroppedRows

NO_MATCH = "label 0: the text is not of the image"
BATCH_ROWS = 64  # pictures, each repeated for every text of it
ROLES = {"query": "query", "title": "title", "content": "content"}  # by source; others: caption


def is_pairs_table(schema: pa.Schema) -> bool:
    """Whether a Lance dataset is a pairs table."""
    if not {"image", "texts"} <= set(schema.names):
        return False
    kind = schema.field("texts").type
    return bool(pa.types.is_list(kind) and pa.types.is_struct(kind.value_type)) and {
        "text", "source",
    } <= {field.name for field in kind.value_type}  # fmt: skip


def pairs_columns(dataset: Any) -> dict[str, pa.DataType]:
    """The columns of a log that a pairs table has: the images, and the sources of its texts.

    Queries have clicks and impressions where any query of the table has both.
    """
    roles: set[str] = set()
    clicked = False
    for batch in dataset.scanner(columns=["texts"]).to_batches():
        texts = batch.column(0).flatten()
        sources = pc.unique(texts.field("source")).to_pylist()
        roles |= {ROLES.get(source, "caption") for source in sources}
        if "clicks" in [field.name for field in texts.type]:
            clicks = texts.field("clicks").filter(pc.equal(texts.field("source"), "query"))
            clicked = clicked or clicks.null_count < len(clicks)
    names = {"image": pa.large_binary(), "url": pa.string()}
    names = {name: kind for name, kind in names.items() if name in dataset.schema.names}
    names |= dict.fromkeys(sorted(roles), pa.string())
    if clicked:
        names |= {"clicks": pa.int64(), "impressions": pa.int64()}
    return names


def chosen_fragments(dataset: Any, numbers: Sequence[int]) -> list[Any]:
    """Fragments of a Lance dataset by number."""
    return [fragment for fragment in dataset.get_fragments() if fragment.fragment_id in numbers]


def numbered_rows(batches: Iterable[pa.RecordBatch], before: int) -> Iterator[pa.RecordBatch]:
    """Batches that follow each other, with the ROW_NUMBER of each row as their last column.

    Args:
        batches: of a file.
        before: rows of the file that stand before the first batch.
    """
    for batch in batches:
        stop = before + len(batch)
        numbers = pa.array(np.arange(before + 1, stop + 1))
        yield batch.append_column(ROW_NUMBER, numbers)
        before = stop


def read_pairs_table(
    dataset: Any,
    fragments: list[int],
    before: int,
    columns: dict[str, str],
    dropped: DroppedRows,
    file: str,
) -> Iterator[pa.RecordBatch]:
    """Rows of a log, one a text, in order; their ROW_NUMBER is that of the picture.

    Args:
        dataset: the table.
        fragments: of it, by number.
        before: rows of the table that stand before them.
        columns: role: name, both as in `LogConfig`'s defaults.
        dropped: where texts are counted that do not match their image.
        file: the table's name, for the examples.
    """
    pictures = [name for name in ("image", "url") if name in columns]
    label = ["label"] if "label" in dataset.schema.names else []
    scanner = dataset.scanner(
        columns=[*pictures, "texts", *label],
        fragments=chosen_fragments(dataset, fragments),
        batch_size=BATCH_ROWS,
        batch_readahead=2,
        scan_in_order=True,
    )
    for batch in numbered_rows(scanner.to_batches(), before):
        if label:
            wrong = pc.fill_null(pc.equal(batch["label"], 0), False)
            for text in batch.filter(wrong)["texts"].flatten().field("text").to_pylist():
                dropped.add(NO_MATCH, f"{file}: {text}")
            batch = batch.filter(pc.invert(wrong))
        rows = pc.list_parent_indices(batch["texts"])
        texts = batch["texts"].flatten()
        sources = texts.field("source")
        known: dict[str, pa.Array] = {name: batch[name].take(rows) for name in pictures}
        for role in (*ROLES, "caption"):
            if role in columns:
                here = (
                    pc.fill_null(pc.invert(pc.is_in(sources, pa.array(list(ROLES)))), True)
                    if role == "caption"
                    else pc.equal(sources, role)
                )
                known[role] = pc.if_else(here, texts.field("text"), pa.scalar(None, pa.string()))
        for name in ("clicks", "impressions"):
            if name in columns:
                known[name] = texts.field(name)
        known[ROW_NUMBER] = batch[ROW_NUMBER].take(rows)
        yield pa.RecordBatch.from_pydict(known)
