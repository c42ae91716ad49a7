import gzip
import json
import os
from pathlib import Path

import fsspec
import lance
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from helpers.cli import call_cli
from helpers.click_logs import FORMATS, read_sums, silent, write_log
from r2d2.corpus.clicks import lines
from r2d2.corpus.clicks.aggregate import aggregate
from r2d2.corpus.clicks.log import find_logs, plan, read_piece
from r2d2.corpus.clicks.log_columns import ROW_NUMBER
from r2d2.corpus.config import make_corpus_config
from r2d2.corpus.runner import Runner
from r2d2.errors import R2D2Error
from r2d2.inputs import lines as input_lines
from r2d2.inputs.dropped_rows import DroppedRows

ROWS = [
    {"url": f"http://a/{n}.jpg", "query": f"猫 {n}", "impressions": str(n + 1), "clicks": "1"}
    for n in range(10)
]


def read(logs, *changes):
    dropped = DroppedRows()
    pieces = plan(find_logs(logs), make_corpus_config("zero", settings=changes))
    rows = [row for piece in pieces for chunk in read_piece(piece, dropped)
            for row in chunk.drop_columns(ROW_NUMBER).to_pylist()]  # fmt: skip
    return rows, dropped, pieces


def row_numbers(piece):
    return [n for chunk in read_piece(piece, DroppedRows()) for n in chunk[ROW_NUMBER].to_pylist()]


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_reads_alike(tmp_path, kind):
    rows, dropped, _ = read([write_log(tmp_path / "log", ROWS, kind)])
    assert rows == ROWS
    assert dropped.counts == {}


def test_columns_are_mapped(tmp_path):
    rows = [{"u": "http://a/1.jpg", "文": "猫", "shown": "3", "hits": "1", "other": "x"}]
    log = write_log(tmp_path / "log", rows, "csv")
    names = ["log.url=u", "log.query=文", "log.impressions=shown", "log.clicks=hits"]
    found, _, _ = read([log], *names)
    assert found == [
        {"url": "http://a/1.jpg", "query": "猫", "impressions": "3", "clicks": "1"}
    ]  # fmt: skip


def test_files_are_found_in_folders_globs_and_by_url(tmp_path):
    deep = tmp_path / "logs" / "day"
    deep.mkdir(parents=True)
    (tmp_path / "logs" / "_SUCCESS").touch()
    files = [write_log(deep / name, ROWS[:2], "parquet") for name in ("b", "a", ".hidden")]
    lance = write_log(tmp_path / "logs" / "c", ROWS[:2], "lance")
    expected = sorted([*files[:2], lance])
    assert find_logs([str(tmp_path / "logs")]) == expected
    assert find_logs([str(tmp_path / "**" / "[ab].parquet")]) == sorted(files[:2])
    assert find_logs([f"file://{tmp_path}/logs/day/?.parquet"]) == [
        f"file://{file}" for file in sorted(files[:2])
    ]
    assert read([f"file://{tmp_path}/logs/day/a.parquet"])[0] == ROWS[:2]


def test_files_of_any_file_system_of_fsspec(tmp_path):
    store = fsspec.filesystem("memory")
    for name in ("day/a.csv", "day/b.parquet", "day/.hidden.csv", "day/notes.txt"):
        kind = "parquet" if name.endswith("parquet") else "csv"
        store.pipe(f"/logs/{name}", Path(write_log(tmp_path / "log", ROWS, kind)).read_bytes())
    try:
        found = find_logs(["memory://logs"])
        assert found == ["memory:///logs/day/a.csv", "memory:///logs/day/b.parquet"]
        assert find_logs(["memory://logs/**/*.csv"])[0] == found[0]
        assert read(["memory://logs"])[0] == [*ROWS, *ROWS]
        with pytest.raises(R2D2Error, match="no log at memory://logs/none"):
            find_logs(["memory://logs/none"])
    finally:
        store.rm("/logs", recursive=True)
    with pytest.raises(R2D2Error, match=r"cannot list nothing://x/\*.*check the address") as caught:
        find_logs(["nothing://x/*.csv"])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_text_by_url_and_packed(tmp_path, kind):
    log = Path(write_log(tmp_path / "log", ROWS, kind))
    packed = log.with_name(log.name + ".gz")
    packed.write_bytes(gzip.compress(log.read_bytes()))
    assert read([f"file://{log}"])[0] == ROWS
    assert read([str(packed)])[0] == ROWS


