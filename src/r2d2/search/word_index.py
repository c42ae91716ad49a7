"""Full-text search of the texts of images, by Lance's inverted index (BM25)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from r2d2.search.conditions import condition_errors
from r2d2.search.gallery import Floats, Rows
from r2d2.search.terms import text_terms

EXACT_TIES = 1000  # equal scores are in the order of rows among the first so many
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


def index_terms(dataset: Any, column: str) -> None:
    """Build the index of a column of terms, or add to it the rows that it lacks."""
    names = [index["name"] for index in dataset.list_indices() if column in index["fields"]]
    if names:
        dataset.optimize.optimize_indices(index_names=names)
    else:
        dataset.create_scalar_index(column, "INVERTED", **_SETTINGS)


class WordIndex:
    """Images by the terms that their texts share with a query."""

    def __init__(
        self,
        dataset: Any,
        column: str,
        columns: Mapping[str, str],
        to_rows: Callable[[Addresses], Rows],
    ) -> None:
        """Take in an indexed dataset.

        Args:
            dataset: of Lance, a row an image.
            column: of terms, indexed by `index_terms`.
            columns: that a condition may name, for messages.
            to_rows: gives the rows of Lance's addresses, (n,).
        """
        self._dataset = dataset
        self._column = column
        self._columns = columns
        self._to_rows = to_rows

    def best(self, text: str, k: int, where: str | None = None) -> tuple[Rows, Floats]:
        """Rows and BM25 scores of the k best, best first; of equal scores the earlier row first.

        R2D2Error where the condition cannot be read.
        """
        from lance.query import MatchQuery

        terms = list(dict.fromkeys(text_terms([text])[0]))
        if not terms:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        with condition_errors(where or "", self._columns):
            table = self._dataset.scanner(
                columns=["_score"],
                full_text_query=MatchQuery(" ".join(terms), self._column),
                limit=max(k, EXACT_TIES),
                filter=where,
                prefilter=where is not None,
                with_row_address=True,
            ).to_table()
        rows = self._to_rows(table["_rowaddr"].to_numpy())
        # The sum of the terms' scores depends on their order in its last bits.
        scores = table["_score"].to_numpy().astype(np.float32).round(4)
        order = np.lexsort((rows, -scores))[:k]
        return rows[order], scores[order]
