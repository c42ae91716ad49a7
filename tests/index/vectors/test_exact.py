"""Exact search: what a sort of all cosines gives."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from r2d2.index.vectors import exact as memory_vectors
from r2d2.index.vectors.exact import MemoryVectors


def nothing(where):
    raise AssertionError("no condition was given")


def unit(count, width, seed):
    x = np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def naive(vectors, query, k):
    cosines = [(-round(float(np.float32(np.dot(v.astype(float), query.astype(float)))), 7), n)
               for n, v in enumerate(vectors)]  # fmt: skip
    return [n for _, n in sorted(cosines)[:k]]


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 300), st.integers(1, 5), st.integers(1, 60), st.integers(0, 9))
def test_the_nearest_are_those_of_a_full_sort(count, queries, k, seed):
    vectors, asked = unit(count, 8, seed), unit(queries, 8, seed + 100)
    found = MemoryVectors(vectors, None, nothing).best(asked, k)
    for query, (rows, cosine) in zip(asked, found, strict=True):
        assert rows.tolist() == naive(vectors, query, k)
        np.testing.assert_allclose(cosine, vectors[rows] @ query, atol=1e-6)


def test_equal_vectors_come_in_the_order_of_rows():
    vectors = np.repeat(unit(3, 128, 0), 50, axis=0)[np.random.default_rng(1).permutation(150)]
    rows, cosine = MemoryVectors(vectors, None, nothing).best(vectors[:1], 50)[0]
    assert len(set(cosine.tolist())) == 1
    assert rows.tolist() == sorted(rows.tolist())


def test_blocks_change_nothing(monkeypatch):
    vectors, asked = unit(100, 8, 0), unit(7, 8, 1)
    whole = MemoryVectors(vectors, None, nothing).best(asked, 9)
    monkeypatch.setattr(memory_vectors, "BLOCK_CELLS", 250)
    for (a, x), (b, y) in zip(
        whole, MemoryVectors(vectors, None, nothing).best(asked, 9), strict=True
    ):
        assert a.tolist() == b.tolist()
        np.testing.assert_array_equal(x, y)


def test_a_condition_leaves_only_its_rows_and_rows_keep_their_numbers():
    vectors, rows = unit(50, 8, 0), np.arange(50) * 3
    chosen = np.array([3, 30, 33, 147, 1000])
    found = MemoryVectors(vectors, rows, lambda where: chosen).best(unit(1, 8, 1), 10, "x")[0][0]
    assert sorted(found.tolist()) == [3, 30, 33, 147]


def test_no_row_left():
    none = MemoryVectors(unit(5, 8, 0), None, lambda where: np.empty(0, np.int64))
    rows, cosine = none.best(unit(1, 8, 1), 10, "x")[0]
    assert (len(rows), len(cosine)) == (0, 0)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_vectors_are_brought_to_unit_length(kind):
    vectors = (unit(20, 8, 0) * 3).astype(kind)
    _, cosine = MemoryVectors(vectors, None, nothing).best(unit(20, 8, 0)[:1], 1)[0]
    assert cosine[0] == pytest.approx(1, abs=1e-3)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 300), st.integers(1, 5), st.integers(1, 60), st.integers(1, 90))
def test_the_nearest_in_one_pass_are_those_of_a_full_sort(count, queries, k, size):
    vectors, asked = unit(count, 8, count), unit(queries, 8, k + 1000)
    numbers = np.arange(count, dtype=np.int64) * 3  # rows without a vector are left out
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory_vectors, "BLOCK_CELLS", 50)
        starts = range(0, count, size)
        batches = ((numbers[s : s + size], vectors[s : s + size]) for s in starts)
        found = memory_vectors.best_in_batches(batches, asked, k)
    assert found.shape == (queries, min(k, count))
    for query, rows in zip(asked, found, strict=True):
        wanted = np.sort(vectors @ query)[::-1][:k]
        np.testing.assert_allclose(vectors[rows // 3] @ query, wanted, atol=1e-6)
        assert len(set(rows)) == len(rows)
