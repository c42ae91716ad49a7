"""One row of the pairs table: `Pair` and `Text`, the Arrow schema, and the ways between them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import chain, islice
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from r2d2.errors import R2D2Error

TEXT_TYPE = pa.struct(
    [
        ("text", pa.string()),
        ("source", pa.string()),  # title, content, query, caption
        ("weight", pa.float32()),  # within its source: smoothed CTR, or 1
        ("text_id", pa.string()),
        ("clicks", pa.int64()),
        ("impressions", pa.int64()),
    ]
)
SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("image", pa.large_binary()),  # the encoded file
        ("url", pa.string()),
        ("width", pa.int32()),  # pixels
        ("height", pa.int32()),  # pixels
        ("texts", pa.list_(TEXT_TYPE)),
        ("ctr", pa.float32()),
        ("clicks", pa.int64()),
        ("impressions", pa.int64()),
        ("split", pa.string()),  # train, val, test, or another name
        ("label", pa.int8()),  # matching sets only: 1 match, 0 not
    ]
)
GROUP = pa.field("group_id", pa.string())  # some tables only: rows of one group are near misses
REQUIRED = ("image_id", "image", "texts", "split")  # other writers may leave the rest out: null

BATCH_ROWS = 1024  # rows held in memory while writing ...
BATCH_BYTES = 32 << 20  # ... or fewer, where the images are large


@dataclass(frozen=True, slots=True)
class Text:
    """One text of an image."""

    text: str
    source: str  # title, content, query, caption
    weight: float = 1.0  # within its source
    text_id: str | None = None
    clicks: int | None = None
    impressions: int | None = None


@dataclass(frozen=True, slots=True)
class Pair:
    """One row: an image and its texts."""

    image_id: str
    image: bytes  # the encoded file; empty where it was not asked for
    texts: tuple[Text, ...]
    split: str
    url: str | None = None
    width: int | None = None  # pixels
    height: int | None = None  # pixels
    ctr: float | None = None
    clicks: int | None = None
    impressions: int | None = None
    label: int | None = None
    group_id: str | None = None  # shared by rows that are near misses of one another


PAIR_FIELDS = tuple(SCHEMA.names)  # of every table
READ_FIELDS = tuple(f.name for f in fields(Pair))  # and of some


def check_schema(schema: pa.Schema, path: str) -> None:
    """Compare by meaning: string or large_string, any width of integer.

    R2D2Error names the first column that differs, and what was found.
    """
    for expected in (*SCHEMA, GROUP):
        index = schema.get_field_index(expected.name)
        if index < 0:
            if expected.name in REQUIRED:
                raise R2D2Error(
                    f"{path} has no column {expected.name!r} (it has {', '.join(schema.names)}): "
                    "give a pairs table, or import the data first"
                )
            continue
        actual = schema.field(index).type
        if not _same_meaning(expected.type, actual):
            raise R2D2Error(
                f"{path}: column {expected.name!r} is {actual}, not {expected.type}: "
                "give a pairs table, or import the data first"
            )


def _same_meaning(expected: pa.DataType, actual: pa.DataType) -> bool:
    kinds = pa.types
    if kinds.is_null(actual):
        return True
    if kinds.is_dictionary(actual):
        actual = actual.value_type
    if kinds.is_string(expected):
        return any(
            (kinds.is_string(actual), kinds.is_large_string(actual), kinds.is_string_view(actual))
        )
    if kinds.is_large_binary(expected):
        return any(
            (kinds.is_binary(actual), kinds.is_large_binary(actual), kinds.is_binary_view(actual))
        )
    if kinds.is_integer(expected):
        return bool(kinds.is_integer(actual))
    if kinds.is_floating(expected):
        return bool(kinds.is_floating(actual))
    if kinds.is_list(expected):
        is_list = kinds.is_list(actual) or kinds.is_large_list(actual)
        return is_list and _same_meaning(expected.value_type, actual.value_type)
    if not kinds.is_struct(actual):
        return False
    types = {field.name: field.type for field in actual}
    return all(
        _same_meaning(field.type, types[field.name])
        if field.name in types
        else field.name not in ("text", "source", "weight")
        for field in expected
    )


def to_pair(record: dict[str, Any]) -> Pair:
    """A row as Arrow gives it; what is null or was not read is empty: "", b"", () or None."""
    known = {name: record[name] for name in record if name in READ_FIELDS}
    for name, empty in (("image_id", ""), ("image", b""), ("split", "")):
        known[name] = known.get(name) or empty
    known["texts"] = to_texts(record.get("texts"))
    return Pair(**known)


def to_texts(structs: list[dict[str, Any]] | None) -> tuple[Text, ...]:
    """The `texts` of a row as Arrow gives them; a null weight is 1."""
    return tuple(
        Text(
            text["text"] or "",
            text["source"] or "",
            1.0 if text["weight"] is None else text["weight"],
            text.get("text_id"),
            text.get("clicks"),
            text.get("impressions"),
        )
        for text in structs or ()
    )


def chunks(pairs: Iterable[Pair]) -> Iterator[list[Pair]]:
    """Cut a stream so that memory stays bounded, in rows and in bytes of images."""
    held: list[Pair] = []
    size = 0
    for pair in pairs:
        held.append(pair)
        size += len(pair.image)
        if len(held) >= BATCH_ROWS or size >= BATCH_BYTES:
            yield held
            held, size = [], 0
    if held:
        yield held


def shards(pairs: Iterable[Pair], rows: int) -> Iterator[Iterator[Pair]]:
    """Cut a stream into parts of `rows` pairs, of which one is read after the other."""
    stream = iter(pairs)
    for first in stream:
        yield chain([first], islice(stream, rows - 1))


def to_batch(pairs: Sequence[Pair], schema: pa.Schema) -> pa.RecordBatch:
    """Pairs as Arrow, in the types of `schema`; R2D2Error names the image that does not fit."""
    try:
        return pa.RecordBatch.from_pylist([asdict(pair) for pair in pairs], schema=schema)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        for pair in pairs if len(pairs) > 1 else ():
            to_batch([pair], schema)
        raise R2D2Error(
            f"image {pairs[0].image_id!r} does not fit the pairs table ({error}): mend or skip it"
        ) from error


def content_hash(batches: Iterable[pa.RecordBatch]) -> str:
    """Hash of the values in order, whatever the cut into batches and the width of types."""
    hashers: dict[str, Any] = {}

    def update(name: str, data: Any) -> None:
        hashers.setdefault(name, hashlib.blake2b(digest_size=16)).update(data)

    def add(name: str, array: pa.Array) -> None:
        if pa.types.is_list(array.type) or pa.types.is_large_list(array.type):
            lengths = pc.fill_null(pc.list_value_length(array), -1)
            update(f"{name}.length", lengths.to_numpy(zero_copy_only=False).astype("<i8"))
            add(name, array.flatten())
        elif pa.types.is_struct(array.type):
            for field in ("text", "source", "weight"):
                add(f"{name}.{field}", pc.struct_field(array, field))
        elif pa.types.is_integer(array.type) or pa.types.is_floating(array.type):
            values = pc.fill_null(array.cast(pa.float32()), float("nan"))
            update(name, values.to_numpy(zero_copy_only=False).astype("<f4"))
        else:
            values = array.cast(pa.large_string())
            lengths = pc.fill_null(pc.binary_length(values), -1)
            update(f"{name}.length", lengths.to_numpy(zero_copy_only=False).astype("<i8"))
            update(name, "".join(pc.fill_null(values, "").to_pylist()).encode())

    for batch in batches:
        for name, array in zip(batch.schema.names, batch.columns, strict=True):
            add(name, array)
    total = hashlib.blake2b(digest_size=8)
    for name in sorted(hashers):
        total.update(name.encode() + b"\0" + hashers[name].digest())
    return total.hexdigest()
