"""A Lance table with a column of vectors: its rows, its vectors, and the rows of a condition."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from r2d2.errors import R2D2Error
from r2d2.index import layout
from r2d2.index.calibration import is_current, stored_calibration
from r2d2.index.gallery.conditions import condition_errors
from r2d2.index.gallery.protocol import Floats, Rows
from r2d2.index.vectors.exact import from_int8
from r2d2.vectors import DirectionCheck

HIDDEN = {  # columns that no condition may name
    layout.VECTOR, layout.BAD, layout.WORDS, layout.TEXT_VECTOR, layout.TEXT_KEY, layout.ADDRESS,
}  # fmt: skip


class VectorTable:
    """A Lance table with a column of vectors; R2D2Error where it has none."""

    def __init__(self, uri: str, column: str) -> None:
        dataset = layout.open_lance(uri)
        about = None if dataset is None else layout.read_index_info(dataset, uri)
        if dataset is None or about is None or column not in dataset.schema.names:
            raise R2D2Error(
                f"{uri} has no index: make one by `r2d2 index {uri} --model MODEL`", code="no_index"
            )
        self.uri = uri
        self.column = column
        self.dataset: Any = dataset
        self.about: layout.IndexInfo = about
        self.rows = int(dataset.count_rows())
        self.columns = {  # columns that a condition may name, with their types
            field.name: str(field.type)
            for field in self.dataset.schema
            if field.name not in HIDDEN and _plain(field.type)
        }
        # set where conditions are about another table
        self.choose: Callable[[str], Rows] | None = None

    @cached_property
    def addresses(self) -> np.ndarray[Any, np.dtype[np.uint64]]:
        """The address that Lance gives each row, (rows,), ascending."""
        rows = self.dataset.scanner(columns=[], with_row_address=True).to_table()
        return rows[layout.ROW_ADDRESS].to_numpy().astype(np.uint64)  # type: ignore[no-any-return]

    def row_of(self, address: int) -> int | None:
        """The row at an address; None where there is none."""
        row = int(np.searchsorted(self.addresses, np.uint64(address)))
        exists = row < len(self.addresses) and int(self.addresses[row]) == address
        return row if exists else None

    def rows_of(self, addresses: np.ndarray[Any, np.dtype[np.uint64]]) -> Rows:
        """The rows at addresses, in the order of the addresses, which must exist."""
        return np.searchsorted(self.addresses, addresses).astype(np.int64)

    def select(self, where: str) -> Rows:
        """The rows that meet a condition; R2D2Error where the condition is not valid."""
        with condition_errors(where, self.columns):
            if self.choose is not None:
                return self.choose(where)
            scanner = self.dataset.scanner(columns=[], filter=where, with_row_address=True)
            addresses = scanner.to_table()[layout.ROW_ADDRESS].to_numpy()
        return self.rows_of(np.sort(addresses))

    @cached_property
    def count(self) -> int:
        """The number of vectors.

        The calibration has it, unless the table has changed since. Otherwise the whole column is
        read, since Lance counts nulls in no other way.
        """
        known = stored_calibration(self.dataset)
        if known is not None and is_current(known, self.dataset):
            return known.count
        return int(self.dataset.count_rows(filter=f"{self.column} IS NOT NULL"))

    def read(self, rows: Rows) -> tuple[Rows, Floats]:
        """The rows among `rows` that have a vector, and their vectors, (n, d)."""
        taken = self.dataset.take(rows.tolist(), columns=[self.column])
        column = taken[self.column].combine_chunks()
        has_vector = column.is_valid().to_numpy(zero_copy_only=False)
        return rows[has_vector], self.matrix(column.drop_null())

    def matrix(self, column: pa.Array) -> Floats:
        """A part of the column without nulls as vectors, (n, d) in float32."""
        stored = layout.as_matrix(column)
        return stored if self.scales is None else from_int8(stored, self.scales)

    @cached_property
    def scales(self) -> Floats | None:
        """The scales of vectors in int8, (d,); None where the vectors are in float32."""
        if self.about.store != layout.INT8:
            return None
        if self.about.scales is None:
            raise R2D2Error(
                f"the index of {self.uri} is not finished: run `r2d2 index` again", code="no_index"
            )
        return np.array(self.about.scales, np.float32)

    def column_batches(self) -> Iterator[tuple[Rows, pa.Array]]:
        """All rows that have a vector, (n,), and their part of the column, in batches."""
        scanner = self.dataset.scanner(
            columns=[self.column], filter=f"{self.column} IS NOT NULL", with_row_address=True
        )
        for batch in scanner.to_batches():
            yield self.rows_of(batch[layout.ROW_ADDRESS].to_numpy()), batch[self.column]

    def batches(self) -> Iterator[tuple[Rows, Floats]]:
        """All rows that have a vector, (n,), and their vectors, (n, d), in batches.

        Raises:
            R2D2Error: vectors have no direction; it is raised after the last batch, or after a
                batch in which no vector has one.
        """
        directions = DirectionCheck(
            f"the index of {self.uri}", "make it anew by `r2d2 index --overwrite`"
        )
        for rows, column in self.column_batches():
            vectors = self.matrix(column)
            directions.add(vectors, [f"row {row}" for row in rows])
            yield rows, vectors
        directions.done()


def _plain(kind: pa.DataType) -> bool:
    types = pa.types
    return any(
        test(kind)
        for test in (
            types.is_string, types.is_large_string, types.is_integer, types.is_floating,
            types.is_boolean,
        )
    )  # fmt: skip
