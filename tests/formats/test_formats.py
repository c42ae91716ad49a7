"""Other formats: a table goes out and comes back the same; foreign files are read as they are."""

import io
import json
import re
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from helpers.cli import call_cli
from r2d2.errors import R2D2Error
from r2d2.formats import parquet, webdataset
from r2d2.formats.registry import FORMATS, TableImportOptions, export_table, import_table
from r2d2.table import Pair, PairsTable, Text, write_table


def picture(seed, kind="JPEG"):
    noise = np.random.default_rng(seed).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(noise).save(out, kind)
    return out.getvalue()


def pairs(n=7):
    for i in range(n):
        texts = (Text(f"第{i}张", "title"), Text(f"查询{i}", "query", 0.25, f"t{i}", 3, 12))
        yield Pair(
            f"id{i}", picture(i, "PNG" if i % 2 else "JPEG"), texts, "val" if i > 4 else "train",
            f"http://e.org/{i}" if i else None, 30, 20, 0.25, 3, 12, i % 2,
        )  # fmt: skip


def tar_of(path, members):
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


@pytest.mark.parametrize("kind", [name for name, one in FORMATS.items() if one.write])
@pytest.mark.parametrize("rows_a_file", [3, 10_000])
def test_there_and_back(tmp_path, monkeypatch, kind, rows_a_file):
    monkeypatch.setattr(webdataset, "ROWS", rows_a_file)
    monkeypatch.setattr(parquet, "SHARD", rows_a_file)
    write_table(tmp_path / "a.lance", pairs())
    table = PairsTable.open(tmp_path / "a.lance")
    assert export_table(table, kind, tmp_path / "out") == 7
    assert not list((tmp_path / "out").glob(".*"))
    found = import_table([tmp_path / "out"], kind, tmp_path / "b.lance")
    assert (found.rows, found.dropped.counts) == (7, {})
    again = PairsTable.open(tmp_path / "b.lance")
    assert again.take(again.rows()) == table.take(table.rows())
    assert export_table(table, kind, tmp_path / "val", split="val") == 2
    with pytest.raises(R2D2Error, match="out exists: give another --out, or --overwrite"):
        export_table(table, kind, tmp_path / "out")
    assert export_table(table, kind, tmp_path / "out", split="val", overwrite=True) == 2
    assert import_table([tmp_path / "out"], kind, tmp_path / "c.lance").rows == 2


def test_a_foreign_tar(tmp_path):
    tar_of(tmp_path / "0.tar", [
        ("a/1.jpg", picture(1)), ("a/1.txt", "一只猫".encode()),
        ("a/2.png", picture(2, "PNG")), ("a/2.json", json.dumps({"caption": "一只狗"}).encode()),
        ("a/3.jpg", picture(3)),
        ("a/4.jpg", b"broken"), ("a/4.txt", "坏的".encode()),
        ("a/5.jpg", picture(5)), ("a/5.json", b"{"), ("a/5.txt", "还好".encode()),
        ("../../evil.jpg", picture(6)), ("../../evil.txt", "不出去".encode()),
    ])  # fmt: skip
    options = TableImportOptions(split="test")
    found = import_table([tmp_path / "0.tar"], "webdataset", tmp_path / "t.lance", options)
    table = PairsTable.open(tmp_path / "t.lance")
    read = table.take(table.rows())
    assert [pair.texts[0].text for pair in read] == ["一只猫", "一只狗", "还好", "不出去"]
    assert {pair.split for pair in read} == {"test"}
    assert len({pair.image_id for pair in read}) == 4
    assert found.dropped.counts == {
        "no text": 1, "image unreadable": 1, "json unreadable, its row is kept": 1,
    }  # fmt: skip
    assert not (tmp_path.parent / "evil.jpg").exists()


