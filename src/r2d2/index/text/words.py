"""Full-text search of the texts of images by the inverted index of Lance (BM25).

The table has a column of the terms of its texts, which Lance indexes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from r2d2.index.gallery.conditions import condition_errors
from r2d2.index.gallery.protocol import Floats, Rows
from r2d2.index.layout import BAD, ROW_ADDRESS, STAGED, WORDS, open_lance, update_fragment
from r2d2.index.text.terms import image_terms, text_terms
from r2d2.native_write import write_whole
from r2d2.progress import Update

EXACT_TIES = 1000  # results among which equal scores are in the order of the rows
_SETTINGS: dict[str, Any] = {  # the column holds terms already, with spaces between them
    "base_tokenizer": "whitespace",
    "lower_case": False,
    "stem": False,
    "remove_stop_words": False,
    "ascii_folding": False,
    "with_position": False,
    "max_token_length": None,
}

Addresses = npt.NDArray[np.uint64]
BATCH_ROWS = 8192  # rows whose texts are in memory at a time


def index_terms(dataset: Any, column: str) -> None:
    """Build the index of a column of terms, or add the rows that it lacks."""
    names = [index["name"] for index in dataset.list_indices() if column in index["fields"]]
    if names:
        dataset.optimize.optimize_indices(index_names=names)
    else:
        dataset.create_scalar_index(column, "INVERTED", **_SETTINGS)


@dataclass(frozen=True)
class WordIndex:
    """Finds images by the terms that their texts share with a query."""

    dataset: Any  # of Lance, with a row for each image
    column: str  # of terms, which `index_terms` has indexed
    columns: Mapping[str, str]  # that a condition may name, for error messages
    to_rows: Callable[[Addresses], Rows]  # converts addresses of Lance, (n,), to rows

    def best(self, text: str, k: int, where: str | None = None) -> tuple[Rows, Floats]:
        """Rows and BM25 scores of the k best images, best first; of equal scores the earlier row.

        R2D2Error where the condition is not valid.
        """
        from lance.query import MatchQuery

        terms = list(dict.fromkeys(text_terms([text])[0]))
        if not terms:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        with condition_errors(where or "", self.columns):
            table = self.dataset.scanner(
                columns=["_score"],
                full_text_query=MatchQuery(" ".join(terms), self.column),
                limit=max(k, EXACT_TIES),
                filter=where,
                prefilter=where is not None,
                with_row_address=True,
            ).to_table()
        rows = self.to_rows(table[ROW_ADDRESS].to_numpy())
        # The sum of the terms' scores depends on their order in its last bits.
        scores = table["_score"].to_numpy().astype(np.float32).round(4)
        order = np.lexsort((rows, -scores))[:k]
        return rows[order], scores[order]


def write_words(uri: str, update: Update) -> None:
    """Write the terms of the rows that have none yet, and bring the index up to date.

    Images that cannot be read get no terms, so that no search shows them. A fragment of the table
    is written in one commit. Its terms are in memory: about 10 bytes for a character of its texts.
    """
    dataset: Any = open_lance(uri)
    if WORDS not in dataset.schema.names:
        dataset.add_columns(pa.schema([(WORDS, pa.string())]))
    total, done, written = dataset.count_rows(), 0, False
    for fragment in dataset.get_fragments():
        done += fragment.count_rows()
        terms = _terms(fragment)
        if len(terms):
            written = True
            dataset = update_fragment(uri, dataset.version, fragment, terms)
        if written:  # where nothing is new, there is no progress to show
            update("words", done, total)
    if dataset.count_rows(filter=f"{WORDS} != ''"):
        write_whole(lambda: index_terms(dataset, WORDS))


def _terms(fragment: Any) -> pa.Table:
    """The terms of the rows that have none yet, with the addresses of these rows."""
    schema = pa.schema([(STAGED, pa.uint64()), (WORDS, pa.string())])
    batches = []
    scanner = fragment.scanner(
        columns=["texts", BAD], filter=f"{WORDS} IS NULL", with_row_address=True,
        batch_size=BATCH_ROWS,
    )  # fmt: skip
    for batch in scanner.to_batches():
        rows = zip(batch["texts"].to_pylist(), batch[BAD].to_pylist(), strict=True)
        words = image_terms([() if bad is not None else _texts(texts) for texts, bad in rows])
        columns = [batch[ROW_ADDRESS].cast(pa.uint64()), pa.array(words, pa.string())]
        batches.append(pa.record_batch(columns, schema=schema))
    return pa.Table.from_batches(batches, schema=schema)


def _texts(texts: Sequence[dict[str, Any]] | None) -> list[str]:
    return [text["text"] for text in texts or () if text["text"]]
