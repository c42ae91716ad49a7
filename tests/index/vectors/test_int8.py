"""Vectors in a byte a number: what is found, how much room they take, how such an index grows."""

import weakref

import lance
import numpy as np
import pyarrow as pa
import pytest

from helpers.cli import call_cli, refused
from helpers.runs import small_config, small_pairs, small_table
from r2d2.index.build import _with_scales, build_index
from r2d2.index.export import export_vectors
from r2d2.index.layout import (
    INT8,
    TEXT_VECTOR,
    VECTOR,
    IndexInfo,
    open_lance,
    read_index_info,
    texts_uri,
)
from r2d2.index.vectors.build_approximate import build_ann
from r2d2.index.vectors.exact import MemoryVectors, from_int8, scales_of, to_int8
from r2d2.search.searcher import Searcher
from r2d2.table import PairsTable, write_table
from r2d2.training.pretrain import pretrain


def unit(n, d=24, seed=0):
    x = np.random.default_rng(seed).normal(size=(n, d)) * np.linspace(0.1, 3, d)
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def test_a_number_is_off_by_half_a_step_at_most():
    x = unit(500)
    scales = scales_of([x[:200], x[:0], x[200:]])
    np.testing.assert_allclose(scales, np.abs(x).max(axis=0) / 127, rtol=1e-6)
    stored = to_int8(x, scales)
    assert (stored.dtype, np.abs(stored).max()) == (np.int8, 127)
    assert (np.abs(stored * scales - x) <= scales / 2 + 1e-7).all()
    np.testing.assert_allclose(np.linalg.norm(from_int8(stored, scales), axis=1), 1, atol=1e-5)
    beyond = to_int8(3 * x[:1], scales)  # of a row that came later
    assert np.abs(beyond).max() == 127


def test_scales_of_an_index_are_found_without_holding_its_vectors(tmp_path):
    dataset = lance.write_dataset(pa.table({"id": [1]}), tmp_path / "pairs.lance")
    held = weakref.WeakValueDictionary()

    def batches():
        for size in (1, 3, 2):
            batch = held[size] = np.full((4, 2), size, np.float32)
            yield batch
            del batch
            assert len(held) <= 1

    about = _with_scales(dataset, IndexInfo("model", 2, store=INT8), batches())
    assert about.scales == pytest.approx([3 / 127, 3 / 127])
    assert read_index_info(lance.dataset(dataset.uri), dataset.uri) == about


def test_a_number_that_is_zero_everywhere_and_a_vector_of_zeros():
    x = unit(10)
    x[:, 3] = 0
    scales = scales_of([x])
    assert not to_int8(x, scales)[:, 3].any()
    assert not from_int8(np.zeros((1, 24), np.int8), scales).any()


@pytest.mark.parametrize("k", [1, 10, 400])
def test_the_nearest_are_those_of_the_vectors_that_stand_for_them(k):
    x, queries = unit(300), unit(5, seed=1)
    scales = scales_of([x])
    rows = np.arange(300) * 2
    even = lambda where: rows[::2]  # noqa: E731
    ours = MemoryVectors(to_int8(x, scales), rows, even, scales)
    plain = MemoryVectors(from_int8(to_int8(x, scales), scales), rows, even)
    for where in (None, "even"):
        for a, b in zip(ours.best(queries, k, where), plain.best(queries, k, where), strict=True):
            np.testing.assert_array_equal(a[0], b[0])
            np.testing.assert_allclose(a[1], b[1], atol=1e-6)
    np.testing.assert_allclose(
        ours.cosines(queries[0], rows[:7]), plain.cosines(queries[0], rows[:7]), atol=1e-6
    )


def test_nothing_fulfils_a_condition():
    x = unit(4)
    none = MemoryVectors(
        to_int8(x, scales_of([x])), np.arange(4), lambda where: np.empty(0, np.int64),
        scales_of([x]),
    )  # fmt: skip
    assert [len(rows) for rows, _ in none.best(x[:2], 3, "false")] == [0, 0]


@pytest.fixture(scope="module")
def indexed(tmp_path_factory):
    """A model, and two tables of the same pictures, one of them in bytes."""
    folder = tmp_path_factory.mktemp("int8")
    table, same = small_table(folder / "pairs.lance"), small_table(folder / "same.lance")
    pretrain(table, folder / "run", small_config("prd2", "train.epochs=1"))
    build_index(table, folder / "run")
    build_index(same, folder / "run", store="int8")
    return folder / "run", table, same


def test_an_index_in_bytes_finds_what_the_other_finds(indexed):
    model, table, same = indexed
    whole, stored = (Searcher.open(path, model, "cpu") for path in (table, same))
    for query in ("红猫", "蓝狗"):
        a, b = (
            {hit.image_id: hit.cosine for hit in s.search(
                query, k=44, two_stage=False, by="vectors").hits}
            for s in (whole, stored)
        )  # fmt: skip
        assert a.keys() == b.keys()
        assert len(a) == 44
        off = [abs(a[name] - b[name]) for name in a]
        assert 0 < max(off) < 0.01
        assert list(b.values()) == sorted(b.values(), reverse=True)


def test_it_takes_a_quarter_in_both_tables(indexed):
    _, table, same = indexed
    for uri, name in ((str, VECTOR), (texts_uri, TEXT_VECTOR)):
        sizes = []
        for path in (table, same):
            dataset = open_lance(uri(str(path)))
            sizes.append(dataset.to_table(columns=[name])[name].combine_chunks().flatten().nbytes)
        assert sizes[0] == 4 * sizes[1]


def test_vectors_come_out_as_float32(indexed, tmp_path):
    _, table, same = indexed
    import pyarrow.parquet as pq

    read = []
    for number, path in enumerate((table, same)):
        export_vectors(path, tmp_path / f"{number}.parquet")
        column = pq.read_table(tmp_path / f"{number}.parquet")["vector"].combine_chunks()
        read.append(column.flatten().to_numpy().reshape(len(column), -1))
    assert read[1].dtype == np.float32
    np.testing.assert_allclose(read[0], read[1], atol=0.02)


def test_new_rows_get_the_scales_that_there_are(indexed, tmp_path):
    model, *_ = indexed
    made = list(small_pairs(20))
    table = tmp_path / "grown.lance"
    write_table(table, made[:12])
    build_index(table, model, store="int8")
    before = read_index_info(open_lance(str(table)), str(table))
    write_table(tmp_path / "all.lance", made)
    more = lance.dataset(str(tmp_path / "all.lance")).to_table()
    lance.write_dataset(more.slice(12), str(table), mode="append")
    done = build_index(table, model)
    assert (done.images.kept, done.vectors) == (8, 20)
    after = read_index_info(open_lance(str(table)), str(table))
    assert after.scales == before.scales
    assert len(Searcher.open(table, model, "cpu").gallery.images) == 20


def test_what_does_not_go_together_is_refused(indexed, monkeypatch, capsys):
    model, table, same = indexed
    assert "in float32" in refused(build_index, table, model, store="int8")
    assert "in int8" in refused(build_index, same, model, store="float32")
    assert "compared exactly" in refused(build_ann, same)
    for arguments, said in (
        (["--store", "int4", "--model", model], "float32"),
        (["--store", "int8", "--ann", "ivf_sq", "--model", model], "leave one of them out"),
        (["--store", "int8", "--export", "x.parquet"], "goes with --model"),
    ):
        code, _, lines = call_cli(monkeypatch, capsys, "index", table, *arguments)
        assert (code, said in " ".join(lines)) == (2, True), lines
    assert PairsTable.open(same).vector_columns == ()