def test_a_damaged_tar_gives_what_is_whole(tmp_path):
    tar_of(tmp_path / "0.tar", [(f"{n}.{end}", data) for n in range(4) for end, data in
                                (("jpg", picture(n)), ("txt", "好".encode()))])  # fmt: skip
    data = (tmp_path / "0.tar").read_bytes()
    (tmp_path / "0.tar").write_bytes(data[: len(data) // 2])
    found = import_table([tmp_path / "0.tar"], "webdataset", tmp_path / "t.lance")
    assert 1 <= found.rows < 4
    assert found.dropped.counts["tar file damaged, its rest is left out"] == 1


def test_parquet_of_others(tmp_path):
    rows = [
        {"image": {"bytes": picture(n), "path": f"{n}.jpg"}, "caption": ["一只猫", "猫"]}
        for n in range(3)
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "hub.parquet")
    import_table([tmp_path / "hub.parquet"], "parquet", tmp_path / "t.lance")
    table = PairsTable.open(tmp_path / "t.lance")
    assert [len(p.texts) for p in table.take(table.rows())] == [2, 2, 2]
    pq.write_table(pa.table({"a": [1]}), tmp_path / "odd.parquet")
    with pytest.raises(R2D2Error, match="columns a"):
        import_table([tmp_path / "odd.parquet"], "parquet", tmp_path / "u.lance")


def records(folder):
    rows = [{"url": f"http://e.org/{n}", "caption": f"第{n}张", "key": f"{n:09d}",
             "status": "success" if n < 2 else "failed_to_download"} for n in range(3)]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), folder / "00000.parquet")
    return rows[:2]


@pytest.mark.parametrize("layout", ["webdataset", "files", "parquet"])
def test_img2dataset(tmp_path, layout):
    out = tmp_path / "out"
    out.mkdir()
    rows = records(out)
    members = [
        (f"{row['key']}.{end}", data)
        for n, row in enumerate(rows)
        for end, data in (("jpg", picture(n)), ("json", json.dumps(row).encode()),
                          ("txt", row["caption"].encode()))
    ]  # fmt: skip
    if layout == "webdataset":
        tar_of(out / "00000.tar", members)
    elif layout == "files":
        (out / "00000").mkdir()
        for name, data in members:
            (out / "00000" / name).write_bytes(data)
    else:
        whole = [{**row, "jpg": picture(n)} for n, row in enumerate(rows)]
        whole.append({"url": "u", "caption": "没有", "key": "2", "status": "failed_to_download"})
        pq.write_table(pa.Table.from_pylist(whole), out / "00000.parquet")
    found = import_table([out], "img2dataset", tmp_path / "t.lance")
    table = PairsTable.open(tmp_path / "t.lance")
    read = table.take(table.rows())
    assert [(p.texts[0].text, p.url) for p in read] == [
        ("第0张", "http://e.org/0"), ("第1张", "http://e.org/1"),
    ]  # fmt: skip
    assert found.dropped.counts == {"not fetched: failed_to_download": 1}
    (where,) = found.dropped.examples["not fetched: failed_to_download"]
    assert re.fullmatch(r".*\.parquet, row [1-9]", where)


def test_refusals(tmp_path):
    (tmp_path / "empty").mkdir()
    for kind in FORMATS:
        with pytest.raises(
            R2D2Error, match=r"holds no|looked for .*; found nothing|no picture there"
        ):
            import_table([tmp_path / "empty"], kind, tmp_path / "t.lance")
    with pytest.raises(R2D2Error, match="nothing at"):
        import_table([tmp_path / "none"], "parquet", tmp_path / "t.lance")
    write_table(tmp_path / "a.lance", pairs(1))
    with pytest.raises(R2D2Error, match="only read"):
        export_table(PairsTable.open(tmp_path / "a.lance"), "img2dataset", tmp_path / "o")
    tar_of(tmp_path / "0.tar", [("1.txt", b"x")])
    with pytest.raises(R2D2Error, match="not one row"):
        import_table([tmp_path / "0.tar"], "webdataset", tmp_path / "t.lance")
    assert not (tmp_path / "t.lance").exists()


def test_the_commands(tmp_path, monkeypatch, capsys):
    write_table(tmp_path / "a.lance", pairs())
    code, out, lines = call_cli(
        monkeypatch, capsys, "data", "export", tmp_path / "a.lance", "--format", "webdataset",
        "--out", tmp_path / "w",
    )  # fmt: skip
    assert (code, "7 rows" in out) == (0, True), lines
    code, out, lines = call_cli(
        monkeypatch, capsys, "data", "import", "webdataset", tmp_path / "w", "--out",
        tmp_path / "b.lance",
    )  # fmt: skip
    assert (code, "7 rows" in out) == (0, True), lines
    code, _, lines = call_cli(
        monkeypatch, capsys, "data", "import", "tar", tmp_path / "w", "--out",
        tmp_path / "c.lance",
    )  # fmt: skip
    assert (code, "webdataset" in " ".join(lines)) == (2, True)
