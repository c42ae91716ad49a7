"""Queries without an answer, in a file beside their table: `muge.queries.jsonl` of `muge.lance`.

A table that is made of the rows of another keeps its metadata and its queries.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from r2d2.errors import R2D2Error
from r2d2.files import write_text
from r2d2.outputs import Output, a_file, a_table, check_outputs
from r2d2.pair import GROUP, Pair
from r2d2.table import PairsTable, write_table

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TableQuery:
    """A text whose picture is to be found among the rows of its split."""

    text_id: str
    text: str
    split: str


def queries_file(table: str | Path) -> Path:
    """Where the queries of a table stand: `muge.lance` has `muge.queries.jsonl` beside it."""
    path = Path(table)
    return path.with_name(f"{path.name.removesuffix('.lance')}.queries.jsonl")


def table_outputs(table: str | Path) -> list[Output]:
    """All that is written of a table at --out: itself, and its queries where they have a place."""
    beside = [] if "://" in str(table) else [a_file(queries_file(table), ".jsonl")]
    return [a_table(table), *beside]


def write_queries(table: str | Path, queries: Iterable[TableQuery]) -> None:
    """Write the file whole, one JSON object a line; with no queries, remove what is there."""
    lines = [json.dumps(asdict(query), ensure_ascii=False) + "\n" for query in queries]
    path = queries_file(table)
    if lines:
        write_text(path, "".join(lines))
    else:
        path.unlink(missing_ok=True)


def read_queries(table: str | Path) -> list[TableQuery]:
    """The queries of a table in order; none where it has no such file. R2D2Error names the line."""
    path = queries_file(table)
    if not path.exists():
        return []
    found = []
    with path.open(encoding="utf-8-sig") as stream:
        for number, line in enumerate(stream, 1):
            try:
                fields = json.loads(line)
                found.append(
                    TableQuery(*(str(fields[name]) for name in ("text_id", "text", "split")))
                )
            except (ValueError, KeyError, TypeError) as error:
                raise R2D2Error(
                    f"{path}, line {number} is no query: import the data set again"
                ) from error
    return found


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
