"""Sums per (image, source, text) as SQL: of a block of log rows, and of several blocks together.

The statements hold for any relation, so that one machine applies them to whole files, and a cluster
to the block that a task has. Sums are integers: they do not depend on the order
of the rows, on how the log is cut, or on the engine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

from r2d2.corpus.clicks.buckets import SUMS
from r2d2.corpus.clicks.checks import (
    NO_QUERY,
    REASONS,
    check_rows,
    image_id,
    is_blank,
    quoted,
    text_reason,
    trimmed,
)
from r2d2.corpus.clicks.log_columns import TEXTS
from r2d2.corpus.engine import Database
from r2d2.corpus.funnel import COUNTED, EXAMPLES, Flow, StageCount
from r2d2.corpus.texts.spelling import spell_queries

# A block's sums also tell how many rows of the log each stands for. Rows that were left out have no
# image, and the reason as their text.
BLOCK = (*SUMS, "rows", "null_clicks")
SPELT = 1 << 16  # texts spelt at once


def relation_types(base: Database, relation: str) -> dict[str, str]:
    """Column: its type in DuckDB; without data, as of a type that is all NULL, VARCHAR."""
    rows = base.run(f"DESCRIBE SELECT * FROM {relation}")
    return {row[0]: "VARCHAR" if row[1] == '"NULL"' else row[1] for row in rows}


def sum_block(
    relation: str,
    types: Mapping[str, str],
    examination: Sequence[float] = (),
    *,
    null_clicks: bool = True,
) -> str:
    """A SELECT of the sums of a block of rows, with the columns BLOCK.

    Args:
        relation: the rows; see `check_rows`.
        types: of its columns.
        examination: see `check_rows`.
        null_clicks: whether clicks may be NULL, and are to be counted.
    """
    absent = "sum({}::BIGINT)::BIGINT" if null_clicks else "0::BIGINT"
    if set(types) - {"impressions", "clicks", "position"} == {"url", "query"}:
        # texts are looked at once they are grouped, which are fewer
        rows = check_rows(relation, types, examination, texts_too=False)
        asked = (
            "*"
            if "impressions" in types
            else f"""* REPLACE (
            CASE WHEN {is_blank("query")} THEN 0 ELSE impressions END AS impressions)"""
        )
        return f"""SELECT CASE WHEN reason IS NULL THEN url END AS image, 0::UTINYINT AS source,
            coalesce(reason, query) AS text, clicks, impressions, examined, rows, null_clicks
            FROM (SELECT * REPLACE (coalesce({text_reason("url", "query")}, reason) AS reason)
            FROM (SELECT {asked} FROM (SELECT url, query, reason, {_total("clicks_")} AS clicks,
                {_total("impressions_")} AS impressions, {_total("examined_")} AS examined,
                count(*) AS rows, {absent.format("no_click")} AS null_clicks
                FROM ({rows}) GROUP BY url, query, reason)))"""
    rows = check_rows(relation, types, examination)
    texts = [(n, name) for n, name in enumerate(TEXTS) if name in types and name != "query"]
    written = "query" if "query" in types else "NULL"
    records = [
        f"""{{image: CASE WHEN reason IS NULL AND asked THEN key END, source: 0::UTINYINT,
        text: CASE WHEN reason IS NOT NULL THEN reason WHEN asked THEN {written}
        ELSE {quoted(NO_QUERY)} END, clicks: clicks_, impressions: impressions_,
        examined: examined_, one: 1::BIGINT, no_click: no_click}}"""
    ]
    records += [
        f"""{{image: key, source: {n}::UTINYINT,
        text: CASE WHEN reason IS NULL AND NOT {is_blank(name)} THEN {name} END,
        clicks: NULL::BIGINT, impressions: NULL::BIGINT, examined: NULL::BIGINT, one: 0::BIGINT,
        no_click: false}}"""
        for n, name in texts
    ]
    return f"""SELECT r.image AS image, r.source AS source, r.text AS text,
        {_total("r.clicks")} AS clicks, {_total("r.impressions")} AS impressions,
        {_total("r.examined")} AS examined, {_total("r.one")} AS rows,
        {absent.format("r.no_click")} AS null_clicks
        FROM (SELECT unnest([{", ".join(records)}]) AS r FROM ({rows}))
        WHERE r.text IS NOT NULL GROUP BY ALL"""


def _total(column: str) -> str:
    return f"sum({column})::BIGINT"


def example_rows(
    relation: str,
    types: Mapping[str, str],
    reason: str,
    examination: Sequence[float] = (),
    file: str = "NULL",
) -> str:
    """A SELECT of the first rows that a reason leaves out: `file`, then what stands in each row."""
    shown = [name for name in types if name not in ("inline", "place", "uncoded")]
    return f"""SELECT {file} AS file, {", ".join(shown)}
        FROM ({check_rows(relation, types, examination)})
        WHERE reason = {quoted(reason)} LIMIT {EXAMPLES}"""


def dropped_rows(
    relation: str,
    types: Mapping[str, str],
    examination: Sequence[float] = (),
    file: str = "NULL",
) -> str:
    """A SELECT of all rows that are left out: as `example_rows`, before it `reason`, `image_id`."""
    shown = [name for name in types if name not in ("inline", "place", "uncoded")]
    return f"""SELECT reason, {image_id("key")} AS image_id, {file} AS file, {", ".join(shown)}
        FROM ({check_rows(relation, types, examination)}) WHERE reason IS NOT NULL"""


def count_block(
    base: Database, sums: str, examples: Mapping[str, Sequence[str]] | None = None
) -> StageCount:
    """The rows of a block as a build counts them.

    Args:
        base: where the relation is.
        sums: a relation with the columns BLOCK.
        examples: of each reason, rows that it left out.

    Returns:
        A count of rows; its notes tell of the clicks, and of rows whose clicks were NULL.
    """
    totals = "sum(rows), sum(clicks), sum(impressions), sum(null_clicks)"
    kept, clicks, impressions, null_clicks = (
        int(value or 0)
        for value in base.run(f"SELECT {totals} FROM {sums} WHERE image IS NOT NULL")[0]
    )
    left = {
        text: [int(value or 0) for value in rest]
        for text, *rest in base.run(
            f"SELECT text, {totals} FROM {sums} WHERE image IS NULL GROUP BY text"
        )
    }
    kept += left[NO_QUERY][0] if NO_QUERY in left else 0
    dropped = {reason: left[reason][0] for reason in REASONS if reason in left}
    flows = {}
    for place, (name, amount) in enumerate(zip(COUNTED, (clicks, impressions), strict=True), 1):
        by_rule = {
            rule: left[rule][place]
            for rule in (*REASONS, NO_QUERY)
            if left.get(rule, [0] * 4)[place]
        }
        flows[name] = Flow(amount + sum(by_rule.values()), amount, by_rule)
    return StageCount(
        "aggregate", "rows", kept + sum(dropped.values()), kept, dropped,
        {reason: tuple(rows) for reason, rows in (examples or {}).items()},
        {"clicks": clicks, "null_clicks": null_clicks},
        flows if any(flow.seen for flow in flows.values()) else {},
    )  # fmt: skip


def merge_sums(
    base: Database, blocks: str, simplified: bool, *, alone: bool = False
) -> tuple[str | None, int]:
    """A SELECT of the sums of several blocks together, with the columns SUMS.

    Queries that are spelt alike add up under their one spelling.

    Args:
        base: where the relation is; two tables are left in it, of what is spelt otherwise.
        blocks: a relation with the columns SUMS.
        simplified: see `spell_queries`.
        alone: each (image, source, text) stands once in `blocks`.

    Returns:
        The statement, None where the sums are just the blocks, as they are; and how many images
        there are.
    """
    _spell(base, blocks, simplified)
    images, keys = _trim_keys(base, blocks)
    ((spelt,),) = base.run("SELECT count(*) FROM spelt")
    other = f"source > 0 AND text <> {trimmed('text')}"
    ((texts,),) = base.run(f"SELECT count(*) FROM {blocks} WHERE {other}")
    if alone and not (spelt or keys or texts):
        return None, images
    total = ", ".join(f"sum({name})::BIGINT AS {name}" for name in SUMS[3:])
    moved = f"""SELECT coalesce(keys.image, b.image) AS image, source,
        CASE WHEN source > 0 THEN {trimmed("b.text")} ELSE coalesce(spelt.text, b.text) END AS text,
        clicks, impressions, examined,
        keys.image IS NOT NULL OR spelt.text IS NOT NULL OR ({other.replace("text", "b.text")})
            AS changed
        FROM {blocks} b LEFT JOIN keys ON b.image = keys.written
        LEFT JOIN spelt ON b.source = 0 AND b.text = spelt.written"""
    if not alone:
        return f"SELECT image, source, text, {total} FROM ({moved}) GROUP BY ALL", images
    amounts = ", ".join(
        f"coalesce(a.{name} + m.{name}, a.{name}, m.{name}) AS {name}" for name in SUMS[3:]
    )
    merged = f"""SELECT image, source, text, {amounts}
        FROM (SELECT * FROM ({moved}) WHERE NOT changed) a FULL JOIN (
            SELECT image, source, text, {total} FROM ({moved}) WHERE changed GROUP BY ALL) m
        USING (image, source, text)"""
    return merged, images


def _spell(base: Database, blocks: str, simplified: bool) -> None:
    """Leave a table `spelt` of the queries whose spelling is another than the log's."""
    base.run("CREATE OR REPLACE TABLE spelt (written VARCHAR, text VARCHAR)")
    distinct = f"SELECT DISTINCT text FROM {blocks} WHERE source = 0"
    for batch in base.batches(distinct, SPELT):
        written = batch.column(0).to_pylist()
        spelt = spell_queries(written, simplified)
        found = [(old, new) for old, new in zip(written, spelt, strict=True) if old != new]
        if found:
            columns = [pa.array(column, pa.string()) for column in zip(*found, strict=True)]
            with base.given("other", pa.table(columns, names=["written", "text"])):
                base.run("INSERT INTO spelt SELECT * FROM other")


def _trim_keys(base: Database, blocks: str) -> tuple[int, int]:
    """Leave a table `keys` of the images whose address has spaces around it.

    Returns:
        How many images there are once their addresses are trimmed, and how many are in the table.
    """
    plain = "BETWEEN 33 AND 126"  # as an address begins and ends; others are looked at closely
    spaced = f"""CASE WHEN unicode(image) {plain} AND unicode(right(image, 1)) {plain} THEN false
        ELSE image <> {trimmed("image")} END"""
    distinct = f"(SELECT DISTINCT image FROM {blocks})"
    ((images, found),) = base.run(f"SELECT count(*), count_if({spaced}) FROM {distinct}")
    base.run(
        f"""CREATE OR REPLACE TABLE keys AS SELECT image AS written, {trimmed("image")} AS image
        FROM {distinct} WHERE {spaced if found else "false"}"""
    )
    if found:
        ((images,),) = base.run(
            f"""SELECT count(DISTINCT coalesce(keys.image, b.image))
            FROM {distinct} b LEFT JOIN keys ON b.image = keys.written"""
        )
    return images, found
