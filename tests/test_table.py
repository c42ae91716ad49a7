"""The pairs table: round trips, refusals, and what is left when writing fails."""

import contextlib
import pickle
import subprocess
import sys
import textwrap
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from r2d2.errors import R2D2Error
from r2d2.table import SCHEMA, Pair, PairsTable, Text, append_table, write_table


def make(n, start=0, size=50):
    splits = ("train", "train", "val", "test")
    return [
        Pair(
            image_id=f"id{i}",
            image=bytes([i % 256]) * size,
            texts=tuple(Text(f"第{i}张图，{j}", "title", 0.5 + j) for j in range(i % 3 + 1)),
            split=splits[i % 4],
            url=f"http://x/{i}",
            width=i,
            height=2 * i,
            ctr=0.25,
            clicks=i,
            impressions=4 * i,
            label=i % 2,
        )
        for i in range(start, start + n)
    ]


def listed(folder):
    return sorted(path.name for path in folder.iterdir())


def lance_table(path, table):
    import lance

    lance.write_dataset(table, str(path))
    return path


def test_rows_come_back_as_they_were(tmp_path):
    pairs = make(3000)
    assert write_table(tmp_path / "t.lance", iter(pairs)) == 3000
    table = PairsTable.open(tmp_path / "t.lance")
    assert len(table) == 3000
    assert table.take(range(3000)) == pairs
    assert listed(tmp_path) == ["t.lance"]


def test_take_keeps_order_and_repeats(tmp_path):
    pairs = make(50)
    write_table(tmp_path / "t", pairs)
    table = PairsTable.open(tmp_path / "t")
    rows = np.array([7, 3, 3, 49, 0])
    assert table.take(rows) == [pairs[i] for i in rows]
    assert table.texts(rows) == [pairs[i].texts for i in rows]
    assert table.image_ids(rows) == [f"id{i}" for i in rows]
    assert table.take([]) == table.texts([]) == table.image_ids([]) == []


def test_nulls_come_back_as_none(tmp_path):
    pair = Pair("a", b"x", (Text("猫", "query", 0.02),), "train")
    write_table(tmp_path / "t", [pair])
    (found,) = PairsTable.open(tmp_path / "t").take([0])
    assert found.texts[0].weight == pytest.approx(0.02)
    assert (found.url, found.width, found.ctr, found.label) == (None, None, None, None)
    assert (found.texts[0].text_id, found.texts[0].clicks) == (None, None)


def test_take_of_columns_reads_only_them(tmp_path):
    write_table(tmp_path / "t", make(5))
    (found,) = PairsTable.open(tmp_path / "t").take([4], columns=["image_id", "split"])
    assert found == Pair("id4", b"", (), "train")
    with pytest.raises(R2D2Error, match="'pixels'"):
        PairsTable.open(tmp_path / "t").take([4], columns=["pixels"])


@pytest.mark.parametrize("row", [-1, 5])
def test_take_outside_the_table_fails(tmp_path, row):
    write_table(tmp_path / "t", make(5))
    with pytest.raises(IndexError, match="rows 0 to 4"):
        PairsTable.open(tmp_path / "t").take([0, row])


def test_splits_part_the_rows(tmp_path):
    write_table(tmp_path / "t", make(3000))
    append_table(tmp_path / "t", make(1001, start=3000))  # a second file, so a second batch
    table = PairsTable.open(tmp_path / "t")
    assert table.splits() == {"test": 1000, "train": 2001, "val": 1000}
    assert table.rows("val").tolist() == [i for i in range(4001) if i % 4 == 2]
    assert table.rows().tolist() == list(range(4001))
    with pytest.raises(R2D2Error, match=r"no split 'dev'.*test, train, val"):
        table.rows("dev")


def test_append_adds_rows_and_an_open_table_stays(tmp_path):
    write_table(tmp_path / "t", make(10))
    before = PairsTable.open(tmp_path / "t")
    assert append_table(tmp_path / "t", make(5, start=10)) == 5
    after = PairsTable.open(tmp_path / "t")
    assert (len(before), len(after)) == (10, 15)
    assert after.take(range(15)) == make(15)
    assert after.version > before.version


