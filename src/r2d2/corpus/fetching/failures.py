"""What could not be fetched, as a table to read and to fetch from: `failures.csv` in the store.

Each cause is written to a file of its own first. The files are then joined in the order of the
causes, so that the table is never held in memory.
"""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from r2d2.corpus.fetching.outcome import FAILURES
from r2d2.corpus.fetching.store import latest_results
from r2d2.files import disk_errors, whole_file
from r2d2.progress import Update

FAILURES_FILE = "failures.csv"
COLUMNS = {"url": "url", "cause": "status", "reason": "reason", "tries": "tries"}  # of the store


def write_failures(store: Path, update: Update) -> int:
    """List every address of a store that has no image; the caller holds the store's lock.

    Columns: url, cause, reason, and tries, those of all runs together. The most frequent cause
    comes first; within one the order is that of the addresses' hashes. UTF-8, with a header.

    Args:
        store: its folder; the list is put there, whole or not at all.
        update: progress.

    Returns:
        How many there are.

    Raises:
        R2D2Error: a shard is damaged, or the list cannot be written.
    """
    counts = dict.fromkeys(sorted(FAILURES), 0)
    piles = {cause: store / f".failures-{cause.replace(' ', '-')}.partial" for cause in counts}
    schema = pa.schema([(name, pa.int64() if name == "tries" else pa.string()) for name in COLUMNS])
    options = csv.WriteOptions(include_header=False, quoting_style="needed")
    try:
        with disk_errors(store / FAILURES_FILE):
            with ExitStack() as stack:
                writers = {
                    cause: stack.enter_context(csv.CSVWriter(pile, schema, write_options=options))
                    for cause, pile in piles.items()
                }
                for rows in latest_results(store, update):
                    for cause, writer in writers.items():
                        failures = rows.filter(pc.equal(rows["status"], cause))
                        counts[cause] += len(failures)
                        columns = [failures[name] for name in COLUMNS.values()]
                        writer.write_table(pa.table(columns, schema=schema))
            with whole_file(store / FAILURES_FILE) as work, work.open("wb") as stream:
                stream.write((",".join(COLUMNS) + "\n").encode())
                for cause in sorted(counts, key=lambda cause: -counts[cause]):
                    with piles[cause].open("rb") as pile:
                        shutil.copyfileobj(pile, stream)
    finally:
        for left in piles.values():
            left.unlink(missing_ok=True)
    return sum(counts.values())
