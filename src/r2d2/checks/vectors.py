"""Check the vector columns of a table, and of the table of its texts, for unusable vectors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from r2d2.checks.base import Fact, Finding, FindingCounter
from r2d2.index.layout import TEXT_VECTOR, open_lance, texts_uri
from r2d2.table import PairsTable
from r2d2.vectors import without_direction


def check_vectors(table: PairsTable) -> tuple[list[Fact], list[Finding]]:
    """Count the vectors, and find those that are NaN, infinite or zero."""
    facts, findings = [], []
    columns = [(table.path, name, table.scan((name,))) for name in table.vector_columns]
    texts = open_lance(texts_uri(table.path))
    if texts is not None and TEXT_VECTOR in texts.schema.names:
        columns.append((texts_uri(table.path), TEXT_VECTOR, _scan(texts, TEXT_VECTOR)))
    for path, name, batches in columns:
        total, bad = _count_bad(batches)
        facts.append(Fact(f"vectors of column {name}", total, f"in {path}"))
        findings += bad.finding(
            f"vectors of column {name} that are NaN, infinite or zero", "stop", total, "vectors",
            "every search and every figure over this column is wrong: compute the vectors again "
            "(`r2d2 index --overwrite`)",
        )  # fmt: skip
    return facts, findings


def _count_bad(batches: Iterable[tuple[int, pa.RecordBatch]]) -> tuple[int, FindingCounter]:
    total, bad = 0, FindingCounter()
    for start, batch in batches:
        column = batch.column(0)
        valid_rows = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
        if not len(valid_rows):
            continue
        flat = column.drop_null().flatten()
        matrix = flat.to_numpy(zero_copy_only=False).reshape(len(valid_rows), -1)
        total += len(valid_rows)
        for row in valid_rows[without_direction(matrix)].tolist():
            bad.add(f"row {start + row}")
    return total, bad


def _scan(dataset: Any, name: str) -> Iterator[tuple[int, pa.RecordBatch]]:
    start = 0
    for batch in dataset.scanner(columns=[name], scan_in_order=True).to_batches():
        yield start, batch
        start += len(batch)
