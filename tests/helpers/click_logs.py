"""Shared by tests of the corpus: small logs in every format."""

import csv
import json

import duckdb
import lance
import pyarrow as pa
import pyarrow.parquet as pq

from r2d2.corpus.clicks.buckets import (
    IMAGE_TOTALS,
    SUMS,
    TEXT_TABLE,
    TOTALS,
    bucket_file,
    images_of,
    read_layout,
    sum_images,
    sums_of,
    texts_of,
    with_texts,
)
from r2d2.corpus.clicks.checks import EXAMINED_UNIT, image_id
from r2d2.corpus.clicks.log_columns import TEXTS

FORMATS = ("parquet", "csv", "jsonl", "lance")


def write_log(path, rows, kind, types=None):
    """`rows` as dicts with the same keys, all text unless `types` says otherwise."""
    path = path.with_suffix(f".{kind}")
    names = list(rows[0])
    if kind == "csv":
        with path.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, names)
            writer.writeheader()
            writer.writerows(rows)
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    else:
        schema = pa.schema([(name, (types or {}).get(name, pa.string())) for name in names])
        table = pa.Table.from_pylist(rows, schema)
        if kind == "parquet":
            pq.write_table(table, path, row_group_size=3)
        else:
            lance.write_dataset(table, path, max_rows_per_file=4)
    return str(path)


def silent(*_):
    """No progress."""


def read_sums(folder):
    """The sums of a log: image id, text, source, clicks, impressions, examined; in order."""
    relations = " UNION ALL ".join(
        f"SELECT {', '.join(SUMS)} FROM {named_sums(folder, bucket)}"
        for bucket in range(len(read_layout(folder).images))
    )
    rows = duckdb.sql(
        f"""SELECT {image_id("image")} AS id, text, source, clicks, impressions,
            coalesce(examined / {EXAMINED_UNIT}::DOUBLE, impressions::DOUBLE)
        FROM ({relations}) ORDER BY id, source, text"""
    ).fetchall()
    return [(row[0], row[1], TEXTS[row[2]], *row[3:]) for row in rows]


def named_sums(folder, bucket):
    """The sums of a bucket as a relation with the columns SUMS, with texts in place of keys."""
    return with_texts(*(of(folder, bucket) for of in (sums_of, images_of, texts_of)))


def write_bucket(folder, bucket, rows):
    """Write `rows`, the values of SUMS with texts in place of keys, as the sums of a bucket."""
    kinds = {"image": pa.string(), "source": pa.uint8(), "text": pa.string()}
    schema = pa.schema([(name, kinds.get(name, pa.int64())) for name in SUMS])
    rows = pa.Table.from_pylist([dict(zip(SUMS, row, strict=True)) for row in rows], schema)
    files = {kind: bucket_file(folder, kind, bucket) for kind in (TOTALS, IMAGE_TOTALS, TEXT_TABLE)}
    for file in files.values():
        file.parent.mkdir(parents=True, exist_ok=True)
    with duckdb.connect() as base:
        base.register("rows", rows)
        sums = "SELECT * REPLACE (hash(image) AS image, hash(text) AS text) FROM rows"
        images = "(SELECT DISTINCT hash(image) AS key, image AS text FROM rows)"
        texts = "SELECT DISTINCT hash(text) AS key, text FROM rows"
        base.sql(sums).write_parquet(str(files[TOTALS]))
        base.sql(texts).write_parquet(str(files[TEXT_TABLE]))
        base.sql(sum_images(f"({sums})", images)).write_parquet(str(files[IMAGE_TOTALS]))
