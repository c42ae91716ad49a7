"""The plain DuckDB query and the corpus builder find the same on the same log."""

import json
from pathlib import Path

import pytest

from benchmarks.corpus_rank import SETTINGS, duckdb_queries, make_log
from helpers.click_logs import read_sums
from r2d2.corpus.clicks.aggregate import aggregate
from r2d2.corpus.clicks.rank import rank
from r2d2.corpus.config import make_corpus_config
from r2d2.corpus.rows import PAIRS, image_id_of, part_count, part_file, read_pairs
from r2d2.corpus.runner import Runner

duckdb = pytest.importorskip("duckdb")


def found(folder: Path) -> dict:
    """(clicks, impressions, ctr) of each pair of a stage."""
    rows = []
    for part in range(part_count(folder)):
        rows += read_pairs(part_file(folder, PAIRS, part)).to_pylist()
    return {(r["image_id"], r["text"]): (r["clicks"], r["impressions"], r["ctr"]) for r in rows}


def test_both_sides_agree(tmp_path):
    log = tmp_path / "log"
    make_log(log, 20_000)
    config = make_corpus_config("zero", settings=SETTINGS)

    def quiet(*_):
        pass

    aggregate([str(log)], config, tmp_path / "1", runner=Runner(), memory_bytes=10**9, update=quiet)
    (_, counted) = rank(tmp_path / "1", tmp_path / "2", config.rank, runner=Runner(), update=quiet)
    prior = json.loads((tmp_path / "2" / "prior.json").read_text())
    base = duckdb.connect()
    queries = duckdb_queries(log, (prior["alpha"], prior["beta"]))
    base.execute(queries["aggregate"])
    base.execute(queries["rank"])

    def plain(table, more):
        listed = base.execute(f"select url, query, clicks, impressions{more} from {table}")
        return {(image_id_of(r[0].encode()), r[1]): r[2:] for r in listed.fetchall()}

    ours = {(row[0], row[1]): row[3:5] for row in read_sums(tmp_path / "1")}
    assert ours == plain("sums", "")
    best, kept = plain("ranked", ", ctr"), found(tmp_path / "2")
    assert len(kept) > 1000
    assert kept.keys() <= best.keys()
    for key, (clicks, impressions, ctr) in kept.items():
        assert best[key][:2] == (clicks, impressions)
        assert ctr == pytest.approx(best[key][2], abs=1e-6)
    # a share is exact here; DuckDB keeps all that are equal to the last
    cut = min(ctr for *_, ctr in kept.values())
    assert all(best[key][2] == pytest.approx(cut, abs=1e-6) for key in best.keys() - kept.keys())
    assert counted.kept == len({image for image, _ in kept})
