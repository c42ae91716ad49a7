"""Counts in a log as people have them: NULL for no click, and numbers that cannot be counts."""

import json
import math
from pathlib import Path

import pyarrow as pa
import pytest

from helpers.cli import call_cli
from helpers.click_logs import write_log
from helpers.corpus_builds import SCENES, SETTINGS
from r2d2.corpus.build import build_corpus
from r2d2.corpus.config import make_corpus_config
from r2d2.table import PairsTable

RED, BLUE = "红色的汽车", "蓝色的汽车"


def pictures(folder):
    for n in range(2):
        (folder / f"{n}.jpg").write_bytes(SCENES[n])


def sums(log, out, *settings):
    """Clicks and impressions of each query in the table, and the count of the log's rows."""
    config = make_corpus_config(settings=[*SETTINGS, *settings])
    found = build_corpus([str(log)], out, config)
    table = PairsTable.open(found.table)
    texts = [text for pair in table.take(table.rows()) for text in pair.texts]
    counts = {text.text: (text.clicks, text.impressions) for text in texts}
    return counts, found.stages[0].counts[0]


def row(path, query, impressions, clicks):
    return {"path": path, "query": query, "impressions": impressions, "clicks": clicks}


LEFT_JOINED = [
    row("0.jpg", RED, 10, 2),
    row("0.jpg", RED, 1000, None),
    row("1.jpg", BLUE, 100, 5),
]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet", "lance"])
@pytest.mark.parametrize("number", [pa.int64(), pa.float64(), pa.string()])
def test_null_for_no_click_is_no_click(tmp_path, kind, number):
    pictures(tmp_path)
    rows = LEFT_JOINED
    if kind in ("parquet", "lance") and pa.types.is_string(number):
        rows = [{k: v if v is None else str(v) for k, v in one.items()} for one in rows]
    types = {"impressions": number, "clicks": number}
    log = write_log(tmp_path / "log", rows, kind, types)
    counts, count = sums(log, tmp_path / "z.lance")
    assert counts == {RED: (2, 1010), BLUE: (5, 100)}
    assert (count.seen, count.kept, dict(count.dropped)) == (3, 3, {})
    assert count.notes["null_clicks"] == 1


@pytest.mark.parametrize("spelling", ["", " ", "NULL", "null", r"\N", "None"])
def test_null_as_databases_write_it_into_csv(tmp_path, spelling):
    pictures(tmp_path)
    log = tmp_path / "log.csv"
    lines = [f"0.jpg,{RED},10,2", f"0.jpg,{RED},1000,{spelling}", f"1.jpg,{BLUE},100,5"]
    log.write_text("\n".join(["path,query,impressions,clicks", *lines]), encoding="utf-8")
    counts, count = sums(log, tmp_path / "z.lance")
    assert counts[RED] == (2, 1010)
    assert count.notes["null_clicks"] == 1


def test_a_key_that_a_line_lacks_is_null(tmp_path):
    pictures(tmp_path)
    rows = [{k: v for k, v in one.items() if v is not None} for one in LEFT_JOINED]
    log = tmp_path / "log.jsonl"
    log.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    assert sums(log, tmp_path / "z.lance")[0][RED] == (2, 1010)


WRONG = {
    "clicks are no count": [(10, math.nan), (10, -1), (10, 2.5), (10, math.inf)],
    "impressions are no count": [(math.nan, 1), (-1, 0), (1e15, 1), (1e30, 1e30)],
    "impressions are missing": [(None, 1), (None, None)],
    "more clicks than impressions": [(10, 11)],
}


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet", "lance"])
def test_numbers_that_are_no_counts_are_told_by_reason_and_shown(
    tmp_path, monkeypatch, capsys, kind
):
    pictures(tmp_path)
    rows = [row("0.jpg", RED, 10.0, 2.0)]
    rows += [row("1.jpg", BLUE, *pair) for pairs in WRONG.values() for pair in pairs]
    log = write_log(
        tmp_path / "log", rows, kind, {"impressions": pa.float64(), "clicks": pa.float64()}
    )
    counts, count = sums(log, tmp_path / "z.lance")
    assert counts == {RED: (2, 10)}
    assert dict(count.dropped) == {reason: len(pairs) for reason, pairs in WRONG.items()}
    sets = [part for setting in SETTINGS for part in ("--set", setting)]
    code, out, lines = call_cli(
        monkeypatch, capsys, "corpus", "build", log, "--out", tmp_path / "cli.lance", *sets
    )
    assert code == 0, lines
    for reason in WRONG:
        shown = next(line for line in out.splitlines() if f"left out: {reason}: " in line)
        number = 2 + [reason_ for reason_, pairs in WRONG.items() for _ in pairs].index(reason)
        where = f"line {number + (kind == 'csv')}" if kind in ("csv", "jsonl") else f"row {number}"
        assert f"{Path(log).name}, {where}: " in shown
        assert BLUE in shown


CASE = Path(__file__).parents[3] / "../shared/cases/null_clicks/lg/null.jsonl"


@pytest.mark.skipif(not CASE.exists(), reason=f"there is no case at {CASE}")
def test_the_case_of_a_left_join(tmp_path):
    counts, _ = sums(CASE, tmp_path / "z.lance", "dedup.radius=0")
    assert counts == {RED: (2, 1010), BLUE: (5, 100)}
