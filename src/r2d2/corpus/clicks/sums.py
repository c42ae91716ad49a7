"""Rows of several runs as the rows of a part: one a pair, one an image, in order of their ids."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from r2d2.corpus.clicks.combine import EXAMINED_UNIT
from r2d2.corpus.clicks.groups import Ints, add_up, grouped, numbered
from r2d2.corpus.clicks.log_columns import TEXTS
from r2d2.corpus.rows import GROUP_BYTES, IMAGE_COLUMNS, PAIR_COLUMNS, PAIR_ROWS


def sum_pairs(rows: pa.Table) -> pa.Table:
    """RUN_PAIRS of several runs as PAIR_COLUMNS: one row a pair, by image id, source and text."""
    ids, ranks = _ids(rows["id"])
    codes, texts = numbered(rows["text"])
    alphabet = pc.sort_indices(texts).to_numpy()
    place = np.empty(len(alphabet), dtype=np.int64)
    place[alphabet] = np.arange(len(alphabet))
    wide, many = max(len(texts), 1), len(TEXTS)
    keys = (ranks * many + rows["source"].to_numpy()) * wide + place[codes]
    distinct, order, starts = grouped(keys, len(ids) * many * wide)
    del keys, codes
    sums = {}
    for name in ("clicks", "impressions", "examined"):
        column = rows[name].combine_chunks()
        total = add_up(pc.fill_null(column, 0).to_numpy(), order, starts)
        amounts = total / EXAMINED_UNIT if name == "examined" else total
        known = column.is_valid().to_numpy(zero_copy_only=False).astype(np.int64)
        sums[name] = pa.array(amounts, mask=add_up(known, order, starts) == 0)
    names = pa.array(TEXTS, pa.string())
    columns = {
        "image_id": ids.take(pa.array(distinct // (many * wide))),
        "text": texts.take(pa.array(alphabet[distinct % wide])),
        "source": names.take(pa.array(distinct // wide % many)),
        **sums,
        "ctr": pa.nulls(len(distinct), pa.float32()),
    }
    batches = pa.table(columns).to_batches(max_chunksize=PAIR_ROWS)
    return pa.Table.from_batches([batch.cast(PAIR_COLUMNS) for batch in batches], PAIR_COLUMNS)


def one_of_each(rows: pa.Table) -> Iterator[pa.Table]:
    """RUN_IMAGES of several runs as IMAGE_COLUMNS, by id, in groups of bounded size."""
    ids, ranks = _ids(rows["id"])
    first = np.full(len(ids), -1, dtype=np.int64)
    first[ranks[::-1]] = np.arange(len(ranks))[::-1]
    least = {name: _least(rows[name].combine_chunks(), ranks, first) for name in ("url", "path")}
    image = rows["image"].combine_chunks()
    sizes = pc.fill_null(pc.binary_length(image), 0).to_numpy()[first] + 256
    ends = np.cumsum(sizes)
    start = 0
    while start < len(ids):
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + GROUP_BYTES, side="right")))
        columns = {
            "image_id": ids.slice(start, stop - start),
            **{name: rows[name].take(pa.array(least[name][start:stop])) for name in least},
            "image": image.take(pa.array(first[start:stop])),
        }
        yield pa.table(columns).cast(IMAGE_COLUMNS)
        start = stop


def _least(column: pa.Array, ranks: Ints, first: Ints) -> Ints:
    """Row of the least text of each image (m,): any row where the image has but one."""
    at_first = column.take(pa.array(first[ranks]))
    same = pc.equal(column, at_first)
    both_null = pc.and_(pc.is_null(column), pc.is_null(at_first))
    if pc.all(pc.or_kleene(same, both_null), min_count=0, skip_nulls=False).as_py():
        return first
    order = pc.sort_indices(column).to_numpy().astype(np.int64)
    found = np.full(len(first), -1, dtype=np.int64)
    found[ranks[order[::-1]]] = order[::-1]  # nulls are at the end: the least is set last
    return found


def _ids(column: pa.ChunkedArray) -> tuple[pa.Array, Ints]:
    """Distinct ids (m,) in order, as hexadecimal text, and each row's place among them (n,)."""
    encoded = column.combine_chunks().dictionary_encode()
    values = encoded.dictionary
    data = np.frombuffer(values.buffers()[1], dtype=np.uint8)[: 16 * len(values)].reshape(-1, 16)
    halves: npt.NDArray[Any] = np.ascontiguousarray(data).view(">u8")
    order = np.lexsort((halves[:, 1], halves[:, 0]))
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    letters = pa.py_buffer(data[order].tobytes().hex().encode())
    edges = pa.py_buffer(np.arange(0, 32 * len(order) + 1, 32, dtype=np.int64))
    text = pa.LargeStringArray.from_buffers(len(order), edges, letters)
    return text, rank[encoded.indices.to_numpy()]
