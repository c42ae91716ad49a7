"""A text file that is cut gives the lines of the whole one, with their numbers; or is not cut."""

import io
import json

import pytest

from helpers.click_logs import silent
from r2d2.corpus.clicks import text_cuts
from r2d2.corpus.clicks.log import plan, read_piece
from r2d2.corpus.clicks.text_cuts import cut_texts, find_cuts, open_cut
from r2d2.corpus.config import make_corpus_config
from r2d2.corpus.runner import Runner
from r2d2.inputs.dropped_rows import DroppedRows

LINES = [f"http://a/{n},第{n}个查询,{n + 5},{n}" for n in range(400)]
BROKEN = ["http://a/1,猫", "x" * 3000]


def rows_of(pieces):
    """All rows of some pieces, and what is told of lines that are passed over."""
    dropped = DroppedRows()
    rows = [row for piece in pieces for table in read_piece(piece, dropped)
            for row in table.to_pylist()]  # fmt: skip
    return rows, dict(dropped.counts), dropped.first_examples()


def cut(file, size, monkeypatch):
    monkeypatch.setattr(text_cuts, "BLOCK_BYTES", size)
    whole = plan([str(file)], make_corpus_config("zero"))
    return whole, cut_texts(whole, Runner(), silent)


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
@pytest.mark.parametrize("size", [1, 50, 3000])
def test_the_pieces_hold_the_rows_of_the_whole(tmp_path, monkeypatch, kind, size):
    names = ["url", "query", "impressions", "clicks"]
    lines = [",".join(names), *LINES[:200], *BROKEN, *LINES[200:]]
    if kind == "jsonl":
        rows = [dict(zip(names, line.split(","), strict=False)) for line in LINES]
        lines = [*map(json.dumps, rows[:200]), "{broken", *map(json.dumps, rows[200:])]
    file = tmp_path / f"log.{kind}"
    file.write_bytes("\r\n".join(lines).encode() if size == 50 else "\n".join(lines).encode())
    monkeypatch.setattr(text_cuts, "READ_BYTES", 1000)
    whole, pieces = cut(file, size, monkeypatch)
    assert len(pieces) > (100 if size == 1 else 2)
    found, expected = rows_of(pieces), rows_of(whole)
    assert found == expected
    assert len(found[0]) >= 400
    assert found[1]
    ends = [json.loads(piece["cut"])[:2] for piece in pieces]
    assert [start for start, _ in ends[1:]] == [stop for _, stop in ends[:-1]]
    assert (ends[0][0], ends[-1][1]) == (0, file.stat().st_size)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("quoted.csv", 'url,query,clicks\nhttp://a,"一行\n两行",1\n' * 50),
        ("gbk.csv", ("url,query,clicks\n" + "http://a,红色的汽车,1\n" * 50).encode("gb18030")),
        ("wide.jsonl", ('{"url": "http://a", "query": "猫", "clicks": 1}\n' * 50).encode("utf-16")),
        ("blank.csv", "\nurl,query,clicks\n" + "http://a,猫,1\n" * 50),
        ("end.csv", ("url,query,clicks\n" + "http://a,猫,1\n" * 50).encode() + "猫".encode()[:2]),
        ("short.csv", "url,query,clicks\nhttp://a,猫,1\n"),
    ],
)
def test_a_file_that_a_cut_would_change_stays_whole(tmp_path, monkeypatch, name, data):
    file = tmp_path / name
    file.write_bytes(data.encode() if isinstance(data, str) else data)
    whole, pieces = cut(file, 1000 if name.startswith("short") else 100, monkeypatch)
    assert pieces == whole
    assert rows_of(pieces)[0]


def test_cuts_stand_at_line_ends():
    data = b"".join(b"x" * (n % 7) + b"\n" for n in range(100))
    cuts = find_cuts(io.BytesIO(data), False, 20)
    parts = [open_cut(io.BytesIO(data), cut, header=False).read() for cut in cuts]
    assert b"".join(parts) == data
    assert all(part.endswith(b"\n") for part in parts)
    assert [number for _, _, number in cuts] == [
        1 + data.count(b"\n", 0, start) for start, _, _ in cuts
    ]
    assert find_cuts(io.BytesIO(b""), True, 20) == [[]]
