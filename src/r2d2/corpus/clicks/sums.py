"""Sums per (image, source, text) of a block of log rows, and the tally of its rows, as SQL.

The statements hold for any relation, so that one machine applies them to whole files, and a cluster
to the block that a task has. Sums are integers: they do not depend on the order of the rows, on how
the log is cut, or on the engine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from r2d2.corpus.clicks.checks import (
    INTEGERS,
    MOST,
    NO_QUERY,
    REASONS,
    check_rows,
    image_id,
    is_blank,
    trimmed,
)
from r2d2.corpus.clicks.engine import Database, quoted
from r2d2.corpus.clicks.log_columns import ROW_NUMBER, TEXTS
from r2d2.corpus.clicks.text_keys import TOTALLED, totals
from r2d2.corpus.funnel import COUNTED, EXAMPLES, Flow, StageCount


def relation_types(base: Database, relation: str) -> dict[str, str]:
    """Column: its type in DuckDB; without data, as of a type that is all NULL, VARCHAR."""
    rows = base.run(f"DESCRIBE SELECT * FROM {relation}")
    return {row[0]: "VARCHAR" if row[1] == '"NULL"' else row[1] for row in rows}


def is_address_log(types: Mapping[str, str]) -> bool:
    """Whether images go by their address, and a query is the only text; see `sum_addresses`."""
    return set(types) - {"impressions", "clicks", "position"} == {"url", "query"}


def address_rows(
    relation: str, types: Mapping[str, str], examination: Sequence[float] = (), *, exact: bool
) -> str:
    """A relation of rows with `url`, `query` and TOTALLED, whose texts are not checked yet.

    Args:
        relation: the rows; see `check_rows`.
        types: of its columns.
        examination: see `check_rows`.
        exact: `exact_tally` found that no number needs a check.
    """
    if exact:
        return f"""(SELECT url, query, coalesce(clicks, 0) AS clicks,
            {_impressions(types)} AS impressions, NULL::BIGINT AS examined FROM {relation})"""
    checked = check_rows(relation, types, examination, texts_too=False)
    return f"""(SELECT url, query, clicks_ AS clicks, impressions_ AS impressions,
        examined_ AS examined FROM ({checked}) WHERE reason IS NULL)"""


def exact_tally(base: Database, relation: str, types: Mapping[str, str]) -> tuple[Any, ...] | None:
    """The tally of rows whose numbers need no check; None where one may need it.

    Every number is then a count, and every row has an impression. A row that is left out for its
    texts can therefore be told by the sum of the impressions.

    Args:
        base: where the relation is.
        relation: rows of an address log.
        types: of its columns.

    Returns:
        A row of `tally_rows`, as if each row were kept.
    """
    counts = set(types) - {"url", "query"}
    if "clicks" not in counts or not counts <= {"impressions", "clicks"}:
        return None
    if not {types[name] for name in counts} <= INTEGERS:
        return None
    shown = _impressions(types)
    exact = f"{shown} BETWEEN 1 AND {MOST} AND coalesce(clicks, 0) BETWEEN 0 AND {shown}"
    ((checked, *amounts),) = base.run(
        f"""SELECT count_if(({exact}) IS NOT TRUE), count(*), coalesce(sum(clicks), 0),
            coalesce(sum({shown}), 0), count_if(clicks IS NULL) FROM {relation}"""
    )
    return None if checked else (None, *amounts)


def _impressions(types: Mapping[str, str]) -> str:
    """The impressions of a row: one where the log has no such column."""
    return "impressions" if "impressions" in types else "1"


def sum_checked(checked: str, types: Mapping[str, str]) -> str:
    """A SELECT of the sums of rows, with the columns SUMS, and texts in place of keys.

    Args:
        checked: a relation with the columns of `check_rows`.
        types: of the columns of the log in it.
    """
    records = []
    for source, name in enumerate(TEXTS):
        if name not in types:
            continue
        # A query is trimmed when it is spelled.
        there, text = (
            ("asked", name) if name == "query" else (f"NOT {is_blank(name)}", trimmed(name))
        )
        amounts = (f"{amount}_" if name == "query" else "NULL::BIGINT" for amount in TOTALLED)
        listed = ", ".join(f"{n}: {amount}" for n, amount in zip(TOTALLED, amounts, strict=True))
        records.append(
            f"""{{image: key, source: {source}::UTINYINT, text: CASE WHEN {there} THEN {text} END,
            {listed}}}"""
        )
    return f"""SELECT r.image AS image, r.source AS source, r.text AS text,
        {totals("r.")}
        FROM (SELECT unnest([{", ".join(records)}]) AS r FROM {checked} WHERE reason IS NULL)
        WHERE r.text IS NOT NULL GROUP BY ALL"""


def tally_rows(checked: str) -> str:
    """A SELECT of what became of the rows: see `count_rows`; `checked` as in `sum_checked`."""
    outcome = f"CASE WHEN reason IS NULL AND NOT asked THEN {quoted(NO_QUERY)} ELSE reason END"
    return f"""SELECT {outcome} AS outcome, count(*), sum(clicks_)::BIGINT,
        sum(impressions_)::BIGINT, count_if(no_click) FROM {checked} GROUP BY outcome"""


def row_location(file: str, word: str) -> str:
    """Where a row stands, as SQL: its file and its ROW_NUMBER.

    Args:
        file: an expression for the name of the file.
        word: what the number counts: row or line.
    """
    return f"{file} || ', {word} ' || {ROW_NUMBER}"


def example_rows(checked: str, types: Mapping[str, str], reason: str, location: str) -> str:
    """A SELECT of the first rows that a reason leaves out: `location`, and what stands in a row.

    Args:
        checked: a relation with the columns of `check_rows`.
        types: of the columns of the log in it.
        reason: see REASONS.
        location: see `row_location`.
    """
    return f"""SELECT {location} AS location, {_shown(types)} FROM {checked}
        WHERE reason = {quoted(reason)} LIMIT {EXAMPLES}"""


def dropped_rows(checked: str, types: Mapping[str, str], location: str) -> str:
    """A SELECT of all rows that are left out: as `example_rows`, before it `reason`, `image_id`."""
    return f"""SELECT reason, {image_id("key")} AS image_id, {location} AS location, {_shown(types)}
        FROM {checked} WHERE reason IS NOT NULL"""


def _shown(types: Mapping[str, str]) -> str:
    hidden = ("inline", "place", "uncoded", ROW_NUMBER)
    return ", ".join(name for name in types if name not in hidden)


def count_rows(
    tally: Iterable[tuple[Any, ...]], examples: Mapping[str, Sequence[str]] | None = None
) -> StageCount:
    """The rows of a block as a build counts them.

    Args:
        tally: outcome, rows, clicks, impressions, and clicks that were NULL. An outcome is None of
            rows that are kept, NO_QUERY of kept ones without a query, or the reason; one may stand
            there more than once.
        examples: of each reason, rows that it left out.

    Returns:
        A count of rows; its notes tell of the clicks, and of rows whose clicks were NULL.
    """
    totals: dict[str | None, list[int]] = {None: [0] * 4}
    for outcome, *amounts in tally:
        held = totals.setdefault(outcome, [0] * 4)
        totals[outcome] = [a + int(b or 0) for a, b in zip(held, amounts, strict=True)]
    rows, clicks, impressions, null_clicks = totals[None]
    kept = rows + totals.get(NO_QUERY, [0])[0]
    dropped = {reason: totals[reason][0] for reason in REASONS if reason in totals}
    flows = {}
    for place, (name, amount) in enumerate(zip(COUNTED, (clicks, impressions), strict=True), 1):
        rules = [rule for rule in (*REASONS, NO_QUERY) if rule in totals and totals[rule][place]]
        lost = {rule: totals[rule][place] for rule in rules}
        flows[name] = Flow(amount + sum(lost.values()), amount, lost)
    return StageCount(
        "aggregate", "rows", kept + sum(dropped.values()), kept, dropped,
        {reason: tuple(shown) for reason, shown in (examples or {}).items()},
        {"clicks": clicks, "null_clicks": null_clicks},
        flows if any(flow.seen for flow in flows.values()) else {},
    )  # fmt: skip
