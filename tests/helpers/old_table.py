"""Tables as version 0.1 could write them: an id may stand in several rows."""

from dataclasses import asdict

import lance
import pyarrow as pa

from r2d2.table import SCHEMA


def write_old_table(path, pairs):
    """Write the rows as they are, past the checks of `write_table`."""
    rows = pa.Table.from_pylist([asdict(pair) for pair in pairs], SCHEMA)
    lance.write_dataset(rows, str(path), mode="overwrite")
