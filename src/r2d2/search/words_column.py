"""The full-text index of a table: a column of the terms of its texts, and Lance's index of it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import pyarrow as pa

from r2d2.native_write import write_whole
from r2d2.progress import Update
from r2d2.search.embed import ROW, STAGED
from r2d2.search.layout import BAD, WORDS, open_lance
from r2d2.search.terms import image_terms
from r2d2.search.word_index import index_terms

BATCH_ROWS = 8192  # whose texts are in memory at a time


def write_words(uri: str, update: Update) -> None:
    """Write the terms of the rows that have none yet, and bring the index up to date.

    Images that cannot be read get no terms: a search does not show them. A fragment of the table is
    written in one commit, with all its terms in memory: about 10 bytes a character of its texts.
    """
    import lance

    dataset: Any = open_lance(uri)
    if WORDS not in dataset.schema.names:
        dataset.add_columns(pa.schema([(WORDS, pa.string())]))
    total, done, written = dataset.count_rows(), 0, False
    for fragment in dataset.get_fragments():
        done += fragment.count_rows()
        terms = _terms(fragment)
        if len(terms):
            written = True
            change = partial(fragment.update_columns, terms, left_on=ROW, right_on=STAGED)
            changed, fields = write_whole(change)
            operation = lance.LanceOperation.Update(
                updated_fragments=[changed], fields_modified=fields
            )
            dataset = lance.LanceDataset.commit(uri, operation, read_version=dataset.version)
        if written:  # where nothing is new, there is no progress to show
            update("words", done, total)
    if dataset.count_rows(filter=f"{WORDS} != ''"):
        write_whole(lambda: index_terms(dataset, WORDS))


def _terms(fragment: Any) -> pa.Table:
    """Of the rows without any, by their addresses."""
    schema = pa.schema([(STAGED, pa.uint64()), (WORDS, pa.string())])
    batches = []
    scanner = fragment.scanner(
        columns=["texts", BAD], filter=f"{WORDS} IS NULL", with_row_address=True,
        batch_size=BATCH_ROWS,
    )  # fmt: skip
    for batch in scanner.to_batches():
        rows = zip(batch["texts"].to_pylist(), batch[BAD].to_pylist(), strict=True)
        words = image_terms([() if bad is not None else _texts(texts) for texts, bad in rows])
        columns = [batch[ROW].cast(pa.uint64()), pa.array(words, pa.string())]
        batches.append(pa.record_batch(columns, schema=schema))
    return pa.Table.from_batches(batches, schema=schema)


def _texts(texts: Sequence[dict[str, Any]] | None) -> list[str]:
    return [text["text"] for text in texts or () if text["text"]]
