"""When texts and pictures count as one, against plain loops."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from r2d2.downstream.config import SimilaritySettings
from r2d2.downstream.likeness import may_be_true, near_same, near_to
from r2d2.downstream.picture_groups import connected

SAME = SimilaritySettings()


def test_near_same_texts():
    assert near_same("一只猫在屋顶", "一只猫在屋顶", SAME)
    assert near_same("猫", "一只猫在屋顶", SAME)
    assert not near_same("猫", "一只猫在屋顶", SimilaritySettings(contained=False))
    assert near_same("一只黑猫在屋顶上", "一只白猫在屋顶上", SimilaritySettings(jaccard=0.5))
    assert not near_same("一只黑猫在屋顶上", "两条狗在河边跑", SAME)
    assert may_be_true("小猫", ("大山", "一只小猫"), SAME)
    assert not may_be_true("小猫", ("大山", "小河"), SAME)


texts = st.text("甲乙丙丁", min_size=1, max_size=6)


@given(texts, texts, st.floats(0.05, 1))
def test_jaccard_by_hand(a, b, limit):
    def grams(text):
        return {text[i : i + 2] for i in range(len(text) - 1)} or {text}

    one, two = grams(a), grams(b)
    expected = a == b or len(one & two) / len(one | two) >= limit
    got = near_same(a, b, SimilaritySettings(jaccard=limit, contained=False))
    edge = abs(len(one & two) - limit * len(one | two)) < 1e-9
    assert edge or got == expected


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 5))
def test_groups_are_the_connected_ones(seed, radius):
    rng = np.random.default_rng(seed)
    base = rng.integers(0, 2**63, 6, dtype=np.uint64)
    flips = np.uint64(1) << rng.integers(0, 64, 40, dtype=np.uint64)
    hashes = base[rng.integers(0, 6, 40)] ^ flips ^ (np.uint64(1) << np.uint64(seed % 64))
    keys = [rng.integers(0, 60, 1).tolist() for _ in hashes]
    group = connected(hashes, radius, keys)
    n = len(hashes)
    linked = np.array(
        [
            [bin(int(a) ^ int(b)).count("1") <= radius or bool(set(x) & set(y))
             for b, y in zip(hashes, keys, strict=True)]
            for a, x in zip(hashes, keys, strict=True)
        ]
    )  # fmt: skip
    for _ in range(n):
        linked = linked | (linked.astype(int) @ linked.astype(int) > 0)
    assert group.tolist() == [int(np.flatnonzero(row)[0]) for row in linked]


def test_near_to_known_hashes():
    rng = np.random.default_rng(0)
    known = rng.integers(0, 2**63, 300, dtype=np.uint64)
    asked = np.concatenate([known[:20], known[20:40] ^ np.uint64(0b111), ~known[:20]])
    assert near_to(known, asked, 3).tolist() == [True] * 40 + [False] * 20
    assert near_to(known, asked, 2).tolist() == [True] * 20 + [False] * 40
    assert not near_to(known[:0], asked, 3).any()
