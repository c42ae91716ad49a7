"""A log that the warehouse has summed gives the same corpus as the log itself."""

import math

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlglot

from helpers.cli import call_cli
from helpers.corpus_builds import SCENES, SETTINGS
from r2d2.corpus.build import build_corpus
from r2d2.corpus.clicks.sql import DIALECTS, log_statement
from r2d2.corpus.config import make_corpus_config
from r2d2.errors import R2D2Error
from r2d2.table import PairsTable

NAMES = ("path", "query", "impressions", "clicks", "title", "position")
ROWS = [
    ("0.jpg", "红色的汽车", 1000.0, 300.0, "一辆红色的汽车", 1),
    ("0.jpg", "紅色的汽車", 500.0, 200.0, None, 2),  # another spelling, summed by the build
    ("0.jpg", "红色的汽车", 70.0, None, "一辆红色的汽车", 3),  # no click
    ("0.jpg", " 红色的汽车", 30.0, 3.0, None, 9),
    ("1.jpg", "雪地里的小狗", 400.0, 90.0, None, 1),
    ("1.jpg", "雪地里的小狗", 100.0, 10.0, None, 1),
    ("1.jpg", "蓝天白云", 900.0, 1.0, None, 2),
    ("1.jpg", "雪地里的小狗", 5.0, 6.0, None, 1),  # from here on what is to be left out
    ("1.jpg", "雪地里的小狗", -5.0, 0.0, None, 1),
    ("1.jpg", "雪地里的小狗", 5.5, 0.0, None, 1),
    ("1.jpg", "雪地里的小狗", None, 1.0, None, 1),
    ("1.jpg", "雪地里的小狗", 5.0, math.nan, None, 1),
    ("1.jpg", "雪地里的小狗", 1e300, 0.0, None, 1),
    (None, "没有图片", 10.0, 3.0, None, 1),
    ("2.jpg", None, 10.0, 3.0, "山间的湖泊", 1),
    ("2.jpg", "从未被点击", 500.0, 0.0, None, 1),
]  # fmt: skip
FINDS = {"more clicks than impressions": 1, "impressions are no count": 3,
         "impressions are missing": 1, "clicks are no count": 1, "no image": 1}  # fmt: skip


def write_log(folder, rows=ROWS):
    for n, scene in SCENES.items():
        (folder / f"{n}.jpg").write_bytes(scene)
    kinds = {"path": pa.string(), "query": pa.string(), "title": pa.string(),
             "position": pa.int64()}  # fmt: skip
    schema = pa.schema([(name, kinds.get(name, pa.float64())) for name in NAMES])
    table = pa.Table.from_pylist([dict(zip(NAMES, row, strict=True)) for row in rows], schema)
    pq.write_table(table, folder / "log.parquet")
    return str(folder / "log.parquet")


def counts(built):
    return [count for stage in built.stages for count in stage.counts]


@pytest.mark.parametrize("more", [(), ("rank.examination=[1.0, 0.5, 0.1]", "rank.top_count=2")])
def test_the_result_of_the_statement_is_a_log(tmp_path, more):
    log = write_log(tmp_path)
    config = make_corpus_config("zero", settings=[*SETTINGS, *more])
    columns = ["path", "query", "impressions", "clicks", "title"]
    statement = log_statement(config, "duckdb", "log", columns)
    summed = str(tmp_path / "summed.parquet")
    with duckdb.connect() as base:
        base.execute(f"CREATE VIEW log AS FROM read_parquet('{log}')")
        base.execute(f"COPY ({statement}) TO '{summed}' (FORMAT parquet)")
    assert pq.read_metadata(summed).num_rows < len(ROWS)
    one = build_corpus([log], tmp_path / "log.lance", config)
    two = build_corpus([summed], tmp_path / "sums.lance", config)
    assert PairsTable.open(one.table).fingerprint == PairsTable.open(two.table).fingerprint
    rows, sums = (counts(built)[0] for built in (one, two))
    assert rows.dropped == FINDS
    assert sums.dropped["more clicks than impressions"] == 1
    assert sums.notes["pairs"] == rows.notes["pairs"]
    assert {k: v for k, v in sums.dropped.items() if k != "no image"} == {
        k: v for k, v in FINDS.items() if k != "no image"
    }
    start = next(n for n, count in enumerate(counts(one)) if count.stage == "rank")
    assert counts(one)[start:] == counts(two)[start:]
    assert counts(one)[start].dropped == (
        {"min_clicks": 1, "no query left": 1} if not more else {"min_clicks": 1, "top_count": 1,
                                                                "no query left": 1}
    )  # fmt: skip


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_dialect_is_one_statement_with_its_own_quotes(dialect):
    config = make_corpus_config("zero", settings=["log.query=search query", "log.url=u"])
    text = log_statement(config, dialect, "logs.clicks_2026", ["url", "query", "clicks"])
    (parsed,) = sqlglot.parse(text, read=dialect)
    assert isinstance(parsed, sqlglot.exp.Union)
    read = {table.sql("duckdb") for table in parsed.find_all(sqlglot.exp.Table)}
    assert read == {'"logs"."clicks_2026"', '"r2d2_rows"'}
    # ClickHouse would take a column in WHERE for the sum of the same name
    results = set(parsed.named_selects[2:])
    for where in parsed.find_all(sqlglot.exp.Where):
        assert not results & {column.name for column in where.find_all(sqlglot.exp.Column)}
    quote = "`" if dialect in ("spark", "hive") else '"'
    assert f"{quote}search query{quote}" in text
    assert parsed.named_selects == ["u", "search query", "impressions", "clicks"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"dialect": "sparks"}, "--dialect is 'sparks': did you mean spark"),
        ({"columns": ["url", "query"]}, "--columns has no clicks"),
        ({"columns": ["url", "query", "hits"]}, "what the log itself calls one is --set log"),
        ({"columns": ["query", "clicks"]}, "--columns has no images"),
        ({"columns": ["image", "query", "clicks"]}, "images go by their address or path"),
        ({"table": "log; drop table x"}, "TABLE log; drop table x: "),
        ({"table": "a log ("}, "give the name of a table"),
    ],
)
def test_what_cannot_be_asked_is_one_line(changed, message):
    with pytest.raises(R2D2Error, match=message) as caught:
        log_statement(make_corpus_config("zero"), **{"dialect": "spark", "table": "log", **changed})
    assert "\n" not in str(caught.value)


def test_the_command(monkeypatch, capsys):
    code, out, _ = call_cli(
        monkeypatch, capsys, "corpus", "sql", "logs", "--dialect", "hive",
        "--set", "log.clicks=hits",
    )  # fmt: skip
    assert code == 0
    assert out == log_statement(
        make_corpus_config("zero", settings=["log.clicks=hits"]), "hive", "logs"
    ) + ";\n"  # fmt: skip
    code, _, lines = call_cli(monkeypatch, capsys, "corpus", "sql", "--dialect", "oracle")
    assert code == 2
    assert "spark, hive, clickhouse, duckdb" in lines[-1]
