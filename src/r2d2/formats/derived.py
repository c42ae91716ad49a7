"""A table that is made of another's rows keeps its metadata and its queries."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

from r2d2.formats.queries import read_queries, table_outputs, write_queries
from r2d2.outputs import check_outputs
from r2d2.pair import GROUP
from r2d2.table import Pair, PairsTable, write_table

log = logging.getLogger(__name__)


def write_derived_table(
    table: PairsTable, out: str | Path, pairs: Iterable[Pair], overwrite: bool = False
) -> int:
    """Write rows that come from a table, with its metadata, and its queries beside; gives how many.

    Queries have no place beside a table at a URL; the log says how many are left out there.

    Raises:
        R2D2Error: see `check_outputs` and `write_table`.
    """
    check_outputs(table_outputs(out), inputs=[table.path], overwrite=overwrite)
    queries = [] if "://" in table.path else read_queries(table.path)
    local = "://" not in str(out)
    grouped = GROUP.name in table.columns
    count = write_table(out, pairs, overwrite=overwrite, metadata=table.metadata, grouped=grouped)
    if local:
        write_queries(out, queries)
    elif queries:
        log.warning("%d queries without an answer have no place beside %s", len(queries), out)
    return count