def test_append_keeps_further_columns(tmp_path):
    import lance

    write_table(tmp_path / "t", make(3))
    lance.dataset(str(tmp_path / "t")).add_columns({"embedding": "cast(width as float)"})
    append_table(tmp_path / "t", make(2, start=3))
    table = PairsTable.open(tmp_path / "t")
    assert "embedding" in table.columns
    assert table.take(range(5)) == make(5)


def test_a_failing_source_leaves_an_appended_table_as_it_was(tmp_path):
    write_table(tmp_path / "t", make(10))

    def broken():
        yield from make(3000)
        raise R2D2Error("log 3 is unreadable")

    with pytest.raises(R2D2Error, match="log 3 is unreadable"):
        append_table(tmp_path / "t", broken())
    assert PairsTable.open(tmp_path / "t").take(range(10)) == make(10)
    assert len(PairsTable.open(tmp_path / "t")) == 10


def test_an_empty_table_is_a_table(tmp_path):
    assert write_table(tmp_path / "t", []) == 0
    table = PairsTable.open(tmp_path / "t")
    assert (len(table), table.splits(), table.rows().tolist()) == (0, {}, [])


def test_metadata_stays_with_the_table(tmp_path):
    write_table(tmp_path / "t", make(1), metadata={"licence": "CC-BY 4.0，署名"})
    assert PairsTable.open(tmp_path / "t").metadata == {"licence": "CC-BY 4.0，署名"}


def test_an_existing_table_is_not_overwritten_unasked(tmp_path):
    write_table(tmp_path / "t", make(10))
    with pytest.raises(R2D2Error, match="exists"):
        write_table(tmp_path / "t", make(3))
    assert len(PairsTable.open(tmp_path / "t")) == 10
    assert write_table(tmp_path / "t", make(3, start=100), overwrite=True) == 3
    assert PairsTable.open(tmp_path / "t").take(range(3)) == make(3, start=100)
    assert listed(tmp_path) == ["t"]


def test_overwrite_replaces_tables_only(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"x")
    with pytest.raises(R2D2Error, match="no table"):
        write_table(tmp_path / "photos", make(1), overwrite=True)
    assert (tmp_path / "photos" / "a.jpg").read_bytes() == b"x"


def test_a_failing_source_leaves_nothing_and_keeps_the_old(tmp_path):
    def broken():
        yield from make(3000)
        raise ValueError("the source broke")

    with pytest.raises(ValueError, match="the source broke"):
        write_table(tmp_path / "new", broken())
    assert listed(tmp_path) == []
    write_table(tmp_path / "old", make(4))
    with pytest.raises(ValueError, match="the source broke"):
        write_table(tmp_path / "old", broken(), overwrite=True)
    assert PairsTable.open(tmp_path / "old").take(range(4)) == make(4)
    assert listed(tmp_path) == ["old"]


def test_the_old_table_returns_where_the_new_one_cannot_take_its_place(tmp_path, monkeypatch):
    write_table(tmp_path / "t", make(4))
    rename = Path.rename

    def refuse(self, target):
        if self.name == "new.lance":
            raise PermissionError(13, "Permission denied")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(R2D2Error, match="cannot write"):
        write_table(tmp_path / "t", make(9), overwrite=True)
    assert PairsTable.open(tmp_path / "t").take(range(4)) == make(4)


def test_a_row_that_does_not_fit_is_named(tmp_path):
    wrong = Pair("bad7", b"x", (), "train", width="wide")  # type: ignore[arg-type]
    with pytest.raises(R2D2Error, match="bad7"):
        write_table(tmp_path / "t", [*make(5), wrong])
    assert listed(tmp_path) == []


