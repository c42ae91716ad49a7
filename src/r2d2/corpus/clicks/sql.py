"""The statement that sums a click log where it lies: in a warehouse, before it is exported.

It sums per written query. Queries get their one spelling in the build, which sums once more, and
rows whose numbers are no counts are passed on as they are, so that the build counts each of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from r2d2.corpus.clicks.checks import MOST
from r2d2.corpus.clicks.engine import identifier
from r2d2.corpus.clicks.log_columns import COUNTS, TEXTS
from r2d2.corpus.config import CorpusConfig
from r2d2.errors import R2D2Error, first_line
from r2d2.extras import require
from r2d2.settings import one_of

DIALECTS = ("spark", "hive", "clickhouse", "duckdb")
COLUMNS = ("url", "query", "impressions", "clicks")
KEYS = ("url", "path", *TEXTS)


def log_statement(
    config: CorpusConfig, dialect: str, table: str, columns: Sequence[str] = COLUMNS
) -> str:
    """The statement whose result `corpus build` takes in place of the log.

    Args:
        config: `log` names the columns; with `rank.examination`, positions are kept apart.
        dialect: one of DIALECTS.
        table: of the log, as the warehouse names it.
        columns: those of `LogConfig` that the log has.

    Raises:
        R2D2Error: the dialect or a column is unknown, there is nothing to sum by, or the extra is
            missing.
    """
    one_of("--dialect", dialect, DIALECTS)
    _check_columns(columns)
    sqlglot = require("corpus", "sqlglot", "corpus sql")
    errors, exp = sqlglot.errors, sqlglot.exp
    keys = [role for role in KEYS if role in columns]
    if config.rank.examination:
        keys.append("position")
    names = {role: identifier(getattr(config.log, role)) for role in (*keys, *COUNTS)}
    shown, clicked = (names[role] if role in columns else "1" for role in ("impressions", "clicks"))
    clicks = f"COALESCE({clicked}, 0)"
    good = f"""{shown} >= 0 AND {shown} <= {MOST} AND FLOOR({shown}) = {shown}
        AND {clicks} >= 0 AND FLOOR({clicks}) = {clicks} AND {clicks} <= {shown}"""
    listed = ", ".join(names[role] for role in keys)
    # a 64-bit float holds every count up to 2**53, and what is no count as well
    result = f"""CAST({{}} AS DOUBLE) AS {names["impressions"]},
        CAST({{}} AS DOUBLE) AS {names["clicks"]}"""
    summed = result.format("SUM(r2d2_shown)", "SUM(COALESCE(r2d2_clicked, 0))")
    try:
        source = sqlglot.parse_one(table, read=dialect, into=exp.Table).sql("duckdb")
        # names of their own: ClickHouse takes a name in WHERE for that of the result
        statement = f"""WITH r2d2_rows AS (SELECT {listed}, {shown} AS r2d2_shown,
                {clicked} AS r2d2_clicked, CASE WHEN {good} THEN 1 ELSE 0 END AS r2d2_good
                FROM {source})
            SELECT {listed}, {summed} FROM r2d2_rows WHERE r2d2_good = 1 GROUP BY {listed}
            UNION ALL SELECT {listed}, {result.format("r2d2_shown", "r2d2_clicked")}
            FROM r2d2_rows WHERE r2d2_good = 0"""
        written: list[str] = sqlglot.transpile(
            statement, read="duckdb", write=dialect, pretty=True, identify=True
        )
    except errors.SqlglotError as error:
        reason = first_line(error)
        raise R2D2Error(f"TABLE {table}: {reason}; give the name of a table") from error
    return written[0]


def _check_columns(columns: Sequence[str]) -> None:
    known = (*KEYS, "impressions", "clicks")
    for role in columns:
        if role not in known:
            more = (
                "images go by their address or path"
                if role == "image"
                else "what the log itself calls one is --set log.COLUMN=NAME"
            )
            raise R2D2Error(f"--columns {role}: give some of {', '.join(known)}; {more}")
    if not {"url", "path"} & set(columns):
        raise R2D2Error("--columns has no images: give url or path")
    for role in ("query", "clicks"):
        if role not in columns:
            raise R2D2Error(f"--columns has no {role}: without it there is nothing to sum")
