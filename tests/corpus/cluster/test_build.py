"""A whole build on three nodes: the same table, with a part of every stage on each of them."""

import logging

import pytest
from builds import DIRTY, SCENES, built

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
    assert {"summing up", "ranking", "filtering texts", "looking at images", "writing"} <= {*done}
    lone = {name for name, runs in done.items() if min(map(len, runs)) < 3}
    assert lone == {"reading logs", "joining pairs", "collecting groups"}  # of one job each
