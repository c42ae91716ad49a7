"""Export the vectors of an index as one Parquet file, for a vector database."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from r2d2.files import whole_file
from r2d2.index.layout import VECTOR, vector_column, vector_type
from r2d2.index.vectors.table import VectorTable
from r2d2.outputs import a_file, check_outputs
from r2d2.table import PairsTable

ROWS_AT_ONCE = 4096


def export_vectors(table: str | Path, out: str | Path, *, overwrite: bool = False) -> int:
    """Write `image_id`, `split`, `texts` and `vector` of every embedded row.

    The metadata of the file hold the fingerprint of the model as `r2d2.fingerprint`. Memory is
    bounded, and the file is written whole or not at all.

    Returns:
        The number of rows.

    Raises:
        R2D2Error: the table has no index, or `out` exists.
    """
    target = Path(out)
    check_outputs(
        [a_file(target, ".parquet", option="--export")], inputs=[table], overwrite=overwrite
    )
    indexed = VectorTable(PairsTable.open(table).path, VECTOR)
    schema = pa.schema(
        [
            ("image_id", pa.string()),
            ("split", pa.string()),
            ("texts", pa.list_(pa.string())),
            ("vector", vector_type(indexed.about.width)),
        ],
        metadata={"r2d2.fingerprint": indexed.about.fingerprint},
    )
    count = 0
    with whole_file(target) as work, pq.ParquetWriter(work, schema) as writer:
        scanner = indexed.dataset.scanner(
            columns=["image_id", "split", "texts", VECTOR],
            filter=f"{VECTOR} IS NOT NULL",
            batch_size=ROWS_AT_ONCE,
        )
        for batch in scanner.to_batches():
            writer.write_batch(_plain(batch, indexed, schema))
            count += len(batch)
    return count


def _plain(batch: pa.RecordBatch, indexed: VectorTable, schema: pa.Schema) -> pa.RecordBatch:
    texts = batch["texts"]
    words = pc.struct_field(texts.flatten(), "text").cast(pa.string())
    lengths = pc.fill_null(pc.list_value_length(texts), 0).to_numpy(zero_copy_only=False)
    ends = lengths.cumsum()
    offsets = pa.array([0, *ends.tolist()], pa.int32())
    columns = [
        batch["image_id"].cast(pa.string()),
        batch["split"].cast(pa.string()),
        pa.ListArray.from_arrays(offsets, words),
        batch[VECTOR] if indexed.scales is None else vector_column(indexed.matrix(batch[VECTOR])),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)