def test_a_large_file_is_cut_between_row_groups(tmp_path, monkeypatch):
    monkeypatch.setattr("r2d2.corpus.clicks.log.PIECE_ROWS", 5)
    rows, _, pieces = read([write_log(tmp_path / "log", ROWS, "parquet")])
    assert [json.loads(piece["cut"]) for piece in pieces] == [[0, 1], [2, 3]]
    assert rows == ROWS
    assert [row_numbers(piece) for piece in pieces] == [[1, 2, 3, 4, 5, 6], [7, 8, 9, 10]]


@pytest.mark.parametrize("kind", ["parquet", "lance", "csv"])
def test_a_column_may_be_called_row_number(tmp_path, kind):
    rows = [{**row, "row_number": row["query"]} for row in ROWS]
    log = write_log(
        tmp_path / "log", [{k: v for k, v in row.items() if k != "query"} for row in rows], kind
    )
    read_rows, _, pieces = read([log], "log.query=row_number")
    assert [row["query"] for row in read_rows] == [row["query"] for row in ROWS]
    numbers = [n for piece in pieces for n in row_numbers(piece)]
    assert numbers == [n + (kind == "csv") for n in range(1, 11)]


def test_the_rows_of_lance_are_numbered_through_its_fragments(tmp_path):
    lance.write_dataset(pa.Table.from_pylist(ROWS), tmp_path / "log.lance", max_rows_per_file=4)
    _, _, pieces = read([str(tmp_path / "log.lance")])
    assert [row_numbers(piece) for piece in pieces] == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10]]


def test_chunks_are_bounded_by_rows_and_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(lines, "CHUNK_ROWS", 4)
    piece = plan(
        find_logs([write_log(tmp_path / "log", ROWS, "jsonl")]), make_corpus_config("zero")
    )[0]
    assert [len(chunk) for chunk in read_piece(piece, DroppedRows())] == [4, 4, 2]
    monkeypatch.setattr("r2d2.corpus.clicks.log.READ_BYTES", 1)
    piece = plan(
        find_logs([write_log(tmp_path / "log", ROWS, "parquet")]), make_corpus_config("zero")
    )[0]
    assert {len(chunk) for chunk in read_piece(piece, DroppedRows())} == {1}


def test_malformed_lines_of_jsonl_are_counted(tmp_path):
    log = tmp_path / "log.jsonl"
    good = [json.dumps(row, ensure_ascii=False).encode() for row in ROWS]
    bad = [
        b'{"url": "http://a", "query": "x"',  # cut off
        b"[1, 2]",
        b"\xff\xfe",
        b'{"url": ["a"], "query": "x", "impressions": 1, "clicks": 0}',
        b'{"url": "a", "query": "\\ud800", "impressions": 1, "clicks": 0}',
        b"[" * 100_000,
    ]
    log.write_bytes(b"\n".join([*good[:5], *bad, b"  ", *good[5:]]))
    rows, dropped, _ = read([str(log)])
    assert rows == ROWS
    assert dropped.counts == {"malformed line": len(bad)}
    assert f"{log}, line 6" in dropped.examples["malformed line"][0]