def test_memory_is_bounded_by_streaming(tmp_path):
    alive = peak = 0

    class Counted(bytes):
        def __new__(cls, data):
            nonlocal alive, peak
            alive += 1
            peak = max(peak, alive)
            return super().__new__(cls, data)

        def __del__(self):
            nonlocal alive
            alive -= 1

    def source():
        for i in range(64):
            yield Pair(f"id{i}", Counted(bytes(4 << 20)), (), "train")

    write_table(tmp_path / "t", source())
    assert peak <= 24  # 96 MB of 256: the batch being made and the one before it


# Opening


def test_open_of_what_is_no_table(tmp_path):
    with pytest.raises(R2D2Error, match=r"no table at .*nowhere"):
        PairsTable.open(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(R2D2Error, match="does not open as a Lance dataset") as error:
        PairsTable.open(tmp_path / "empty")
    assert "\n" not in str(error.value)
    (tmp_path / "file").write_bytes(b"PK\3\4")
    with pytest.raises(R2D2Error, match="does not open as a Lance dataset"):
        PairsTable.open(tmp_path / "file")


def arrow(n=3):
    return pa.Table.from_pylist(
        [
            {"image_id": f"{i}", "image": b"x", "split": "train", "texts": [{"text": "猫"}]}
            for i in range(n)
        ],
        schema=SCHEMA,
    )


def test_open_names_the_missing_column(tmp_path):
    path = lance_table(tmp_path / "t", arrow().drop_columns(["texts"]))
    with pytest.raises(R2D2Error, match=r"no column 'texts'.*image_id"):
        PairsTable.open(path)


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("image", ["a", "b", "c"]),
        ("texts", ["猫", "狗", "鸟"]),
        ("texts", [["猫"], ["狗"], []]),
        ("texts", [[{"text": "猫"}], [], []]),  # no source, no weight
        ("split", [0, 1, 2]),
        ("width", ["1", "2", "3"]),
    ],
)
def test_open_names_the_column_of_another_type(tmp_path, column, values):
    table = arrow()
    table = table.set_column(table.schema.names.index(column), column, pa.array(values))
    path = lance_table(tmp_path / "t", table)
    with pytest.raises(R2D2Error, match=f"column '{column}' is "):
        PairsTable.open(path)


def test_types_are_compared_by_meaning(tmp_path):
    """As Daft writes: large strings, large lists, wider numbers, columns left out."""
    text = pa.struct(
        [("text", pa.large_string()), ("source", pa.large_string()), ("weight", pa.float64())]
    )
    schema = pa.schema(
        [
            ("split", pa.large_string()),
            ("image_id", pa.large_string()),
            ("image", pa.binary()),
            ("width", pa.int64()),
            ("texts", pa.large_list(text)),
            ("embedding", pa.list_(pa.float32(), 2)),
        ]
    )
    row = {"image_id": "a", "image": b"x", "split": "train", "width": 3, "embedding": [0.0, 1.0]}
    row["texts"] = [{"text": "猫", "source": "title", "weight": 1.0}]
    path = lance_table(tmp_path / "t", pa.Table.from_pylist([row], schema=schema))
    table = PairsTable.open(path)
    expected = Pair("a", b"x", (Text("猫", "title"),), "train", width=3)
    assert table.take([0]) == [expected]
    assert table.splits() == {"train": 1}
    write_table(tmp_path / "ours", [expected])
    assert table.fingerprint == PairsTable.open(tmp_path / "ours").fingerprint
    with pytest.raises(R2D2Error, match="no column 'url'"):
        append_table(path, make(1))


def test_nulls_from_other_writers_do_not_break_reading(tmp_path):
    table = pa.Table.from_pylist([{"image_id": None, "texts": None}], schema=SCHEMA)
    path = lance_table(tmp_path / "t", table)
    assert PairsTable.open(path).take([0]) == [Pair("", b"", (), "")]
    assert PairsTable.open(path).splits() == {"": 1}


# Fingerprint


