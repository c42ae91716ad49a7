"""Shared by tests of the corpus: small logs in every format."""

import csv
import json

import lance
import pyarrow as pa
import pyarrow.parquet as pq

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