def test_malformed_lines_of_csv_are_counted(tmp_path):
    log = tmp_path / "log.csv"
    good = [",".join(row.values()).encode() for row in ROWS]
    bad = [
        b"http://a,cat",
        b"http://a,cat,1,1,1,1",
        b"http://a,\xff\xfe,1,1",
        b'http://a,"cat,1,1',  # swallows no other line
    ]
    head = "\ufeffurl,query,impressions,clicks".encode()
    quoted = b'http://a,"a ""b""\nc",2,1'
    log.write_bytes(b"\r\n".join([head, *good[:5], *bad, b"", *good[5:], quoted]))
    rows, dropped, _ = read([str(log)])
    last = {"url": "http://a", "query": 'a "b"\nc', "impressions": "2", "clicks": "1"}
    assert rows == [*ROWS, last]
    assert dropped.counts == {"malformed line": len(bad)}
    assert f"{log}, line 10: a quote is not closed" in dropped.examples["malformed line"]


@pytest.mark.parametrize("encoding", ["gb18030", "utf-16", "utf-16-le"])
@pytest.mark.parametrize("name", ["log.csv", "log.tsv", "log.jsonl", "log.csv.gz"])
def test_logs_as_excel_saves_them(tmp_path, encoding, name):
    rows = [{**row, "query": f"白色的小狗 {n}"} for n, row in enumerate(ROWS)]
    comma = "\t" if "tsv" in name or encoding == "utf-16" else ","  # "Unicode text" has tabs
    text = "".join(comma.join(row) + "\r\n" for row in ([*rows[0]], *(r.values() for r in rows)))
    if name.endswith("jsonl"):
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    data = text.encode(encoding)
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    found, dropped, _ = read([str(tmp_path / name)])
    assert found == rows
    assert dropped.counts == {}


def test_a_log_of_no_known_encoding_is_named(tmp_path):
    (tmp_path / "log.csv").write_bytes("網址,查詢\nhttp://a,紅色的汽車\n".encode("big5"))
    with pytest.raises(R2D2Error, match=r"log\.csv is neither UTF-8 nor .*iconv -f BIG5") as caught:
        read([str(tmp_path / "log.csv")])
    assert "\n" not in str(caught.value)
    (tmp_path / "log.csv").write_text('url,"query\nhttp://a,b\n')
    with pytest.raises(R2D2Error, match=r"log\.csv, line 1: a quote is not closed among the names"):
        read([str(tmp_path / "log.csv")])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("log.query=words", "log.query is 'words', which it lacks"),
        ("log.query=url", "'url' serves as log.query alone"),
    ],
)
def test_a_setting_that_leaves_a_log_without_a_column_is_named(tmp_path, change, told):
    fails(tmp_path, [{"url": "http://a", "path": "a.jpg"}], told, change)


def test_a_line_without_end_is_passed_over(tmp_path, monkeypatch):
    monkeypatch.setattr(input_lines, "LINE_BYTES", 1000)
    log = tmp_path / "log.jsonl"
    good = [json.dumps(row) for row in ROWS]
    log.write_text("\n".join([*good[:3], '{"url": "' + "x" * 5000 + '"}', *good[3:]]))
    rows, dropped, _ = read([str(log)])
    assert len(rows) == len(ROWS)
    assert dropped.counts == {"line too long": 1}


def fails(tmp_path, rows, message, *changes, kind="parquet", types=None):
    log = write_log(tmp_path / "log", rows, kind, types)
    with pytest.raises(R2D2Error, match=message) as caught:
        plan(find_logs([log]), make_corpus_config("zero", settings=changes))
    assert "\n" not in str(caught.value)
    assert log in str(caught.value) or "no log has clicks" in str(caught.value)


def test_what_is_missing_is_named(tmp_path):
    row = ROWS[0]

    def without(*names):
        return [{name: row[name] for name in row if name not in names}]

    fails(tmp_path, without("url"), r"no column of images .*query, impressions.*log\.url=NAME")
    fails(tmp_path, without("query"), r"no column of texts .*log\.query=NAME")
    fails(tmp_path, without("clicks"), r"queries but no clicks.*rank\.enabled=false")
    fails(tmp_path, ROWS[:1], r"no positions.*log\.position=NAME", "rank.examination=[1, 0.5]")
    crawl = [{"url": "http://a", "caption": "猫"}]
    fails(tmp_path, crawl, r"no log has clicks to rank by.*rank\.enabled=false")
    log = write_log(tmp_path / "crawl", crawl, "parquet")
    assert plan([log], make_corpus_config("zero", settings=["rank.enabled=false"]))


