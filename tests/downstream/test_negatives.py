"""Wrong texts: each once, never true, and as hard as the model can make them."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from r2d2.downstream.config import make_downstream_config
from r2d2.downstream.likeness import may_be_true
from r2d2.downstream.negatives import KnownTexts, deal

CONFIG = make_downstream_config("icm")
HARD = make_downstream_config("icm", ["negatives.kind=hard", "negatives.nearest=10"])


def texts_of(keys, group=None):
    group = np.arange(len(keys)) if group is None else np.array(group)
    own = [frozenset(k for k, g in zip(keys, group, strict=True) if g == mine) for mine in group]
    return KnownTexts(keys, own, group)


def ids(n):
    return [f"i{k:04d}" for k in range(n)]


def holds(dealt, texts, config):
    assert sorted(dealt.picture.tolist()) == sorted(dealt.text.tolist())
    assert len(set(dealt.picture.tolist())) == len(dealt.picture)
    for picture, text in zip(dealt.picture.tolist(), dealt.text.tolist(), strict=True):
        assert texts.group[picture] != texts.group[text]
        assert not may_be_true(texts.keys[text], texts.own[picture], config.same)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text("甲乙丙丁戊己", min_size=1, max_size=5), min_size=0, max_size=40),
       st.integers(0, 5))  # fmt: skip
def test_a_permutation_of_wrong_texts_whatever_the_texts(keys, width):
    texts = texts_of(keys, [n // (width + 1) for n in range(len(keys))])
    dealt = deal(range(len(keys)), texts, ids(len(keys)), CONFIG)
    holds(dealt, texts, CONFIG)
    assert len(dealt.picture) + len(dealt.left) == len(keys)


def test_nothing_is_left_where_all_texts_differ():
    texts = texts_of([chr(0x4E00 + 2 * n) + chr(0x4E01 + 2 * n) for n in range(200)])
    dealt = deal(range(200), texts, ids(200), CONFIG)
    holds(dealt, texts, CONFIG)
    assert not len(dealt.left)
    same = texts_of(["猫"] * 10)
    assert len(deal(range(10), same, ids(10), CONFIG).left) == 10


def test_hard_ones_are_nearer_than_random_ones():
    n, rng = 300, np.random.default_rng(0)
    points = rng.normal(size=(n, 8)).astype(np.float32)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    texts = texts_of([chr(0x4E00 + 2 * k) + chr(0x4E01 + 2 * k) for k in range(n)])

    def embed(places):
        return points[list(places)], points[list(places)]

    hard = deal(range(n), texts, ids(n), HARD, embed)
    random = deal(range(n), texts, ids(n), HARD)
    holds(hard, texts, HARD)
    assert not len(hard.left)

    def mean(dealt):
        return float((points[dealt.picture] * points[dealt.text]).sum(1).mean())

    assert abs(mean(random)) < 0.1
    assert mean(hard) > 0.6
    assert hard.near > 0.8 * n
    # greedily: no picture could swap its wrong text for a nearer one that nobody holds nearer
    pooled = make_downstream_config(
        "icm", ["negatives.kind=hard", "negatives.pool=50", "negatives.ceiling=0.5"]
    )
    some = deal(range(n), texts, ids(n), pooled, embed)
    holds(some, texts, pooled)
    chosen = (points[some.picture] * points[some.text]).sum(1)
    assert (chosen > 0.5).mean() < 0.2  # only what was dealt by hash
    assert 0.2 < mean(some) < mean(hard)


def test_the_order_of_places_tells_nothing():
    keys = [chr(0x4E00 + 2 * k) + chr(0x4E01 + 2 * k) for k in range(50)]
    texts = texts_of(keys)
    one = deal(range(50), texts, ids(50), CONFIG)
    two = deal(list(reversed(range(50))), texts, ids(50), CONFIG)
    assert dict(zip(one.picture.tolist(), one.text.tolist(), strict=True)) == dict(
        zip(two.picture.tolist(), two.text.tolist(), strict=True)
    )
