"""Chunks of a log made ready for SQL: texts as UTF-8 without spaces around them, images as keys."""

from __future__ import annotations

import hashlib
import posixpath
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from r2d2.corpus.clicks.checks import GAP_WORDS, INLINE
from r2d2.corpus.clicks.log_columns import COUNTS, TEXTS
from r2d2.images.base64_images import binary_column
from r2d2.inputs.encoding import LOST, decode_text


@dataclass(frozen=True)
class LogBatch:
    """Rows whose columns `checks.check_rows` knows, and their encoded images."""

    rows: pa.Table
    images: pa.LargeBinaryArray | None  # (n,), where the log holds the files themselves


def make_batch(chunk: pa.Table, folder: str) -> LogBatch:
    """Rows as SQL takes them.

    Args:
        chunk: columns named as in `LogConfig`, of any type that `log_columns` lets pass.
        folder: where the log's paths start.
    """
    columns: dict[str, pa.Array | pa.ChunkedArray] = {}
    images = None
    for name in chunk.column_names:
        if name == "image":
            images, uncoded = binary_column(chunk[name])
            columns["inline"], columns["uncoded"] = _inline(images), pa.array(uncoded)
        elif name == "path":
            columns["path"], columns["place"] = _paths(_text(chunk[name]), folder)
        elif name == "url" or name in TEXTS:
            columns[name] = _text(chunk[name])
        else:
            columns[name] = _number(chunk[name]) if name in COUNTS else chunk[name]
    return LogBatch(pa.table(columns), images)


def is_plain(name: str, kind: pa.DataType) -> bool:
    """Whether SQL takes a column of Parquet as it is, without `make_batch`."""
    is_ = pa.types
    if is_.is_dictionary(kind):
        kind = kind.value_type
    text = is_.is_string(kind) or is_.is_large_string(kind) or is_.is_string_view(kind)
    if name in COUNTS:
        number = is_.is_integer(kind) or is_.is_float32(kind) or is_.is_float64(kind)
        return bool(text or number or is_.is_decimal128(kind))
    return bool(text) and (name == "url" or name in TEXTS)


def _text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Texts trimmed, and LOST in place of what is no UTF-8 nor in another encoding."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
    try:
        texts = column.cast(pa.large_string())
        texts.validate(full=True)
    except pa.ArrowInvalid:
        encoded = column.cast(pa.large_binary()).combine_chunks().dictionary_encode()
        values = [decode_text(value) for value in encoded.dictionary.to_pylist()]
        known = pa.array([LOST if v is None else v for v in values], pa.large_string())
        texts = pa.chunked_array([known.take(encoded.indices)])
    return pc.utf8_trim_whitespace(texts)


def _number(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Counts in a type that the database has: texts, integers or 64-bit floats."""
    kind, is_ = column.type, pa.types
    if is_.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    if is_.is_decimal(kind) or is_.is_float16(kind):
        return column.cast(pa.float64())
    return column.cast(pa.int64()) if is_.is_null(kind) else column


def _inline(images: pa.LargeBinaryArray) -> pa.Array:
    """The keys (n,) of encoded images; NULL where there is none."""
    keys: list[str | None] = []
    for image in images:
        data = image.as_buffer()
        digest = hashlib.sha256(data).hexdigest()[:32] if data is not None and data.size else None
        keys.append(None if digest is None else INLINE + digest)
    return pa.array(keys, pa.string())


def _paths(texts: pa.ChunkedArray, folder: str) -> tuple[pa.Array, pa.Array]:
    """Paths (n,) from where the command runs, as they are written and normalised."""
    encoded = texts.combine_chunks().dictionary_encode()
    values = encoded.dictionary.to_pylist()
    joined = [None if v in GAP_WORDS else posixpath.join(folder, v) for v in values]
    places = [None if path is None else posixpath.normpath(path) for path in joined]
    arrays = [pa.array(values, pa.string()).take(encoded.indices) for values in (joined, places)]
    return arrays[0], arrays[1]