def test_a_type_that_does_not_serve_is_named(tmp_path):
    rows = [{**ROWS[0], "clicks": ["1"]}]
    types = {"clicks": pa.list_(pa.string())}
    fails(tmp_path, rows, r"column 'clicks' is list.*log\.clicks=NAME", types=types)


def test_what_is_no_log_is_named(tmp_path):
    with pytest.raises(R2D2Error, match="no log at"):
        find_logs([str(tmp_path)])
    with pytest.raises(R2D2Error, match="no log at"):
        find_logs([str(tmp_path / "*.csv")])
    with pytest.raises(R2D2Error, match="no log at"):
        find_logs([f"file://{tmp_path}/*.csv"])
    (tmp_path / "log.xls").touch()
    with pytest.raises(R2D2Error, match="cannot tell the format"):
        plan(find_logs([str(tmp_path / "log.xls")]), make_corpus_config("zero"))
    (tmp_path / "log.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(R2D2Error, match="cannot read the log"):
        plan(find_logs([str(tmp_path / "log.parquet")]), make_corpus_config("zero"))


def test_dictionaries_and_views_read_as_text(tmp_path):
    table = pa.Table.from_pylist(ROWS)
    views = table.cast(pa.schema([(name, pa.string_view()) for name in table.column_names]))
    pq.write_table(views, tmp_path / "views.parquet")
    assert read([str(tmp_path / "views.parquet")])[0] == ROWS


@pytest.mark.parametrize(("name", "text"), [("a.csv", ""), ("a.jsonl", ""), ("b.jsonl", "[1]\n")])
def test_logs_without_any_row_are_named(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    for changes in ((), ("rank.enabled=false",)):
        with pytest.raises(R2D2Error, match=rf"no rows that can be read .*{name}"):
            plan(find_logs([str(tmp_path)]), make_corpus_config("zero", settings=changes))


def test_a_pipe_is_no_log(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(R2D2Error, match=r"pipe\.csv is no plain file"):
        find_logs([str(tmp_path / "pipe.csv")])


@pytest.mark.parametrize("command", [("stats", "a"), ("compare", "a", "b")])
def test_a_report_that_cannot_be_written_stops_at_once(monkeypatch, capsys, command):
    """Before the tables, which are not there, are opened."""
    code, _, lines = call_cli(
        monkeypatch, capsys, "corpus", *command, "--out", "/proc/nothing/s.html"
    )
    assert code == 2
    assert "cannot write /proc/nothing" in lines[-1]


@pytest.mark.parametrize("command", [("stats", "a"), ("compare", "a", "b")])
@pytest.mark.parametrize("out", ["s.json", "."])
def test_a_report_does_not_land_on_its_json(tmp_path, monkeypatch, capsys, command, out):
    code, _, lines = call_cli(monkeypatch, capsys, "corpus", *command, "--out", tmp_path / out)
    assert code == 2
    assert "ends in .html" in lines[-1]


def sum_up(log, folder):
    config = make_corpus_config("zero", settings=["rank.enabled=false"])
    (count,) = aggregate(
        [log], config, folder / "sums", runner=Runner(), memory_bytes=10**9, update=silent
    )
    return count, read_sums(folder / "sums")


@pytest.mark.parametrize("name", ["log_file", "file_row_number", "File_Row_Number"])
def test_a_log_may_have_a_column_of_a_name_that_duckdb_adds(tmp_path, name):
    rows = [{**row, name: "x"} for row in ROWS]
    rows[3]["clicks"] = "many"
    count, sums = sum_up(write_log(tmp_path / "log", rows, "parquet"), tmp_path)
    assert len(sums) == 9
    assert count.dropped == {"clicks are no count": 1}
    (shown,) = count.examples["clicks are no count"]
    assert "log.parquet, row 4: " in shown


NULLS = ["", "NULL", "None", "\\N"]
GAPS = ["", "NULL", "nan", "None", "\\N", "  "]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_what_programs_write_for_nothing_is_no_text_and_no_clicks(tmp_path, kind):
    rows = [{"url": "http://a", "query": gap, "impressions": "1", "clicks": "1"} for gap in GAPS]
    rows += [{"url": "http://a", "query": "猫", "impressions": "3", "clicks": gap} for gap in NULLS]
    log = write_log(tmp_path / "log", rows, kind)
    count, sums = sum_up(log, tmp_path)
    assert count.dropped == {"no text": len(GAPS)}
    assert [row[1:5] for row in sums] == [("猫", "query", 0, 3 * len(NULLS))]


def test_odd_values_of_jsonl(tmp_path):
    log = tmp_path / "log.jsonl"
    rows = [
        {"query": float("nan")}, {"query": 5}, {"query": True}, {"query": "猫\ufffd"},
        {"query": "猫", "clicks": float("nan")}, {"query": "猫", "clicks": True},
        {"query": "猫", "clicks": 1e400},
    ]  # fmt: skip
    full = [{"url": "http://a", "query": "猫", "impressions": 2, "clicks": 1} | row for row in rows]
    log.write_text("\n".join(map(json.dumps, full)))
    read_rows, dropped, _ = read([str(log)])
    assert [(row["query"], row["clicks"]) for row in read_rows] == [
        (None, "1"), ("猫", "nan"), ("猫", "inf"),
    ]  # fmt: skip
    assert dropped.counts == {"malformed line": 4}


FAULTS = {
    "csv": (b"http://a,\xff\xfe,1,1", "characters that cannot be read"),
    "jsonl": (
        b'{"url": "http://a", "query": "\\ud800", "impressions": 1, "clicks": 0}',
        "half of a surrogate pair",
    ),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_what_a_text_lacks_stands_behind_its_line(tmp_path, kind):
    line, fault = FAULTS[kind]
    log = Path(write_log(tmp_path / "log", ROWS, kind))
    log.write_bytes(log.read_bytes().rstrip() + b"\n" + line + b"\n")
    rows, dropped, _ = read([str(log)])
    assert rows == ROWS
    (example,) = dropped.examples["malformed line"]
    assert example.startswith(f"{log}, line ")
    assert fault in example
    assert "http://a" in example


def test_a_query_with_commas_is_whole_where_its_column_is_the_last(tmp_path):
    log = tmp_path / "log.csv"
    log.write_text("url,impressions,clicks,query\nhttp://a,2,1,红色,好看\n")
    assert [row["query"] for row in read([str(log)])[0]] == ["红色,好看"]
    log.write_text("url,query,impressions,clicks\nhttp://a,红色,好看,2,1\n")
    rows, dropped, _ = read([str(log)])
    assert not rows
    assert dropped.counts == {"malformed line": 1}
    log.write_text("url,query,Query,impressions,clicks\nhttp://a,红色,好看,2,1\n")
    with pytest.raises(R2D2Error, match=r"log\.csv has 2 columns named 'query'"):
        read([str(log)])


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())]
)
def test_characters_that_no_table_holds_in_parquet(tmp_path, kind):
    queries = pa.array(["猫", "狗\ufffd", "小\0狗", "猫", "狗\ufffd"]).cast(kind)
    table = {"url": ["http://a"] * 5, "query": queries, "clicks": [1] * 5, "impressions": [2] * 5}
    pq.write_table(pa.table(table), tmp_path / "log.parquet")
    count, sums = sum_up(str(tmp_path / "log.parquet"), tmp_path)
    assert [row[1:4] for row in sums] == [("猫", "query", 2)]
    assert count.dropped == {"not UTF-8": 3}
