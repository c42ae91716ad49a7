"""What a run takes: counted where it is, and shown beside what it reaches."""

import json

import pytest

from evaluation.test_comparison import tables
from helpers.encoders import colour_table
from helpers.run_files import run
from helpers.searchers import small_model
from r2d2.evaluation.comparison_page import write_comparison
from r2d2.evaluation.cost import Stopwatch, cost
from r2d2.evaluation.run import evaluate_retrieval
from r2d2.evaluation.settings import RankingSettings

COST = {
    "parameters": 2_500_000, "bytes_per_vector": 256, "images_per_second": 40.0,
    "first_stage_ms": 2.0, "second_stage_ms": 30.0, "candidates": 32, "batch_size": 256,
    "device": "cpu", "threads": 1,
}  # fmt: skip


class Encoder:
    has_match = True


def test_a_query_takes_its_text_its_search_and_its_candidates():
    watch = Stopwatch(
        {"images": 2.0, "texts": 1.0, "rank": 0.5, "match": 3.0},
        {"images": 100, "texts": 50, "rank": 100, "match": 1000},
    )
    found = cost(watch, Encoder(), None, candidates=20, dim=64, batch_size=8)
    assert found["images_per_second"] == pytest.approx(50)
    assert found["first_stage_ms"] == pytest.approx(1000 * (1 / 50 + 0.5 / 100))
    assert found["second_stage_ms"] == pytest.approx(1000 * 3 / 1000 * 20)
    assert (found["bytes_per_vector"], found["parameters"]) == (256, None)


def test_what_did_not_run_has_no_time():
    watch = Stopwatch({"texts": 1.0}, {"images": 3})
    found = cost(watch, Encoder(), None, candidates=20, dim=64, batch_size=8)
    names = ("images_per_second", "first_stage_ms", "second_stage_ms")
    assert [found[name] for name in names] == [None] * 3


@pytest.mark.parametrize(("variant", "again"), [("r2d2", True), ("prd2", False)])
def test_an_evaluation_writes_what_it_took(tmp_path, variant, again):
    model = small_model(variant)
    assert model.has_match == again
    model.save(tmp_path / "model")
    table = colour_table(tmp_path / "t.lance")
    out = tmp_path / "out"
    ranking = RankingSettings(full=(), top_k=3 if again else None)
    evaluate_retrieval(tmp_path / "model", table, out, ranking=ranking)
    found = json.loads((out / "metrics.json").read_text("utf-8"))["run"]["cost"]
    assert found["parameters"] == sum(p.numel() for p in model.model.parameters())
    assert found["bytes_per_vector"] == 4 * model.embed_dim
    assert found["images_per_second"] > 0
    assert found["first_stage_ms"] > 0
    assert (found["second_stage_ms"] is not None) == again
    assert found["candidates"] == (3 if again else None)


def test_the_report_shows_quality_against_cost(tmp_path):
    folders = [
        run(tmp_path / "a", "mine", cost=COST),
        run(tmp_path / "b", "theirs", two_stage=False,
            cost=COST | {"parameters": None, "second_stage_ms": None, "candidates": None}),
        run(tmp_path / "c", "older"),
    ]  # fmt: skip
    table = next(table for _, table in tables(folders) if table.title == "Cost")
    assert [line.label for line in table.lines] == ["mine", "theirs"]
    assert [cell.value for cell in table.lines[0].cells] == [2.5, 256, 40.0, 2.0, 30.0]
    assert [cell.value for cell in table.lines[1].cells] == [None, 256, 40.0, 2.0, None]
    assert "32 candidates" in table.lines[0].note
    assert not any(cell.best for line in table.lines for cell in line.cells)
    html, beside = write_comparison(folders, tmp_path / "r.html")
    assert "Quality against cost" in html.read_text("utf-8")
    assert "second stage, ms" in beside.read_text("utf-8")
    html, _ = write_comparison([folders[2]], tmp_path / "plain.html")
    assert "Quality against cost" not in html.read_text("utf-8")
