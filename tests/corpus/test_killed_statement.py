"""A build that is killed while the database does a statement: the next run gives the same table."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from helpers.click_logs import read_sums, silent
from helpers.corpus_builds import DIRTY, SCENES, built
from r2d2.corpus.clicks.aggregate import aggregate
from r2d2.corpus.clicks.engine import SPILL
from r2d2.corpus.clicks.rank import rank
from r2d2.corpus.config import make_corpus_config
from r2d2.corpus.runner import Runner
from r2d2.table import PairsTable

ROWS = [*DIRTY, *((SCENES[n % 6], f"第{n}个查询", 100 + n, n, None) for n in range(1, 40))]
STATEMENT = re.compile(
    r"\s*(COPY \(|CREATE TABLE \w+ AS |INSERT INTO \w+ |)(.*?)(\) TO '[^']*' \(.*\)|)$", re.DOTALL
)


def whole_build(folder):
    """A log of pictures, which comes through the readers."""
    table = PairsTable.open(built(folder, ROWS).table)
    return table.fingerprint, list(table.take(table.rows()))


def ranked_addresses(folder):
    """A log of addresses, which the database reads itself."""
    rows = [
        {"url": f"http://a/{n % 37}", "query": f"q{n % 11}", "impressions": 9, "clicks": n % 10}
        for n in range(5000)
    ]
    log = folder / "log.parquet"
    if not log.exists():
        folder.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(rows), log)
    config = make_corpus_config("zero", settings=["rank.top_share=0.5", "rank.max_queries=3"])
    runner = Runner()
    counts = aggregate(
        [str(log)], config, folder / "1", runner=runner, memory_bytes=10**9, update=silent
    )
    counts += rank(folder / "1", folder / "2", config.rank, runner=runner, update=silent)
    files = sorted((folder / "2").glob("*/part-*.parquet"))
    return counts, read_sums(folder / "1"), [pq.read_table(file).to_pylist() for file in files]


RUNS = {"build": whole_build, "addresses": ranked_addresses}


class DyingConnection:
    """A connection of DuckDB in which one statement ends this process at its first row."""

    def __init__(self, connection, begun, column):
        """`begun`: stands in that statement; `column`: of its rows, a text."""
        self.connection, self.begun, self.column = connection, begun, column

    def __getattr__(self, name):
        return getattr(self.connection, name)

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        self.connection.close()

    def cursor(self):
        return DyingConnection(self.connection.cursor(), self.begun, self.column)

    def execute(self, statement):
        return self.connection.execute(self.dying(statement))

    def sql(self, query):
        return self.connection.sql(self.dying(query))

    def dying(self, statement):
        if self.begun not in " ".join(statement.split()):
            return statement
        self.connection.create_function("die", die)
        head, body, tail = STATEMENT.match(statement).groups()
        return f"{head}SELECT * FROM ({body}) WHERE die({self.column}){tail}"


def die(value: str) -> bool:
    os.kill(os.getpid(), signal.SIGKILL)
    return True


def die_within(begun, column):
    """From now on, the statement that holds `begun` ends this process at its first row."""
    connect = duckdb.connect
    duckdb.connect = lambda *arguments, **more: DyingConnection(
        connect(*arguments, **more), begun, column
    )


@pytest.mark.parametrize(
    ("run", "begun", "column"),
    [
        ("build", "INSERT INTO block", "image"),
        ("build", "FROM block GROUP BY 1, 2, 3", "image::VARCHAR"),
        ("build", "COPY (SELECT key, images.text", "image"),
        ("build", "CREATE TABLE passing", "image::VARCHAR"),
        ("build", "ORDER BY image_id, ranked.source", "image_id"),
        ("addresses", "COPY (SELECT image, 0::UTINYINT", "image::VARCHAR"),
        ("addresses", "AS enough, count(*) AS pairs", "clicks::VARCHAR"),
        ("addresses", "CREATE TABLE crowded", "image::VARCHAR"),
    ],
)
def test_the_next_run_gives_the_same(tmp_path, run, begun, column):
    script = (
        "import pathlib, sys, test_killed_statement as test\n"
        "test.die_within(sys.argv[2], sys.argv[3])\n"
        "test.RUNS[sys.argv[1]](pathlib.Path(sys.argv[4]))"
    )
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    killed = subprocess.run(
        [sys.executable, "-c", script, run, begun, column, str(tmp_path / "killed")],
        env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert RUNS[run](tmp_path / "killed") == RUNS[run](tmp_path / "whole")
    left = [path for kind in ("*.partial", f"{SPILL}*") for path in tmp_path.rglob(kind)]
    assert not left
