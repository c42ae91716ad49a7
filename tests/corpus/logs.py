"""Shared by tests of the corpus: small logs in every format."""

import csv
import json

import duckdb
import lance
import pyarrow as pa
import pyarrow.parquet as pq

from r2d2.corpus.clicks.buckets import IMAGE_TOTALS, TOTALS, bucket_file, sum_images, sums_of
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
    files = f"{folder}/{TOTALS}/*.parquet"
    rows = duckdb.sql(
        f"""SELECT {image_id("image")} AS id, text, source, clicks, impressions,
            coalesce(examined / {EXAMINED_UNIT}::DOUBLE, impressions::DOUBLE)
        FROM read_parquet('{files}') ORDER BY id, source, text"""
    ).fetchall()
    return [(row[0], row[1], TEXTS[row[2]], *row[3:]) for row in rows]


def write_image_sums(folder, bucket):
    """The sums of the images of a bucket, from those of its pairs."""
    file = bucket_file(folder, IMAGE_TOTALS, bucket)
    file.parent.mkdir(parents=True, exist_ok=True)
    duckdb.sql(sum_images(sums_of(folder, bucket))).write_parquet(str(file))
