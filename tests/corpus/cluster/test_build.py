"""A whole build on three nodes: the same table, with a part of every stage on each of them."""

import logging
from collections import Counter

import pyarrow.parquet as pq
import pytest

from helpers.colour_model import Colours
from helpers.corpus_builds import DIRTY, SCENES, SETTINGS, TINTED, built, tinted, write_log
from r2d2.corpus.build import build_corpus
from r2d2.corpus.cluster.connection import alive_nodes
from r2d2.corpus.config import make_corpus_config
from r2d2.table import PairsTable

ROWS = [*DIRTY, *((SCENES[n % 6], f"第{n}个查询", 100 + n, n, None) for n in range(40))]


@pytest.fixture
def jobs_on_nodes(caplog):
    """Fills in, by the name of the work, how many jobs of it each node has done."""
    caplog.set_level(logging.INFO, "r2d2.corpus.cluster.tasks")

    def counted():
        found = {}
        for record in caplog.records:
            if hasattr(record, "nodes"):
                found.setdefault(record.getMessage().split(":")[0], []).append(record.nodes)
        return found

    return counted


def same_tables(one, other):
    tables = [PairsTable.open(built.table) for built in (one, other)]
    assert tables[0].fingerprint == tables[1].fingerprint
    images = [[pair.image for pair in table.take(table.rows())] for table in tables]
    assert images[0] == images[1]


def test_the_table_is_that_of_one_machine(three_nodes, tmp_path, jobs_on_nodes, monkeypatch):
    plain = built(tmp_path / "plain", ROWS)
    monkeypatch.chdir(tmp_path)
    ray = built(tmp_path / "ray", ROWS[::-1], runner="ray")
    same_tables(plain, ray)
    counts = [[count for stage in b.stages for count in stage.counts] for b in (plain, ray)]
    assert [(c.seen, c.kept, c.dropped) for c in counts[0]] == [
        (c.seen, c.kept, c.dropped) for c in counts[1]
    ]
    done = jobs_on_nodes()
    every = {"summing up", "ranking", "filtering texts", "looking at images", "uniting texts"}
    assert {*every, "comparing hashes", "writing", "counting"} <= {*done}
    lone = {name for name, runs in done.items() if min(map(len, runs)) < 3}
    assert lone == {"reading logs", "joining pairs", "collecting groups"}  # of one job each


def test_the_dropped_rows_are_those_of_one_machine(three_nodes, tmp_path):
    more = {"settings": ("sample.share=0.6",), "keep_dropped": True}
    plain = built(tmp_path, ROWS, out="plain.lance", **more)
    ray = built(tmp_path, ROWS, out="ray.lance", runner="ray", **more)
    same_tables(plain, ray)
    dropped = [
        Counter(
            tuple(row.items())
            for file in found.dropped.iterdir()
            for row in pq.read_table(file).to_pylist()
        )
        for found in (plain, ray)
    ]
    assert dropped[0] == dropped[1]
    stages = {dict(row)["stage"] for row in dropped[0]}
    assert stages >= {"aggregate", "rank", "text filter", "image filter", "de-duplicate", "sample"}


def test_models_look_at_images_on_every_node(three_nodes, tmp_path, jobs_on_nodes):
    """The search by meaning and the alignment: one model a worker, the same table and report."""
    rows = [*TINTED, *((tinted((200, 60, n), n), "红色的墙面", 100, 30, None) for n in range(9))]
    more = {
        "settings": ("align.low=0.2", "dedup.meaning=0.01", "dedup.radius=null",
                     "image.enabled=false"),
        "model": Colours(), "keep_work": True,
    }  # fmt: skip
    plain = built(tmp_path / "plain", rows, **more)
    ray = built(tmp_path / "ray", rows, runner="ray", **more)
    same_tables(plain, ray)
    counts = [{c.stage: (c.seen, c.kept, c.dropped, c.examples) for s in b.stages for c in s.counts
               if c.stage in ("de-duplicate", "align")} for b in (plain, ray)]  # fmt: skip
    assert counts[0] == counts[1]
    assert "the same meaning" in counts[0]["de-duplicate"][2]
    shown = [next(b.report.parent.rglob("align.json")).read_text() for b in (plain, ray)]
    assert shown[0] == shown[1]
    done = jobs_on_nodes()
    assert {"embedding", "aligning"} <= {name for name, runs in done.items() if len(runs[0]) == 3}


def test_a_node_that_is_killed_while_the_log_is_summed_changes_nothing(three_nodes, tmp_path):
    """It dies when the first of the log's blocks is summed, and others are on their way."""
    logs = []
    for number in range(12):
        rows = [(*row[:4], None) for row in ROWS[number::12]]
        logs.append(write_log(tmp_path / f"logs/{number}.parquet", rows))
    config = make_corpus_config("zero", settings=SETTINGS)
    plain = build_corpus(logs, tmp_path / "plain.lance", config)
    killed = []

    def update(what, done, *rest):
        if what == "reading logs" and done == 1 and not killed:
            three_nodes.kill()
            killed.append(what)

    ray = build_corpus(logs, tmp_path / "ray.lance", config, runner="ray", update=update)
    assert killed
    assert len(alive_nodes()) == 2
    same_tables(plain, ray)
    counts = [[count for stage in b.stages for count in stage.counts] for b in (plain, ray)]
    assert [(c.seen, c.kept, c.dropped) for c in counts[0]] == [
        (c.seen, c.kept, c.dropped) for c in counts[1]
    ]