def test_fingerprint_knows_the_content_not_its_cut(tmp_path):
    pairs = make(2000)
    write_table(tmp_path / "whole", pairs)
    write_table(tmp_path / "parts", pairs[:700])
    append_table(tmp_path / "parts", pairs[700:])
    whole = PairsTable.open(tmp_path / "whole").fingerprint
    assert whole == PairsTable.open(tmp_path / "parts").fingerprint


@pytest.mark.parametrize(
    "other",
    [
        [Pair("a", b"x", (Text("ab", "title"), Text("c", "title")), "train")],
        [Pair("a", b"x", (Text("abc", "title"),), "train")],
        [Pair("a", b"x", (Text("a", "title"), Text("bc", "query")), "train")],
        [Pair("a", b"x", (Text("a", "title"), Text("bc", "title", 0.5)), "train")],
        [Pair("a", b"x", (Text("a", "title"), Text("bc", "title")), "val")],
        [Pair("b", b"x", (Text("a", "title"), Text("bc", "title")), "train")],
    ],
)
def test_fingerprint_changes_with_the_content(tmp_path, other):
    write_table(
        tmp_path / "t", [Pair("a", b"x", (Text("a", "title"), Text("bc", "title")), "train")]
    )
    write_table(tmp_path / "other", other)
    mine, its = (PairsTable.open(tmp_path / name).fingerprint for name in ("t", "other"))
    assert mine != its


def test_fingerprint_knows_whose_text_it_is(tmp_path):
    one, two = Text("a", "title"), Text("b", "title")
    write_table(tmp_path / "t", [Pair("1", b"", (one, two), "val"), Pair("2", b"", (), "val")])
    write_table(tmp_path / "other", [Pair("1", b"", (one,), "val"), Pair("2", b"", (two,), "val")])
    mine, its = (PairsTable.open(tmp_path / name).fingerprint for name in ("t", "other"))
    assert mine != its


# Other processes


def test_a_pickled_table_reads_the_same_version(tmp_path):
    write_table(tmp_path / "t", make(10))
    table = PairsTable.open(tmp_path / "t")
    assert table.splits()
    append_table(tmp_path / "t", make(5, start=10))
    copy = pickle.loads(pickle.dumps(table))
    assert len(copy) == 10
    assert copy.take([9, 1]) == table.take([9, 1])


def test_a_spawned_process_reads_the_table(tmp_path):
    write_table(tmp_path / "t", make(10))
    table = PairsTable.open(tmp_path / "t")
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert pool.submit(table.image_ids, [9, 1]).result(timeout=60) == ["id9", "id1"]


# The disk


def write_in_subprocess(path, before=""):
    """Write 20 MB in a process that may be limited; returns what it said."""
    code = textwrap.dedent(
        f"""
        import random, resource
        from r2d2.errors import R2D2Error
        from r2d2.table import Pair, write_table
        {before}
        random.seed(0)
        pairs = (Pair(str(i), random.randbytes(1 << 20), (), "train") for i in range(20))
        try:
            write_table({str(path)!r}, pairs)
        except R2D2Error as error:
            print(error)
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_file_that_may_not_grow_is_one_clear_line(tmp_path):
    limit = "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))"
    said = write_in_subprocess(tmp_path / "t", limit)
    assert said.startswith(f"cannot write {tmp_path / 't'}")
    assert said.count("\n") == 1
    assert listed(tmp_path) == []


@pytest.fixture
def tiny_disk(tmp_path):
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(tmp_path)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
    except OSError as error:
        pytest.skip(f"a tiny file system needs mount: {error}")
    if done.returncode:
        pytest.skip(f"a tiny file system needs the right to mount: {done.stderr.strip()}")
    yield tmp_path
    with contextlib.suppress(OSError):
        subprocess.run(["umount", str(tmp_path)], capture_output=True, check=False)


def test_a_full_disk_is_one_clear_line(tiny_disk):
    said = write_in_subprocess(tiny_disk / "t")
    assert said.startswith(f"the disk is full while writing {tiny_disk / 't'}: free some space")
    assert said.count("\n") == 1
    assert listed(tiny_disk) == []
